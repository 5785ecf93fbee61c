//! Writes points in time and durations as receivers read them.

use std::time::{SystemTime, UNIX_EPOCH};

use palisade_cache::Timestamp;
use palisade_go_compat::GoDuration;

/// The clock, in milliseconds.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// RFC 3339 in UTC, with milliseconds where there are any: `2026-05-01T12:00:00Z`. A time outside of the years 0 to
/// 9999 becomes the nearest one that can be written.
pub fn rfc3339(at: Timestamp) -> String {
    const LAST: i64 = 253_402_300_799_000;
    const FIRST: i64 = -62_167_219_200_000;
    let millis = at.as_millis().clamp(FIRST, LAST);
    jiff::Timestamp::from_millisecond(millis).unwrap_or_default().to_string()
}

/// Whole seconds from `now` until `at`, rounded; zero when it has passed.
pub(super) fn seconds_left(at: Timestamp, now: Timestamp) -> u64 {
    let millis = u64::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX);
    millis.saturating_add(500) / 1000
}

/// Seconds as a Go duration: `3h59m58s`. Beyond 292 years it stays at that.
pub(super) fn go_duration(seconds: u64) -> String {
    GoDuration::from(std::time::Duration::from_secs(seconds)).to_string()
}
