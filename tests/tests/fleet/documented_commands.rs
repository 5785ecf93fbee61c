//! Runs the examples of the manual pages and the commands of `docs/push.md` and `docs/several-lapis.md`, as they are
//! printed there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use palisade_e2e::documented::{Shell, block, blocks, repository};
use palisade_e2e::tools::{self, ToolOutput};
use palisade_e2e::{Doing as _, Failure, Outcome, Postgres, Process, World, eventually, story};

use crate::guide::Central;

/// The text between `.nf` and `.fi` in the section `EXAMPLE` or `EXAMPLES` of a manual page.
fn example(page: &str) -> Outcome<String> {
    let text = repository(&format!("docs/man/{page}"))?;
    let section = text.split("\n.SH EXAMPLE").nth(1).doing(format_args!("{page} has examples"))?;
    let block = section.split_once("\n.nf\n").and_then(|(_, rest)| rest.split_once("\n.fi\n"));
    let (block, _) = block.doing(format_args!("{page} has a block between .nf and .fi"))?;
    let lines = block.lines().filter(|line| !line.starts_with('.'));
    Ok(lines.map(|line| line.replace("\\-", "-") + "\n").collect())
}

/// A host with the commands as a page writes them: `palisade` and the daemons are found, and `sudo` changes nothing.
pub(crate) struct Terminal<'l> {
    lapi: &'l Central,
    bin: PathBuf,
    /// What is written differently here.
    pub(crate) replaced: Vec<(&'static str, String)>,
}

impl<'l> Terminal<'l> {
    pub(crate) fn new(world: &World, lapi: &'l Central) -> Outcome<Self> {
        let bin = world.fresh_path("bin");
        fs::create_dir_all(&bin)?;
        let palisade = format!("{} -c {}", tools::ours("palisade")?.display(), lapi.config());
        let firewall = tools::ours("palisade-firewall")?.display().to_string();
        let server = tools::ours("palisade-lapi")?.display().to_string();
        for (name, runs) in [
            ("palisade", palisade.as_str()),
            ("palisade-firewall", &firewall),
            ("palisade-lapi", &server),
            ("sudo", ""),
        ] {
            let path = bin.join(name);
            fs::write(&path, format!("#!/bin/sh\nexec {runs} \"$@\"\n"))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { lapi, bin, replaced: Vec::new() })
    }

    /// Runs one line; a failure anywhere in it is one of the line.
    pub(crate) fn run(&self, line: &str) -> Outcome<ToolOutput> {
        let line = self.replaced.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
        let mut command = tools::command("bash")?;
        let path = format!("{}:{}", self.bin.display(), tools::search_path()?.to_string_lossy());
        command.args(["-euo", "pipefail", "-c", &line]).env("PATH", path);
        self.lapi.host.run(|| tools::run(&mut command, ""))
    }

    /// Runs every line of a block, and returns all output.
    pub(crate) fn run_all(&self, block: &str) -> Outcome<String> {
        let mut printed = String::new();
        for line in block.lines().filter(|line| !line.trim().is_empty()) {
            let said = self.run(line)?;
            if said.code != 0 || (said.out.is_empty() && said.err.is_empty()) {
                return Err(Failure::new(format!("{line}: {said:?}")));
            }
            printed += &said.out;
            printed += &said.err;
        }
        Ok(printed)
    }
}

fn started_lapi(world: &World) -> Outcome<Central> {
    let mut lapi = Central::install(world)?;
    lapi.start(world)?;
    let said = lapi.palisade(&["machines", "add", "--auto"])?;
    assert_eq!(said.code, 0, "{said:?}");
    Ok(lapi)
}

