//! Section 4 of `docs/multi-server.md`, with its own commands and blocks: certificates for the LAPI, for CrowdSec's log
//! processor and for our firewall, and a revocation.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use palisade_e2e::documented::{blocks, repository};
use palisade_e2e::{
    Doing as _, Failure, Host, LogProcessor, Make, Outcome, Process, World, eventually, story, tools,
};

use crate::documented_commands::Terminal;
use crate::guide::Central;

const PAGE: &str = "docs/multi-server.md";
const LAPI: &str = "198.51.100.1";

/// The one block in this language that contains `phrase`.
fn block(language: &str, phrase: &str) -> Outcome<String> {
    let found = blocks(PAGE, language)?.into_iter().find(|block| block.contains(phrase));
    found.doing(format_args!("{PAGE} has a block with {phrase}"))
}

/// Copies what a host needs, as on the page, to a folder that stands for its `/etc/crowdsec/tls`; returns the block with
/// the paths and the name of this world.
fn on_a_host(world: &World, lapi: &Central, name: &str, block: &str) -> Outcome<String> {
    let folder = world.fresh_path(name);
    fs::create_dir_all(&folder)?;
    for file in ["ca.pem".to_owned(), format!("{name}.pem"), format!("{name}-key.pem")] {
        fs::copy(lapi.etc.join("pki").join(&file), folder.join(&file))?;
    }
    Ok(block.replace("/etc/crowdsec/tls", &folder.display().to_string()).replace("LAPI", LAPI))
}

/// A firewall host with the packaged file and the page's `.local`.
fn firewall(world: &World, lapi: &Central, host: &Host) -> Outcome<Process> {
    let path = lapi.etc.join("crowdsec-firewall-bouncer.yaml");
    fs::write(&path, repository("packaging/config/crowdsec-firewall-bouncer.yaml")?)?;
    let local = on_a_host(world, lapi, "gate", &block("yaml", "api_url: https")?)?;
    let more = format!("state_dir: {}\nlog_mode: stdout\n", world.fresh_path("state").display());
    fs::write(lapi.etc.join("crowdsec-firewall-bouncer.yaml.local"), local + &more)?;
    let mut check = tools::command(tools::ours("palisade-firewall")?)?;
    check.args(["check", "-c"]).arg(&path);
    let said = host.run(|| tools::run(&mut check, ""))?;
    assert_eq!(said.code, 0, "{said:?}");
    let mut command = tools::command(tools::ours("palisade-firewall")?)?;
    command.arg("-c").arg(&path);
    world.start(host, "palisade-firewall", command)
}

