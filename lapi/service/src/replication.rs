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
mod replica;

use std::sync::{Arc, Mutex, PoisonError};

use palisade_model::{Change, Commit};
use palisade_replica::{CursorScope, View};
use palisade_store::StoreError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use apply::Applier;
use poll::Poller;
use replica::{Replica, ReplicaState, ReplicationEvent};

pub use poll::{DatabaseMetrics, Setup};
pub use replica::HISTORY;

/// The replica of the active decisions and the queue of events to apply.
#[derive(Debug)]
pub struct Replication {
    replica: Arc<Replica>,
    poller: Poller,
    sender: mpsc::UnboundedSender<ReplicationEvent>,
    /// The receiving end of `sender`, until [`Replication::run`] takes it.
    events: Mutex<Option<mpsc::UnboundedReceiver<ReplicationEvent>>>,
}

impl Replication {
    /// Begins a timeline, and loads the active decisions and the allowlists.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn load(setup: Setup) -> Result<Arc<Self>, StoreError> {
        let now = setup.clock.now();
        // Before the load, so that the timelines read with it contain this one. 0 stands for no timeline.
        match setup.store.begin_timeline(now, fastrand::u64(1..)).await {
            // The database is full or read-only. The timeline begins before the next write, and until then none is needed.
            Err(error) if !error.is_temporary() => return Err(error),
            _ => {}
        }
        let (state, head) = ReplicaState::read(&setup.store, now).await?;
        setup.allowlists.refresh(now).await?;
        setup.metrics.up.set(1);
        // Unbounded, because a write must not fail or wait here after it was committed. It is bounded by the writes
        // in progress, each of which waits for its own event.
        let (sender, events) = mpsc::unbounded_channel();
        let replica = Arc::new(Replica::new(state));
        let poller = Poller::new(setup, replica.clone(), sender.clone(), head);
        Ok(Arc::new(Self { replica, poller, sender, events: Mutex::new(Some(events)) }))
    }

    /// Applies commits in order, polls for those of other processes, reloads the registry and allowlists when they have
    /// changed, and expires decisions, until `stop` fires.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let Some(events) = self.events.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return tracing::error!("replication is already running");
        };
        let applier = Applier::new(&self.replica, &self.poller);
        tokio::join!(applier.run(events, stop.clone()), self.poller.run(stop));
    }

    /// A snapshot of the active decisions.
    pub fn view(&self) -> View {
        self.replica.state().0
    }

    /// A snapshot, and the scope of its cursors.
    pub fn state(&self) -> (View, Arc<CursorScope>) {
        self.replica.state()
    }

    /// Wakes for every applied commit; slow readers skip some.
    pub fn commits(&self) -> watch::Receiver<Commit> {
        self.replica.commits()
    }

    /// Queues the commits of a local write and waits until they are applied.
    pub async fn apply_local(&self, commits: Vec<(Commit, Vec<Change>)>) {
        let last = commits.iter().map(|(commit, _)| *commit).max();
        for (commit, changes) in commits {
            self.queue_local(commit, changes);
        }
        self.wait_until_applied(last).await;
    }

    /// Queues a commit of a local write. Commits may be queued in any order.
    pub fn queue_local(&self, commit: Commit, changes: Vec<Change>) {
        // The queue is closed only at the very end of shutdown.
        let _ = self.sender.send(ReplicationEvent::Local(commit, changes));
    }

    /// Waits until a queued commit is applied. A write without decisions has none and nothing to wait for.
    pub async fn wait_until_applied(&self, commit: Option<Commit>) {
        if let Some(commit) = commit.filter(|_| !self.sender.is_closed()) {
            self.replica.wait_until_applied(commit).await;
        }
    }

    /// Applies everything the database holds now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let head = self.poller.poll_once().await?;
        self.replica.wait_until_applied(head).await;
        Ok(())
    }
}