#[test]
fn examples_of_the_command_run() -> Outcome {
    story(|world| {
        let lapi = started_lapi(world)?;
        let mut terminal = Terminal::new(world, &lapi)?;
        fs::write(lapi.etc.join("bad.txt"), "192.0.2.200\n198.51.100.200\n")?;
        // curl is the real one; only the server is a folder.
        terminal.replaced.push(("--out pki pki/", format!("--out {0}/pki {0}/pki/", lapi.etc.display())));
        terminal.replaced.push(("--out pki ", format!("--out {}/pki ", lapi.etc.display())));
        terminal.replaced.push(("init --out pki", format!("init --out {}/pki", lapi.etc.display())));
        terminal.replaced.push(("https://lists.example.org", format!("file://{}", lapi.etc.display())));
        let printed = terminal.run_all(&example("palisade.1")?)?;
        for phrase in ["Decision successfully added", "default_ip_remediation"] {
            assert!(printed.contains(phrase), "{phrase} in {printed}");
        }
        let said = lapi.palisade(&["decisions", "list", "-o", "json"])?.into_stdout()?;
        assert!(said.contains("198.51.100.0/24") && said.contains("192.0.2.200"), "{said}");
        Ok(())
    })
}

#[test]
fn examples_of_configuration_files_are_valid() -> Outcome {
    story(|world| {
        let folder = world.fresh_path("etc");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("signing"), "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")?;
        let packaged = repository("packaging/config/crowdsec-firewall-bouncer.yaml")?;
        for (page, program, base) in [
            ("palisade-firewall.yaml.5", "palisade-firewall", Some(packaged)),
            ("palisade-proxy.8", "palisade-proxy", None),
            ("palisade-webhook.8", "palisade-webhook", None),
        ] {
            let text = example(page)?.replace("/etc/crowdsec/webhook", &folder.display().to_string());
            let path = folder.join(format!("{program}.yaml"));
            match base {
                Some(base) => {
                    fs::write(&path, base)?;
                    fs::write(folder.join(format!("{program}.yaml.local")), text)?;
                }
                None => fs::write(&path, text)?,
            }
            let mut command = tools::command(tools::ours(program)?)?;
            command.arg("-c").arg(&path).args(["-t", "-strict"]);
            command.env("API_KEY", "abcdef").env("SLACK_URL", "https://hooks.example.org/x");
            command.env("STATE_DIRECTORY", world.fresh_path("state"));
            let said = world.router.run(|| tools::run(&mut command, ""))?;
            assert!(said.code == 0 && said.has("config is valid"), "{page}: {said:?}");
        }
        Ok(())
    })
}

/// The packaged file of the firewall with the page's block in its `.local`.
fn firewall_as_on_the_page(world: &World, lapi: &Central, block: &str) -> Outcome<(PathBuf, Process)> {
    let said = lapi.palisade(&["bouncers", "add", "gate", "-o", "raw"])?.into_stdout()?;
    let path = lapi.etc.join("crowdsec-firewall-bouncer.yaml");
    fs::write(&path, repository("packaging/config/crowdsec-firewall-bouncer.yaml")?)?;
    let local = format!(
        "{block}api_key: {}\nstate_dir: {}\nlog_mode: stdout\n",
        said.trim(),
        world.fresh_path("state").display()
    );
    fs::write(lapi.etc.join("crowdsec-firewall-bouncer.yaml.local"), local)?;
    let mut command = tools::command(tools::ours("palisade-firewall")?)?;
    command.arg("-c").arg(&path);
    Ok((path, world.start(&lapi.host, "palisade-firewall", command)?))
}

