//! Replication: keeps the active decisions in memory up to date with the database.
//!
//! ```text
//!  local writes ──► store ──► their commits ───┐
//!                                              ├──► apply: in order, once each ──► ActiveSet ──► streams, live queries
//!  table `head`, polled ──► commits of others ─┘
//! ```
//!
//! The response to a write is sent after its commit has been applied, so a client that posts and then pulls sees its
//! own write.

mod apply;
mod commit_sequencer;
mod poll;

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use palisade_replica::{ActiveSet, Change, Commit, Count, CursorScope, Timeline, View};
use palisade_store::{Head, Store, StoreError};
use palisade_wire::UnixMillis;
use tokio::sync::{mpsc, watch as latest};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use commit_sequencer::Changes;

use crate::Lapi;

/// How long ends and removals of decisions are remembered. A bouncer whose cursor is older gets a full response.
pub(crate) const HISTORY: Duration = Duration::from_secs(24 * 3600);
/// The maximum number of remembered ends and removals.
const HISTORY_ENTRIES: usize = 1_000_000;
/// How long the response to a write waits for its commit to be applied. Only a missing earlier commit together with an
/// unavailable database takes longer; the write itself is stored.
const APPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The replica of the active decisions and the queue of events to apply.
#[derive(Debug)]
pub(crate) struct Replication {
    active: RwLock<ReplicaState>,
    sender: mpsc::UnboundedSender<ReplicationEvent>,
    /// The receiving end of `sender`, until [`apply`] takes it.
    events: Mutex<Option<mpsc::UnboundedReceiver<ReplicationEvent>>>,
    applied: latest::Sender<Commit>,
    polling: poll::PollState,
}

/// The active decisions, and the database and timelines that cursors refer to.
#[derive(Debug)]
struct ReplicaState {
    set: ActiveSet,
    scope: Arc<CursorScope>,
}

impl ReplicaState {
    /// Another LAPI on this database has begun a timeline.
    fn set_timelines(&mut self, database: Uuid, timelines: Vec<Timeline>) {
        if self.scope.database == database && self.scope.timelines != timelines {
            self.scope = Arc::new(CursorScope { database, timelines });
        }
    }
}

/// Input of [`apply`]. The queue is bounded by the number of concurrent writes: each waits until its own commits are
/// applied.
#[derive(Debug)]
enum ReplicationEvent {
    /// Commits of a write of this process.
    Local(Vec<(Commit, Changes)>),
    /// All that is left of the commits after `after` up to `through`, read from the database.
    Fetched { after: Commit, through: Commit, commits: Vec<(Commit, Changes)> },
    /// A full reload: the database was replaced or restored to an earlier state.
    Reset(Box<ReplicaState>),
}

impl Default for Replication {
    /// Empty until [`load`] is called.
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
    /// A snapshot of the active decisions.
    pub(crate) fn view(&self) -> View {
        self.state().0
    }

    /// A snapshot, and the scope of its cursors.
    pub(crate) fn state(&self) -> (View, Arc<CursorScope>) {
        let replica = self.active.read().unwrap_or_else(PoisonError::into_inner);
        (replica.set.view(), replica.scope.clone())
    }

    /// Wakes for every applied commit; slow readers skip some.
    pub(crate) fn commits(&self) -> latest::Receiver<Commit> {
        self.applied.subscribe()
    }

    fn active_mut(&self) -> RwLockWriteGuard<'_, ReplicaState> {
        self.active.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last applied commit.
    pub(crate) fn head(&self) -> Commit {
        *self.applied.borrow()
    }

    /// Queues the commits of a local write and waits until they are applied.
    pub(crate) async fn apply_local(&self, commits: Vec<(Commit, Vec<Change>)>) {
        let Some(last) = commits.iter().map(|(commit, _)| *commit).max() else { return };
        // The queue is closed only at the very end of shutdown.
        if self.sender.send(ReplicationEvent::Local(commits)).is_ok() {
            self.wait_until_applied(last).await;
        }
    }

    /// Waits until a commit is applied, at most [`APPLY_TIMEOUT`].
    async fn wait_until_applied(&self, commit: Commit) {
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|head| *head >= commit);
        if !matches!(tokio::time::timeout(APPLY_TIMEOUT, reached).await, Ok(Ok(_))) {
            tracing::warn!(
                commit = commit.0,
                "a commit is stored but not applied yet; bouncers receive it later"
            );
        }
    }
}

/// Loads the active decisions and allowlists. Called once, before requests are served.
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

/// Applies commits in order, polls for those of other processes, reloads the registry and allowlists when they have
/// changed, and expires decisions, until `stop` fires.
pub(crate) async fn follow(lapi: Lapi, stop: CancellationToken) {
    tokio::join!(apply::run(lapi.clone(), stop.clone()), poll::run(lapi, stop));
}

/// Updates the gauges that are computed from memory; called before each scrape.
pub(crate) fn show(lapi: &Lapi) {
    lapi.metrics.waiting.set(i64::try_from(lapi.long_poll.waiters()).unwrap_or(i64::MAX));
    // A scan of all decisions: on a snapshot, so that it blocks no one.
    let view = lapi.replication.view();
    let count = |count: Count| {
        ((count.reason, count.origin, count.action), i64::try_from(count.count).unwrap_or(i64::MAX))
    };
    lapi.metrics.show(view.counts(lapi.clock.now()).into_iter().map(count));
}

/// Reads the whole state of the replica.
async fn read(store: &Store, now: UnixMillis) -> Result<(ReplicaState, Head), StoreError> {
    // Before the snapshot: a commit in between is fetched again by the poll.
    let mut head = store.head().await?;
    let mut set = ActiveSet::new(HISTORY, HISTORY_ENTRIES);
    let mut loading = set.loading(now);
    head.commit = store.load(now, HISTORY, &mut |change| loading.push(change)).await?;
    set.replace(loading, head.commit);
    let scope = Arc::new(CursorScope { database: head.database, timelines: store.timelines().await? });
    Ok((ReplicaState { set, scope }, head))
}

impl Lapi {
    /// Applies everything the database holds now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        let head = poll::poll_once(self).await?;
        self.replication.wait_until_applied(head).await;
        Ok(())
    }

    /// Recounts the alerts by scenario, for the metrics.
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
