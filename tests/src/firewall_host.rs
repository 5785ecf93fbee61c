//! A host with a firewall and a record of its kernel's changes; compares its bans with the database's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use palisade_wire::GoDuration;
use serde_json::Value;

use crate::firewall::{Config, Firewall, Implementation};
use crate::history::History;
use crate::host::Host;
use crate::lapi::{Access, Lapi};
use crate::outcome::{Doing, Failure, Outcome};
use crate::tools;
use crate::wait::{eventually, eventually_within};
use crate::world::World;

/// Tolerance between the end of a ban in a kernel and in the database: both report durations in whole seconds.
const TOLERANCE: Duration = Duration::from_secs(2);

/// A host whose firewall follows a LAPI, with every kernel change since before the start.
pub struct FirewallHost {
    /// The host.
    pub host: Host,
    /// The firewall on it.
    pub firewall: Firewall,
    /// Every change of its kernel's sets.
    pub history: History,
    config: Config,
}

/// By address, the earliest and the latest time at which its ban may end: the remaining duration is measured between
/// request and response, which on a busy machine are seconds apart.
type Ends = BTreeMap<String, (Instant, Instant)>;

impl FirewallHost {
    /// Starts recording and the firewall on a host; does not wait until it is ready.
    ///
    /// # Errors
    /// When either cannot be started.
    pub fn launch(world: &World, host: &Host, config: &Config) -> Outcome<Self> {
        let history = History::on(world, host)?;
        let firewall = Self::start(world, host, config)?;
        Ok(Self { host: host.clone(), firewall, history, config: config.clone() })
    }

    /// Starts firewalls on these hosts, all with the same key and settings, and waits until they are ready.
    ///
    /// # Errors
    /// When one does not become ready.
    pub fn all(
        world: &World,
        hosts: &[Host],
        lapi: &Access,
        settings: impl Fn(Config, &Host) -> Outcome<Config> + Sync,
    ) -> Outcome<Vec<Self>> {
        let settings = &settings;
        let launched = std::thread::scope(|scope| {
            let launch =
                |host| move || Self::launch(world, host, &settings(Config::new(world, lapi)?, host)?);
            let running: Vec<_> = hosts.iter().map(|host| scope.spawn(launch(host))).collect();
            running.into_iter().map(|thread| thread.join().expect("it does not panic")).collect::<Vec<_>>()
        });
        let mut firewall_hosts = launched.into_iter().collect::<Outcome<Vec<_>>>()?;
        for firewall_host in &mut firewall_hosts {
            firewall_host.firewall.ready().doing(format_args!("on {}", firewall_host.host.name()))?;
        }
        Ok(firewall_hosts)
    }

    /// As [`all`](Self::all), each with a key of its own, as a stock LAPI requires.
    ///
    /// # Errors
    /// When one does not become ready.
    pub fn all_with_own_keys(world: &World, hosts: &[Host], lapi: &Lapi) -> Outcome<Vec<Self>> {
        Self::all(world, hosts, &lapi.access_from_afar(), |config, host| {
            Ok(config.set("api_key", lapi.add_bouncer(host.name(), &format!("key-of-{}", host.name()))?.key))
        })
    }

    fn start(world: &World, host: &Host, config: &Config) -> Outcome<Firewall> {
        let program = tools::command(Implementation::under_test()?.program())?;
        Firewall::launch_prepared(world, host, program, &config.write(world)?, config)
    }

