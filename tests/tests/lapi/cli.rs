//! The `palisade` command under the name `cscli`, as packages, installers and scripts call it.

use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_e2e::tools::{self, ToolOutput};
use palisade_e2e::{Doing as _, Lapi, LapiProcess, Make, Outcome, Setup, World, eventually, story};
use serde_json::{Value, json};

/// A folder with a link `cscli` to our command, in which it also finds its configuration.
struct Called {
    link: PathBuf,
    config: PathBuf,
}

impl Called {
    fn new(world: &World, lapi: &LapiProcess) -> Outcome<Self> {
        let folder = world.fresh_path("bin");
        std::fs::create_dir_all(&folder)?;
        let link = folder.join("cscli");
        std::os::unix::fs::symlink(tools::ours("palisade")?, &link)?;
        Ok(Self { link, config: lapi.config().to_owned() })
    }

    fn run(&self, words: &[&str]) -> Outcome<ToolOutput> {
        self.fed(words, "")
    }

    fn fed(&self, words: &[&str], input: &str) -> Outcome<ToolOutput> {
        let mut command = tools::command(&self.link)?;
        command.arg("-c").arg(&self.config).args(words);
        tools::run(&mut command, input)
    }
}

/// A LAPI that is set up and not started: what is only the database's works all the same.
fn resting(world: &World) -> Outcome<(LapiProcess, Called)> {
    let lapi = LapiProcess::prepare(world, Make::Ours, &Setup::default())?;
    let called = Called::new(world, &lapi)?;
    Ok((lapi, called))
}

#[test]
fn installers_add_and_delete_bouncers() -> Outcome {
    story(|world| {
        let (_rig, cscli) = resting(world)?;
        // `cscli -oraw bouncers add NAME` prints the key and nothing else.
        let said = cscli.run(&["--error", "-oraw", "bouncers", "add", "installed"])?;
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.trim_end().len() == 43 && !said.out.trim_end().contains('\n'), "{said:?}");
        let said = cscli.run(&["bouncers", "add", "installed", "-o", "raw"])?;
        assert!(said.code == 1 && said.has("bouncer installed already exists"), "{said:?}");
        let said = cscli.run(&["bouncers", "add", "chosen", "-k", "key-of-mine", "-o", "json"])?;
        assert!(said.code == 0 && said.out == "\"key-of-mine\"", "{said:?}");

        // A container's entrypoint cuts names out of the JSON, line by line.
        let said = cscli.run(&["bouncers", "list", "-o", "json"])?;
        let mut names: Vec<&str> = said
            .out
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("\"name\": \"")?.strip_suffix("\","))
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["chosen", "installed"], "{said:?}");
        let said = cscli.run(&["bouncers", "list", "-o", "raw"])?;
        assert!(said.out.starts_with("name,ip,revoked,last_pull,type,version,auth_type\n"), "{said:?}");

        let said = cscli.run(&["bouncers", "delete", "installed"])?;
        assert_eq!(said.code, 0, "{said:?}");
        let said = cscli.run(&["bouncers", "delete", "installed"])?;
        assert!(said.code == 1 && said.has("bouncer not found"), "{said:?}");
        assert_eq!(cscli.run(&["bouncers", "delete", "installed", "--ignore-missing"])?.code, 0);
        assert_eq!(cscli.run(&["bouncers", "remove", "chosen"])?.code, 0);
        assert_eq!(cscli.run(&["bouncers", "list", "-o", "json"])?.out.trim_end(), "[]");
        Ok(())
    })
}

