//! The commands `adopt`, which takes the place of `crowdsec-firewall-bouncer` and gives it back without a moment in which
//! a banned address passes, and `remove-rules`.
//!
//! ```text
//!  stock in force ─► interim tables beside it ─► stock stops, ours starts ─► ours in force ─► interim tables go
//! ```

mod interim;
mod stock_sets;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use palisade_bouncer::control::Source;
use palisade_bouncer::run::{Bouncer as _, CommandContext, check_lapis};
use palisade_daemon::adopt::{
    AdoptFlags, Plan, Service, ServiceState, adopt_command, approved, is_systemd_here, require_systemd,
    rolled_back, say,
};
use palisade_daemon::flags::Command;

use self::interim::{Interim, interim_config, interim_enforcer_config};
use self::stock_sets::wait_for_stock_bans;
use crate::config::{Config, Mode};
use crate::{Enforcer, Firewall};

/// The command `adopt`.
pub(crate) const ADOPT: Command = adopt_command(
    "take the place of crowdsec-firewall-bouncer on this host without a gap: shows the steps first",
);

/// The command `remove-rules`.
pub(crate) const REMOVE_RULES: Command = Command {
    name: "remove-rules",
    words: &[],
    flags: &[],
    help: "remove everything of ours from the kernel's nftables, after a stop with keep_on_stop; refused while a bouncer \
           runs",
};

const OURS: Service = Service("palisade-firewall.service");
const STOCK: Service = Service("crowdsec-firewall-bouncer.service");

/// How long ours may take from the start to decisions in force.
const OURS_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the stock service may take to start.
const STOCK_TIMEOUT: Duration = Duration::from_secs(90);

/// How often the state of ours is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Both services.
struct Found {
    ours: ServiceState,
    stock: ServiceState,
}

/// Runs `adopt`.
///
/// # Errors
/// What stands in the way, or what failed and how things stand then.
pub(crate) fn adopt(context: &CommandContext<'_, Firewall>) -> anyhow::Result<()> {
    let flags = AdoptFlags::of(context.typed);
    let config = &context.loaded.config;
    require_systemd()?;
    let (path, unit) = (context.loaded.document.path(), Firewall::INFO.unit.config);
    ensure!(path == Path::new(unit), "adopt is about the services, which read {unit}; leave -c out");
    ensure!(config.mode == Mode::Nftables, "mode: dry-run enforces nothing; set mode: nftables first");
    let found = Found { ours: OURS.state()?, stock: STOCK.state()? };
    ensure!(found.ours.is_installed, "{} is not installed: install the package palisade-firewall", OURS.0);
    ensure!(
        found.stock.is_installed,
        "{} is not installed here, so there is nothing to take over or to go back to",
        STOCK.0
    );
    let is_done = match flags.undo {
        false => found.ours.is_active && found.ours.is_enabled && !found.stock.is_enabled,
        true => found.stock.is_active && found.stock.is_enabled && !found.ours.is_enabled,
    };
    if is_done {
        // A run that was killed at its end leaves its tables.
        remove_interim_tables(config)?;
        let (has, place) = if flags.undo { (STOCK, OURS) } else { (OURS, STOCK) };
        say(format_args!("{} has the place of {} already; nothing to do.", has.0, place.0))?;
        return Ok(());
    }
    let interim = interim_config(config);
    if !approved(&plan(&found, flags.undo, context, interim.is_some()), flags)? {
        return Ok(());
    }
    // A service that starts without the LAPI has nothing to enforce.
    ensure!(
        check_lapis(context)?,
        "nothing is changed: see `palisade-firewall check`, and run this again when the LAPI accepts this bouncer"
    );
    let interim = interim.map(|config| Interim::start(context, &config)).transpose();
    let interim = interim.context("nothing is changed")?;
    if let Some(interim) = &interim {
        say(format_args!("{} addresses and ranges are in force in the interim tables", interim.elements()))?;
    }
    let done = match flags.undo {
        false => take_over(context, &found, interim.as_ref()),
        true => give_back(context, interim.as_ref()),
    };
    // Also after a failure: whichever service runs has its own rules then.
    let ended = interim.map_or(Ok(()), Interim::end).context("the interim tables are left; run this again");
    done.and(ended)
}

fn plan(found: &Found, undo: bool, context: &CommandContext<'_, Firewall>, has_interim: bool) -> Plan {
    let describe = |service: Service, state: &ServiceState| {
        let boot = if state.is_enabled { "starts at boot" } else { "does not start at boot" };
        format!("{} is {} and {boot}", service.0, state.state)
    };
    let (from, to) = if undo { (OURS, STOCK) } else { (STOCK, OURS) };
    let mut plan = Plan {
        found: format!("{}; {}.", describe(STOCK, &found.stock), describe(OURS, &found.ours)),
        ..Plan::default()
    };
    let config = context.loaded.document.path().display();
    plan.steps.push(format!("check that the LAPI accepts the key in {config}, which stays as it is"));
    if has_interim {
        plan.steps.push(
            "put the decisions into the tables palisade-interim and palisade-interim6, so that no banned address passes \
             meanwhile"
                .to_owned(),
        );
    }
    plan.steps.push(format!("stop {}, start {}, wait until its decisions are in force", from.0, to.0));
    plan.steps.push(format!("disable {} and enable {}", from.0, to.0));
    if has_interim {
        plan.steps.push("remove the interim tables".to_owned());
    } else {
        plan.notes.push(format!(
            "in set-only mode the set is empty from the stop of {} until the decisions of {} are in it, about a second",
            from.0, to.0
        ));
    }
    plan.notes.push(match undo {
        false => "if a step fails, crowdsec-firewall-bouncer runs as before; the way back is: palisade-firewall adopt -undo"
            .to_owned(),
        true => "crowdsec-firewall-bouncer enforces as it did: of a range 0.0.25 to 0.0.34 block the first address".to_owned(),
    });
    plan
}

