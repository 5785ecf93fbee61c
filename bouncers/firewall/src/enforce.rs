//! The task that keeps the kernel as the cache wants it.
//!
//! ```text
//!  cache changed ────────► Changes      difference of two snapshots, one transaction
//!  elements touched by others ─► Sets   read everything, compare, change what differs
//!  structure touched, start, reload ─► Everything   structure first, then sets, then leftovers
//! ```
//!
//! Now and then everything is verified in the background ([`verify`]).
//!
//! Whatever fails is tried again with growing pauses, one level higher: nothing is ever marked as done that the
//! kernel has not confirmed.

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

/// Other programs' changes come in bursts (a reload flushes, then loads): the wait for the rest of a burst.
const SETTLE: Duration = Duration::from_millis(30);

/// How often it is checked whether the LAPI has sent everything, after a comparison with remembered decisions only. An
/// answer that brings nothing new makes no new generation.
const UNTIL_KNOWN: Duration = Duration::from_millis(500);

/// Odd decisions that are remembered as reported; the list starts anew when it is full.
const WARNED: usize = 4096;

/// What has been warned of.
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

/// Keeps the kernel as the cache wants it. Built by [`Enforcer::new`], works in [`Enforcer::run`].
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
    /// What must be compared because a notification may have been missed.
    suspicion: Need,
    /// Another program has changed a table since the last comparison.
    disturbed: bool,
    /// How often in a row intervals were refused because of some that have ended.
    lingering: u8,
    /// Something in the kernel was changed that was as wanted before.
    put_right: bool,
    /// The kernel was compared with remembered decisions only, so what it holds beyond them was left.
    lenient: bool,
    /// The look at everything that is under way.
    verification: Option<BackgroundVerification>,
    /// When to look again for an operator's table or set that could not be used.
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

/// What stands in the kernel by our doing.
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
    /// Why a family is left out, if one is.
    unmet: Option<String>,
}

/// How much has to be compared, from least to most.
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
            if news && need > Need::Changes && self.disturbed && Instant::now() < not_before {
                self.follow_meanwhile().await;
            }
            news = false;
            if need > Need::Nothing && Instant::now() >= not_before && !stop.is_cancelled() {
                generations.mark_unchanged();
                match self.satisfy(need).await {
                    Ok(()) => {
                        if need >= Need::Sets {
                            self.verification = None;
                            self.note_repair();
                            verify = Instant::now() + self.current.config.reconcile_interval;
                        }
                        need = std::mem::replace(&mut self.suspicion, Need::Nothing);
                        not_before = Instant::now() + self.pause.take().unwrap_or_default();
                        self.pace.succeeded();
                    }
                    Err(error) if error.is_hopeless() && !self.status.borrow().is_ready() => {
                        return Err(error);
                    }
                    Err(error) => {
                        self.uncollected = true;
                        let pause = self.pace.failed();
                        self.failed(&error, pause);
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
                biased;
                () = stop.cancelled() => break,
                event = next_event(&mut self.monitor) => {
                    let foreign = self.judge(event);
                    if foreign > need {
                        // (More of the same burst falls into the same repair.)
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

    /// Opens the way to the kernel while the first decisions are waited for. A failure shows again, and is reported,
    /// when they are enforced.
    pub async fn prepare(&mut self) {
        if self.current.config.mode != Mode::DryRun
            && let Err(error) = self.kernel_access.kernel(|_| ()).await
        {
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
            Need::Changes if self.lenient && self.knows_all() && self.installed.is_some() => {
                self.compare_sets().await
            }
            Need::Changes if self.installed.is_some() => self.follow().await,
            Need::Sets if self.installed.is_some() && self.is_untouched().await? => self.compare_sets().await,
            Need::Changes | Need::Sets | Need::Everything => self.install().await,
        }
    }

    /// Brings in what is new while a repair is put off, because another program undoes it again and again: bans do not
    /// wait for that. What fails is part of the repair.
    async fn follow_meanwhile(&mut self) {
        if self.installed.is_some()
            && let Err(error) = self.follow().await
        {
            tracing::debug!(%error, "what is new waits for the repair");
        }
    }

    /// Whether the LAPI has sent everything since the start. Persisted decisions may be some seconds older than
    /// what stands in the kernel, so until then elements are only added: those beyond it end by themselves.
    fn knows_all(&self) -> bool {
        self.cache.freshness().is_complete()
    }

    /// Dry-run mode: logs what would be done, with the stock bouncer's messages.
    async fn dry_run(&mut self) {
        self.retire_former(&[]).await;
        let newer = self.cache.load();
        let older = self.installed.as_ref().map(|installed| installed.snapshot.clone());
        dry_run::tell(older.as_ref(), &newer);
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

    /// What an event means for us.
    fn judge(&mut self, event: Result<Event, NetlinkError>) -> Need {
        match event {
            Ok(Event::Committed { generation, .. }) if self.kernel_access.made(generation) => Need::Nothing,
            Ok(Event::Committed { touched, program, .. }) => {
                let what = if touched.structure { "structure" } else { "elements" };
                let shared = self.current.config.families().all(|(_, family)| family.set_only);
                // One line for a burst; and none where others are expected to work as well.
                if self.pace.is_calm() && !shared {
                    tracing::info!(program, what, "another program changed a table of ours: comparing");
                } else {
                    tracing::debug!(program, what, "another program changed a table of ours");
                }
                if touched.structure { Need::Everything } else { Need::Sets }
            }
            Ok(Event::Overrun) => {
                tracing::debug!("notifications of ruleset changes were lost; comparing everything");
                Need::Sets
            }
            Err(error) => {
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

    /// Counts a repair, if the last comparison was made because of others and found something to put right.
    fn note_repair(&mut self) {
        let (disturbed, put_right) =
            (std::mem::take(&mut self.disturbed), std::mem::take(&mut self.put_right));
        if disturbed && put_right {
            self.pace.repaired();
            self.report(|status| status.repairs += 1);
        }
    }

    /// Processes the notifications that have already arrived.
    fn drain_monitor(&mut self) {
        while let Some(event) = self.monitor.as_mut().and_then(Monitor::waiting) {
            let foreign = self.judge(event);
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
        // A table taken away is built again at once; that is a repair, no failure to be afraid of.
        match error {
            EnforceError::Gone => tracing::info!(retry_ms, "{error}"),
            // Over within a second or so.
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
        // (One that is missing yet is in no layout.)
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

/// The monitor's next event; waits for ever when there is no monitor.
async fn next_event(monitor: &mut Option<Monitor>) -> Result<Event, NetlinkError> {
    match monitor {
        Some(monitor) => monitor.next().await,
        None => std::future::pending().await,
    }
}
