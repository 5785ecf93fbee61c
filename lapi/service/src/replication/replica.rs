//! The replica: the active decisions in memory, and the events that change it.

use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use palisade_model::{Commit, Timeline};
use palisade_replica::{ActiveSet, CursorScope, View};
use palisade_store::{Head, Store, StoreError};
use palisade_wire::UnixMillis;
use tokio::sync::watch;
use uuid::Uuid;

use super::commit_sequencer::Changes;

/// How long ends and removals of decisions are kept. A bouncer whose cursor is older gets a full response.
pub const HISTORY: Duration = Duration::from_secs(24 * 3600);
/// The maximum number of ends and removals that are kept.
const HISTORY_ENTRIES: usize = 1_000_000;
/// How long the response to a write waits for its commit to be applied. Only a missing earlier commit together with an
/// unavailable database takes longer; the write itself is stored.
const APPLY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Replica {
    active: RwLock<ReplicaState>,
    applied: watch::Sender<Commit>,
}

/// The active decisions, and the database and timelines that cursors refer to.
#[derive(Debug)]
pub(super) struct ReplicaState {
    pub(super) set: ActiveSet,
    scope: Arc<CursorScope>,
}

/// What changes the replica. The queue is bounded by the number of concurrent writes: each waits until its own commits
/// are applied, and an import of several writes each of them slower than it is applied.
#[derive(Debug)]
pub(super) enum ReplicationEvent {
    /// A commit of this process.
    Local(Commit, Changes),
    /// All that is left of the commits after `after` up to `through`, read from the database.
    Fetched { after: Commit, through: Commit, commits: Vec<(Commit, Changes)> },
    /// A full reload: the database was replaced or restored to an earlier state.
    Reset(Box<ReplicaState>),
}

impl ReplicaState {
    /// Reads the whole state from the database.
    pub(super) async fn read(store: &Store, now: UnixMillis) -> Result<(Self, Head), StoreError> {
        // Before the snapshot: a commit in between is fetched again by the poll.
        let mut head = store.head().await?;
        let mut set = ActiveSet::new(HISTORY, HISTORY_ENTRIES);
        let mut loading = set.loading(now);
        // The commit of the snapshot, which may be later than the one read above.
        head.commit = store.load(now, HISTORY, &mut |change| loading.push(change)).await?;
        set.replace(loading, head.commit);
        let scope = Arc::new(CursorScope { database: head.database, timelines: store.timelines().await? });
        Ok((Self { set, scope }, head))
    }

    /// Another LAPI on this database has begun a timeline.
    pub(super) fn set_timelines(&mut self, database: Uuid, timelines: Vec<Timeline>) {
        // Compared first: a new `Arc` makes registrations with the old one compute their own response.
        if self.scope.database == database && self.scope.timelines != timelines {
            self.scope = Arc::new(CursorScope { database, timelines });
        }
    }
}

impl Replica {
    pub(super) fn new(state: ReplicaState) -> Self {
        let head = state.set.head();
        Self { active: RwLock::new(state), applied: watch::Sender::new(head) }
    }

    /// A snapshot, and the scope of its cursors.
    pub(super) fn state(&self) -> (View, Arc<CursorScope>) {
        let replica = self.active.read().unwrap_or_else(PoisonError::into_inner);
        (replica.set.view(), replica.scope.clone())
    }

    pub(super) fn active_mut(&self) -> RwLockWriteGuard<'_, ReplicaState> {
        self.active.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn replace(&self, state: ReplicaState) {
        // Taken before the state moves behind the lock.
        let head = state.set.head();
        *self.active_mut() = state;
        self.set_head(head);
    }

    pub(super) fn head(&self) -> Commit {
        *self.applied.borrow()
    }

    /// All commits up to this one are applied.
    pub(super) fn set_head(&self, commit: Commit) {
        self.applied.send_replace(commit);
    }

    pub(super) fn commits(&self) -> watch::Receiver<Commit> {
        self.applied.subscribe()
    }

    /// Waits until a commit is applied, at most [`APPLY_TIMEOUT`].
    pub(super) async fn wait_until_applied(&self, commit: Commit) {
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
