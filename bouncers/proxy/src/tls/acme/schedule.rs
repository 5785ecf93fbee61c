//! When an order is made. Pure: takes the time and random numbers, returns times.

use serde::{Deserialize, Serialize};

use super::super::certificate::Validity;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The first delay after the directory could not be reached, which costs nothing there.
const UNREACHABLE_DELAY: i64 = 10;
/// The longest one.
const MAX_UNREACHABLE_DELAY: i64 = HOUR;
/// The first delay after an order failed. Public directories limit failed validations to a few for a name and hour.
const FAILED_DELAY: i64 = 5 * MINUTE;
/// The longest one.
const MAX_FAILED_DELAY: i64 = 12 * HOUR;
/// The longest time that a directory can postpone the next attempt by `Retry-After`.
const MAX_RETRY_AFTER: i64 = 7 * DAY;
/// After a reload, an order that failed is not repeated before this time has passed since.
const RELOAD_DELAY: i64 = MINUTE;
/// A certificate is not replaced on suggestion of the directory before it has this age.
const SUGGESTION_DELAY: i64 = 6 * HOUR;
/// Orders that may be begun without a delay when each of them was cut off by the end of the program.
const UNFINISHED_ORDERS: u32 = 3;

/// Attempts since the last success, as kept in a file: a restart must not begin anew with many orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Attempts {
    /// Orders that were begun.
    pub(super) begun: u32,
    /// Those of them that failed.
    pub(super) failed: u32,
    /// In a row, the directory could not be reached.
    #[serde(skip)]
    pub(super) unreachable: u32,
    /// The last attempt, in seconds since 1970.
    pub(super) last: i64,
    /// No attempt before this time.
    pub(super) not_before: i64,
    /// Why the last one failed.
    pub(super) error: Option<String>,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing was counted against the account.
    Unreachable,
    /// The directory refused the order or could not validate the name; not before this many seconds, if it said so.
    Refused(Option<u64>),
}

impl Attempts {
    /// `random` is in 0..1.
    pub(super) fn fail(&mut self, failure: Failure, error: String, now: i64, random: f64) {
        let (delay, longest) = match failure {
            Failure::Unreachable => {
                self.unreachable = self.unreachable.saturating_add(1);
                (doubled(UNREACHABLE_DELAY, self.unreachable), MAX_UNREACHABLE_DELAY)
            }
            Failure::Refused(_) => {
                self.unreachable = 0;
                self.failed = self.failed.saturating_add(1);
                (doubled(FAILED_DELAY, self.failed), MAX_FAILED_DELAY)
            }
        };
        let delay = jittered(delay.min(longest), random);
        let asked = match failure {
            Failure::Refused(Some(seconds)) => {
                i64::try_from(seconds).unwrap_or(i64::MAX).min(MAX_RETRY_AFTER)
            }
            _ => 0,
        };
        self.last = now;
        self.not_before = now.saturating_add(delay.max(asked));
        self.error = Some(error);
    }

    /// Before an order is made. Written to the file, so that it counts although the program may end in the middle.
    pub(super) fn begin(&mut self, now: i64) {
        self.begun = self.begun.saturating_add(1);
        self.last = now;
    }

    /// After a restart: that the directory was unreachable is not kept, and orders that the program's end cut off are
    /// made again at once, except when that happened several times.
    pub(super) fn after_restart(mut self, random: f64) -> Self {
        if self.failed == 0 && self.begun < UNFINISHED_ORDERS {
            self.not_before = 0;
        } else if self.failed == 0 {
            let delay = jittered(doubled(FAILED_DELAY, self.begun - UNFINISHED_ORDERS + 1), random);
            self.not_before = self.last.saturating_add(delay.min(MAX_FAILED_DELAY));
        }
        self
    }

    /// After a reload: the administrator may have removed the cause.
    pub(super) fn after_reload(&mut self) {
        if self.not_before != 0 {
            self.not_before = match self.unreachable {
                0 => self.not_before.min(self.last.saturating_add(RELOAD_DELAY)),
                _ => 0,
            };
        }
    }
}

/// When a certificate is renewed: when a third of its lifetime is left, or when the directory suggests it (RFC 9773), if
/// that is earlier than a tenth before its end.
pub(super) fn renewal_time(validity: Validity, suggested: Option<i64>) -> i64 {
    let lifetime = validity.until.saturating_sub(validity.from).max(0);
    match suggested {
        // A directory that always suggests "now" must not cause one order after the other.
        Some(suggested) => {
            let earliest = validity.from.saturating_add(SUGGESTION_DELAY);
            suggested.max(earliest).min(validity.until - lifetime / 10)
        }
        None => validity.until - lifetime / 3,
    }
}