#[test]
fn commands_of_the_push_page_print_what_it_says() -> Outcome {
    story(|world| {
        const PAGE: &str = "docs/push.md";
        let lapi = started_lapi(world)?;
        let mut terminal = Terminal::new(world, &lapi)?;
        let commands = blocks(PAGE, "sh")?;
        let metrics = commands.iter().find(|block| block.contains("/metrics")).doing("there are metrics")?;
        let [of_lapi, of_bouncer] = metrics.lines().collect::<Vec<_>>()[..] else {
            return Err(Failure::new(format!("not two commands: {metrics}")));
        };
        let said = terminal.run(of_bouncer)?;
        assert!(
            said.code != 0 && said.err.contains("curl:"),
            "without metrics it fails and says so: {said:?}"
        );

        let switched_on = blocks(PAGE, "yaml")?.concat();
        let (file, firewall) = firewall_as_on_the_page(world, &lapi, &switched_on)?;
        let packaged = "/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml";
        terminal.replaced.push((packaged, file.display().to_string()));
        eventually("the bouncer's requests are parked", || {
            let said = terminal.run(of_bouncer)?;
            Ok(said.out.lines().any(|line| line.starts_with("palisade_lapi_push 1")))
        })?;
        for (line, names) in [
            (of_lapi, ["palisade_lapi_waiting 1", "palisade_lapi_pushed", "palisade_lapi_everything_told"]),
            (
                of_bouncer,
                ["palisade_lapi_push 1", "palisade_lapi_keeps_cursors 1", "palisade_lapi_fail_overs"],
            ),
        ] {
            let said = terminal.run(line)?;
            for name in names {
                let is_printed = said.out.lines().any(|line| line.starts_with(name));
                assert!(said.code == 0 && is_printed, "{line}: {name}: {said:?}\n{}", firewall.log());
            }
        }
        for block in &commands {
            terminal.run_all(block)?;
        }
        Ok(())
    })
}

#[test]
fn commands_of_the_page_on_several_lapis_run() -> Outcome {
    const PAGE: &str = "docs/several-lapis.md";
    story(|world| {
        let postgres = Postgres::start(world)?;
        let mut lapi = Central::install(world)?;
        let server = format!("-h 127.0.0.1 -p {}", postgres.port());
        let psql = postgres.programs().join("psql").display().to_string();
        let log = world.fresh_path("lapi.log");
        let palisade = format!("{} -c {}", tools::ours("palisade")?.display(), lapi.config());
        let programs = [
            ("palisade", palisade),
            ("palisade-lapi", tools::ours("palisade-lapi")?.display().to_string()),
            ("psql", psql),
            // The journal of this world.
            ("journalctl", format!("cat {} #", log.display())),
        ];
        let mut shell = Shell::new(world, &lapi.host, &programs)?;
        shell.replaced = vec![
            // Its superuser has the page's name already.
            ("sudo -u postgres psql", format!("psql {server} -U palisade -d postgres")),
            ("ROLE palisade", "ROLE fleet".to_owned()),
            ("DATABASE palisade OWNER palisade", "DATABASE fleet OWNER fleet".to_owned()),
            ("-h db.internal -U palisade palisade", format!("{server} -U fleet fleet")),
            ("/etc/crowdsec/config.yaml", lapi.config()),
            // Without a balancer in front.
            ("http://proxy:8080", "http://127.0.0.1:8080".to_owned()),
            ("sudo systemctl enable --now palisade-lapi", "true".to_owned()),
        ];
        shell.succeed(&block(PAGE, "sh", "CREATE ROLE")?)?;
        let database = block(PAGE, "yaml", "max_open_conns")?
            .replace("host: db.internal\n", "host: 127.0.0.1\n")
            .replace("port: 5432", &format!("port: {}", postgres.port()))
            .replace("user: palisade", "user: fleet")
            .replace("db_name: palisade", "db_name: fleet")
            .replace("sslmode: require", "sslmode: disable")
            .replace("$DB_PASSWORD", "secret");
        let local = lapi.etc.join("config.yaml.local");
        fs::write(&local, fs::read_to_string(&local)? + &database)?;
        shell.succeed(&block(PAGE, "sh", "palisade-lapi -c")?)?;
        lapi.start(world)?;
        shell.succeed(&block(PAGE, "sh", "bouncers add fleet")?)?;
        assert!(shell.succeed(&block(PAGE, "sh", "http://proxy:8080")?)?.starts_with("200\n"));
        eventually("this LAPI runs the jobs", || {
            fs::write(&log, lapi.log())?;
            Ok::<_, Failure>(lapi.log().contains("runs retention"))
        })?;
        let printed = shell.succeed(&block(PAGE, "sh", "pg_stat_activity")?)?;
        for phrase in ["palisade_lapi_database_up 1", "this LAPI runs retention", "commit_no", "127.0.0.1"] {
            assert!(printed.contains(phrase), "{phrase} in {printed}");
        }
        Ok(())
    })
}
