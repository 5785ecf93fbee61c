//! Applies commits to the replica in order. The only writer of the replica.

use std::sync::Arc;
use std::time::Duration;

use palisade_model::Commit;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::commit_sequencer::{Changes, CommitSequencer};
use super::poll::Poller;
use super::replica::{Replica, ReplicationEvent};

/// How often expired decisions are moved out of the active set.
const EXPIRY: Duration = Duration::from_secs(1);
/// Commits with more changes than this are applied on a blocking thread.
const LARGE: usize = 1_000;

/// Applies events to the replica, and triggers polls for what is missing.
pub(super) struct Applier<'a> {
    replica: &'a Arc<Replica>,
    poller: &'a Poller,
    sequencer: CommitSequencer,
}

impl<'a> Applier<'a> {
    pub(super) fn new(replica: &'a Arc<Replica>, poller: &'a Poller) -> Self {
        Self { replica, poller, sequencer: CommitSequencer::new(replica.head()) }
    }

    pub(super) async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<ReplicationEvent>,
        stop: CancellationToken,
    ) {
        let mut expiry = tokio::time::interval(EXPIRY);
        expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Stop first, then events: with many events expiry may wait, as responses do not depend on it.
                biased;
                () = stop.cancelled() => break,
                Some(event) = events.recv() => self.handle(event).await,
                _ = expiry.tick() => self.expire(),
            }
        }
        // Writes whose responses are still pending must have their commits applied.
        // Later writes cannot report, and are read from the database by the next start.
        events.close();
        while let Some(event) = events.recv().await {
            self.handle(event).await;
        }
    }

    fn expire(&self) {
        let now = self.poller.clock.now();
        let mut active = self.replica.active_mut();
        active.set.expire(now);
        if active.set.needs_reload(now) {
            self.poller.reload_soon();
        }
    }

    async fn handle(&mut self, event: ReplicationEvent) {
        match event {
            ReplicationEvent::Local(commit, changes) => self.sequencer.push_local(commit, changes),
            ReplicationEvent::Fetched { after, through, commits } => {
                self.sequencer.push_fetched(after, through, commits)
            }
            ReplicationEvent::Reset(state) => {
                // Commits that were parked belong to the previous state. If they are still missing, the poll fetches
                // them.
                self.sequencer = CommitSequencer::new(state.set.head());
                self.replica.replace(*state);
            }
        }
        while let Some((commit, changes)) = self.sequencer.next() {
            if !self.apply(commit, changes).await {
                return self.poller.reload_soon();
            }
            // After the commit is applied and its lock released: tasks that are woken take a view that contains it.
            self.replica.set_head(commit);
        }
        if self.sequencer.has_gap() {
            // Another process has committed in between, or a local write was dropped before it reported.
            self.poller.poll_soon();
        }
    }

    /// Applies one commit; false when the active set rejects it, which only a bug explains.
    async fn apply(&self, commit: Commit, changes: Changes) -> bool {
        // An import of 10,000 decisions takes milliseconds, during which a worker of the runtime would serve nothing
        // else.
        let large = changes.len() > LARGE;
        let (replica, clock) = (self.replica.clone(), self.poller.clock.clone());
        let apply = move || replica.active_mut().set.apply(clock.now(), commit, changes);
        let applied = if large {
            match tokio::task::spawn_blocking(apply).await {
                Ok(applied) => applied,
                Err(error) => {
                    tracing::error!(%error, commit = commit.0, "applying a commit panicked; reloading all decisions");
                    return false;
                }
            }
        } else {
            apply()
        };
        if let Err(error) = &applied {
            tracing::error!(%error, commit = commit.0, "a commit does not follow the replica's state; reloading all decisions");
        }
        applied.is_ok()
    }
}
