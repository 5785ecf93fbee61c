//! `docs/multi-server.md`, step by step: a LAPI host, two hosts with CrowdSec's own log processor, two hosts with our
//! firewall that share one key, and a visitor that guesses passwords.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use palisade_e2e::documented::blocks;
use palisade_e2e::tools::ToolOutput;
use palisade_e2e::{
    Access, Config, Doing as _, Failure, Firewall, Host, HttpClient, Implementation, LogProcessor, Make,
    Outcome, Process, Signal, World, eventually, story, tools,
};
use serde_json::Value;

const PAGE: &str = "docs/multi-server.md";
const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";

/// The LAPI host: the packaged files, in a folder of the story.
pub(crate) struct Central {
    pub(crate) host: Host,
    pub(crate) etc: PathBuf,
    process: Option<Process>,
}

impl Central {
    /// The packaged configuration, and the guide's own `.local` over it.
    pub(crate) fn install(world: &World) -> Outcome<Self> {
        let etc = world.fresh_path("etc-crowdsec");
        std::fs::create_dir_all(etc.join("data"))?;
        let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/config");
        for name in ["config.yaml", "profiles.yaml"] {
            let text = std::fs::read_to_string(packaged.join(name)).doing(format_args!("reading {name}"))?;
            let text = text
                .replace("/etc/crowdsec", &etc.display().to_string())
                .replace("/var/lib/crowdsec", &etc.display().to_string());
            std::fs::write(etc.join(name), text)?;
        }
        std::fs::write(
            etc.join("config.yaml.local"),
            format!(
                "api:\n  server:\n    listen_uri: 0.0.0.0:8080\n    auto_registration:\n      enabled: true\n      \
                 token: \"{TOKEN}\"\n      allowed_ranges: [ \"203.0.113.0/24\" ]\n"
            ),
        )?;
        Ok(Self { host: world.router.clone(), etc, process: None })
    }

    pub(crate) fn config(&self) -> String {
        self.etc.join("config.yaml").display().to_string()
    }

    /// `palisade -c …/config.yaml WORDS` on this host.
    pub(crate) fn palisade(&self, words: &[&str]) -> Outcome<ToolOutput> {
        let mut command = tools::command(tools::ours("palisade")?)?;
        command.arg("-c").arg(self.config()).args(words);
        self.host.run(|| tools::run(&mut command, ""))
    }