    /// Kills the firewall and starts it again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self, world: &World) -> Outcome {
        self.firewall.process().kill()?;
        self.start_again(world)
    }

    /// Starts the firewall again after it ended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_again(&mut self, world: &World) -> Outcome {
        self.firewall = Self::start(world, &self.host, &self.config)?;
        Ok(())
    }

    /// Whether the kernel has banned this address by now, as far as the record goes.
    ///
    /// # Errors
    /// When the record is incomplete.
    pub fn has_banned(&self, value: &str) -> Outcome<bool> {
        Ok(self.history.glance()?.iter().any(|moment| moment.banned.contains(value)))
    }

    fn ends(&self) -> Outcome<Ends> {
        let before = Instant::now();
        let sets = self.host.ruleset()?.sets();
        let after = Instant::now();
        let mut ends = Ends::new();
        let bans = sets.into_iter().filter(|set| set.table.starts_with("crowdsec") && set.bans());
        for element in bans.flat_map(|set| set.elements) {
            let left = Duration::from_secs(element.expires.unwrap_or(u64::from(u32::MAX)));
            note(&mut ends, element.value, (before + left, after + left));
        }
        Ok(ends)
    }
}

/// The decisions in force, as `decisions list` reads them from the database.
fn active(lapi: &Lapi) -> Outcome<Ends> {
    let before = Instant::now();
    let text = lapi.admin(&["decisions", "list", "--all", "--limit", "0", "-o", "json"])?;
    let after = Instant::now();
    let alerts: Option<Vec<Value>> = serde_json::from_str(&text).doing("reading the list of decisions")?;
    let mut ends = Ends::new();
    let decisions = alerts.iter().flatten().filter_map(|alert| alert["decisions"].as_array()).flatten();
    for decision in decisions {
        let text = |key: &str| decision[key].as_str().doing(format_args!("no {key} in {decision}"));
        let left: GoDuration = text("duration")?.parse()?;
        // A decision that has ended and is still listed has a negative rest.
        let Some(left) = left.to_std() else { continue };
        note(&mut ends, text("value")?.to_owned(), (before + left, after + left));
    }
    Ok(ends)
}

/// Of several bans of one address the longest counts.
fn note(ends: &mut Ends, value: String, end: (Instant, Instant)) {
    let known = ends.entry(value).or_insert(end);
    *known = (*known).max(end);
}

/// Waits until every host's kernel has banned this address.
///
/// # Errors
/// When one does not in time.
pub fn all_have_banned(firewall_hosts: &[FirewallHost], value: &str) -> Outcome<Duration> {
    eventually(&format!("every host has banned {value}"), || {
        for firewall_host in firewall_hosts {
            if !firewall_host.has_banned(value)? {
                return Err(Failure::new(format!("{} has not", firewall_host.host.name())));
            }
        }
        Ok(true)
    })
}

/// Waits until every host's kernel has the database's bans: the same addresses, each until the same time.
///
/// # Errors
/// When one does not in time; lists the differences.
pub fn agree(firewall_hosts: &[FirewallHost], lapi: &Lapi, deadline: Duration) -> Outcome<Duration> {
    eventually_within(deadline, "every host holds what the database holds", || {
        let wanted = active(lapi)?;
        for firewall_host in firewall_hosts {
            let held = firewall_host.ends()?;
            if let Some(difference) = differences(&wanted, &held) {
                return Err(Failure::new(format!("{}: {difference}", firewall_host.host.name())));
            }
        }
        Ok(true)
    })
}

fn differences(wanted: &Ends, held: &Ends) -> Option<String> {
    let some = |values: Vec<&String>| (values.len(), values.into_iter().take(5).cloned().collect::<Vec<_>>());
    let (missing, which) = some(wanted.keys().filter(|value| !held.contains_key(*value)).collect());
    if missing > 0 {
        return Some(format!("{missing} of {} are missing: {which:?}", wanted.len()));
    }
    let (beside, which) = some(held.keys().filter(|value| !wanted.contains_key(*value)).collect());
    if beside > 0 {
        return Some(format!("{beside} are no longer in the database: {which:?}"));
    }
    let apart = |value: &String| {
        let (wanted, held) = (wanted[value], held[value]);
        // The least possible difference.
        wanted.0.saturating_duration_since(held.1).max(held.0.saturating_duration_since(wanted.1))
    };
    let (off, which) = some(wanted.keys().filter(|value| apart(value) > TOLERANCE).collect());
    (off > 0).then(|| format!("{off} end at another time, by {:?}: {which:?}", which.iter().map(apart).max()))
}
