//! The command `adopt`, by which the service takes the place of `crowdsec-custom-bouncer` or of
//! `crowdsec-blocklist-mirror`, and gives it back.
//!
//! The file of the stock service becomes that of ours by a symbolic link, so that the unit, `-t`, the commands, reloads and
//! upgrades find it where they look.

mod files;

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use palisade_bouncer::run::Bouncer as _;
use palisade_daemon::adopt::{
    AdoptFlags, DropIn, Plan, Service, adopt_command, approved, reload_units, require_systemd, rolled_back,
    say,
};
use palisade_daemon::flags::{Command, Typed};

use serde_json::Value;

use self::files::ConfigLinks;
use crate::Webhook;

/// The command `adopt`.
pub(crate) const ADOPT: Command = adopt_command(
    "take the place of crowdsec-custom-bouncer or crowdsec-blocklist-mirror (-c names its file where both are here): shows \
     the steps first",
);

const OURS: Service = Service("palisade-webhook.service");
/// How long either service may take to start.
const TIMEOUT: Duration = Duration::from_secs(90);

/// How long the first delivery may take.
const FIRST_DELIVERIES: Duration = Duration::from_secs(8);
/// How often it is looked for.
const POLL: Duration = Duration::from_millis(300);

/// While a service is taken over, systemd lets only one of both run.
const DROP_IN: DropIn = DropIn { unit: OURS.0, name: "adopt.conf" };

/// A stock service that can be taken over.
#[derive(Debug, PartialEq, Eq)]
struct Stock {
    service: Service,
    config: &'static str,
    /// What to know before.
    note: &'static str,
}

const STOCK: [Stock; 2] = [
    Stock {
        service: Service("crowdsec-custom-bouncer.service"),
        config: "/etc/crowdsec/bouncers/crowdsec-custom-bouncer.yaml",
        note: "the program that bin_path names runs as the user palisade-webhook, confined by the unit, and no longer as root; \
               what it needs beyond that belongs into a drop-in",
    },
    Stock {
        service: Service("crowdsec-blocklist-mirror.service"),
        config: "/etc/crowdsec/bouncers/crowdsec-blocklist-mirror.yaml",
        note: "the lists are not served between the stop and the start, about a second",
    },
];

/// Runs `adopt`.
///
/// # Errors
/// What stands in the way, or what failed and how things stand then.
pub(crate) fn adopt(typed: &Typed) -> anyhow::Result<()> {
    let flags = AdoptFlags::of(typed);
    require_systemd()?;
    ensure!(OURS.state()?.is_installed, "{} is not installed: install the package palisade-webhook", OURS.0);
    let links = ConfigLinks::new(Path::new(Webhook::INFO.unit.config));
    let adopted =
        links.target().and_then(|target| STOCK.iter().find(|stock| Path::new(stock.config) == target));
    let named = typed.value("c").map(PathBuf::from);
    if flags.undo {
        let Some(stock) = adopted.or_else(unfinished) else {
            say(format_args!("{} has taken no stock service's place; nothing to do.", OURS.0))?;
            return Ok(());
        };
        return undo(stock, &links, flags);
    }
    let stock = match adopted {
        Some(stock) => stock,
        None => find(named.as_deref())?,
    };
    ensure!(
        named.is_none_or(|named| named == Path::new(stock.config)),
        "{} has the place of {} already, and one service reads one file; give it back first with -undo",
        OURS.0,
        stock.service.0
    );
    take_over(stock, &links, flags)
}

/// The service whose take-over was begun or whose return was not finished, by the drop-in.
fn unfinished() -> Option<&'static Stock> {
    let text = std::fs::read_to_string(DROP_IN.path()).ok()?;
    STOCK.iter().find(|stock| text.contains(stock.service.0))
}

