//! `docs/multi-server.md` and the steps of `docs/firewall.md`, by the pages' own text, on five fresh hosts with systemd: the
//! LAPI, two of CrowdSec's log processors, two firewalls with one key. With passwords, then with certificates, then on
//! PostgreSQL.

use std::net::Ipv4Addr;
use std::process::{Child, Command};

use palisade_e2e::documented::block;
use palisade_e2e::{
    AS_POSTGRES_USER, Doing as _, FreshHost, FreshNetwork, Outcome, eventually, guesses, postgres_programs,
    tools,
};

const PAGE: &str = "docs/multi-server.md";

const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";
const PASSWORD: &str = "password-of-palisade";
/// The source tree, as far as the pages use it.
const TREE: &str = "/root/palisade";
const LOCAL: &str = "/etc/crowdsec/config.yaml.local";
const BOUNCER: &str = "/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml";
const CREDENTIALS: &str = "/etc/crowdsec/local_api_credentials.yaml";

/// Runs a block line by line in the source tree; returns what was printed.
fn follow(host: &FreshHost, block: &str) -> Outcome<String> {
    let mut printed = String::new();
    for line in block.replace("\\\n", " ").lines() {
        // The programs of this build are there already.
        if !line.starts_with("cargo build") && !line.is_empty() {
            let line = line.replace("TOKEN", TOKEN).replace("PASSWORD", PASSWORD);
            printed += &host.sh(&format!("cd {TREE} && {line}"))?;
        }
    }
    Ok(printed)
}

fn write(host: &FreshHost, path: &str, text: &str) -> Outcome {
    let text = text.replace("TOKEN", TOKEN).replace("PASSWORD", PASSWORD);
    std::fs::write(host.path(path), text + "\n").doing(path)
}

/// A fresh host with the source tree, the programs, and what every reader of the pages has.
fn fresh(name: &str) -> Outcome<Option<FreshHost>> {
    let Some(host) = super::host(name)? else { return Ok(None) };
    let programs = super::folder()?.join("stage/bin");
    let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging");
    let release = host.path(TREE).join("target/release");
    std::fs::create_dir_all(&release)?;
    tools::output(Command::new("cp").arg("-r").arg(packaging).arg(host.path(TREE)))?;
    for program in ["palisade", "palisade-lapi", "palisade-firewall"] {
        std::fs::copy(programs.join(program), release.join(program)).doing(program)?;
    }
    // Who runs this is root.
    host.sh("printf '#!/bin/sh\\nexec \"$@\"\\n' >/usr/bin/sudo && chmod 0755 /usr/bin/sudo")?;
    host.sh("printf '10.0.0.1 LAPI\\n10.0.0.5 db.internal\\n' >>/etc/hosts")?;
    Ok(Some(host))
}

/// Installs Debian's CrowdSec, without its registration at the central service, and switches its LAPI off.
fn install_crowdsec(host: &FreshHost) -> Outcome {
    let debs = std::fs::read_dir(tools::peers_dir()?.join("debs"))?.flatten().map(|file| file.path());
    let is_wanted = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("crowdsec_1"))
    };
    let deb = host.put(&debs.into_iter().find(is_wanted).doing("the package of crowdsec")?)?;
    host.sh("mkdir -p /etc/crowdsec && echo 'login: none' >/etc/crowdsec/online_api_credentials.yaml")?;
    host.sh(&format!("dpkg -i {deb}"))?;
    write(host, LOCAL, "api:\n  server:\n    enable: false")?;
    write(host, "/etc/crowdsec/acquis.yaml", "filenames: [/var/log/auth.log]\nlabels: {type: syslog}")?;
    host.sh(&format!(
        "touch /var/log/auth.log && install -m 0755 {TREE}/target/release/palisade /usr/bin/palisade"
    ))?;
    Ok(())
}

/// The five hosts.
struct Fleet {
    lapi: FreshHost,
    processors: [FreshHost; 2],
    gates: [FreshHost; 2],
    network: FreshNetwork,
}

impl Fleet {
    fn boot() -> Outcome<Option<Self>> {
        let Some(lapi) = fresh("lapi")? else { return Ok(None) };
        let more = |name: &str| fresh(name)?.doing("it was possible for the first");
        let (processors, gates) = ([more("web-1")?, more("web-2")?], [more("gate-1")?, more("gate-2")?]);
        let mut network = FreshNetwork::new(Ipv4Addr::new(10, 0, 0, 5))?;
        network.connect(&lapi, Ipv4Addr::new(10, 0, 0, 1))?;
        for (n, host) in (11..).zip(processors.iter().chain(&gates)) {
            network.connect(host, Ipv4Addr::new(10, 0, 0, n))?;
        }
        Ok(Some(Self { lapi, processors, gates, network }))
    }

