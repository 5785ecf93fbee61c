//! Applies commits to the memory, in order.

use std::sync::PoisonError;
use std::time::Duration;

use palisade_active::Commit;
use tokio_util::sync::CancellationToken;

use super::order::{Changes, Order};
use super::{Held, Word};
use crate::Lapi;

/// How often decisions that ended are moved out of the way.
const EXPIRY: Duration = Duration::from_secs(1);
/// A commit of more changes is applied away from the threads that answer requests.
const LARGE: usize = 1_000;

/// Runs until `stop` fires: the only writer of the memory.
pub(super) async fn run(lapi: Lapi, stop: CancellationToken) {
    let Some(mut words) = lapi.tail.words.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return tracing::error!("commits are followed already");
    };
    let mut order = Order::new(lapi.tail.head());
    let mut expiry = tokio::time::interval(EXPIRY);
    expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(word) = words.recv() => take(&lapi, &mut order, word).await,
            _ = expiry.tick() => {
                let now = lapi.clock.now();
                let mut active = lapi.tail.active_mut();
                active.set.expire(now);
                if active.set.needs_reload(now) {
                    lapi.tail.watching.reload();
                }
            }
        }
    }
    // Writes that are being answered still get theirs.
    words.close();
    while let Some(word) = words.recv().await {
        take(&lapi, &mut order, word).await;
    }
}

async fn take(lapi: &Lapi, order: &mut Order, word: Word) {
    match word {
        Word::Told(commits) => {
            for (commit, changes) in commits {
                order.offer(commit, changes);
            }
        }
        Word::Read { after, through, commits } => order.fetched(after, through, commits),
        Word::Replaced(held) => {
            *order = Order::new(held.set.head());
            replace(lapi, *held);
        }
    }
    while let Some((commit, changes)) = order.next() {
        if !apply(lapi, commit, changes).await {
            lapi.tail.watching.reload();
            return;
        }
        lapi.tail.applied.send_replace(commit);
    }
    if order.has_gap() {
        lapi.tail.watching.hurry();
    }
}

/// Applies one commit; false when the memory would not have it, which only a fault of ours explains.
async fn apply(lapi: &Lapi, commit: Commit, changes: Changes) -> bool {
    let large = changes.len() > LARGE;
    let memory = lapi.clone();
    let apply = move || memory.tail.active_mut().set.apply(memory.clock.now(), commit, changes);
    let applied = if large {
        match tokio::task::spawn_blocking(apply).await {
            Ok(applied) => applied,
            Err(error) => {
                tracing::error!(%error, commit = commit.0, "applying a commit failed; everything is read again");
                return false;
            }
        }
    } else {
        apply()
    };
    if let Err(error) = &applied {
        tracing::error!(%error, commit = commit.0, "a commit does not fit the memory; everything is read again");
    }
    applied.is_ok()
}

fn replace(lapi: &Lapi, held: Held) {
    let head = held.set.head();
    *lapi.tail.active_mut() = held;
    lapi.tail.applied.send_replace(head);
}
