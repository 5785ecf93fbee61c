//! What is remembered of one target: the last answer, and whose turn it is to query.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::LiveAnswer;

#[derive(Debug, Default)]
pub(super) struct Slot {
    answer: ArcSwapOption<LiveAnswer>,
    /// Held by the request that queries.
    turn: Mutex<()>,
    /// Queries that have ended, with or without an answer.
    ended: AtomicU64,
}

impl Slot {
    /// The last answer, if it may still be used.
    pub(super) fn fresh(&self, now: Instant) -> Option<Arc<LiveAnswer>> {
        self.answer.load().as_ref().filter(|answer| now < answer.fresh_until).map(Arc::clone)
    }

    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Waits until no query is in flight.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Ends a query; the caller has the turn.
    pub(super) fn end(&self, answer: Option<Arc<LiveAnswer>>) {
        if answer.is_some() {
            self.answer.store(answer);
        }
        // After the answer: a request that sees the count must find it.
        self.ended.fetch_add(1, Ordering::Release);
    }
}
