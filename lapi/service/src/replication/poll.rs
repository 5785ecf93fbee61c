//! Polls the database for commits of other processes: the admin CLI and other LAPIs.
//!
//! On PostgreSQL a notification triggers a poll at once. Notifications can be lost with their connection, so there is a
//! timer as well: slow while notifications are known to arrive, four times a second otherwise. The admin command waits
//! until what it wrote has been applied; each such request triggers a poll at once, and is answered after it.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use palisade_model::Commit;
use palisade_store::{Head, Listener, Notice, Store, StoreError, SyncRequest};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::replica::{Replica, ReplicaState, ReplicationEvent};
use crate::{allowlists::Allowlists, clock::Clock, registry::Registry};

/// How often `head` is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The same while notifications arrive: only for one that was lost.
const POLL_INTERVAL_LISTENING: Duration = Duration::from_secs(1);
/// The longest pause between polls while the database is unavailable.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How long a missing commit may take to be reported locally before it is fetched.
// Concurrent writes report out of order all the time. A query for each would cost more than the delay.
const GAP_GRACE: Duration = Duration::from_millis(20);
/// About how many changes are fetched at once.
const CHANGES_PER_READ: usize = 20_000;
/// Requests to catch up that wait for a poll. Further ones are dropped, and those processes do not wait.
const MAX_SYNC_REQUESTS: usize = 64;

/// What replication needs of its surroundings.
#[derive(Debug)]
pub struct Setup {
    /// The database to follow.
    pub store: Store,
    /// The time at which decisions end.
    pub clock: Clock,
    /// Reloaded when the registry version in the database changes.
    pub registry: Arc<Registry>,
    /// Reloaded likewise.
    pub allowlists: Arc<Allowlists>,
    /// Kept up to date by the poll.
    pub metrics: DatabaseMetrics,
}

/// Metrics of the database as the poll finds it. Clones share the values.
#[derive(Debug, Clone, Default)]
pub struct DatabaseMetrics {
    /// 1 while the database answers.
    pub up: Gauge,
    /// Polls that failed.
    pub failures: Counter,
}

/// Polls the database; keeps the state of the last poll, and the triggers of the next.
#[derive(Debug)]
pub(super) struct Poller {
    store: Store,
    pub(super) clock: Clock,
    registry: Arc<Registry>,
    allowlists: Arc<Allowlists>,
    metrics: DatabaseMetrics,
    replica: Arc<Replica>,
    events: mpsc::UnboundedSender<ReplicationEvent>,
    seen: Mutex<LastSeen>,
    gap: Notify,
    /// Another process has committed: poll without the grace period.
    immediate: Notify,
    listening: AtomicBool,
    /// Answered after the next poll.
    sync_requests: Mutex<Vec<SyncRequest>>,
    /// Serialises polls, so that an older result never replaces a newer one.
    poll_lock: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct LastSeen {
    database: Uuid,
    registry_version: i64,
    reload: bool,
}

impl Poller {
    /// The replica holds the database's state at `head`.
    pub(super) fn new(
        setup: Setup,
        replica: Arc<Replica>,
        events: mpsc::UnboundedSender<ReplicationEvent>,
        head: Head,
    ) -> Self {
        let Setup { store, clock, registry, allowlists, metrics } = setup;
        let seen =
            LastSeen { database: head.database, registry_version: head.registry_version, reload: false };
        Self {
            store,
            clock,
            registry,
            allowlists,
            metrics,
            replica,
            events,
            seen: Mutex::new(seen),
            gap: Notify::new(),
            immediate: Notify::new(),
            listening: AtomicBool::new(false),
            sync_requests: Mutex::default(),
            poll_lock: tokio::sync::Mutex::new(()),
        }
    }

    /// A commit is missing: poll after the grace period.
    // `notify_one` keeps a permit, so a request during a poll leads to another one.
    pub(super) fn poll_soon(&self) {
        self.gap.notify_one();
    }

    /// A notification arrived, while the replica is at `head`.
    fn on_commit(&self, head: Commit, commit: Commit, registry_version: i64, own: bool) {
        if self.seen().registry_version != registry_version || (commit > head && !own) {
            self.immediate.notify_one();
        } else if commit > head {
            // Local commits are reported directly, unless the writing request was dropped.
            self.gap.notify_one();
        }
    }

    /// The replica is inconsistent: reload everything at the next poll.
    pub(super) fn reload_soon(&self) {
        self.change(|seen| seen.reload = true);
        self.gap.notify_one();
    }

    fn interval(&self) -> Duration {
        if self.listening.load(Ordering::Relaxed) { POLL_INTERVAL_LISTENING } else { POLL_INTERVAL }
    }

    fn seen(&self) -> LastSeen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut LastSeen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Polls, and on PostgreSQL listens, until `stop` fires.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let notifications = stop.run_until_cancelled(self.receive_notifications(self.store.listen()));
        tokio::join!(self.poll_loop(&stop), notifications);
    }