fn mode(path: &Path) -> Outcome<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn a_newcomer_follows_the_section_on_certificates() -> Outcome {
    story(|world| {
        let mut lapi = Central::install(world)?;
        let mut terminal = Terminal::new(world, &lapi)?;
        let etc = lapi.etc.display().to_string();
        terminal.replaced.extend([
            ("LAPI", LAPI.to_owned()),
            // The folder of another story need not be where the package has it.
            ("pki init", format!("pki init --out {etc}/pki")),
            ("pki server", format!("pki server --out {etc}/pki")),
            ("pki client", format!("pki client --out {etc}/pki")),
            ("pki revoke", format!("pki revoke --out {etc}/pki")),
            ("/etc/crowdsec", etc.clone()),
            // In this world there are no other users.
            ("-g palisade-lapi ", String::new()),
        ]);
        let run = |terminal: &Terminal<'_>, block: &str| -> Outcome {
            for line in block.lines().filter(|line| !line.is_empty()) {
                let said = terminal.run(line)?;
                assert_eq!(said.code, 0, "{line}: {said:?}");
            }
            Ok(())
        };
        let makes = block("sh", "pki init")?;
        run(&terminal, &makes)?;
        let pki = lapi.etc.join("pki");
        for name in ["ca", LAPI, "web-1", "gate"] {
            assert_eq!(mode(&pki.join(format!("{name}-key.pem")))?, 0o600, "{name}");
        }
        for line in makes.lines() {
            let said = terminal.run(line)?;
            assert!(said.code == 1 && said.has("exists and is not overwritten"), "{line}: {said:?}");
        }
        run(&terminal, &block("sh", "lapi-key.pem")?)?;

        // The page's block goes beside what is in the file: both are in `api.server`.
        let server = block("yaml", "cert_file")?.replace("/etc/crowdsec", &etc);
        let server = server.strip_prefix("api:\n  server:\n").doing("the block is of api.server")?.to_owned();
        let local = lapi.etc.join("config.yaml.local");
        fs::write(&local, fs::read_to_string(&local)? + &server)?;
        let said = terminal.run("palisade machines add --auto")?;
        assert_eq!(said.code, 0, "{said:?}");
        let own = lapi.etc.join("local_api_credentials.yaml");
        let text: String = fs::read_to_string(&own)?
            .lines()
            .map(|line| {
                if line.starts_with("url:") {
                    "url: https://127.0.0.1:8080/\n".into()
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        fs::write(&own, format!("{text}ca_cert_path: {etc}/tls/ca.pem\n"))?;
        let starts = block("sh", "systemctl restart palisade-lapi")?;
        let [tests, _, asks] = starts.lines().collect::<Vec<_>>()[..] else {
            return Err(Failure::new(format!("not three commands: {starts}")));
        };
        let tested = terminal.run(tests)?;
        assert_eq!(tested.code, 0, "{tested:?}");
        drop(terminal);
        lapi.start_listening(world)?;
        let said = Terminal::new(world, &lapi)?.run(asks)?;
        assert!(said.code == 0 && said.has("You can successfully interact with Local API"), "{said:?}");

        // CrowdSec's own log processor and tool, with the page's file.
        let mut web = LogProcessor::prepare(world, &world.neighbour)?;
        let credentials =
            on_a_host(world, &lapi, "web-1", &block("yaml", "url: https://LAPI:8080/\nca_cert")?)?;
        fs::write(web.credentials(), credentials)?;
        let said = web.tool(Make::Stock, &["lapi", "status"])?;
        assert_eq!(said.code, 0, "{said:?}");
        web.start(world)?;
        let gate = world.host("gate-1", "198.18.1.10".parse()?, "2001:db8:11::10".parse()?)?;
        let _echo = gate.echoes_on(80)?;
        let firewall = firewall(world, &lapi, &gate)?;
        eventually("both are listed by their certificates", || {
            let (machines, bouncers) = (lapi.list("machines")?, lapi.list("bouncers")?);
            let machine = machines
                .iter()
                .any(|row| row["machineId"] == "web-1@203.0.113.9" && row["auth_type"] == "tls");
            let bouncer =
                bouncers.iter().any(|row| row["name"] == "gate@198.18.1.10" && row["auth_type"] == "tls");
            Ok(machine && bouncer)
        })?;
        eventually("the firewall is open", || world.visitor.reaches(&gate, 80))?;
        web.is_attacked_by(world.visitor.v4())?;
        eventually("the firewall blocks the attacker", || !world.visitor.reaches(&gate, 80))
            .map_err(|error| Failure::new(format!("{error}: {}", firewall.log())))?;

        // A revocation takes effect without a restart.
        let mut terminal = Terminal::new(world, &lapi)?;
        terminal.replaced.push(("pki revoke", format!("pki revoke --out {etc}/pki")));
        terminal.replaced.push(("/etc/crowdsec", etc));
        run(&terminal, &block("sh", "pki revoke")?)?;
        eventually("the log processor's certificate is refused", || {
            let said = web.tool(Make::Stock, &["lapi", "status"])?;
            Ok(said.code != 0 && said.has("revoked"))
        })?;
        Ok(())
    })
}
