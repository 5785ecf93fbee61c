//! Keeps the kernel's tables and sets equal to the decisions in the cache, in one task.
//!
//! Reads the cache and the configuration, and writes [`Status`]; reaches the kernel through `kernel_access` only.
//!
//! ```text
//!  cache changed ────────► Changes      difference of two snapshots, one transaction
//!  elements touched by others ─► Sets   read everything, compare, change what differs
//!  structure touched, start, reload ─► Everything   structure first, then sets, then leftovers
//! ```
//!
//! Everything is verified in the background at intervals ([`verify`]).
//!
//! A failed attempt is repeated with growing pauses, one level higher. A snapshot counts as in force only after the
//! kernel has confirmed its transactions.

mod follow;
mod install;
mod kernel_access;
mod pace;
mod retire;
mod verify;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use palisade_cache::Snapshot;
use palisade_stream::CacheHandle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Mode};
use crate::dry_run;
use crate::enforcer_config::EnforcerConfig;
use crate::error::EnforceError;
use crate::gate::CellCounts;
use crate::kernel::watched_tables;
use crate::layout::Layout;
use crate::netlink::{Event, Monitor, NetlinkError, StructurePrint};
use crate::plan::{Elements, Excluded};
use crate::status::Status;
use crate::structure::Structure;

pub use install::check;
use kernel_access::KernelAccess;
use pace::Pace;
use verify::BackgroundVerification;

/// Wait for the rest of a burst of changes by another program.
// A reload of another firewall flushes and then loads its rules in several transactions. A repair between two of them
// would be undone by the next.
const SETTLE: Duration = Duration::from_millis(30);

/// How often to check whether the LAPI has sent all decisions, while the kernel was compared with persisted ones only.
// A response without changes publishes no new generation, so nothing else wakes the task.
const UNTIL_KNOWN: Duration = Duration::from_millis(500);

/// Prefixes remembered as reported.
// A LAPI can send any number of them, so the memory is bounded. After it is cleared, a warning may be repeated.
const WARNED: usize = 4096;

/// Prefixes that a warning has been logged for.
#[derive(Debug, Default)]
struct Warned(HashSet<IpNet>);

impl Warned {
    /// Remembers a prefix; `true` when it is new.
    fn note(&mut self, net: IpNet) -> bool {
        if self.0.len() >= WARNED {
            self.0.clear();
        }
        self.0.insert(net)
    }
}

/// Keeps the kernel's tables and sets equal to the decisions in the cache. Built by [`Enforcer::new`], works in
/// [`Enforcer::run`].
#[derive(Debug)]
pub struct Enforcer {
    enforcer_config: watch::Receiver<EnforcerConfig>,
    cache: CacheHandle,
    status: watch::Sender<Status>,
    /// The configuration that is being enforced.
    current: EnforcerConfig,
    /// Earlier configurations that still have objects in the kernel.
    former: Vec<EnforcerConfig>,
    kernel_access: KernelAccess,
    monitor: Option<Monitor>,
    installed: Option<Installed>,
    /// What to compare after the current step, because a notification may have been missed.
    suspicion: Need,
    /// Another program has changed a table since the last comparison.
    disturbed: bool,
    /// Comparisons in a row in which the kernel refused an interval because of an expired one.
    lingering: u8,
    /// The last comparison changed something in the kernel.
    put_right: bool,
    /// The kernel was compared with persisted decisions only, so elements beyond them were left.
    lenient: bool,
    /// The background verification that is running.
    verification: Option<BackgroundVerification>,
    /// When to try again to build a family that was left out.
    retry_at: Option<Instant>,
    pace: Pace,
    /// How long to pause before the next round of changes.
    pause: Option<Duration>,
    warned: Warned,
    /// Operators' interval sets may hold expired intervals that the kernel has not collected yet.
    uncollected: bool,
    /// Whether tables and hooks have been logged for the current configuration.
    announced: bool,
}

/// What was built in the kernel, and the state of its sets.
#[derive(Debug)]
struct Installed {
    /// The configuration without the families that are left out.
    config: Arc<Config>,
    layout: Arc<Layout>,
    structures: Vec<Structure>,
    prints: Vec<StructurePrint>,
    /// The snapshot that is in force.
    snapshot: Snapshot,
    /// How many of its elements lie in each cell of each gate.
    cells: CellCounts,
    /// Elements by source.
    elements: Vec<Elements>,
    /// What is left out of operators' sets.
    excluded: Arc<Excluded>,
    /// How many elements in operators' sets are not ours.
    foreign: usize,
    /// Why a family is left out.
    unmet: Option<String>,
}