    fn sync_requests(&self) -> MutexGuard<'_, Vec<SyncRequest>> {
        self.sync_requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers requests that came before a poll, which found `head`.
    async fn answer(&self, requests: Vec<SyncRequest>, head: Commit) {
        // Activity of machines and bouncers is written with a delay; the command has to see it.
        if let Err(error) = self.registry.activity.write_back(self.clock.now()).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot write last pulls and heartbeats"
            );
        }
        self.replica.wait_until_applied(head).await;
        for request in requests {
            request.answer().await;
        }
    }

    async fn receive_notifications(&self, mut listener: Listener) {
        let mut disconnected = false;
        loop {
            match listener.next().await {
                Notice::Sync(request) => {
                    let mut requests = self.sync_requests();
                    if requests.len() < MAX_SYNC_REQUESTS {
                        requests.push(request);
                    }
                    drop(requests);
                    self.immediate.notify_one();
                }
                Notice::Committed { commit, registry_version, own } => {
                    self.on_commit(self.replica.head(), commit, registry_version, own)
                }
                Notice::Listening => {
                    // From here on the slower interval is enough.
                    self.listening.store(true, Ordering::Relaxed);
                    // Commits before this may have been missed.
                    self.immediate.notify_one();
                    if std::mem::take(&mut disconnected) {
                        tracing::info!("change notifications arrive again");
                    }
                }
                Notice::Disconnected(error) => {
                    self.listening.store(false, Ordering::Relaxed);
                    if !std::mem::replace(&mut disconnected, true) {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "change notifications do not arrive; the database is polled four times a second"
                        );
                    }
                }
            }
        }
    }

    /// Polls until `stop` fires. While the database is unavailable, requests are answered from memory.
    async fn poll_loop(&self, stop: &CancellationToken) {
        let mut unreachable_since: Option<Instant> = None;
        let mut pause = POLL_INTERVAL;
        loop {
            let gap = async {
                self.gap.notified().await;
                tokio::time::sleep(GAP_GRACE).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                // While the database is unavailable, gaps must not cause a busy loop.
                () = gap, if unreachable_since.is_none() => {}
                // Another process has reached the database, so this one may too.
                () = self.immediate.notified() => {}
            }
            // Before the poll, which may miss what was written for later ones.
            let requests = std::mem::take(&mut *self.sync_requests());
            let Some(polled) = stop.run_until_cancelled(self.poll_once()).await else { return };
            match polled {
                Ok(head) => {
                    if !requests.is_empty() {
                        self.answer(requests, head).await;
                    }
                    if let Some(since) = unreachable_since.take() {
                        tracing::info!(seconds = since.elapsed().as_secs(), "the database answers again");
                    }
                    self.metrics.up.set(1);
                    pause = self.interval();
                }
                Err(error) => {
                    self.metrics.failures.inc();
                    self.metrics.up.set(0);
                    if unreachable_since.is_none() {
                        unreachable_since = Some(Instant::now());
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the database does not answer; decisions are served from memory, writes are refused"
                        );
                    }
                    // Doubled from the interval in use. A database that is starting gets no more than a query every
                    // few seconds from each LAPI.
                    pause = (pause * 2).min(MAX_BACKOFF);
                }
            }
        }
    }

    /// Polls once: queues new commits and reloads the registry when its version has changed. Returns the commit that the
    /// replica will reach.
    pub(super) async fn poll_once(&self) -> Result<Commit, StoreError> {
        let _guard = self.poll_lock.lock().await;
        // Read before the database is queried, so that it cannot be ahead of what is committed.
        let mut known = self.replica.head();
        let head = self.store.head().await?;
        let seen = self.seen();
        // A lower commit number shows a restored backup. One that has been passed again by now is recognised by its
        // timelines.
        if head.database != seen.database || head.commit < known || seen.reload {
            return self.reload().await;
        }
        while known < head.commit {
            let commits = self.store.changes_since(known, CHANGES_PER_READ).await?;
            // Empty commits are listed too, so the list is not empty here; if it were, the loop would still end.
            let through = commits.last().map_or(head.commit, |(commit, _)| *commit);
            let after = known;
            known = through;
            // Fails only when replication has ended at shutdown.
            let _ = self.events.send(ReplicationEvent::Fetched { after, through, commits });
        }
        if head.registry_version != seen.registry_version {
            self.refresh(head).await?;
        }
        Ok(known)
    }

    /// Reloads everything, because the replica cannot be brought up to date by commits.
    async fn reload(&self) -> Result<Commit, StoreError> {
        tracing::warn!(
            "the database was replaced or restored, or the replica is inconsistent; reloading all decisions"
        );
        let now = self.clock.now();
        self.store.begin_timeline(now, fastrand::u64(1..)).await?;
        let (replica, head) = ReplicaState::read(&self.store, now).await?;
        let _ = self.events.send(ReplicationEvent::Reset(Box::new(replica)));
        self.change(|seen| {
            seen.database = head.database;
            seen.reload = false;
        });
        self.refresh(head).await?;
        Ok(head.commit)
    }

    /// Reloads machines, bouncers, allowlists and timelines.
    async fn refresh(&self, head: Head) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.allowlists.refresh(now).await?;
        self.registry.refresh().await?;
        let timelines = self.store.timelines().await?;
        self.replica.active_mut().set_timelines(head.database, timelines);
        // Last: if anything above fails, the next poll tries again. The version was read before the tables, so a
        // change in between is read twice and not missed.
        self.change(|seen| seen.registry_version = head.registry_version);
        Ok(())
    }
}