#[test]
fn packages_and_entrypoints_get_what_they_expect() -> Outcome {
    story(|world| {
        let (lapi, cscli) = resting(world)?;
        // The container's entrypoint makes the database this way.
        let said = cscli.run(&["machines", "inspect", "nobody"])?;
        assert!(said.code == 1 && said.has("user doesn't exist"), "{said:?}");
        assert_eq!(cscli.run(&["machines", "delete", "nobody"])?.code, 0, "nobody to delete is no failure");
        let file = world.fresh_path("credentials").display().to_string();
        let said =
            cscli.run(&["--error", "machines", "add", "box", "--password", "pw", "--force", "-f", &file])?;
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(mode(Path::new(&file))?, 0o600);
        let machines: Vec<Value> =
            serde_json::from_str(&cscli.run(&["machines", "list", "-o", "json"])?.into_stdout()?)?;
        assert_eq!(machines[0]["machineId"], "box", "{machines:#?}");

        // Debian's package reads single values; the entrypoint the whole configuration.
        assert_eq!(cscli.run(&["config", "show", "--key", "Config.DbConfig.Type"])?.out.trim_end(), "sqlite");
        let path = cscli.run(&["config", "show", "--key", "Config.DbConfig.DbPath"])?.out;
        assert_eq!(path.trim_end(), lapi.data().join("crowdsec.db").display().to_string());
        // An optional setting, which Go prints as a pointer.
        assert_eq!(
            cscli.run(&["config", "show", "--key", "Config.DbConfig.UseWal"])?.out.trim_end(),
            "&true"
        );
        let said = cscli.run(&["config", "show-yaml"])?;
        assert!(said.code == 0 && said.out.contains("listen_uri"), "{said:?}");

        for words in [vec!["version"], vec!["--version"]] {
            let mut command = tools::command(&cscli.link)?;
            let said = tools::run(command.args(&words), "")?;
            assert!(said.code == 0 && said.has("version"), "{words:?}: {said:?}");
        }
        // Completion needs no configuration.
        for shell in ["bash", "zsh", "fish"] {
            let mut command = tools::command(&cscli.link)?;
            let said = tools::run(command.args(["completion", shell]), "")?;
            assert!(said.code == 0 && said.out.contains("cscli"), "{shell}: {said:?}");
        }
        let mut command = tools::command(&cscli.link)?;
        let said = tools::run(command.args(["-c", "/nowhere/config.yaml", "bouncers", "list"]), "")?;
        assert!(said.code == 1 && said.err.contains("/nowhere/config.yaml"), "{said:?}");
        let said = cscli.run(&["bouncers", "frobnicate"])?;
        assert!(
            said.code == 1 && said.err.contains("unknown command \"frobnicate\" for \"cscli bouncers\""),
            "{said:?}"
        );
        Ok(())
    })
}

