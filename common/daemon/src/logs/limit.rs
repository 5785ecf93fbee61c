//! Bounds the log lines of one kind, where clients without credentials can cause them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Lines of one kind in each interval, unless the kind has a number of its own; further ones are counted.
const LINES: u32 = 10;
const INTERVAL: Duration = Duration::from_secs(60);

/// Limits one kind of log line to ten a minute, and logs the number of those left out.
///
/// ```
/// use palisade_daemon::logs::LogLimit;
///
/// static REFUSED: LogLimit = LogLimit::new("logins refused");
///
/// let logged = (0..1000).filter(|_| REFUSED.allows()).count();
/// assert_eq!(logged, 10);
/// ```
#[derive(Debug)]
pub struct LogLimit {
    kind: &'static str,
    lines: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LogLimit {
    /// `kind` is what the lines are about, in the plural.
    pub const fn new(kind: &'static str) -> Self {
        Self { kind, lines: LINES, state: Mutex::new(State { since: None, lines: 0, left_out: 0 }) }
    }

    /// Another number of lines in a minute.
    #[must_use]
    pub const fn with_lines(mut self, lines: u32) -> Self {
        self.lines = lines;
        self
    }

    /// Whether a line may be logged now.
    pub fn allows(&self) -> bool {
        self.allows_at(Instant::now())
    }

    fn allows_at(&self, now: Instant) -> bool {
        let mut state = self.lock();
        if state.since.is_none_or(|since| now.saturating_duration_since(since) >= INTERVAL) {
            self.log(std::mem::take(&mut state.left_out));
            *state = State { since: Some(now), lines: 0, left_out: 0 };
        }
        let allowed = state.lines < self.lines;
        if allowed {
            state.lines += 1;
        } else {
            state.left_out += 1;
        }
        allowed
    }

    /// Logs the number of lines left out so far; for a timer, as there may be no further line.
    pub fn report(&self) {
        let left_out = std::mem::take(&mut self.lock().left_out);
        self.log(left_out);
    }

    fn log(&self, left_out: u64) {
        if left_out > 0 {
            tracing::warn!(kind = self.kind, lines = left_out, "more of the same, not logged one by one");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_minute() {
        let (limit, start) = (LogLimit::new("tests"), Instant::now());
        let allowed = |at: u64| (0..100).filter(|_| limit.allows_at(start + Duration::from_secs(at))).count();
        assert_eq!([0, 59, 60, 61].map(allowed), [10, 0, 10, 0]);
        assert_eq!(limit.lock().left_out, 190);
        limit.report();
        assert_eq!(limit.lock().left_out, 0);
    }
}
