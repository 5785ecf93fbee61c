//! The command `adopt`, by which the service takes the place of the Local API inside `crowdsec`, which goes on as the log
//! processor of the host, and gives it back.

use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use palisade_daemon::adopt::{
    AdoptFlags, DropIn, Plan, Service, ServiceState, adopt_command, approved, reload_units, require_systemd,
    rolled_back, say,
};
use palisade_daemon::flags::{Command, Typed};
use palisade_lapi_config::Config;
use palisade_store::Engine;

use crate::cli::DEFAULT_CONFIG;

/// The command `adopt`.
pub(crate) const ADOPT: Command = adopt_command(
    "take the place of the Local API inside crowdsec, which goes on as the log processor of this host: shows the steps first",
);

const OURS: Service = Service("palisade-lapi.service");
const STOCK: Service = Service("crowdsec.service");
/// crowdsec without its Local API.
const DROP_IN: DropIn = DropIn { unit: STOCK.0, name: "palisade-lapi.conf" };

/// How long the first start may take, which copies the database.
const OURS_TIMEOUT: Duration = Duration::from_secs(600);
/// How long crowdsec may take to start.
const STOCK_TIMEOUT: Duration = Duration::from_secs(90);
/// The flag of crowdsec that switches its Local API off.
const NO_API: &str = "-no-api";
/// The flag of crowdsec that switches its log processor off.
const NO_LOG_PROCESSOR: &str = "-no-cs";

/// Runs `adopt`.
///
/// # Errors
///
/// What stands in the way, or what failed and how things stand then.
pub(crate) fn adopt(typed: &Typed) -> anyhow::Result<()> {
    let flags = AdoptFlags::of(typed);
    require_systemd()?;
    ensure!(
        typed.value("c").is_none_or(|path| path == DEFAULT_CONFIG),
        "adopt is about the services, which read {DEFAULT_CONFIG}; leave -c out"
    );
    let (ours, stock) = (OURS.state()?, STOCK.state()?);
    ensure!(ours.is_installed, "{} is not installed: install the package palisade-lapi", OURS.0);
    ensure!(
        stock.is_installed,
        "{} is not installed here, so there is nothing to take over or to go back to",
        STOCK.0
    );
    match flags.undo {
        false => take_over(&ours, &stock, flags),
        true => undo(&ours, &stock, flags),
    }
}

fn take_over(ours: &ServiceState, stock: &ServiceState, flags: AdoptFlags) -> anyhow::Result<()> {
    if DROP_IN.exists() && ours.is_active && ours.is_enabled && stock.is_active {
        say(format_args!("{} is the Local API of this host already; nothing to do.", OURS.0))?;
        return Ok(());
    }
    let arguments = Arguments::of_unit()?;
    ensure!(
        !arguments.has(NO_LOG_PROCESSOR),
        "{} runs as a Local API only ({NO_LOG_PROCESSOR}): disable it, and enable {}; see moving-over.md",
        STOCK.0,
        OURS.0
    );
    run(&["palisade-lapi", "-t"]).context("nothing is changed")?;
    let plan = Plan {
        found: format!(
            "{} is {}; its Local API is taken over with its database, machines, bouncers, alerts and decisions.",
            STOCK.0, stock.state
        ),
        steps: vec![
            format!("stop {}; log processors and bouncers of all hosts wait meanwhile, and lose nothing", STOCK.0),
            "show what is taken from its database, which is only read".to_owned(),
            format!("add {NO_API} to its command line by {}", DROP_IN.path().display()),
            format!("start and enable {}, which copies the database at its first start", OURS.0),
            format!("start {} as the log processor of this host", STOCK.0),
        ],
        notes: vec![
            format!("{DEFAULT_CONFIG}, keys and passwords stay as they are"),
            "nothing is sent to or pulled from the Central API, and no notifications are sent, by palisade-lapi".to_owned(),
            format!(
                "if a step fails, {} runs as before; the way back is: palisade-lapi adopt -undo",
                STOCK.0
            ),
        ],
    };
    if !approved(&plan, flags)? {
        return Ok(());
    }
    let change = || -> anyhow::Result<()> {
        STOCK.stop()?;
        if !ours.is_active {
            say(run(&["palisade", "database", "import", "--dry-run"])?.trim_end())?;
            if has_database()? {
                // Of an earlier change: only the first start takes the database over by itself.
                run(&["palisade", "database", "import"])?;
            }
        }
        DROP_IN.write(&arguments.without_api())?;
        reload_units()?;
        OURS.start(OURS_TIMEOUT)?;
        OURS.enable()?;
        say(format_args!("{} runs", OURS.0))?;
        STOCK.start(STOCK_TIMEOUT)?;
        Ok(say(format_args!("{} runs as the log processor", STOCK.0))?)
    };
    let Err(cause) = change() else { return Ok(()) };
    Err(rolled_back(&cause, STOCK.0, give_back(ours.is_enabled)))
}

/// Whether there is a database of ours. On PostgreSQL it may be: there an import by command is the same as the first start.
fn has_database() -> anyhow::Result<bool> {
    let config = Config::load(Path::new(DEFAULT_CONFIG))?;
    let engine = config.database.map(|database| database.store.engine);
    Ok(!matches!(engine, Some(Engine::Sqlite { path, .. }) if !path.exists()))
}

