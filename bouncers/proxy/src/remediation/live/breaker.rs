//! A circuit breaker: after failures in a row nothing is tried for a while. Takes `now`; no clock, no locks.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What a result changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// No more tries for a while.
    Opened,
    /// Tries as usual again.
    Closed,
}

#[derive(Debug)]
pub(super) struct Breaker {
    limit: u32,
    pause: Duration,
    began: Instant,
    in_a_row: AtomicU32,
    /// When the next try is admitted, in milliseconds since `began`.
    next_try: AtomicU64,
}

impl Breaker {
    /// Opens after `limit` failures in a row (at least one), for `pause`.
    pub(super) fn new(limit: u32, pause: Duration) -> Self {
        Self {
            limit: limit.max(1),
            pause,
            began: Instant::now(),
            in_a_row: AtomicU32::new(0),
            next_try: AtomicU64::new(0),
        }
    }

    /// Whether to try. While open, one try is admitted in each pause.
    pub(super) fn admits(&self, now: Instant) -> bool {
        if self.in_a_row.load(Ordering::Relaxed) < self.limit {
            return true;
        }
        let (now, next) = (self.millis(now), self.next_try.load(Ordering::Relaxed));
        // Of those that come at the same time one wins. It moves the next try first: if it is given up in the middle,
        // another one follows a pause later.
        now >= next
            && self
                .next_try
                .compare_exchange(next, now + self.pause_millis(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.in_a_row.load(Ordering::Relaxed) >= self.limit
            && self.millis(now) < self.next_try.load(Ordering::Relaxed)
    }

    pub(super) fn succeeded(&self) -> Option<Change> {
        let before = self.in_a_row.swap(0, Ordering::Relaxed);
        (before >= self.limit).then_some(Change::Closed)
    }

    pub(super) fn failed(&self, now: Instant) -> Option<Change> {
        // Before the count: who sees the count at the limit must find the end of the pause.
        self.next_try.store(self.millis(now) + self.pause_millis(), Ordering::Relaxed);
        let before = self.in_a_row.fetch_add(1, Ordering::Relaxed);
        if before == u32::MAX {
            self.in_a_row.store(u32::MAX, Ordering::Relaxed);
        }
        (before.saturating_add(1) == self.limit).then_some(Change::Opened)
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn pause_millis(&self) -> u64 {
        u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_try_through_in_each_pause() {
        let breaker = Breaker::new(3, Duration::from_secs(10));
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(breaker.failed(at(0)), None);
        assert_eq!(breaker.failed(at(0)), None);
        assert_eq!(breaker.succeeded(), None, "not in a row");
        for _ in 0..2 {
            assert!(breaker.admits(at(1)));
            assert_eq!(breaker.failed(at(1)), None);
        }
        assert_eq!(breaker.failed(at(1)), Some(Change::Opened));
        assert!(!breaker.admits(at(2)) && breaker.is_open(at(2)));
        assert!(breaker.admits(at(12)) && !breaker.admits(at(12)), "one of several at the same time");
        assert_eq!(breaker.failed(at(12)), None);
        assert!(!breaker.admits(at(13)));
        assert!(breaker.admits(at(23)));
        assert_eq!(breaker.succeeded(), Some(Change::Closed));
        assert!(breaker.admits(at(23)) && breaker.admits(at(23)));
    }
}
