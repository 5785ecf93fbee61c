//! The container images, the compose file and the Helm chart, as far as they can be checked without a container engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_e2e::{Doing as _, LapiProcess, Make, Outcome, Setup, Signal, World, eventually, story, tools};
use serde_json::json;

const DOCKERFILE: &str = "packaging/containers/Dockerfile";
const COMPOSE: &str = "packaging/containers/compose.yaml";

/// A target of the Dockerfile: its program, the configuration that it contains, and the variables that have no default.
struct Image {
    target: &'static str,
    program: &'static str,
    configuration: &'static [&'static str],
    given: &'static [(&'static str, &'static str)],
}

const LAPI_URL: (&str, &str) = ("API_URL", "http://lapi:8080/");
// Secrets are texts, whatever they would be in YAML.
const SECRET: &str = "[0123 # 456: \"7";
const KEY: (&str, &str) = ("API_KEY", SECRET);

const IMAGES: &[Image] = &[
    Image {
        target: "lapi",
        program: "palisade-lapi",
        configuration: &[
            "containers/config/config.yaml",
            "containers/config/local_api_credentials.yaml",
            "config/profiles.yaml",
        ],
        given: &[
            ("DB_TYPE", "postgresql"),
            ("DB_HOST", "db"),
            ("DB_USER", SECRET),
            ("DB_PASSWORD", SECRET),
            ("DB_NAME", "palisade"),
            ("REGISTRATION_TOKEN", SECRET),
            ("AGENT_USERNAME", "admin"),
            ("AGENT_PASSWORD", SECRET),
        ],
    },
    Image {
        target: "firewall",
        program: "palisade-firewall",
        configuration: &["containers/config/crowdsec-firewall-bouncer.yaml"],
        given: &[LAPI_URL, KEY],
    },
    Image {
        target: "proxy",
        program: "palisade-proxy",
        configuration: &["containers/config/palisade-proxy.yaml"],
        given: &[LAPI_URL, KEY, ("UPSTREAM_URL", "http://app:8000")],
    },
    Image {
        target: "webhook",
        program: "palisade-webhook",
        configuration: &["containers/config/palisade-webhook.yaml"],
        given: &[
            LAPI_URL,
            KEY,
            ("WEBHOOK_URL", "https://receiver.example.org/hook"),
            ("WEBHOOK_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
        ],
    },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Outcome<String> {
    std::fs::read_to_string(root().join(path)).doing(format!("reading {path}"))
}

/// The Dockerfile's instructions, each on one line, with the name of the stage they belong to.
fn instructions() -> Outcome<Vec<(String, String)>> {
    let text = read(DOCKERFILE)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut stage = String::new();
    let mut found = Vec::new();
    for line in lines.join("\n").replace("\\\n", " ").lines().filter(|line| !line.is_empty()) {
        if line.starts_with("FROM ") {
            stage = line.rsplit(' ').next().unwrap_or_default().to_owned();
        }
        found.push((stage.clone(), line.to_owned()));
    }
    Ok(found)
}

/// The variables that a target declares, with their defaults.
fn declared(target: &str) -> Outcome<BTreeMap<String, String>> {
    let instructions = instructions()?;
    let lines = instructions
        .iter()
        .filter(|(stage, _)| stage == target)
        .filter_map(|(_, line)| line.strip_prefix("ENV "));
    let pairs = lines.flat_map(str::split_whitespace).filter_map(|pair| pair.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Words such as `API_KEY` in a text that stand between what `kept` accepts.
fn variables(text: &str, kept: impl Fn(&str, &str) -> bool) -> BTreeSet<String> {
    let of_name =
        |character: char| character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_';
    let mut found = BTreeSet::new();
    let mut at = 0;
    while let Some(begin) = text[at..].find(of_name).map(|offset| at + offset) {
        let end =
            text[begin..].find(|character| !of_name(character)).map_or(text.len(), |offset| begin + offset);
        if kept(&text[..begin], &text[end..]) {
            found.insert(text[begin..end].to_owned());
        }
        at = end;
    }
    found
}

/// Those that are replaced: `${NAME}`.
fn replaced(text: &str) -> BTreeSet<String> {
    variables(text, |before, _| before.ends_with("${"))
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_images_configuration_passes_the_test_of_its_program() -> Outcome {
    // In namespaces, because the firewall's test asks the kernel and needs CAP_NET_ADMIN for it.
    story(|world| IMAGES.iter().try_for_each(|image| test_configuration(world, image)))
}

fn test_configuration(world: &World, image: &Image) -> Outcome {
    let folder = world.fresh_path(image.target);
    let folder = folder.to_string_lossy();
    std::fs::create_dir_all(format!("{folder}/crowdsec/data"))?;
    let mut main = None;
    for path in image.configuration {
        // The paths of the image, in a folder of this test.
        let text = read(&format!("packaging/{path}"))?
            .replace("/etc/crowdsec/", &format!("{folder}/"))
            .replace("/var/lib/", &format!("{folder}/"));
        let written = format!("{folder}/{}", path.rsplit('/').next().unwrap_or_default());
        std::fs::write(&written, text)?;
        std::fs::set_permissions(&written, Permissions::from_mode(0o600))?;
        main.get_or_insert(written);
    }
    let mut command = Command::new(tools::ours(image.program)?);
    command
        .env_clear()
        .env("PATH", tools::search_path()?)
        .envs(declared(image.target)?)
        .envs(image.given.iter().copied())
        .arg("-c")
        .arg(main.doing("an image without configuration")?)
        .arg("-t");
    if image.target != "lapi" {
        // The LAPI always refuses unknown keys.
        command.arg("-strict");
    }
    let output = command.output().doing(format!("starting {}", image.program))?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && log.contains("config is valid"), "{}: {log}", image.target);
    assert!(!log.contains("level=warning"), "{}: {log}", image.target);
    Ok(())
}

#[test]
fn the_lapi_adds_the_accounts_of_its_environment() -> Outcome {
    story(|world| {
        let config = json!({ "api": { "server": { "accounts_from_environment": true } } });
        let lapi = LapiProcess::prepare(world, Make::Ours, &Setup { config, ..Setup::default() })?;
        let accounts =
            [("BOUNCER_KEY_hosts", "key-of-hosts"), ("AGENT_USERNAME", "admin"), ("AGENT_PASSWORD", SECRET)];
        // What the image's commands log in with.
        let credentials = world.fresh_path("local_api_credentials.yaml");
        std::fs::write(&credentials, read("packaging/containers/config/local_api_credentials.yaml")?)?;
        let client = world.fresh_path("client.yaml");
        std::fs::write(
            &client,
            format!("api: {{client: {{credentials_path: {}}}}}\n", credentials.display()),
        )?;
        for start in ["the first start", "a second start"] {
            let mut command = lapi.command()?;
            command.envs(accounts);
            let mut process = world.start(lapi.host(), "palisade-lapi", command)?;
            eventually(start, || Ok(lapi.host().run(|| lapi.log_in("admin", SECRET)).is_ok()))?;
            let headers = [("X-Api-Key", "key-of-hosts")];
            let reply = lapi.host().run(|| lapi.http_client().ask("GET", "/v1/decisions", &headers, None))?;
            assert_eq!(reply.status, 200, "{start}: {}", reply.text());
            let mut status = tools::command(tools::ours("palisade")?)?;
            status.envs(accounts).env("LOCAL_API_URL", lapi.url()).env("CACERT_FILE", "");
            let said =
                lapi.host().run(|| tools::run(status.arg("-c").arg(&client).args(["lapi", "status"]), ""))?;
            assert_eq!(said.code, 0, "{start}: {said:?}");
            process.signal(Signal::TERM)?;
            process.end()?;
        }
        // Without the key in the configuration the variables are nothing.
        let lapi = LapiProcess::prepare(world, Make::Ours, &Setup::default())?;
        let mut command = lapi.command()?;
        command.envs(accounts);
        let mut process = world.start(lapi.host(), "palisade-lapi", command)?;
        process.wait_for_log("listening on")?;
        assert!(lapi.host().run(|| lapi.log_in("admin", SECRET)).is_err());
        process.signal(Signal::TERM)?;
        process.end()?;
        Ok(())
    })
}

#[test]
fn what_an_images_configuration_names_is_declared_and_the_reverse() -> Outcome {
    for image in IMAGES {
        let declared: BTreeSet<String> =
            declared(image.target)?.into_keys().filter(|name| !name.starts_with("MALLOC_")).collect();
        let mut used = BTreeSet::new();
        for path in image.configuration {
            used.append(&mut replaced(&without_comments(&read(&format!("packaging/{path}"))?)));
        }
        assert_eq!(used, declared, "{}", image.target);
        assert!(!declared.is_empty());
    }
    Ok(())
}

#[test]
fn every_variable_is_documented() -> Outcome {
    let page = read("docs/containers.md")?;
    let documented = variables(&page, |before, after| before.ends_with('`') && after.starts_with('`'));
    let compose = without_comments(&read(COMPOSE)?);
    let mut used = replaced(&compose);
    used.append(&mut variables(&compose, |_, after| after.starts_with(": ")));
    let example = without_comments(&read("packaging/containers/env.example")?);
    used.append(&mut variables(&example, |before, after| {
        after.starts_with('=') && (before.is_empty() || before.ends_with('\n'))
    }));
    for template in ["lapi.yaml", "firewall.yaml"] {
        let text = read(&format!("packaging/helm/palisade/templates/{template}"))?;
        let mut set = variables(&text, |before, _| before.ends_with("name: "));
        let target = template.trim_end_matches(".yaml");
        let declared = declared(target)?;
        // Of a variable that ends in a bouncer's name, only the beginning is known.
        set.retain(|name| !name.starts_with("BOUNCER_KEY_"));
        let unknown: Vec<&String> = set.iter().filter(|name| !declared.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "{template} sets what the image does not read: {unknown:?}");
        used.append(&mut set);
    }
    for image in IMAGES {
        used.extend(declared(image.target)?.into_keys());
    }
    assert!(used.len() > 40 && used.contains("POSTGRES_PASSWORD") && used.contains("INSTANCE"), "{used:?}");
    let missing: Vec<&String> = used.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/containers.md: {missing:?}");
    Ok(())
}

#[test]
fn what_the_dockerfile_copies_exists_and_is_sent_to_the_builder() -> Outcome {
    let ignored = without_comments(&read(".dockerignore")?);
    let mut seen = 0;
    for (stage, line) in instructions()? {
        let Some(words) = line.strip_prefix("COPY ") else { continue };
        let mut words: Vec<&str> = words.split_whitespace().collect();
        if words.iter().any(|word| word.starts_with("--from=")) {
            continue;
        }
        words.retain(|word| !word.starts_with("--"));
        words.pop();
        for source in words {
            assert!(root().join(source).exists(), "{stage}: {source} does not exist");
            let hidden = ignored.lines().find(|entry| Path::new(source).starts_with(entry));
            assert!(hidden.is_none(), "{stage}: {source} is in .dockerignore");
            seen += 1;
        }
    }
    assert!(seen > 8, "only {seen} files seen");
    // `cargo build --locked` reads the manifests of all members.
    for member in read("Cargo.toml")?
        .lines()
        .skip_while(|line| *line != "members = [")
        .skip(1)
        .take_while(|line| *line != "]")
    {
        let member = member.trim().trim_matches([',', '"']);
        assert!(
            !ignored.lines().any(|entry| Path::new(member).starts_with(entry)),
            "{member} is in .dockerignore"
        );
    }
    Ok(())
}

#[test]
fn images_and_chart_have_the_version_of_the_workspace() -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let chart = read("packaging/helm/palisade/Chart.yaml")?;
    assert!(chart.contains(&format!("\nappVersion: {version}\n")), "{chart}");
    let instructions = instructions()?;
    let of_images: Vec<&str> =
        instructions.iter().filter_map(|(_, line)| line.strip_prefix("ARG VERSION=")).collect();
    assert_eq!(of_images, vec![version; IMAGES.len()]);
    Ok(())
}