/// The stock service of this host.
fn find(named: Option<&Path>) -> anyhow::Result<&'static Stock> {
    if let Some(named) = named {
        let known = STOCK.iter().find(|stock| Path::new(stock.config) == named);
        return known.with_context(|| {
            format!("-c names no file of a stock service; it is {} or {}", STOCK[0].config, STOCK[1].config)
        });
    }
    let mut here = Vec::new();
    for stock in &STOCK {
        if Path::new(stock.config).exists() && stock.service.state()?.is_installed {
            here.push(stock);
        }
    }
    match here[..] {
        [stock] => Ok(stock),
        [] => bail!(
            "neither {} nor {} is installed here with its file, so there is nothing to take over",
            STOCK[0].service.0,
            STOCK[1].service.0
        ),
        _ => bail!(
            "both are here, and one service reads one file; choose with -c {} or -c {}",
            STOCK[0].config,
            STOCK[1].config
        ),
    }
}

fn take_over(stock: &'static Stock, links: &ConfigLinks, flags: AdoptFlags) -> anyhow::Result<()> {
    let (ours, theirs) = (OURS.state()?, stock.service.state()?);
    let is_linked = links.target().as_deref() == Some(Path::new(stock.config));
    if is_linked && DROP_IN.exists() && ours.is_active && ours.is_enabled && !theirs.is_enabled {
        say(format_args!("{} has the place of {} already; nothing to do.", OURS.0, stock.service.0))?;
        return Ok(());
    }
    links.check_replaceable(Path::new("/usr/share/palisade-webhook/palisade-webhook.yaml"))?;
    let boot = if theirs.is_enabled { "starts at boot" } else { "does not start at boot" };
    let plan = Plan {
        found: format!("{} is {} and {boot}; it reads {}.", stock.service.0, theirs.state, stock.config),
        steps: vec![
            format!(
                "make {} a link to that file, which stays as it is (and .local likewise)",
                Webhook::INFO.unit.config
            ),
            "test it as the user of the unit, and check that the LAPI accepts its key".to_owned(),
            format!("stop {}, start {}, wait for its first deliveries", stock.service.0, OURS.0),
            format!(
                "disable {} and enable {}; {} lets only one of both run",
                stock.service.0,
                OURS.0,
                DROP_IN.path().display()
            ),
        ],
        notes: vec![
            stock.note.to_owned(),
            "everything in force is delivered once more, as at each start of the stock service".to_owned(),
            format!(
                "if a step fails, {} runs as before; the way back is: palisade-webhook adopt -undo",
                stock.service.0
            ),
        ],
    };
    if !approved(&plan, flags)? {
        return Ok(());
    }
    let change = || -> anyhow::Result<()> {
        links.make(Path::new(stock.config))?;
        run_self(&["-t"])?;
        run_self(&["check"])?;
        DROP_IN.write(&format!(
            "# Made by `palisade-webhook adopt`, removed by `palisade-webhook adopt -undo`.\n[Unit]\nConflicts={0}\nAfter={0}\n",
            stock.service.0
        ))?;
        reload_units()?;
        // One that runs has read another file; its programs end before the same ones are started.
        OURS.stop()?;
        stock.service.stop()?;
        OURS.start(TIMEOUT)?;
        first_deliveries()?;
        stock.service.disable()?;
        OURS.enable()?;
        Ok(say(format_args!("{} runs, {} is disabled", OURS.0, stock.service.0))?)
    };
    let Err(cause) = change() else { return Ok(()) };
    let back = || -> anyhow::Result<()> {
        give_back(stock, links, ours.is_enabled)?;
        if theirs.is_running {
            stock.service.start(TIMEOUT)?;
        }
        if theirs.is_enabled {
            stock.service.enable()?;
        }
        if ours.is_running {
            OURS.start(TIMEOUT)?;
        }
        Ok(())
    };
    Err(rolled_back(&cause, stock.service.0, back()))
}

/// Puts files and units as they were before.
fn give_back(stock: &Stock, links: &ConfigLinks, keep_enabled: bool) -> anyhow::Result<()> {
    OURS.stop()?;
    if !keep_enabled {
        OURS.disable()?;
    }
    links.remove(Path::new(stock.config))?;
    DROP_IN.remove()?;
    Ok(reload_units()?)
}