/// Makes crowdsec the Local API again.
fn give_back(keep_enabled: bool) -> anyhow::Result<()> {
    OURS.stop()?;
    if !keep_enabled {
        OURS.disable()?;
    }
    STOCK.stop()?;
    DROP_IN.remove()?;
    reload_units()?;
    Ok(STOCK.start(STOCK_TIMEOUT)?)
}

fn undo(ours: &ServiceState, stock: &ServiceState, flags: AdoptFlags) -> anyhow::Result<()> {
    if !DROP_IN.exists() && !ours.is_running && !ours.is_enabled && stock.is_active {
        say(format_args!("{} has its Local API already; nothing to do.", STOCK.0))?;
        return Ok(());
    }
    let plan = Plan {
        found: format!("{} is {}, {} is {}.", OURS.0, ours.state, STOCK.0, stock.state),
        steps: vec![
            format!("stop and disable {}", OURS.0),
            format!("remove {}", DROP_IN.path().display()),
            format!("start {} with its Local API", STOCK.0),
        ],
        notes: vec![
            "crowdsec goes on where it was stopped: alerts, decisions, machines and bouncers of since then are not there, and \
             what was lifted since then is in force again"
                .to_owned(),
        ],
    };
    if !approved(&plan, flags)? {
        return Ok(());
    }
    let Err(cause) = give_back(false) else {
        say(format_args!("{} runs with its Local API, {} is disabled", STOCK.0, OURS.0))?;
        return Ok(());
    };
    if !ours.is_active {
        return Err(cause);
    }
    let back = || -> anyhow::Result<()> {
        STOCK.stop()?;
        DROP_IN.write(&Arguments::of_unit()?.without_api())?;
        reload_units()?;
        OURS.start(OURS_TIMEOUT)?;
        OURS.enable()?;
        Ok(STOCK.start(STOCK_TIMEOUT)?)
    };
    Err(rolled_back(&cause, OURS.0, back()))
}

/// The command line of crowdsec's unit.
#[derive(Debug, PartialEq, Eq)]
struct Arguments(Vec<String>);

impl Arguments {
    fn of_unit() -> anyhow::Result<Self> {
        let property = STOCK.property("ExecStart")?;
        Self::parse(&property).with_context(|| {
            format!(
                "the command line of {} cannot be read ({property}); change it by hand, see moving-over.md",
                STOCK.0
            )
        })
    }

    /// Of the property `ExecStart`: `{ path=… ; argv[]=… ; ignore_errors=… }`.
    fn parse(property: &str) -> Option<Self> {
        let (_, rest) = property.split_once("argv[]=")?;
        let (line, rest) = rest.split_once(" ; ")?;
        // One command, without quoting, which systemd does not print.
        let is_plain = !rest.contains("argv[]=") && !line.contains(['"', '\'', '\\', '$']);
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        (is_plain && words.first().is_some_and(|path| path.starts_with('/'))).then_some(Self(words))
    }

    fn has(&self, flag: &str) -> bool {
        // Go takes two dashes for one.
        self.0
            .iter()
            .any(|word| word.trim_start_matches('-') == flag.trim_start_matches('-') && word.starts_with('-'))
    }

    /// The drop-in with the flag.
    fn without_api(&self) -> String {
        let mut line = self.0.join(" ");
        if !self.has(NO_API) {
            line.push(' ');
            line.push_str(NO_API);
        }
        format!(
            "# Made by `palisade-lapi adopt`, removed by `palisade-lapi adopt -undo`.\n[Unit]\nAfter={}\n[Service]\nExecStart=\n\
             ExecStart={line}\n",
            OURS.0
        )
    }
}

/// Runs one of our programs on the configuration, and returns what it prints.
fn run(words: &[&str]) -> anyhow::Result<String> {
    let here = std::env::current_exe().context("where is this program?")?;
    let program = here.parent().unwrap_or(Path::new("/usr/bin")).join(words[0]);
    let output = Process::new(&program)
        .args(&words[1..])
        .args(["-c", DEFAULT_CONFIG])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("{}: {}", words.join(" "), format!("{stdout}{stderr}").trim());
    }
    Ok(stdout.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_added_to_the_command_line_of_the_unit() {
        let property = "{ path=/usr/bin/crowdsec ; argv[]=/usr/bin/crowdsec -c /etc/crowdsec/config.yaml ; ignore_errors=no ; pid=1 }";
        let arguments = Arguments::parse(property).unwrap();
        let text = arguments.without_api();
        assert!(
            text.ends_with(
                "\nExecStart=\nExecStart=/usr/bin/crowdsec -c /etc/crowdsec/config.yaml -no-api\n"
            ),
            "{text}"
        );
        let again = property.replace(" ; ignore", " --no-api ; ignore");
        assert!(Arguments::parse(&again).unwrap().without_api().ends_with(".yaml --no-api\n"));
        assert!(
            Arguments::parse(&property.replace(" ; ignore", " -no-cs ; ignore"))
                .unwrap()
                .has(NO_LOG_PROCESSOR)
        );
        for unreadable in ["", "{ path=/a ; argv[]=/a 'b c' ; x=y }", "{ argv[]=/a ; x } ; { argv[]=/b ; x }"]
        {
            assert_eq!(Arguments::parse(unreadable), None, "{unreadable}");
        }
    }
}