fn take_over(
    context: &CommandContext<'_, Firewall>,
    found: &Found,
    interim: Option<&Interim>,
) -> anyhow::Result<()> {
    let change = || -> anyhow::Result<()> {
        // The unit names the stock one in `Conflicts=`, which systemd stops first.
        start_ours(context, interim)?;
        say(format_args!("{} runs, its decisions are in force", OURS.0))?;
        if STOCK.state()?.is_running {
            STOCK.stop()?;
        }
        STOCK.disable()?;
        OURS.enable()?;
        Ok(say(format_args!("{} is disabled, {} is enabled", STOCK.0, OURS.0))?)
    };
    let Err(cause) = change() else { return Ok(()) };
    if !found.stock.is_running && !found.stock.is_enabled {
        // It was switched off before: nothing to go back to.
        OURS.stop()?;
        return Err(cause);
    }
    let back = || -> anyhow::Result<()> {
        OURS.stop()?;
        if !found.ours.is_enabled {
            OURS.disable()?;
        }
        start_stock(context, interim)?;
        if found.stock.is_enabled {
            STOCK.enable()?;
        }
        Ok(())
    };
    Err(rolled_back(&cause, STOCK.0, back()))
}

fn give_back(context: &CommandContext<'_, Firewall>, interim: Option<&Interim>) -> anyhow::Result<()> {
    let change = || -> anyhow::Result<()> {
        OURS.stop()?;
        // It runs if an earlier run was killed. Then it must start anew: the removal that follows takes its rules, too, and
        // the LAPI has sent the interim tables what it would have been sent next.
        STOCK.stop()?;
        // Left by `keep_on_stop`: newer stock releases fail on sets of their names.
        remove(&context.loaded.config)?;
        start_stock(context, interim)?;
        say(format_args!("{} runs, its decisions are in force", STOCK.0))?;
        OURS.disable()?;
        STOCK.enable()?;
        Ok(say(format_args!("{} is disabled, {} is enabled", OURS.0, STOCK.0))?)
    };
    let Err(cause) = change() else { return Ok(()) };
    let back = || -> anyhow::Result<()> {
        STOCK.stop()?;
        start_ours(context, interim)?;
        STOCK.disable()?;
        Ok(OURS.enable()?)
    };
    Err(rolled_back(&cause, OURS.0, back()))
}

/// Starts ours and waits until it enforces what the LAPI has: it is ready with remembered decisions already, which may be
/// of before an earlier way back.
fn start_ours(context: &CommandContext<'_, Firewall>, interim: Option<&Interim>) -> anyhow::Result<()> {
    OURS.start(OURS_TIMEOUT)?;
    if context.settings.control_socket().is_none() {
        // Without a state folder nothing is remembered: what it was ready with is what the LAPI has.
        return Ok(());
    }
    let until = Instant::now() + OURS_TIMEOUT;
    loop {
        // Not answered yet in the first moments.
        if let Ok(answer) = context.query().status_answer()
            && answer.state.source == Source::Running
            && answer.state.last_full.is_some()
        {
            let elements = answer.enforcer.get("elements in force").and_then(|text| text.parse::<u64>().ok());
            if elements >= interim.map(Interim::elements) {
                return Ok(());
            }
        }
        ensure!(
            Instant::now() < until,
            "{} runs, but did not put all decisions in force within {} s; see: palisade-firewall status",
            OURS.0,
            OURS_TIMEOUT.as_secs()
        );
        std::thread::sleep(POLL);
    }
}

/// Starts the stock service and waits until its decisions are in the kernel: it reports readiness before it has any.
fn start_stock(context: &CommandContext<'_, Firewall>, interim: Option<&Interim>) -> anyhow::Result<()> {
    STOCK.start(STOCK_TIMEOUT)?;
    match interim {
        Some(interim) => wait_for_stock_bans(&context.loaded.config, interim.hosts()),
        None => Ok(()),
    }
}

/// Runs `remove-rules`.
///
/// # Errors
/// A bouncer runs, or something could not be removed.
pub(crate) fn remove_rules(context: &CommandContext<'_, Firewall>) -> anyhow::Result<()> {
    let is_answered = context.settings.control_socket().is_some_and(|path| UnixStream::connect(path).is_ok());
    if is_answered {
        bail!(
            "palisade-firewall runs and would build its rules again; stop it first: systemctl stop palisade-firewall"
        );
    }
    // Without systemd there is no service of either.
    if is_systemd_here() {
        for service in [OURS, STOCK] {
            if service.state()?.is_running {
                bail!(
                    "{} runs, and the rules are those that it enforces with; stop it first: systemctl stop {}",
                    service.0,
                    service.0
                );
            }
        }
    }
    remove(&context.loaded.config)?;
    remove_interim_tables(&context.loaded.config)
}

fn remove(config: &Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Whose addresses are exempt does not matter for the removal.
    let enforcer_config = crate::EnforcerConfig {
        config: std::sync::Arc::new(config.clone()),
        protected: Vec::new(),
        local: crate::LocalNetwork::default(),
    };
    Ok(runtime.block_on(Enforcer::remove_rules(enforcer_config))?)
}

fn remove_interim_tables(config: &Config) -> anyhow::Result<()> {
    let Some(enforcer_config) = interim_enforcer_config(config) else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(Enforcer::remove_rules(enforcer_config))?)
}