#[test]
fn debians_own_install_scripts_register_and_unregister_a_bouncer() -> Outcome {
    story(|world| {
        let (lapi, cscli) = resting(world)?;
        for package in ["crowdsec-firewall-bouncer", "crowdsec-custom-bouncer"] {
            let root = world.fresh_path("debian");
            let etc = root.join("etc/crowdsec");
            std::fs::create_dir_all(etc.join("bouncers"))?;
            std::os::unix::fs::symlink(lapi.config(), etc.join("config.yaml"))?;
            // The script calls plain `cscli`, which finds its configuration in the usual place.
            let bin = root.join("bin");
            std::fs::create_dir_all(&bin)?;
            let wrapper = format!(
                "#!/bin/sh\nexec {} -c {} \"$@\"\n",
                cscli.link.display(),
                etc.join("config.yaml").display()
            );
            std::fs::write(bin.join("cscli"), wrapper)?;
            std::fs::set_permissions(bin.join("cscli"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            let call = |script: &str, word: &str| {
                maintainer_script(package, script, &root)
                    .and_then(|text| {
                        let mut command = tools::command("sh")?;
                        let path = std::env::join_paths(
                            std::iter::once(bin.clone()).chain(std::env::split_paths(&tools::search_path()?)),
                        )?;
                        command.env("PATH", path).args(["-s", "--", word]);
                        tools::run(&mut command, &text)
                    })
                    .and_then(ToolOutput::into_stdout)
            };
            call("postinst", "configure")?;
            let config = etc.join("bouncers").join(format!("{package}.yaml.local"));
            let text = std::fs::read_to_string(&config).doing("the script writes the key")?;
            let key =
                text.lines().find_map(|line| line.strip_prefix("api_key: ")).doing("a key is written")?;
            assert_eq!(key.len(), 43, "{text}");
            let id = std::fs::read_to_string(etc.join("bouncers").join(format!("{package}.yaml.id")))?;
            let listed = cscli.run(&["bouncers", "list", "-o", "raw"])?.into_stdout()?;
            assert!(listed.contains(id.trim()), "{listed}");
            call("postrm", "purge")?;
            let listed = cscli.run(&["bouncers", "list", "-o", "raw"])?.into_stdout()?;
            assert!(!listed.contains(id.trim()), "{listed}");
        }
        Ok(())
    })
}

/// A script of Debian's package, with its paths moved below `root`; its calls of systemd are left out.
fn maintainer_script(package: &str, script: &str, root: &Path) -> Outcome<String> {
    let path = tools::peers_dir()?.join("control").join(package).join(script);
    let text = std::fs::read_to_string(&path).doing(format_args!("reading {}", path.display()))?;
    let root = root.display();
    let text = text
        .replace("/etc/crowdsec", &format!("{root}/etc/crowdsec"))
        .replace("/var/lib/crowdsec", &format!("{root}/var"))
        .replace("find /var/log", "true /var/log");
    let ours = text.split("## Automatically added").next().unwrap_or_default().to_owned();
    if script == "postinst" {
        return Ok(ours);
    }
    // In the other one the generated part comes first.
    let after = text.rsplit("# End automatically added section").next().unwrap_or_default();
    Ok(format!("set -e\nCONFIG={root}/etc/crowdsec/bouncers/{package}.yaml\n{after}"))
}

#[test]
fn blocklist_importers_and_dashboards_are_served() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let cscli = Called::new(world, &lapi)?;
        let list = "192.0.2.1\n192.0.2.2\n2001:db8::3\n";
        let said = cscli.fed(&["decisions", "import", "-i", "-", "--format", "values"], list)?;
        assert!(said.code == 0 && said.has("Imported 3 decisions"), "{said:?}");
        let said = cscli.run(&["decisions", "list", "-o", "json", "--limit", "0"])?;
        let alerts: Vec<Value> = serde_json::from_str(&said.into_stdout()?)?;
        assert_eq!(alerts[0]["decisions"].as_array().map(Vec::len), Some(3), "{alerts:#?}");
        assert_eq!(alerts[0]["scenario"], "import stdin: 3 IPs", "{alerts:#?}");
        let said = cscli
            .fed(&["decisions", "import", "-i", "-", "--format", "values"], "192.0.2.1\n\n192.0.2.2\n")?;
        assert!(said.code == 0 && said.has("Imported 2 decisions"), "{said:?}");
        let strict = ["decisions", "import", "-i", "-", "--format", "values", "--strict"];
        let said = cscli.fed(&strict, "192.0.2.1 # a\nnonsense\n")?;
        assert!(said.code == 1 && said.has("line 2: \"nonsense\" is neither"), "{said:?}");
        let said = cscli.fed(&["decisions", "import", "-i", "-"], list)?;
        assert!(said.code == 1 && said.has("unable to guess format from file extension"), "{said:?}");
        let csv = "value,scope,duration,reason,type\n198.51.0.0/16,range,24h,listed,captcha\n";
        let said = cscli.fed(&["decisions", "import", "-i", "-", "--format", "csv"], csv)?;
        assert_eq!(said.code, 0, "{said:?}");
        let raw =
            cscli.run(&["decisions", "list", "-o", "raw", "--range", "198.51.0.0/16"])?.into_stdout()?;
        assert!(raw.contains(",cscli-import,Range:198.51.0.0/16,listed,captcha,"), "{raw}");

        // A dashboard's requests with a machine's password.
        let token = {
            lapi.add_machine("dashboard", "pw")?;
            lapi.log_in("dashboard", "pw")?
        };
        let answer = lapi.http_client().ask(
            "GET",
            "/v1/alerts?has_active_decision=true&include_capi=false&limit=10",
            &[("Authorization", &token)],
            None,
        )?;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&answer.body)?.len(), 3);
        Ok(())
    })
}

