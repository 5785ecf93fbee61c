//! Decides how long to wait before a failed attempt is repeated, and before a change by another program is repaired.
//! Pure but for the clock.

use std::time::Duration;

use tokio::time::Instant;

/// The first retry; each further one waits twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(10);
/// Repairs in a row that are made at once.
// A reload of another firewall causes a few. A program that undoes every change would otherwise start a loop that keeps
// a processor busy.
const FREE_REPAIRS: u32 = 20;
/// After this long without a repair the count starts anew.
const CALM: Duration = Duration::from_secs(30);
/// Changes by others within this time get one line in the log.
const BURST: Duration = Duration::from_secs(1);

/// Counts failures and repairs in a row.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failures: u32,
    repairs: u32,
    last_repair: Option<Instant>,
    last_disturbance: Option<Instant>,
}

impl Pace {
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Records a failure; returns how long to wait.
    pub(super) fn failed(&mut self) -> Duration {
        // The first attempt is repeated at once: a flushed table, or a remembered state that is out of date, is fixed
        // by reading the kernel again.
        let pause = match self.failures {
            0 => Duration::ZERO,
            n => (FIRST * (1 << (n - 1).min(10))).min(LONGEST),
        };
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Whether the next change by another program gets a line in the log.
    pub(super) fn is_calm(&self) -> bool {
        self.last_disturbance.is_none_or(|last| last.elapsed() > BURST)
    }

    /// Records that another program changed a table; returns how long to wait before it is read.
    pub(super) fn disturbed(&mut self) -> Duration {
        self.last_disturbance = Some(Instant::now());
        if self.last_repair.is_none_or(|last| last.elapsed() > CALM) {
            self.repairs = 0;
        }
        match (self.repairs + 1).saturating_sub(FREE_REPAIRS) {
            0 => Duration::ZERO,
            n => (FIRST * (1 << n.min(10))).min(LONGEST),
        }
    }

    /// Records that the change affected our objects and was reverted.
    pub(super) fn repaired(&mut self) {
        self.last_repair = Some(Instant::now());
        // Separate from `disturbed`: elements that others add to a shared set disturb, but need no repair and must not
        // slow down the next one.
        self.repairs = self.repairs.saturating_add(1).min(1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_forgotten() {
        let mut pace = Pace::default();
        assert_eq!(pace.failed(), Duration::ZERO);
        assert_eq!(pace.failed(), FIRST);
        assert_eq!(pace.failed(), FIRST * 2);
        for _ in 0..100 {
            assert!(pace.failed() <= LONGEST);
        }
        pace.succeeded();
        assert_eq!(pace.failed(), Duration::ZERO);
    }

    #[test]
    fn repairs_are_immediate_until_somebody_fights() {
        let mut pace = Pace::default();
        for _ in 0..FREE_REPAIRS {
            assert_eq!(pace.disturbed(), Duration::ZERO);
            pace.repaired();
        }
        assert!(pace.disturbed() > Duration::ZERO);
        for _ in 0..100 {
            pace.repaired();
            assert!(pace.disturbed() <= LONGEST);
        }
    }

    #[test]
    fn elements_of_others_in_a_shared_set_make_nothing_slower() {
        let mut pace = Pace::default();
        for _ in 0..10 * FREE_REPAIRS {
            assert_eq!(pace.disturbed(), Duration::ZERO);
        }
    }
}