    /// The command of the page's line that contains `phrase`, on this host.
    fn as_on_the_page(&self, phrase: &str) -> Outcome<ToolOutput> {
        let words = words(phrase, "")?;
        self.palisade(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn launch(&self, world: &World) -> Outcome<Process> {
        let mut command = tools::command(tools::ours("palisade-lapi")?)?;
        command.arg("-c").arg(self.config());
        world.start(&self.host, "palisade-lapi", command)
    }

    /// Starts it, whatever it speaks.
    pub(crate) fn start_listening(&mut self, world: &World) -> Outcome {
        let mut process = self.launch(world)?;
        eventually("the LAPI listens", || match process.exited() {
            Some(status) => Err(Failure::new(format!("it ended with {status}: {}", process.log()))),
            None => Ok(process.log().contains("listening on")),
        })?;
        self.process = Some(process);
        Ok(())
    }

    pub(crate) fn start(&mut self, world: &World) -> Outcome {
        let mut process = self.launch(world)?;
        eventually("the LAPI answers", || {
            if let Some(status) = process.exited() {
                return Err(Failure::new(format!("it ended with {status}: {}", process.log())));
            }
            let here = SocketAddr::from(([127, 0, 0, 1], 8080));
            Ok(HttpClient::new(here).ask("GET", "/health", &[], None)?.status == 200)
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Ends it, as the service manager does.
    pub(crate) fn stop(&mut self) -> Outcome {
        let mut process = self.process.take().doing("the LAPI is running")?;
        process.signal(Signal::TERM)?;
        process.end().map(drop)
    }

    /// `machines list -o json` or `bouncers list -o json`.
    pub(crate) fn list(&self, what: &str) -> Outcome<Vec<Value>> {
        Ok(serde_json::from_str(&self.palisade(&[what, "list", "-o", "json"])?.into_stdout()?)?)
    }
}

/// The words behind `palisade` or `cscli` in the line of the page that contains `phrase`, with this world's names.
fn words(phrase: &str, url: &str) -> Outcome<Vec<String>> {
    let blocks = blocks(PAGE, "sh")?;
    let mut lines = blocks.iter().flat_map(|block| block.lines());
    let line = lines.find(|line| line.contains(phrase)).doing(format_args!("{PAGE} has {phrase}"))?;
    let line =
        line.split(" #").next().unwrap_or(line).replace("http://LAPI:8080", url).replace("TOKEN", TOKEN);
    let line = line.replace("192.0.2.7", "198.51.100.77");
    let mut words = Vec::new();
    // Text in quotes is one word.
    for (index, part) in line.split('"').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    Ok(words.split_off(2))
}

/// Every file below a folder, with its content.
fn contents(folder: &Path) -> Outcome<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(contents(&path)?);
        } else {
            found.push((path.clone(), std::fs::read(&path)?));
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn a_newcomer_follows_the_multi_server_guide() -> Outcome {
    story(|world| {
        let mut lapi = Central::install(world)?;
        the_lapi_host(world, &mut lapi)?;
        let url = "http://198.51.100.1:8080";
        let mut watchers = the_log_processors(world, &lapi, url)?;
        the_bouncers(world, &lapi, url, &mut watchers)
    })
}

/// 1. The LAPI host.
fn the_lapi_host(world: &World, lapi: &mut Central) -> Outcome {
    let before = contents(&lapi.etc)?;
    let mut check = tools::command(tools::ours("palisade-lapi")?)?;
    check.args(["-c", &lapi.config(), "-t"]);
    let said = tools::run(&mut check, "")?;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(contents(&lapi.etc)?, before, "the check touches nothing");

    lapi.start(world)?;
    let said = lapi.palisade(&["machines", "add", "--auto"])?;
    assert!(said.code == 0 && said.err.contains("successfully added to the local API"), "{said:?}");
    let said = lapi.palisade(&["lapi", "status"])?;
    assert!(said.code == 0 && said.out.contains("You can successfully interact with Local API"), "{said:?}");
    Ok(())
}

/// 2. The log processors: one with the token, one without.
fn the_log_processors(world: &World, lapi: &Central, url: &str) -> Outcome<Vec<LogProcessor>> {
    let mut web_1 = LogProcessor::prepare(world, &world.neighbour)?;
    let register = |host: &LogProcessor, make: Make, name: &str, token: &[&str]| {
        let file = host.credentials().display().to_string();
        let mut words = vec!["lapi", "register", "--url", url, "--machine", name, "-f", &file];
        words.extend(token);
        host.tool(make, &words)
    };
    let as_on_the_page = |host: &LogProcessor, make: Make, phrase: &str| -> Outcome<ToolOutput> {
        let file = host.credentials().display().to_string();
        let words = words(phrase, url)?;
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["-f", &file]).collect();
        host.tool(make, &words)
    };
    let said = register(&web_1, Make::Ours, "web-1", &["--token", &TOKEN.replace('0', "1")])?;
    assert!(said.code == 1 && said.has("invalid token for auto registration"), "{said:?}");
    let said = register(&web_1, Make::Ours, "web-1", &["--token", "short"])?;
    assert!(said.code == 1 && said.has("should be at least 32 chars long"), "{said:?}");
    let said = as_on_the_page(&web_1, Make::Ours, "--machine web-1")?;
    assert!(said.code == 0 && said.has("Successfully registered to Local API"), "{said:?}");
    // It is let in at once: CrowdSec starts, and cscli agrees.
    let said = web_1.tool(Make::Stock, &["lapi", "status"])?;
    assert_eq!(said.code, 0, "{said:?}");
    web_1.start(world)?;

    // The token is good only in the range that is named.
    let web_2 = world.server()?;
    let mut web_2 = LogProcessor::prepare(world, &web_2)?;
    let said = register(&web_2, Make::Ours, "web-2", &["--token", TOKEN])?;
    assert!(said.code == 1 && said.has("IP not in allowed range for auto registration"), "{said:?}");
    // Without a token it waits.
    let said = as_on_the_page(&web_2, Make::Stock, "--machine web-2")?;
    assert_eq!(said.code, 0, "{said:?}");
    let said = web_2.tool(Make::Stock, &["lapi", "status"])?;
    assert!(said.code != 0 && said.has("not validated"), "{said:?}");
    let waiting = lapi.list("machines")?;
    let row = waiting.iter().find(|row| row["machineId"] == "web-2").doing("web-2 is listed")?;
    assert!(row.get("isValidated").is_none_or(|validated| validated == false), "{row:#}");
    let said = lapi.as_on_the_page("machines validate web-2")?;
    assert!(said.code == 0 && said.has("machine 'web-2' validated successfully"), "{said:?}");
    web_2.start(world)?;

    eventually("machines are listed with all that is known of them", || {
        let shown = lapi.as_on_the_page("machines list")?.into_stdout()?;
        let missing = [
            "web-1",
            "203.0.113.9",
            "web-2",
            "192.0.2.10",
            "v1.4.6",
            "password",
            "Last Heartbeat",
            "Auth Type",
        ]
        .into_iter()
        .find(|phrase| !shown.contains(phrase));
        missing.map_or(Ok(true), |phrase| Err(Failure::new(format!("no {phrase} in {shown}"))))
    })?;
    Ok(vec![web_1, web_2])
}

/// 3. The bouncers: two hosts, one key.
fn the_bouncers(world: &World, lapi: &Central, url: &str, watchers: &mut [LogProcessor]) -> Outcome {
    let said = lapi.as_on_the_page("bouncers add gate")?;
    assert!(said.code == 0 && said.out.contains("API key for 'gate':"), "{said:?}");
    let key = said.out.lines().find_map(|line| line.strip_prefix("   ")).map(str::trim);
    let key = key.filter(|key| key.len() == 43).doing(format_args!("no key in {said:?}"))?.to_owned();

    let firewall_hosts = [
        world.host("gate-1", "198.18.1.10".parse()?, "2001:db8:11::10".parse()?)?,
        world.host("gate-2", "198.18.2.10".parse()?, "2001:db8:12::10".parse()?)?,
    ];
    let mut firewalls = Vec::new();
    let mut services = Vec::new();
    for firewall_host in &firewall_hosts {
        services.push(firewall_host.echoes_on(80)?);
        let config = Config::new(world, &Access { url: format!("{url}/"), key: key.clone() })?;
        let program = tools::command(Implementation::under_test()?.program())?;
        let path = config.write(world)?;
        let mut firewall = Firewall::launch_prepared(world, firewall_host, program, &path, &config)?;
        firewall.ready()?;
        firewalls.push(firewall);
    }
    let visitor = &world.visitor;
    let open = || firewall_hosts.iter().all(|firewall_host| visitor.reaches(firewall_host, 80));
    let shut = || firewall_hosts.iter().all(|firewall_host| !visitor.reaches(firewall_host, 80));
    eventually("both firewalls are open", open)?;

    let listed = |lapi: &Central| -> Outcome<Vec<String>> {
        let rows = lapi.list("bouncers")?;
        let ours = rows.iter().filter(|row| row["type"] == "palisade-firewall");
        let mut names: Vec<String> =
            ours.map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect();
        names.sort();
        Ok(names)
    };
    eventually("both firewalls are listed", || Ok(listed(lapi)?.len() == 2))?;
    assert!(lapi.as_on_the_page("bouncers list")?.into_stdout()?.contains("gate"));
    let names = listed(lapi)?;
    // The first one has the plain name.
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names[0], "gate");
    assert!(["gate@198.18.1.10", "gate@198.18.2.10"].contains(&names[1].as_str()), "{names:?}");

    let said = lapi.as_on_the_page("decisions add")?;
    assert!(said.code == 0 && said.has("Decision successfully added"), "{said:?}");
    eventually("both firewalls block", shut)?;
    let shown = lapi.as_on_the_page("decisions list")?.into_stdout()?;
    assert!(shown.contains("Ip:198.51.100.77") && shown.contains("by hand"), "{shown}");
    let said = lapi.as_on_the_page("decisions delete")?;
    assert!(said.code == 0 && said.has("1 decision(s) deleted"), "{said:?}");
    eventually("both firewalls are open again", open)?;

    // What one log processor sees is blocked by both firewalls; so does what the other sees.
    for watcher in watchers {
        watcher.is_attacked_by(visitor.v4())?;
        eventually("both firewalls block the attacker", shut)?;
        lapi.palisade(&["decisions", "delete", "--all"])?.into_stdout()?;
        eventually("both firewalls are open once more", open)?;
    }
    let alerts: Vec<Value> =
        serde_json::from_str(&lapi.palisade(&["alerts", "list", "-o", "json"])?.into_stdout()?)?;
    for machine in ["web-1", "web-2"] {
        assert!(alerts.iter().any(|alert| alert["machine_id"] == machine), "{machine}: {alerts:#?}");
    }

    // The parent takes its children with it.
    let said = lapi.palisade(&["bouncers", "delete", &names[1]])?;
    assert!(said.code == 0 && said.has("gate"), "a child is not deleted alone: {said:?}");
    assert_eq!(lapi.list("bouncers")?.len(), 2);
    lapi.palisade(&["bouncers", "delete", "gate"])?.into_stdout()?;
    assert!(lapi.list("bouncers")?.is_empty());
    for firewall in &mut firewalls {
        firewall.wait_for_log("access forbidden")?;
    }
    Ok(())
}
