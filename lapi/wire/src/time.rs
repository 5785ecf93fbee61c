//! Timestamps as the LAPI stores and formats them.

use std::fmt;

use jiff::SignedDuration;
use jiff::civil::{DateTime, datetime};
use serde::{Deserialize, Serialize};

use crate::GoDuration;

const EPOCH: DateTime = datetime(1970, 1, 1, 0, 0, 0, 0);

/// A timestamp: milliseconds since the Unix epoch, in UTC. Texts with a zone are converted on input, because comparing
/// them as texts would end bans hours early or late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The current time of the system clock.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// Parses an RFC 3339 text with any zone and fraction, as strictly as Go.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let time = palisade_go_compat::parse_rfc3339(text)?;
        let millis = time.duration_since(EPOCH).as_millis();
        // The calendar ends long before this could overflow.
        i64::try_from(millis).ok().map(Self)
    }

    /// Formats as `2026-07-01T10:00:00Z`; the fraction is truncated.
    pub fn rfc3339(self) -> String {
        self.civil().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Formats as `2026-07-01T10:00:00.123Z`.
    pub fn rfc3339_millis(self) -> String {
        self.civil().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }

    /// This timestamp plus a duration, which may be negative; saturates at the limits of the calendar.
    pub fn plus(self, by: GoDuration) -> Self {
        Self(self.0.saturating_add(by.nanos() / 1_000_000))
    }

    /// The duration from `earlier` to this timestamp; negative if this timestamp is before it.
    pub fn since(self, earlier: Self) -> GoDuration {
        GoDuration::from_nanos(self.0.saturating_sub(earlier.0).saturating_mul(1_000_000))
    }

    /// In UTC.
    pub fn civil(self) -> DateTime {
        let edge = if self.0 < 0 { DateTime::MIN } else { DateTime::MAX };
        EPOCH.checked_add(SignedDuration::from_millis(self.0)).unwrap_or(edge)
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_converted_and_the_edges_of_the_calendar_hold() {
        let noon = UnixMillis::parse_rfc3339("2026-07-01T12:00:00.5+02:00").unwrap();
        assert_eq!(
            (noon.rfc3339(), noon.rfc3339_millis()),
            ("2026-07-01T10:00:00Z".to_owned(), "2026-07-01T10:00:00.500Z".to_owned())
        );
        assert_eq!(noon.plus("-1h".parse().unwrap()).rfc3339(), "2026-07-01T09:00:00Z");
        assert_eq!(noon.plus("4h".parse().unwrap()).since(noon).to_string(), "4h0m0s");
        assert_eq!(UnixMillis(i64::MAX).rfc3339().get(..4), Some("9999"));
        assert_eq!(UnixMillis::parse_rfc3339("yesterday"), None);
        for text in ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"] {
            assert_eq!(UnixMillis::parse_rfc3339(text).unwrap().rfc3339(), text);
        }
    }
}
