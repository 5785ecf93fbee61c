//! Applies commits to the replica in order. The only writer of the replica.

use std::sync::PoisonError;
use std::time::Duration;

use palisade_replica::Commit;
use tokio_util::sync::CancellationToken;

use super::commit_sequencer::{Changes, CommitSequencer};
use super::{ReplicaState, ReplicationEvent};
use crate::Lapi;

/// How often expired decisions are moved out of the active set.
const EXPIRY: Duration = Duration::from_secs(1);
/// Commits with more changes than this are applied on a blocking thread.
const LARGE: usize = 1_000;

pub(super) async fn run(lapi: Lapi, stop: CancellationToken) {
    let Some(mut events) = lapi.replication.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    else {
        return tracing::error!("replication is already running");
    };
    let mut sequencer = CommitSequencer::new(lapi.replication.head());
    let mut expiry = tokio::time::interval(EXPIRY);
    expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(event) = events.recv() => handle(&lapi, &mut sequencer, event).await,
            _ = expiry.tick() => {
                let now = lapi.clock.now();
                let mut active = lapi.replication.active_mut();
                active.set.expire(now);
                if active.set.needs_reload(now) {
                    lapi.replication.polling.reload();
                }
            }
        }
    }
    // Writes whose responses are still pending must have their commits applied.
    events.close();
    while let Some(event) = events.recv().await {
        handle(&lapi, &mut sequencer, event).await;
    }
}

async fn handle(lapi: &Lapi, sequencer: &mut CommitSequencer, event: ReplicationEvent) {
    match event {
        ReplicationEvent::Local(commits) => {
            for (commit, changes) in commits {
                sequencer.push_local(commit, changes);
            }
        }
        ReplicationEvent::Fetched { after, through, commits } => {
            sequencer.push_fetched(after, through, commits)
        }
        ReplicationEvent::Reset(replica) => {
            *sequencer = CommitSequencer::new(replica.set.head());
            replace(lapi, *replica);
        }
    }
    while let Some((commit, changes)) = sequencer.next() {
        if !apply(lapi, commit, changes).await {
            lapi.replication.polling.reload();
            return;
        }
        lapi.replication.applied.send_replace(commit);
    }
    if sequencer.has_gap() {
        lapi.replication.polling.poll_soon();
    }
}

/// Applies one commit; false when the active set rejects it, which only a bug explains.
async fn apply(lapi: &Lapi, commit: Commit, changes: Changes) -> bool {
    let large = changes.len() > LARGE;
    let memory = lapi.clone();
    let apply = move || memory.replication.active_mut().set.apply(memory.clock.now(), commit, changes);
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

fn replace(lapi: &Lapi, replica: ReplicaState) {
    let head = replica.set.head();
    *lapi.replication.active_mut() = replica;
    lapi.replication.applied.send_replace(head);
}
