//! How fast to try again, and to repair.

use std::time::Duration;

use tokio::time::Instant;

/// The first retry; each further one waits twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(10);
/// So many repairs in a row are done at once; whoever keeps undoing our work is answered more and more slowly.
const FREE_REPAIRS: u32 = 20;
/// After so long without a repair the count starts anew.
const CALM: Duration = Duration::from_secs(30);
/// Disturbances within this time are one story in the log.
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
    /// Notes a success.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Notes a failure; returns how long to wait. The first is tried again at once: a table that was flushed, or
    /// a picture of the kernel that was out of date, is put right by reading it again.
    pub(super) fn failed(&mut self) -> Duration {
        let pause = match self.failures {
            0 => Duration::ZERO,
            n => (FIRST * (1 << (n - 1).min(10))).min(LONGEST),
        };
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Whether the last disturbance is so long ago that the next one is worth a line in the log.
    pub(super) fn is_calm(&self) -> bool {
        self.last_disturbance.is_none_or(|last| last.elapsed() > BURST)
    }

    /// Notes that another program changed a table; returns how long to wait before reading the table.
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

    /// Notes that what another program had changed was ours, and was put right. (Elements that others add to a set they
    /// share with us are none of our business, and no reason to become slow.)
    pub(super) fn repaired(&mut self) {
        self.last_repair = Some(Instant::now());
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