    /// An attack on one host, and the ban on both gates.
    fn attacked(&self, processor: usize, attacker: Ipv4Addr) -> Outcome {
        let host = &self.processors[processor];
        eventually("the log processor reads its log", || {
            Ok(host.run("ls -l /proc/$(systemctl show -P MainPID crowdsec)/fd | grep -q auth.log")?.0)
        })?;
        let log = host.path("/var/log/auth.log");
        let mut log = std::fs::File::options().append(true).open(log)?;
        std::io::Write::write_all(&mut log, guesses(attacker.into()).as_bytes())?;
        for gate in &self.gates {
            eventually("the attacker is banned", || {
                Ok(gate.sh("nft list ruleset")?.contains(&attacker.to_string()))
            })?;
        }
        Ok(())
    }

    /// Waits until a list of the LAPI holds each of these words.
    fn lists(&self, list: &str, words: &[&str]) -> Outcome {
        eventually(list, || {
            let text = self.lapi.sh(&format!("palisade {list} -o raw"))?;
            Ok(words.iter().all(|word| text.contains(word)))
        })?;
        Ok(())
    }

    fn passwords(&self) -> Outcome {
        follow(&self.lapi, &block(PAGE, "sh", "cargo build")?)?;
        write(&self.lapi, LOCAL, &block(PAGE, "yaml", "auto_registration")?)?;
        self.lapi.sh(&format!("chmod 0600 {LOCAL}"))?;
        follow(&self.lapi, &block(PAGE, "sh", "palisade-lapi.sysusers")?)?;

        let [one, two] = &self.processors;
        install_crowdsec(one)?;
        install_crowdsec(two)?;
        follow(one, &block(PAGE, "sh", "--token TOKEN")?)?;
        for line in block(PAGE, "sh", "machines validate")?.lines() {
            follow(if line.contains("# on web-2") { two } else { &self.lapi }, line)?;
        }
        for host in &self.processors {
            host.sh("systemctl restart crowdsec")?;
        }
        self.lists("machines list", &["web-1", "10.0.0.11", "web-2", "10.0.0.12"])?;

        let printed = follow(&self.lapi, &block(PAGE, "sh", "bouncers add gate")?)?;
        let key = printed.lines().map(str::trim).find(|line| line.len() >= 32 && !line.contains(' '));
        let key = key.doing(format!("no key in {printed}"))?;
        for gate in &self.gates {
            for line in block("docs/firewall.md", "sh", "cargo build")?.lines() {
                // The key is there already; it goes into the file before the file is checked.
                match line.contains("palisade bouncers add") {
                    true => _ = gate.sh(&format!(
                        "sed -i 's|^api_key: .*|api_key: {key}|; s|^api_url: .*|api_url: http://LAPI:8080/|' {BOUNCER}"
                    ))?,
                    false => _ = follow(gate, line)?,
                }
            }
            gate.sh("palisade-firewall check")?;
        }
        self.lists("bouncers list", &["gate", "10.0.0.13", "10.0.0.14"])?;
        follow(&self.lapi, &block(PAGE, "sh", "decisions delete")?)?;
        self.attacked(0, Ipv4Addr::new(192, 0, 2, 66))
    }

    fn certificates(&self) -> Outcome {
        follow(&self.lapi, &block(PAGE, "sh", "pki init")?)?;
        // "One for each log processor".
        self.lapi.sh("palisade pki client --machine web-2")?;
        follow(&self.lapi, &block(PAGE, "sh", "lapi-key.pem")?)?;
        // "Beside what is there": both begin with the same two lines.
        let tls = block(PAGE, "yaml", "cert_file:")?;
        let tls: Vec<&str> = tls.lines().skip(2).collect();
        let local = std::fs::read_to_string(self.lapi.path(LOCAL))?;
        write(&self.lapi, LOCAL, &(local + &tls.join("\n")))?;
        self.lapi.sh(&format!(
            "sed -i 's|^url: .*|url: https://127.0.0.1:8080/|' {CREDENTIALS} && \
             echo 'ca_cert_path: /etc/crowdsec/tls/ca.pem' >>{CREDENTIALS}"
        ))?;
        follow(&self.lapi, &block(PAGE, "sh", "systemctl restart")?)?;

        for (host, name) in self.processors.iter().zip(["web-1", "web-2"]) {
            self.copy_certificate(host, name, "0600")?;
            write(host, CREDENTIALS, &block(PAGE, "yaml", "web-1-key.pem")?.replace("web-1", name))?;
            host.sh("systemctl restart crowdsec")?;
        }
        self.lists("machines list", &["web-1@10.0.0.11", "web-2@10.0.0.12"])?;
        follow(&self.lapi, &block(PAGE, "sh", "bouncers delete gate")?)?;
        for gate in &self.gates {
            self.copy_certificate(gate, "gate", "0640")?;
            gate.sh("chgrp palisade-firewall /etc/crowdsec/tls/gate-key.pem")?;
            write(gate, &format!("{BOUNCER}.local"), &block(PAGE, "yaml", "gate-key.pem")?)?;
            gate.sh(
                "systemctl restart palisade-firewall || { journalctl -n 20 -u palisade-firewall; exit 1; }",
            )?;
            gate.sh("palisade-firewall check")?;
        }
        self.lists("bouncers list", &["gate@10.0.0.13", "gate@10.0.0.14"])?;
        self.attacked(0, Ipv4Addr::new(192, 0, 2, 67))?;

        follow(&self.lapi, &block(PAGE, "sh", "pki revoke")?)?;
        eventually("the revoked certificate is refused", || {
            Ok(!self.processors[0].run("cscli lapi status")?.0)
        })?;
        self.attacked(1, Ipv4Addr::new(192, 0, 2, 68))
    }

