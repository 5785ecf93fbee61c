//! Bounds how many log lines clients can cause.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How often the number of lines that were left out is reported, at most.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// A number of lines at once, and one more in each interval.
#[derive(Debug)]
pub(super) struct LineBudget {
    burst: u32,
    interval: Duration,
    left_out: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the budget will be full again.
    full_at: Instant,
    reported_at: Option<Instant>,
}

impl LineBudget {
    /// `burst` lines at once, then one in each `interval`.
    pub(super) fn new(burst: u32, interval: Duration) -> Self {
        let state = State { full_at: Instant::now(), reported_at: None };
        Self { burst, interval, left_out: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// Whether a line may be written; if not, it is counted.
    pub(super) fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = state.full_at.max(now) + self.interval;
        let may = full_at <= now + self.interval * self.burst;
        if may {
            state.full_at = full_at;
        } else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// The number of lines left out since this was last called with a result above 0, which is once a minute.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out_at(Instant::now())
    }

    fn left_out_at(&self, now: Instant) -> u64 {
        // Called for every request: without the lock as long as nothing was left out.
        if self.left_out.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.reported_at.is_some_and(|last| now - last < REPORT_INTERVAL) {
            return 0;
        }
        state.reported_at = Some(now);
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_in_each_interval() {
        let budget = LineBudget::new(3, Duration::from_secs(1));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let taken = |seconds, tries: u32| (0..tries).filter(|_| budget.take_at(at(seconds))).count();
        assert_eq!([taken(0, 5), taken(1, 5), taken(3, 5), taken(60, 5)], [3, 1, 2, 3]);
        assert_eq!(budget.left_out_at(at(60)), 2 + 4 + 3 + 2);
        assert_eq!(taken(61, 5), 1);
        assert_eq!([budget.left_out_at(at(62)), budget.left_out_at(at(121))], [0, 4]);
        assert_eq!(budget.left_out_at(at(300)), 0);
    }
}
