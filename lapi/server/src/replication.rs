//! Keeps the active decisions in memory abreast of the database.
//!
//! ```text
//! a write ──► store ──► its commits ──┐
//!                                     ├──► feed: in order, once each ──► ActiveSet ──► streams, live queries
//! head, four times a second ──► what others wrote ──┘
//! ```
//!
//! A write is answered after its commit has been applied, so whoever posts and then pulls finds what they posted.

mod apply;
mod commit_sequencer;
mod poll;

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use palisade_active::{ActiveSet, Change, Commit, Count, CursorScope, Timeline, View};
use palisade_store::{Head, Store, StoreError};
use palisade_wire::UnixMillis;
use tokio::sync::{mpsc, watch as latest};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use commit_sequencer::Changes;

use crate::Lapi;

/// For how long it is remembered that a decision ended or was removed. A bouncer that was away for longer gets a
/// full answer.
pub(crate) const HISTORY: Duration = Duration::from_secs(24 * 3600);
/// How many such memories there may be.
const HISTORY_ENTRIES: usize = 1_000_000;
/// How long the answer to a write waits for its commit to be applied. Longer it waits only where an earlier commit
/// is missing and the database does not answer; what was written is safe nevertheless.
const APPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The active decisions, the way in for commits, and how far they have come.
#[derive(Debug)]
pub(crate) struct Replication {
    active: RwLock<ReplicaState>,
    sender: mpsc::UnboundedSender<ReplicationEvent>,
    /// The other end of `sender`, until the feed takes it.
    events: Mutex<Option<mpsc::UnboundedReceiver<ReplicationEvent>>>,
    applied: latest::Sender<Commit>,
    polling: poll::PollState,
}

/// The active decisions, and whose they are: cursors count the commits of one database.
#[derive(Debug)]
struct ReplicaState {
    set: ActiveSet,
    scope: Arc<CursorScope>,
}

impl ReplicaState {
    /// Another LAPI on this database has begun a line of its history.
    fn set_timelines(&mut self, database: Uuid, timelines: Vec<Timeline>) {
        if self.scope.database == database && self.scope.timelines != timelines {
            self.scope = Arc::new(CursorScope { database, timelines });
        }
    }
}

/// What the feed is told. Bounded by the writes under way: each waits for its own to be applied.
#[derive(Debug)]
enum ReplicationEvent {
    /// A writer's own commits.
    Local(Vec<(Commit, Changes)>),
    /// All that is left of the commits after `after` up to `through`, read from the database.
    Fetched { after: Commit, through: Commit, commits: Vec<(Commit, Changes)> },
    /// The database is another one, or went back: this is what it holds.
    Reset(Box<ReplicaState>),
}

impl Default for Replication {
    /// Empty, until [`load`] fills it.
    fn default() -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        Self {
            active: RwLock::new(ReplicaState {
                set: ActiveSet::new(HISTORY, HISTORY_ENTRIES),
                scope: Arc::default(),
            }),
            sender,
            events: Mutex::new(Some(events)),
            applied: latest::Sender::new(Commit(0)),
            polling: poll::PollState::default(),
        }
    }
}

impl Replication {
    /// The active decisions as they are now; what comes later does not change it.
    pub(crate) fn view(&self) -> View {
        self.state().0
    }

    /// The same, and whose commits it counts.
    pub(crate) fn state(&self) -> (View, Arc<CursorScope>) {
        let replica = self.active.read().unwrap_or_else(PoisonError::into_inner);
        (replica.set.view(), replica.scope.clone())
    }

    /// Wakes for every commit that is applied; slow readers skip some.
    pub(crate) fn commits(&self) -> latest::Receiver<Commit> {
        self.applied.subscribe()
    }

    fn active_mut(&self) -> RwLockWriteGuard<'_, ReplicaState> {
        self.active.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last commit that is applied.
    pub(crate) fn head(&self) -> Commit {
        *self.applied.borrow()
    }

    /// Hands on what a write did, and waits until it is applied.
    pub(crate) async fn apply_local(&self, commits: Vec<(Commit, Vec<Change>)>) {
        let Some(last) = commits.iter().map(|(commit, _)| *commit).max() else { return };
        // Nobody listens at the very end of the process, when nobody asks either.
        if self.sender.send(ReplicationEvent::Local(commits)).is_ok() {
            self.wait_until_applied(last).await;
        }
    }

    /// Waits until a commit is applied, within reason.
    async fn wait_until_applied(&self, commit: Commit) {
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|head| *head >= commit);
        if !matches!(tokio::time::timeout(APPLY_TIMEOUT, reached).await, Ok(Ok(_))) {
            tracing::warn!(
                commit = commit.0,
                "a commit is stored and not yet applied; bouncers get it later"
            );
        }
    }
}

/// Loads the active decisions and allowlists. Called once, before anybody is served.
pub(crate) async fn load(lapi: &Lapi) -> Result<(), StoreError> {
    let now = lapi.clock.now();
    lapi.store.begin_timeline(now, fastrand::u64(1..)).await?;
    let (replica, head) = read(&lapi.store, now).await?;
    *lapi.replication.active_mut() = replica;
    lapi.replication.applied.send_replace(head.commit);
    lapi.replication.polling.begin(head);
    lapi.metrics.database_up.set(1);
    lapi.allowlists.refresh(&lapi.store, now).await?;
    lapi.count_alerts().await
}

/// Applies commits in order, looks for those of others, re-reads registry and allowlists when they changed, and ends
/// decisions on time, until `stop` fires.
pub(crate) async fn follow(lapi: Lapi, stop: CancellationToken) {
    tokio::join!(apply::run(lapi.clone(), stop.clone()), poll::run(lapi, stop));
}

/// Brings the gauges that are read from memory up to date; called before each scrape.
pub(crate) fn show(lapi: &Lapi) {
    lapi.metrics.waiting.set(i64::try_from(lapi.long_poll.waiters()).unwrap_or(i64::MAX));
    // A scan, so of a view: nobody waits for it.
    let view = lapi.replication.view();
    let count = |count: Count| {
        ((count.reason, count.origin, count.action), i64::try_from(count.count).unwrap_or(i64::MAX))
    };
    lapi.metrics.show(view.counts(lapi.clock.now()).into_iter().map(count));
}

/// Reads everything the memory needs.
async fn read(store: &Store, now: UnixMillis) -> Result<(ReplicaState, Head), StoreError> {
    // Before the snapshot: what is committed between the two is read again by the watch.
    let mut head = store.head().await?;
    let mut set = ActiveSet::new(HISTORY, HISTORY_ENTRIES);
    let mut loading = set.loading(now);
    head.commit = store.load(now, HISTORY, &mut |change| loading.push(change)).await?;
    set.replace(loading, head.commit);
    let scope = Arc::new(CursorScope { database: head.database, timelines: store.timelines().await? });
    Ok((ReplicaState { set, scope }, head))
}

impl Lapi {
    /// Brings the memory up to what the database holds now, whoever wrote it.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        let head = poll::poll_once(self).await?;
        self.replication.wait_until_applied(head).await;
        Ok(())
    }

    /// Counts the alerts by scenario anew, for the metrics.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn count_alerts(&self) -> Result<(), StoreError> {
        let counts = self.store.alert_counts().await?;
        let counts = counts.into_iter().map(|(scenario, n)| (scenario, i64::try_from(n).unwrap_or(i64::MAX)));
        self.metrics.alerts_counted(counts);
        Ok(())
    }
}