#[test]
fn an_allowlist_protects_from_bans_of_every_kind() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let cscli = Called::new(world, &lapi)?;
        lapi.ban("192.0.2.9")?;
        lapi.ban("203.0.113.9")?;
        cscli.run(&["allowlists", "create", "office", "-d", "our ranges"])?.into_stdout()?;
        let said =
            cscli.run(&["allowlists", "add", "office", "192.0.2.0/24", "2001:db8::/32", "-d", "lan"])?;
        assert!(said.code == 0 && said.has("added 2 values to allowlist office"), "{said:?}");
        assert!(said.has("1 decisions deleted by allowlists"), "{said:?}");
        let left = || -> Outcome<usize> {
            let text = lapi.as_machine("GET", "/v1/alerts?has_active_decision=true", None)?;
            Ok(serde_json::from_str::<Vec<Value>>(&text)?.len())
        };
        eventually("only the other ban is left", || Ok(left()? == 1))?;
        let said = cscli.run(&["decisions", "add", "-i", "192.0.2.10"])?;
        assert!(said.code == 1 && said.has("is allowlisted by item 192.0.2.0/24 from office"), "{said:?}");
        let said = cscli.run(&["allowlists", "check", "192.0.2.10"])?;
        assert!(said.has("192.0.2.10 is allowlisted by item 192.0.2.0/24 from office"), "{said:?}");
        let said = cscli
            .fed(&["decisions", "import", "-i", "-", "--format", "values"], "192.0.2.11\n198.51.100.1\n")?;
        assert!(said.code == 0 && said.has("Imported 1 decisions"), "{said:?}");
        assert_eq!(left()?, 2);
        let said = cscli.run(&["allowlists", "list", "-o", "raw"])?.into_stdout()?;
        assert!(said.contains("office,our ranges,"), "{said}");
        cscli.run(&["allowlists", "delete", "office"])?.into_stdout()?;
        cscli.run(&["decisions", "add", "-i", "192.0.2.10"])?.into_stdout()?;
        assert_eq!(left()?, 3);
        Ok(())
    })
}

#[test]
fn lists_are_the_same_to_scripts_whether_the_server_runs_or_not() -> Outcome {
    story(|world| {
        let page =
            json!({ "prometheus": { "enabled": true, "listen_addr": "127.0.0.1", "listen_port": 6060 } });
        let setup = Setup { config: page, ..Setup::default() };
        let mut lapi = Lapi::set_up(LapiProcess::prepare(world, Make::Ours, &setup)?, world)?;
        let cscli = Called::new(world, &lapi)?;
        let running = cscli.run(&["machines", "list", "-o", "raw"])?.into_stdout()?;
        assert!(
            running.starts_with(
                "machine_id,ip_address,updated_at,validated,version,auth_type,last_heartbeat,os"
            )
        );
        // A bouncer that is added while the server runs is let in without a restart.
        cscli.run(&["bouncers", "add", "late", "-k", "late-key"])?.into_stdout()?;
        let ask = || lapi.http_client().ask("GET", "/v1/decisions", &[("X-Api-Key", "late-key")], None);
        assert_eq!(ask()?.status, 200, "at its first call");
        cscli.run(&["bouncers", "delete", "late"])?.into_stdout()?;
        eventually("one that is deleted is not let in any more", || Ok(ask()?.status == 403))?;
        // Metrics: of the server, by way of its listener, and of bouncers, out of the database.
        let said = cscli.run(&["metrics", "show", "bouncers", "-o", "json"])?;
        assert_eq!(said.code, 0, "{said:?}");
        lapi.stop()?;
        let said = cscli.run(&["machines", "list", "-o", "raw"])?;
        assert!(said.code == 0 && said.out.contains("harness"), "{said:?}");
        let said = cscli.run(&["decisions", "list"])?;
        assert!(said.code == 1 && !said.err.is_empty(), "over HTTP there is nobody: {said:?}");
        Ok(())
    })
}