/// How much has to be compared, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Nothing,
    Changes,
    Sets,
    Everything,
}

impl Enforcer {
    /// An enforcer of this configuration and cache, and the status it will report.
    pub fn new(
        enforcer_config: watch::Receiver<EnforcerConfig>,
        cache: CacheHandle,
    ) -> (Self, watch::Receiver<Status>) {
        let (status, report) = watch::channel(Status::default());
        let current = enforcer_config.borrow().clone();
        let enforcer = Self {
            enforcer_config,
            cache,
            status,
            current,
            former: Vec::new(),
            kernel_access: KernelAccess::default(),
            monitor: None,
            installed: None,
            suspicion: Need::Nothing,
            disturbed: false,
            lingering: 0,
            put_right: false,
            lenient: false,
            verification: None,
            retry_at: None,
            pace: Pace::default(),
            pause: None,
            warned: Warned::default(),
            // An earlier process may have left intervals that expired just now.
            uncollected: true,
            announced: false,
        };
        (enforcer, report)
    }

    /// Runs until `stop` fires, then removes everything again, unless `keep_on_stop` is set.
    /// Only what cannot get better by waiting (no permission, no `nft`) at the very start is an error.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), EnforceError> {
        let mut generations = self.cache.changed();
        let mut need = Need::Everything;
        let mut not_before = Instant::now();
        let mut verify = Instant::now() + self.current.config.reconcile_interval;
        let mut cache_open = true;
        let mut config_open = true;
        let mut news = false;
        loop {
            // A repair is put off because another program keeps undoing it. New bans do not wait for that: otherwise
            // they would be up to 10 s late.
            if news && need > Need::Changes && self.disturbed && Instant::now() < not_before {
                self.follow_meanwhile().await;
            }
            news = false;
            if need > Need::Nothing && Instant::now() >= not_before && !stop.is_cancelled() {
                // Before the snapshot is read: a generation published later wakes the task once more, and none is
                // missed.
                generations.mark_unchanged();
                match self.satisfy(need).await {
                    Ok(()) => {
                        if need >= Need::Sets {
                            // A verification that began before this comparison may report differences that are already
                            // gone.
                            self.verification = None;
                            self.note_repair();
                            verify = Instant::now() + self.current.config.reconcile_interval;
                        }
                        // Raised within `satisfy`, by notifications that were lost or that came while the monitor was
                        // closed.
                        need = std::mem::replace(&mut self.suspicion, Need::Nothing);
                        not_before = Instant::now() + self.pause.take().unwrap_or_default();
                        self.pace.succeeded();
                    }
                    // Only at the start. Once bans are in force they are kept and the change is retried, since the
                    // cause may pass: `nft` is missing during an upgrade of its package, for example.
                    Err(error) if error.is_hopeless() && !self.status.borrow().is_ready() => {
                        return Err(error);
                    }
                    Err(error) => {
                        // A refusal may be due to expired intervals; the next attempt makes the kernel collect them.
                        self.uncollected = true;
                        let pause = self.pace.failed();
                        self.failed(&error, pause);
                        // A difference was refused because the kernel holds something else than remembered: reading the
                        // sets is enough. Anything else may be missing structure.
                        need = match error {
                            EnforceError::Refused(_) if need == Need::Changes => Need::Sets,
                            EnforceError::Lingering => Need::Sets,
                            _ => Need::Everything,
                        };
                        not_before = Instant::now() + pause;
                    }
                }
            }
            let wake = if need > Need::Nothing {
                not_before
            } else {
                let until_known = self.lenient.then(|| Instant::now() + UNTIL_KNOWN);
                let soonest = [self.foreign_element_ends(), self.retry_at, until_known];
                soonest.into_iter().flatten().min().map_or(verify, |soonest| soonest.min(verify))
            };
            tokio::select! {
                // `stop` first: a flood of events must not delay the shutdown.
                biased;
                () = stop.cancelled() => break,
                event = next_event(&mut self.monitor) => {
                    let foreign = self.classify(event);
                    // A second event of the same level must not push the repair further out.
                    if foreign > need {
                        // The rest of the burst falls into the same repair.
                        not_before = not_before.max(Instant::now() + self.pace.disturbed().max(SETTLE));
                        self.disturbed = true;
                        need = foreign;
                    }
                }
                changed = self.enforcer_config.changed(), if config_open => match changed {
                    Ok(()) => {
                        self.take_config();
                        need = Need::Everything;
                    }
                    // The sender may be dropped before `stop` fires. A closed channel is always ready and would make
                    // the loop spin.
                    Err(_closed) => config_open = false,
                },
                changed = generations.changed(), if cache_open => match changed {
                    Ok(()) => {
                        need = need.max(Need::Changes);
                        news = true;
                    }
                    Err(_closed) => cache_open = false,
                },
                result = Self::verified(&mut self.verification) => {
                    if self.is_doubtful(result) {
                        need = need.max(Need::Sets);
                    }
                    verify = Instant::now() + self.current.config.reconcile_interval;
                }
                () = sleep_until(wake) => {
                    if self.retry_at.is_some_and(|due| due <= Instant::now()) {
                        self.retry_at = None;
                        need = Need::Everything;
                    } else if Instant::now() >= verify {
                        // Nothing is installed yet, or there is no kernel to read: the regular path handles both.
                        if self.current.config.mode == Mode::DryRun || !self.verify_in_background() {
                            need = need.max(Need::Sets);
                        }
                        verify = Instant::now() + self.current.config.reconcile_interval;
                    } else if need == Need::Nothing
                        && (self.foreign_element_ends().is_some_and(|due| due <= Instant::now())
                            || self.lenient && self.knows_all())
                    {
                        // An element of the operator's own has ended where one of ours is wanted; or all is known now,
                        // without a new generation that would have woken this task.
                        need = Need::Sets;
                    }
                }
            }
        }
        self.retire_everything().await;
        Ok(())
    }

    /// Opens the netlink socket while the first decisions are awaited.
    pub async fn prepare(&mut self) {
        if self.current.config.mode != Mode::DryRun
            && let Err(error) = self.kernel_access.kernel(|_| ()).await
        {
            // Not reported: enforcing meets the same error, and reports it.
            tracing::debug!(%error, "netfilter netlink cannot be opened yet");
        }
    }

    async fn satisfy(&mut self, need: Need) -> Result<(), EnforceError> {
        if self.current.config.mode == Mode::DryRun {
            self.dry_run().await;
            return Ok(());
        }
        match need {
            Need::Nothing => Ok(()),
            // So far bans were only added. Now that all decisions are known, a comparison removes what they do not
            // contain; a difference of snapshots would not find it.
            Need::Changes if self.lenient && self.knows_all() && self.installed.is_some() => {
                self.compare_sets().await
            }
            Need::Changes if self.installed.is_some() => self.follow().await,
            // Lost notifications may have been about the structure, too. If that has changed, everything is installed
            // anew.
            Need::Sets if self.installed.is_some() && self.is_untouched().await? => self.compare_sets().await,
            Need::Changes | Need::Sets | Need::Everything => self.install().await,
        }
    }

    /// Enforces new decisions while a repair is put off because another program undoes it again and again.
    async fn follow_meanwhile(&mut self) {
        if self.installed.is_some()
            && let Err(error) = self.follow().await
        {
            // The table may be missing right now. The repair that is due compares everything.
            tracing::debug!(%error, "what is new waits for the repair");
        }
    }

    /// Whether the LAPI has sent all decisions since the start.
    fn knows_all(&self) -> bool {
        // Persisted decisions may be some seconds older than the elements in the kernel. Until the first full response
        // bans are only added; elements beyond them end by their timeouts.
        self.cache.freshness().is_complete()
    }

    /// Dry-run mode: logs what would be done, with the stock bouncer's messages.
    async fn dry_run(&mut self) {
        self.retire_former(&[]).await;
        let newer = self.cache.load();
        let older = self.installed.as_ref().map(|installed| installed.snapshot.clone());
        dry_run::log_changes(older.as_ref(), &newer);
        let generation = newer.generation();
        let layout = Layout::new(&self.current.config, &[]);
        let mut installed = Installed::new(Arc::clone(&self.current.config), layout);
        installed.snapshot = newer;
        self.installed = Some(installed);
        self.report(|status| {
            status.generation = generation;
            status.in_force_since.get_or_insert_with(palisade_stream::now);
        });
    }

    /// Returns what has to be compared after an event.
    fn classify(&mut self, event: Result<Event, NetlinkError>) -> Need {
        match event {
            Ok(Event::Committed { generation, .. }) if self.kernel_access.made(generation) => Need::Nothing,
            Ok(Event::Committed { touched, program, .. }) => {
                // Structure has precedence: if a table is deleted, its elements are announced as well.
                let what = if touched.structure { "structure" } else { "elements" };
                let shared = self.current.config.families().all(|(_, family)| family.set_only);
                // One line for a burst, and none for shared sets, which other programs change as a matter of course.
                if self.pace.is_calm() && !shared {
                    tracing::info!(program, what, "another program changed a table of ours: comparing");
                } else {
                    tracing::debug!(program, what, "another program changed a table of ours");
                }
                if touched.structure { Need::Everything } else { Need::Sets }
            }
            Ok(Event::Overrun) => {
                // `ENOBUFS`: the receive buffer overflowed. `satisfy` raises this to everything if the structure has
                // changed.
                tracing::debug!("notifications of ruleset changes were lost; comparing everything");
                Need::Sets
            }
            Err(error) => {
                // The install that follows opens a new monitor before it reads the ruleset.
                tracing::warn!(%error, "cannot follow changes of the ruleset; comparing everything");
                self.monitor = None;
                Need::Everything
            }
        }
    }

    fn take_config(&mut self) {
        let enforcer_config = self.enforcer_config.borrow_and_update().clone();
        let former = std::mem::replace(&mut self.current, enforcer_config);
        // A new address of this host or of the LAPI is no new configuration: no objects have to be removed.
        if former.config != self.current.config {
            self.announced = false;
            self.former.push(former);
        }
        self.monitor = None;
    }

    /// Counts a repair, if the last comparison was due to another program and changed something.
    fn note_repair(&mut self) {
        let (disturbed, put_right) =
            (std::mem::take(&mut self.disturbed), std::mem::take(&mut self.put_right));
        // Elements that others add to a shared set disturb but change nothing of ours. Counted as repairs, twenty of
        // them slowed every later change down.
        if disturbed && put_right {
            self.pace.repaired();
            self.report(|status| status.repairs += 1);
        }
    }

    /// Handles the notifications that have already arrived.
    fn drain_monitor(&mut self) {
        while let Some(event) = self.monitor.as_mut().and_then(Monitor::waiting) {
            let foreign = self.classify(event);
            self.suspicion = self.suspicion.max(foreign);
        }
    }

    fn open_monitor(&mut self) -> Result<(), EnforceError> {
        if self.monitor.is_none() {
            let mut monitor = Monitor::open(watched_tables(&self.current.config))?;
            if let Some(installed) = &self.installed {
                monitor.narrow(installed.own_names());
            }
            self.monitor = Some(monitor);
        }
        Ok(())
    }

    fn failed(&mut self, error: &EnforceError, pause: Duration) {
        let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        // A table removed by another program is rebuilt at once, which is a repair and not worth a warning.
        match error {
            EnforceError::Gone => tracing::info!(retry_ms, "{error}"),
            // The kernel collects the expired interval within about a second.
            EnforceError::Lingering => tracing::debug!(retry_ms, "{error}"),
            error => tracing::warn!(retry_ms, "decisions are not (fully) in force: {error}"),
        }
        self.report(|status| {
            status.failures += 1;
            status.failing = Some(error.to_string());
        });
    }

    fn report(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }
}

impl Installed {
    /// Names of the chains and sets that are ours, and of operators' sets.
    fn own_names(&self) -> Arc<HashSet<String>> {
        let sets = self.layout.targets().map(|(_, target)| target.name.clone());
        // A set that does not exist yet is in no layout; its creation must be noticed too.
        let operators = self.config.families().filter(|(_, family)| family.set_only);
        let sets = sets.chain(operators.map(|(_, family)| family.set.clone()));
        Arc::new(sets.chain(self.structures.iter().flat_map(Structure::chain_names)).collect())
    }

    /// Nothing in force yet.
    fn new(config: Arc<Config>, layout: Layout) -> Self {
        Self {
            config,
            elements: vec![Elements::default(); layout.sources().count()],
            layout: Arc::new(layout),
            structures: Vec::new(),
            prints: Vec::new(),
            snapshot: Snapshot::default(),
            cells: CellCounts::default(),
            excluded: Arc::default(),
            foreign: 0,
            unmet: None,
        }
    }
}

/// The monitor's next event; pending when there is no monitor.
async fn next_event(monitor: &mut Option<Monitor>) -> Result<Event, NetlinkError> {
    match monitor {
        Some(monitor) => monitor.next().await,
        None => std::future::pending().await,
    }
}