fn undo(stock: &'static Stock, links: &ConfigLinks, flags: AdoptFlags) -> anyhow::Result<()> {
    let plan = Plan {
        found: format!("{} has the place of {}.", OURS.0, stock.service.0),
        steps: vec![
            format!("stop and disable {}", OURS.0),
            format!(
                "put back the file {} of before, remove {}",
                Webhook::INFO.unit.config,
                DROP_IN.path().display()
            ),
            format!("start and enable {}", stock.service.0),
        ],
        notes: Vec::new(),
    };
    if !approved(&plan, flags)? {
        return Ok(());
    }
    ensure!(
        stock.service.state()?.is_installed,
        "{} is not installed any more; nothing is changed",
        stock.service.0
    );
    // Before the links go, by which a second run finds out what is to be done; it starts nothing that runs.
    OURS.stop()?;
    let change = || -> anyhow::Result<()> {
        stock.service.start(TIMEOUT)?;
        Ok(stock.service.enable()?)
    };
    if let Err(cause) = change() {
        let back = || -> anyhow::Result<()> {
            stock.service.stop()?;
            stock.service.disable()?;
            Ok(OURS.start(TIMEOUT)?)
        };
        return Err(rolled_back(&cause, OURS.0, back()));
    }
    give_back(stock, links, false)?;
    say(format_args!("{} runs, {} is disabled", stock.service.0, OURS.0))?;
    Ok(())
}

/// Waits for the first deliveries: whether the program can do its work as the user of the unit, confined by it, no test shows.
///
/// # Errors
/// Every call fails.
fn first_deliveries() -> anyhow::Result<()> {
    let until = Instant::now() + FIRST_DELIVERIES;
    let mut failure = None;
    while Instant::now() < until {
        sleep(POLL);
        // It does not answer in the first moments.
        let Ok(text) = run_self(&["status", "-json"]) else { continue };
        let Deliveries { known, decisions, delivered, error } = Deliveries::of(&serde_json::from_str(&text)?);
        if known && (decisions == 0 || delivered > 0) {
            if let Some(error) = error {
                say(format_args!("some deliveries fail, see `palisade-webhook status`: {error}"))?;
            }
            return Ok(());
        }
        failure = error.or(failure);
    }
    match failure {
        Some(failure) => bail!(
            "no delivery succeeds: {failure}. The service runs as the user palisade-webhook and confined by its unit; give it what it \
             needs with `systemctl edit palisade-webhook`, such as [Service] ReadWritePaths=FOLDER, or User=root"
        ),
        // Nothing passes the filters, or a call takes long.
        None => Ok(()),
    }
}

/// The deliveries in the output of `status -json`.
#[derive(Debug, PartialEq, Eq)]
struct Deliveries {
    /// Whether the decisions of the LAPI are known.
    known: bool,
    decisions: u64,
    delivered: u64,
    error: Option<String>,
}

impl Deliveries {
    fn of(status: &Value) -> Self {
        let endpoints = status["enforcement"]["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
        // Without endpoints lists are served, and nothing is delivered.
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        Self {
            known: status["state"]["last_full"].is_string(),
            decisions: if endpoints.is_empty() { 0 } else { number(&status["state"]["decisions"]) },
            delivered: endpoints.iter().map(|endpoint| number(&endpoint["delivered"])).sum(),
            error: endpoints.iter().find_map(|endpoint| endpoint["last_error"].as_str()).map(str::to_owned),
        }
    }
}

/// Runs this program on the file of the unit, and returns what it prints.
fn run_self(arguments: &[&str]) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("where is this program?")?;
    let mut command = Process::new(program);
    command.args(["-c", Webhook::INFO.unit.config]).args(arguments).stdin(Stdio::null());
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("{} {}: {}", Webhook::INFO.program.name, arguments.join(" "), String::from_utf8_lossy(&said).trim())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deliveries_are_read_from_the_status() {
        let status = |endpoints: Value| json!({"state": {"last_full": "t", "decisions": 3}, "enforcement": {"endpoints": endpoints}});
        let failing = Deliveries::of(&status(json!([{"delivered": 0, "last_error": "no"}])));
        let expected = Deliveries { known: true, decisions: 3, delivered: 0, error: Some("no".into()) };
        assert_eq!(failing, expected);
        let lists = Deliveries::of(&status(json!([])));
        assert_eq!(lists, Deliveries { known: true, decisions: 0, delivered: 0, error: None });
        assert!(!Deliveries::of(&Value::Null).known);
    }
}
