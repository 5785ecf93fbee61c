//! What machines and bouncers do: applied to their records at once, and written to the store in batches.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use palisade_model::Commit;
use palisade_store::{BouncerUpdate, MachineUpdate, Store, StoreError};
use palisade_wire::UnixMillis;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::client_report::{ClientReport, ClientReports};
use super::records::{AuthType, Bouncer, Machine};
use crate::clock::Clock;

/// How often pending updates are written.
// A crash loses the positions of one second, which repeats deltas and does no harm.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// Client reports per write: ten thousand at once would delay the write of a ban.
const REPORTS_PER_WRITE: usize = 2000;
/// How long a request waits for the write of its client's values.
const SAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Records what machines and bouncers do, and writes it back.
#[derive(Debug)]
pub struct Activity {
    store: Store,
    pending: Mutex<PendingWrites>,
    /// Held while a batch is written.
    writing: tokio::sync::Mutex<()>,
    /// Whether the last batch could not be written.
    failing: AtomicBool,
}

/// Pending updates by row id; later updates replace earlier ones field by field.
#[derive(Debug, Default)]
struct PendingWrites {
    machines: HashMap<i64, MachineUpdate>,
    bouncers: HashMap<i64, BouncerUpdate>,
    instances: ClientReports,
}

impl PendingWrites {
    fn bouncer(&mut self, id: i64) -> &mut BouncerUpdate {
        self.bouncers.entry(id).or_insert_with(|| BouncerUpdate { id, ..BouncerUpdate::default() })
    }

    fn machine(&mut self, id: i64) -> &mut MachineUpdate {
        self.machines.entry(id).or_insert_with(|| MachineUpdate { id, ..MachineUpdate::default() })
    }
}

/// Whether a moment is less than a minute ago: a newer one is not worth a write. One in the future was written before
/// the clock was set back.
fn is_recent(moment: Option<UnixMillis>, now: UnixMillis) -> bool {
    const MINUTE: i64 = 60_000;
    moment.is_some_and(|moment| (0..MINUTE).contains(&now.0.saturating_sub(moment.0)))
}

/// Copies every field of `from` that is set into `to`.
macro_rules! merge {
    ($to:expr, $from:expr, $($field:ident)*) => { $( if $from.$field.is_some() { $to.$field = $from.$field; } )* };
}

fn merge_bouncer(to: &mut BouncerUpdate, from: BouncerUpdate) {
    merge!(to, from, last_pull last_seen cursor ip kind version os feature_flags);
}

fn merge_machine(to: &mut MachineUpdate, from: MachineUpdate) {
    merge!(to, from, ip version scenarios last_heartbeat last_seen last_push os feature_flags hub_state datasources);
}

/// Removes an update that was written, unless more was recorded meanwhile.
fn remove_if_equal<T: PartialEq>(pending: &mut HashMap<i64, T>, id: i64, written: &T) {
    if pending.get(&id) == Some(written) {
        pending.remove(&id);
    }
}

/// Whether an update sets a value where there was none.
fn is_first<T>(none_yet: bool, update: Option<&T>) -> bool {
    none_yet && update.is_some()
}

