//! Limits on the duration of a response: the minimum rate of a body, and the timeout for the head of a full pull. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Minimum bytes of a body per window, whitespace not counted: about 140 bytes per second with a window of 30 s, which
/// the slowest usable link exceeds.
pub(crate) const MIN_BYTES_PER_WINDOW: u64 = 4096;

/// Tracks the rate of one body.
#[derive(Debug)]
pub(crate) struct ProgressMonitor {
    window: Duration,
    /// Maximum time without any byte: at least the window.
    silence: Duration,
    end: Instant,
    /// Bytes in the window, whitespace not counted.
    bytes: u64,
    /// When the last byte of any kind arrived.
    last: Instant,
    /// Whether a byte of any kind arrived in this window.
    any: bool,
}

/// Why a body is abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgressError {
    /// Nothing arrived for this long.
    Silent(Duration),
    /// Fewer than [`MIN_BYTES_PER_WINDOW`] arrived within this long.
    TooSlow(Duration),
}

impl ProgressMonitor {
    /// For a body whose head arrived at `now`. The first window lasts at least `first`.
    pub(crate) fn new(now: Instant, first: Duration, window: Duration, silence: Duration) -> Self {
        let silence = silence.max(window);
        Self { window, silence, end: now + window.max(first), bytes: 0, last: now, any: false }
    }

    /// When the body is abandoned unless more arrives.
    pub(crate) fn deadline(&self) -> Instant {
        // Once something has arrived in the window, the rate must be kept. Between pieces a full response may be
        // silent for as long as its head could have been.
        if self.any { self.end } else { self.end.max(self.last + self.silence) }
    }

    pub(crate) fn received(&mut self, now: Instant, piece: &[u8]) {
        // A proxy or LAPI may send blanks to keep a connection open. They are valid JSON, and would keep a response
        // that never ends alive.
        let blank = piece.iter().filter(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
        self.bytes += (piece.len() - blank) as u64;
        self.last = now;
        self.any = true;
        if self.bytes >= MIN_BYTES_PER_WINDOW {
            // A new window begins with the piece that filled the last one. Surplus bytes are not carried over, or one
            // burst would allow hours without progress.
            (self.bytes, self.any) = (0, false);
            self.end = now + self.window;
        }
    }

    /// The reason, once the deadline has passed.
    pub(crate) fn verdict(&self, now: Instant) -> ProgressError {
        // Both limits end at about the same time. Half a window without a byte reads better as silence.
        let silent = now.saturating_duration_since(self.last);
        if silent >= self.window / 2 {
            ProgressError::Silent(silent)
        } else {
            ProgressError::TooSlow(self.window)
        }
    }
}

/// The timeout for the head of a full pull. A stock LAPI with millions of rows takes minutes to prepare it, while one
/// that hangs must be detected soon: the first two tries get the usual timeout, and each later one twice the previous.
/// A LAPI that is known to be slow gets twice the time it last took.
#[derive(Debug, Clone)]
pub(crate) struct FullPullTimeout {
    usual: Duration,
    longest: Duration,
    misses: u32,
    took: Duration,
}

impl FullPullTimeout {
    pub(crate) fn new(usual: Duration, longest: Duration) -> Self {
        Self { usual: usual.min(longest), longest, misses: 0, took: Duration::ZERO }
    }

    /// The timeout of the next try.
    pub(crate) fn current(&self) -> Duration {
        // The second try still has the usual timeout: one lost response is more likely than a slow LAPI.
        let doubled = 1u32.checked_shl(self.misses.saturating_sub(1)).unwrap_or(u32::MAX);
        self.usual.saturating_mul(doubled).max(self.took * 2).min(self.longest)
    }

    pub(crate) fn missed(&mut self) {
        self.misses = self.misses.saturating_add(1);
    }

    pub(crate) fn record(&mut self, took: Duration) {
        (self.misses, self.took) = (0, took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn blanks_and_drips_are_no_progress() {
        for piece in [b" ".as_slice(), b"\n\t \r", b"[1]"] {
            let start = Instant::now();
            let mut progress = ProgressMonitor::new(start, WINDOW, WINDOW, seconds(300));
            (1..30).for_each(|second| progress.received(start + seconds(second), piece));
            assert_eq!(progress.deadline(), start + WINDOW, "{piece:?}");
            assert_eq!(progress.verdict(start + WINDOW), ProgressError::TooSlow(WINDOW));
        }
    }

    #[test]
    fn a_slow_answer_that_goes_on_is_never_given_up() {
        let start = Instant::now();
        let mut progress = ProgressMonitor::new(start, WINDOW, WINDOW, WINDOW);
        // 200 bytes a second for an hour.
        for second in 1..3600 {
            let now = start + seconds(second);
            assert!(now < progress.deadline(), "after {second} s");
            progress.received(now, &[b'x'; 200]);
        }
    }

    #[test]
    fn only_utter_silence_may_last_longer_than_a_window() {
        let start = Instant::now();
        let mut progress = ProgressMonitor::new(start, WINDOW, WINDOW, seconds(120));
        assert_eq!(progress.deadline(), start + seconds(120));
        progress.received(start + seconds(100), &[b'x'; 5000]);
        assert_eq!(progress.deadline(), start + seconds(220));
        progress.received(start + seconds(140), b" ");
        assert!(progress.deadline() <= start + seconds(140));
        assert_eq!(progress.verdict(start + seconds(141)), ProgressError::TooSlow(WINDOW));
        assert_eq!(progress.verdict(start + seconds(160)), ProgressError::Silent(seconds(20)));
    }

    #[test]
    fn a_full_pull_gets_more_time_only_where_it_is_needed() {
        let mut timeout = FullPullTimeout::new(WINDOW, seconds(300));
        let tries: Vec<u64> = (0..7)
            .map(|_| {
                let current = timeout.current().as_secs();
                timeout.missed();
                current
            })
            .collect();
        assert_eq!(tries, [30, 30, 60, 120, 240, 300, 300]);
        timeout.record(seconds(50));
        assert_eq!(timeout.current(), seconds(100));
        timeout.record(seconds(1));
        assert_eq!(timeout.current(), WINDOW);
        (0..100).for_each(|_| timeout.missed());
        assert_eq!(timeout.current(), seconds(300));
    }
}