/// `first`, doubled for each further one.
fn doubled(first: i64, count: u32) -> i64 {
    first.saturating_mul(1_i64 << count.saturating_sub(1).min(20))
}

/// Up to a quarter more or less, so that many hosts do not come back together.
fn jittered(delay: i64, random: f64) -> i64 {
    let delay = delay as f64;
    (delay * 0.5f64.mul_add(random, 0.75)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn failed_orders_are_repeated_ever_later_up_to_half_a_day() {
        let mut attempts = Attempts::default();
        let mut delays = Vec::new();
        for _ in 0..12 {
            attempts.fail(Failure::Refused(None), "no".to_owned(), NOW, 0.5);
            delays.push(attempts.not_before - NOW);
        }
        assert_eq!(delays[..4], [300, 600, 1200, 2400]);
        assert_eq!(delays[11], MAX_FAILED_DELAY);
        for random in [0.0, 0.999] {
            let mut attempts = Attempts::default();
            attempts.fail(Failure::Refused(None), "no".to_owned(), NOW, random);
            assert!((225..=375).contains(&(attempts.not_before - NOW)));
        }
    }

    #[test]
    fn an_unreachable_directory_is_tried_again_soon_and_at_least_each_hour() {
        let mut attempts = Attempts::default();
        let mut delays = Vec::new();
        for _ in 0..40 {
            attempts.fail(Failure::Unreachable, "no".to_owned(), NOW, 0.5);
            delays.push(attempts.not_before - NOW);
        }
        assert_eq!((delays[0], delays[1], delays[39]), (10, 20, HOUR));
        assert_eq!(attempts.clone().after_restart(0.5).not_before, 0);
    }

    #[test]
    fn the_directory_can_postpone_the_next_attempt_but_not_for_ever() {
        let mut attempts = Attempts::default();
        attempts.fail(Failure::Refused(Some(7200)), "rate limit".to_owned(), NOW, 0.5);
        assert_eq!(attempts.not_before, NOW + 7200);
        attempts.fail(Failure::Refused(Some(u64::MAX)), "rate limit".to_owned(), NOW, 0.5);
        assert_eq!(attempts.not_before, NOW + MAX_RETRY_AFTER);
    }

    #[test]
    fn a_restart_keeps_the_delay_after_failures_and_repeats_a_cut_off_order_a_few_times() {
        let mut failed = Attempts::default();
        failed.fail(Failure::Refused(None), "no".to_owned(), NOW, 0.5);
        let restored: Attempts = serde_json::from_str(&serde_json::to_string(&failed).unwrap()).unwrap();
        assert_eq!(restored.after_restart(0.5).not_before, NOW + 300);

        let mut cut_off = Attempts::default();
        let mut waited = Vec::new();
        for _ in 0..5 {
            cut_off.begin(NOW);
            cut_off = cut_off.after_restart(0.5);
            waited.push(cut_off.not_before);
        }
        assert_eq!(waited, [0, 0, NOW + 300, NOW + 600, NOW + 1200]);
    }

    #[test]
    fn a_reload_tries_again_but_not_twice_in_a_minute() {
        let mut attempts = Attempts::default();
        attempts.fail(Failure::Refused(None), "no".to_owned(), NOW, 0.5);
        attempts.after_reload();
        assert_eq!(attempts.not_before, NOW + RELOAD_DELAY);
        attempts.fail(Failure::Unreachable, "no".to_owned(), NOW, 0.5);
        attempts.after_reload();
        assert_eq!(attempts.not_before, 0);
    }

    #[test]
    fn a_certificate_is_renewed_with_a_third_of_its_lifetime_left_or_as_the_directory_suggests() {
        let validity = Validity { from: NOW, until: NOW + 90 * DAY };
        assert_eq!(renewal_time(validity, None), NOW + 60 * DAY);
        assert_eq!(renewal_time(validity, Some(NOW)), NOW + SUGGESTION_DELAY);
        assert_eq!(renewal_time(validity, Some(NOW + 70 * DAY)), NOW + 70 * DAY);
        assert_eq!(renewal_time(validity, Some(NOW + 200 * DAY)), NOW + 81 * DAY);
        assert_eq!(renewal_time(Validity { from: NOW, until: NOW - 1 }, None), NOW - 1);
    }
}