#[test]
fn every_command_prints_json_and_a_limit_counts_decisions() -> Outcome {
    story(|world| {
        let lapi = Lapi::set_up(LapiProcess::prepare(world, Make::Ours, &Setup::default())?, world)?;
        let json = |words: &[&str]| -> Outcome<serde_json::Value> {
            let ran = lapi.tool(&[words, &["-o", "json"]].concat())?;
            assert!(ran.code == 0 && ran.out.ends_with('\n'), "{words:?}: {ran:?}");
            Ok(serde_json::from_str(&ran.out)?)
        };
        let added = json(&["decisions", "add", "--ip", "192.0.2.7", "--duration", "1h"])?;
        assert!(added["value"] == "192.0.2.7" && added["duration"] == "1h0m0s", "{added}");
        assert!(added["alert_id"].as_str().is_some_and(|id| id.parse::<i64>().is_ok()), "{added}");
        let status = json(&["lapi", "status"])?;
        assert!(status["database"] == "sqlite" && status["decisions"] == 1, "{status}");
        let deleted = json(&["decisions", "delete", "--ip", "192.0.2.7"])?;
        assert!(deleted["deleted"] == 1 && deleted["decisions"][0]["value"] == "192.0.2.7", "{deleted}");
        assert!(json(&["bouncers", "add", "of-json"])?.is_string());
        let deleted = json(&["bouncers", "delete", "of-json"])?;
        assert!(deleted["messages"][0].as_str().is_some_and(|text| text.contains("of-json")), "{deleted}");

        for words in [
            &["allowlists", "create", "ours", "-d", "d"][..],
            &["allowlists", "add", "ours", "203.0.113.9"],
            &["allowlists", "check", "203.0.113.9"],
            &["allowlists", "remove", "ours", "203.0.113.9"],
            &["allowlists", "delete", "ours"],
            &[
                "machines",
                "add",
                "of-json",
                "--password",
                "p",
                "-f",
                &world.fresh_path("file").display().to_string(),
            ],
            &["machines", "validate", "of-json"],
            &["machines", "delete", "of-json"],
            &["machines", "prune", "--force"],
            &["bouncers", "prune", "--force"],
            &["alerts", "flush"],
            &["alerts", "delete", "--ip", "192.0.2.99"],
        ] {
            let told = json(words)?;
            assert!(told["messages"].as_array().is_some_and(|told| !told.is_empty()), "{words:?}: {told}");
        }

        let list = world.fresh_path("list");
        let values: Vec<_> = (1..=9).map(|n| format!("198.51.100.{n}\n")).collect();
        std::fs::write(&list, values.concat())?;
        json(&["decisions", "import", "-i", &list.display().to_string(), "--format", "values"])?;
        json(&["decisions", "add", "--ip", "192.0.2.8"])?;
        let shown = lapi.admin(&["decisions", "list", "--limit", "3", "-o", "human"])?;
        assert!(
            shown.contains("\n3 of 10 decisions") && shown.matches("198.51.100.").count() == 2,
            "{shown}"
        );
        let shown = lapi.admin(&["decisions", "list", "--limit", "1", "-o", "human"])?;
        assert!(shown.contains("\n1 of 10 decisions"), "counted by the LAPI: {shown}");
        let shown = lapi.admin(&["decisions", "list", "--limit", "0", "-o", "human"])?;
        assert!(!shown.contains(" of ") && shown.matches("198.51.100.").count() == 9, "{shown}");
        // Scripts that read the list go on getting every decision of the alerts.
        assert_eq!(lapi.admin(&["decisions", "list", "--limit", "2", "-o", "raw"])?.lines().count(), 11);
        Ok(())
    })
}

#[test]
fn a_profile_is_tested_before_it_is_used() -> Outcome {
    story(|world| {
        let (lapi, _) = resting(world)?;
        let alert = world.fresh_path("alert.json");
        let text = json!({
            "scenario": "crowdsecurity/ssh-bf", "remediation": true, "message": "m", "events_count": 6,
            "start_at": "2026-01-01T00:00:00Z", "stop_at": "2026-01-01T00:00:00Z", "capacity": 5, "leakspeed": "10s",
            "scenario_hash": "", "scenario_version": "", "simulated": false, "events": [],
            "source": { "scope": "Ip", "value": "192.0.2.1", "ip": "192.0.2.1" },
        });
        std::fs::write(&alert, text.to_string())?;
        let said = lapi.tool(&["profiles", "test", "-o", "human", "-a", &alert.display().to_string()])?;
        assert!(said.code == 0 && said.has("default_ip_remediation") && said.has("4h"), "{said:?}");
        let profiles = lapi.config().with_file_name("profiles.yaml");
        std::fs::write(&profiles, "name: broken\nfilters:\n - Alert.Nonsense() == 1\non_success: break\n")?;
        let said = lapi.tool(&["profiles", "test", "-o", "human", "-a", &alert.display().to_string()])?;
        assert!(said.code == 1 && said.has("profiles.yaml") && said.has("Nonsense"), "{said:?}");
        let mut check: Command = lapi.command()?;
        let said = tools::run(check.arg("-t"), "")?;
        assert!(said.code == 1 && said.has("profiles.yaml") && said.has("Nonsense"), "{said:?}");
        Ok(())
    })
}

/// The permission bits of a file.
fn mode(path: &Path) -> Outcome<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}