    /// Copies the authority's certificate, and a client's with its key.
    fn copy_certificate(&self, to: &FreshHost, name: &str, mode: &str) -> Outcome {
        to.sh("install -d -m 0755 /etc/crowdsec/tls")?;
        for file in ["ca.pem".to_owned(), format!("{name}.pem"), format!("{name}-key.pem")] {
            let from = self.lapi.path("/etc/crowdsec/pki").join(&file);
            std::fs::copy(from, to.path("/etc/crowdsec/tls").join(&file)).doing(&file)?;
        }
        to.sh(&format!("chmod {mode} /etc/crowdsec/tls/{name}-key.pem"))?;
        Ok(())
    }

    fn postgres(&self) -> Outcome {
        let database = Database::start(&self.network)?;
        database.follow(&self.network, &block(PAGE, "sh", "CREATE ROLE")?)?;
        let local = std::fs::read_to_string(self.lapi.path(LOCAL))?;
        write(&self.lapi, LOCAL, &(local + &block(PAGE, "yaml", "db_config")?))?;
        follow(&self.lapi, &block(PAGE, "sh", "machines add --auto --force")?)?;
        // With certificates nothing is to be registered again.
        self.processors[1].sh("systemctl restart crowdsec")?;
        self.lists("machines list", &["web-2@10.0.0.12"])?;
        self.lists("bouncers list", &["gate@10.0.0.13", "gate@10.0.0.14"])?;
        self.attacked(1, Ipv4Addr::new(192, 0, 2, 69))
    }
}

/// PostgreSQL with TLS, on the network's own address.
struct Database {
    folder: tempfile::TempDir,
    server: Child,
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Database {
    fn start(network: &FreshNetwork) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("fresh-postgres-").tempdir()?;
        let programs = postgres_programs()?;
        let at = folder.path().display();
        let certificate =
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=db.internal";
        let script = format!(
            "{} -D {at}/data -U postgres -A scram-sha-256 --pwfile={at}/password -E UTF8 --locale=C --no-sync && \
             echo 'hostssl all all 10.0.0.0/8 scram-sha-256' >>{at}/data/pg_hba.conf && \
             {certificate} -keyout {at}/data/server.key -out {at}/data/server.crt && chmod 0600 {at}/data/server.key",
            programs.join("initdb").display()
        );
        std::fs::write(folder.path().join("password"), PASSWORD)?;
        tools::output(tools::command("unshare")?.args(AS_POSTGRES_USER).args(["sh", "-c", &script]))?;
        let mut server = network.command("unshare")?;
        server
            .args(AS_POSTGRES_USER)
            .arg(programs.join("postgres"))
            .arg("-D")
            .arg(folder.path().join("data"));
        for setting in
            ["listen_addresses=10.0.0.5", "ssl=on", "fsync=off", "timezone=GMT", "log_timezone=GMT"]
        {
            server.args(["-c", setting]);
        }
        server.arg("-k").arg(folder.path());
        let server = server.stderr(std::fs::File::create(folder.path().join("log"))?).spawn()?;
        let database = Self { folder, server };
        eventually("PostgreSQL answers", || {
            Ok(tools::run(&mut database.psql(network, "SELECT 1")?, "").is_ok_and(|ran| ran.code == 0))
        })?;
        Ok(database)
    }

    fn psql(&self, network: &FreshNetwork, statement: &str) -> Outcome<Command> {
        let mut command = network.command("unshare")?;
        command.args(AS_POSTGRES_USER).arg(postgres_programs()?.join("psql")).env("PGPASSWORD", PASSWORD);
        command.arg("-h").arg(self.folder.path()).args(["-U", "postgres", "-q", "-c", statement]);
        Ok(command)
    }

    /// Runs the statements of a block of commands `psql -c "…"`.
    fn follow(&self, network: &FreshNetwork, block: &str) -> Outcome {
        for statement in block.split('"').skip(1).step_by(2) {
            let mut command = self.psql(
                network,
                &statement.replace("PASSWORD '", "password '").replace("PASSWORD", PASSWORD),
            )?;
            tools::output(&mut command)?;
        }
        Ok(())
    }
}

#[test]
fn the_multi_server_guide_leads_to_what_it_promises() -> Outcome {
    let Some(fleet) = Fleet::boot()? else { return Ok(()) };
    fleet.passwords()?;
    fleet.certificates()?;
    fleet.postgres()
}
