//! Limits how often failures of a program are logged: the first of a kind, then a count once a minute. Pure.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Between two log lines on the same kind of failure.
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);

/// The most kinds that are distinguished; programs have few exit codes.
const MAX_KINDS: usize = 64;

/// When each kind of failure was logged, and how often it happened since.
#[derive(Debug, Default)]
pub(super) struct FailureLog(HashMap<String, (Instant, u64)>);

impl FailureLog {
    /// Counts a failure. If it is to be logged: how many of its kind happened since the last that was.
    pub(super) fn count(&mut self, kind: &str, now: Instant) -> Option<u64> {
        if let Some((logged, unlogged)) = self.0.get_mut(kind) {
            if now.duration_since(*logged) < REPEAT_INTERVAL {
                *unlogged += 1;
                return None;
            }
            *logged = now;
            return Some(std::mem::take(unlogged));
        }
        if self.0.len() >= MAX_KINDS {
            self.0.clear();
        }
        self.0.insert(kind.to_owned(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_failure_is_logged_at_once_and_then_once_a_minute() {
        let mut log = FailureLog::default();
        let start = Instant::now();
        assert_eq!(log.count("add: exit status 1", start), Some(0));
        assert_eq!(log.count("add: exit status 2", start), Some(0));
        for _ in 0..5 {
            assert_eq!(log.count("add: exit status 1", start), None);
        }
        assert_eq!(log.count("add: exit status 1", start + REPEAT_INTERVAL), Some(5));
        for kind in 0..1000 {
            log.count(&kind.to_string(), start);
        }
        assert!(log.0.len() <= MAX_KINDS);
    }
}