impl Activity {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            pending: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            failing: AtomicBool::new(false),
        }
    }

    fn pending(&self) -> MutexGuard<'_, PendingWrites> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bouncer has received all changes up to `commit`: a response to a request that began at `started` was written
    /// completely.
    pub fn record_pull(&self, bouncer: &Bouncer, started: UnixMillis, commit: Commit) {
        // While the database is unavailable, an unused row serves every client that uses its key. None of them gets a
        // cursor there, or one would miss what another has received; each gets the full list until its own row exists.
        let settled = bouncer.auth == AuthType::Tls || !bouncer.lock().ip.is_empty();
        let update = BouncerUpdate {
            last_pull: Some(started),
            cursor: settled.then_some((commit, started)),
            ..BouncerUpdate::default()
        };
        self.record_bouncer(bouncer, update);
    }

    /// A live query. The last pull is updated when it is older than a minute, as in the stock server; the stream cursor
    /// is not.
    pub fn record_live_query(&self, bouncer: &Bouncer, now: UnixMillis) {
        const MINUTE: i64 = 60_000;
        // A live bouncer may send hundreds of queries per second.
        self.record_pull_time(bouncer, now, MINUTE);
    }

    /// A stream request of a client that keeps its own cursor. The last pull is updated when it is older than a second.
    pub fn record_stream_request(&self, bouncer: &Bouncer, now: UnixMillis) {
        const SECOND: i64 = 1_000;
        self.record_pull_time(bouncer, now, SECOND);
    }

    /// A stream request whose response is not written yet. The last pull is updated if there is none.
    pub fn record_first_pull(&self, bouncer: &Bouncer, now: UnixMillis) {
        if bouncer.last_pull().is_none() {
            let update = BouncerUpdate { last_pull: Some(now), ..BouncerUpdate::default() };
            self.record_bouncer(bouncer, update);
        }
    }

    /// Updates the last pull unless it was updated less than `millis` ago.
    fn record_pull_time(&self, bouncer: &Bouncer, now: UnixMillis, millis: i64) {
        // A last pull in the future was written before the clock was set back.
        if bouncer.last_pull().is_none_or(|last| !(0..millis).contains(&now.0.saturating_sub(last.0))) {
            let update = BouncerUpdate { last_pull: Some(now), ..BouncerUpdate::default() };
            self.record_bouncer(bouncer, update);
        }
    }

    /// An authenticated request of a machine, whatever it is about.
    pub fn record_machine_seen(&self, machine: &Machine, now: UnixMillis) {
        let live = machine.lock();
        let is_known = is_recent(live.last_seen, now) || is_recent(live.last_heartbeat, now);
        drop(live);
        if !is_known {
            let update = MachineUpdate { last_seen: Some(now), ..MachineUpdate::default() };
            self.record_machine(machine, update);
        }
    }

    /// An authenticated request of a bouncer, whatever it is about.
    pub fn record_bouncer_seen(&self, bouncer: &Bouncer, now: UnixMillis) {
        let live = bouncer.lock();
        let is_known = is_recent(live.last_seen, now) || is_recent(live.last_pull, now);
        drop(live);
        if !is_known {
            let update = BouncerUpdate { last_seen: Some(now), ..BouncerUpdate::default() };
            self.record_bouncer(bouncer, update);
        }
    }

    /// A request of a client that shares the bouncer's key and sends an instance name.
    pub fn record_report(&self, bouncer: &Bouncer, seen: ClientReport) {
        self.pending().instances.add(bouncer.id, seen);
    }

    /// Applies an update to the bouncer and schedules it for writing; `None` fields are unchanged.
    pub fn record_bouncer(&self, bouncer: &Bouncer, update: BouncerUpdate) {
        {
            // In a block of its own: the two locks are never held together.
            let mut live = bouncer.lock();
            let update = update.clone();
            live.has_first_value |= is_first(live.last_pull.is_none(), update.last_pull.as_ref())
                || is_first(live.kind.is_empty(), update.kind.as_ref())
                || is_first(live.version.is_empty(), update.version.as_ref());
            live.last_pull = update.last_pull.or(live.last_pull);
            live.last_seen = update.last_seen.or(live.last_seen);
            live.cursor = update.cursor.or(live.cursor);
            if let Some(kind) = update.kind {
                live.kind = kind;
            }
            if let Some(version) = update.version {
                live.version = version;
            }
        }
        merge_bouncer(self.pending().bouncer(bouncer.id), update);
    }

    /// A heartbeat of a machine.
    pub fn record_heartbeat(&self, machine: &Machine, now: UnixMillis) {
        machine.lock().heartbeat_here = Some(now);
        let update = MachineUpdate { last_heartbeat: Some(now), ..MachineUpdate::default() };
        self.record_machine(machine, update);
    }

    /// Applies an update to the machine and schedules it for writing; `None` fields are unchanged.
    pub fn record_machine(&self, machine: &Machine, update: MachineUpdate) {
        {
            let mut live = machine.lock();
            let update = update.clone();
            live.has_first_value |= is_first(live.last_heartbeat.is_none(), update.last_heartbeat.as_ref())
                || is_first(live.ip.is_empty(), update.ip.as_ref())
                || is_first(live.version.is_empty(), update.version.as_ref());
            live.last_heartbeat = update.last_heartbeat.or(live.last_heartbeat);
            live.last_seen = update.last_seen.or(live.last_seen);
            live.last_push = update.last_push.or(live.last_push);
            if let Some(ip) = update.ip {
                live.ip = ip;
            }
            if let Some(version) = update.version {
                live.version = version;
            }
            if let Some(scenarios) = update.scenarios {
                live.scenarios = scenarios;
            }
        }
        merge_machine(self.pending().machine(machine.id), update);
    }

    /// Writes the bouncer's pending update if it has a first value, so that a list made after the response shows it.
    pub async fn save_first_bouncer(&self, now: UnixMillis, bouncer: &Bouncer) {
        if std::mem::take(&mut bouncer.lock().has_first_value) {
            Box::pin(self.save_bouncer(now, bouncer)).await;
        }
    }

    /// As [`Activity::save_first_bouncer`], for a machine.
    pub async fn save_first_machine(&self, now: UnixMillis, machine: &Machine) {
        if std::mem::take(&mut machine.lock().has_first_value) {
            Box::pin(self.save_machine(now, machine)).await;
        }
    }

    /// Writes the bouncer's pending update. If that fails or takes long, it stays pending.
    pub async fn save_bouncer(&self, now: UnixMillis, bouncer: &Bouncer) {
        if self.failing.load(Ordering::Relaxed) {
            return;
        }
        // Copied and not taken: the request may be dropped while it waits.
        let update = self.pending().bouncers.get(&bouncer.id).cloned();
        let Some(update) = update else { return self.batch_written().await };
        let write = self.store.update_bouncers(now, vec![update.clone()]);
        if matches!(tokio::time::timeout(SAVE_TIMEOUT, write).await, Ok(Ok(()))) {
            remove_if_equal(&mut self.pending().bouncers, update.id, &update);
        }
    }

    /// As [`Activity::save_bouncer`], for a machine.
    pub async fn save_machine(&self, now: UnixMillis, machine: &Machine) {
        if self.failing.load(Ordering::Relaxed) {
            return;
        }
        let update = self.pending().machines.get(&machine.id).cloned();
        let Some(update) = update else { return self.batch_written().await };
        let write = self.store.update_machines(now, vec![update.clone()]);
        if matches!(tokio::time::timeout(SAVE_TIMEOUT, write).await, Ok(Ok(()))) {
            remove_if_equal(&mut self.pending().machines, update.id, &update);
        }
    }

    /// Waits for the batch that is being written: an update that is not pending any more is in it.
    async fn batch_written(&self) {
        let _ = tokio::time::timeout(SAVE_TIMEOUT, self.writing.lock()).await;
    }

    /// Writes all pending updates. Updates that cannot be written stay pending.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn write_back(&self, now: UnixMillis) -> Result<(), StoreError> {
        self.write_batch(now, usize::MAX).await
    }

    /// As [`Activity::write_back`], with at most `instances` client reports.
    async fn write_batch(&self, now: UnixMillis, instances: usize) -> Result<(), StoreError> {
        let _writing = self.writing.lock().await;
        // The lock is released before the database is waited for, so requests go on recording.
        let taken = {
            let mut pending = self.pending();
            // Only reports are limited: there may be ten thousand for one bouncer, while the other updates are one
            // per row.
            let instances = pending.instances.take(instances);
            let rest = std::mem::take(&mut pending.instances);
            PendingWrites {
                instances,
                ..std::mem::replace(
                    &mut *pending,
                    PendingWrites { instances: rest, ..PendingWrites::default() },
                )
            }
        };
        let bouncers: Vec<BouncerUpdate> = taken.bouncers.values().cloned().collect();
        let machines: Vec<MachineUpdate> = taken.machines.values().cloned().collect();
        // Concurrently: the store's writer combines them in one transaction.
        let (bouncers, instances, machines) = tokio::join!(
            self.store.update_bouncers(now, bouncers),
            self.store.upsert_instances(taken.instances.rows()),
            self.store.update_machines(now, machines),
        );
        let mut unwritten = PendingWrites::default();
        // Each kind on its own: one that was written must not be written again over newer values of another LAPI.
        if bouncers.is_err() {
            unwritten.bouncers = taken.bouncers;
        }
        if instances.is_err() {
            unwritten.instances = taken.instances;
        }
        if machines.is_err() {
            unwritten.machines = taken.machines;
        }
        self.restore(unwritten);
        bouncers.and(instances).and(machines)
    }

    /// Puts updates back, below those that were recorded since.
    fn restore(&self, older: PendingWrites) {
        let mut pending = self.pending();
        // What was recorded during the failed write is newer, so it is merged on top.
        let newer = std::mem::replace(&mut *pending, older);
        for (id, update) in newer.bouncers {
            merge_bouncer(pending.bouncer(id), update);
        }
        for (id, update) in newer.machines {
            merge_machine(pending.machine(id), update);
        }
        pending.instances.merge(newer.instances);
    }

    /// Writes once a second until `stop` fires. The caller makes the final write when no request is left.
    pub async fn run_writer(&self, clock: Clock, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(WRITE_INTERVAL);
        // After a slow write the next one waits a whole interval again, and is not made up for in a burst.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let result = self.write_batch(clock.now(), REPORTS_PER_WRITE).await;
            let failed = self.failing.swap(result.is_err(), Ordering::Relaxed);
            match result {
                Ok(()) if failed => info!("last pulls and heartbeats are written to the database again"),
                Err(cause) if !failed => warn!(
                    error = &cause as &dyn std::error::Error,
                    "cannot write last pulls and heartbeats; they are kept in memory and retried every second"
                ),
                _ => {}
            }
        }
    }
}
