//! Go durations, parsed and formatted as Go does, plus CrowdSec's days.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// One more than the largest positive value: the magnitude of the smallest negative one.
const LIMIT: u64 = 1 << 63;

/// A signed span of nanoseconds in 64 bits (about 292 years either way), with Go's text form: `3h59m58s`,
/// `-202.249309ms`, `1.5µs`, `0s`.
///
/// Read are all units of Go (`ns`, `us`, both spellings of `µs`, `ms`, `s`, `m`, `h`), fractions, a sign, and a
/// leading whole number of days (`2d12h`), as CrowdSec does. Written is Go's own form, without days.
///
/// ```
/// use palisade_go_compat::GoDuration;
///
/// let four_hours: GoDuration = "3h59m60s".parse()?;
/// assert_eq!(four_hours.to_string(), "4h0m0s");
/// assert_eq!("-1.5ms".parse::<GoDuration>()?.nanos(), -1_500_000);
/// # Ok::<(), palisade_go_compat::DurationError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

/// Why a text is not a duration. The texts are Go's and CrowdSec's, which operators search for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// No text.
    #[error("empty duration string")]
    Empty,
    /// A sign that is not the first character.
    #[error("misplaced negative sign in duration {0:?}")]
    MisplacedSign(String),
    /// Days that are no whole number, or not at the beginning.
    #[error("invalid day value in duration {0:?}")]
    InvalidDays(String),
    /// Not of the form, or too large for 64 bits of nanoseconds.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit that does not exist.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The supposed unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

impl GoDuration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// In nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// As an unsigned duration; `None` when negative.
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }

    /// In whole seconds, halves rounded away from zero, as in Go.
    pub const fn rounded_seconds(self) -> i64 {
        let (whole, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        // The extreme values cannot be rounded outwards.
        if rest >= 500_000_000 && whole < 9_223_372_036 {
            whole + 1
        } else if rest <= -500_000_000 && whole > -9_223_372_036 {
            whole - 1
        } else {
            whole
        }
    }

    /// Rounded to seconds, the form in which current servers send the time left.
    pub const fn rounded(self) -> Self {
        // As in Go, what cannot be rounded outwards stays as it is.
        match self.0 {
            i64::MIN..-9_223_372_036_500_000_000 | 9_223_372_036_500_000_000.. => self,
            _ => Self(self.rounded_seconds() * 1_000_000_000),
        }
    }

    /// Whether it is negative, as the durations of ended decisions are.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

/// Durations beyond 292 years are saturated.
impl From<Duration> for GoDuration {
    fn from(span: Duration) -> Self {
        Self(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let invalid = || DurationError::Invalid(brief(text));
        if text.is_empty() {
            return Err(DurationError::Empty);
        }
        let (negative, mut rest) = match text.as_bytes() {
            [b'-', ..] => (true, &text[1..]),
            [b'+', ..] => (false, &text[1..]),
            _ => (false, text),
        };
        if rest.contains('-') {
            return Err(DurationError::MisplacedSign(brief(text)));
        }
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: u64 = 0;
        let mut first = true;
        while !rest.is_empty() {
            let (whole, after_whole) = leading_int(rest).ok_or_else(invalid)?;
            let has_whole = after_whole.len() != rest.len();
            let (fraction, scale, has_fraction, after_number) = match after_whole.strip_prefix('.') {
                Some(digits) => {
                    let (fraction, scale, after) = leading_fraction(digits);
                    (fraction, scale, after.len() != digits.len(), after)
                }
                None => (0, 1.0, false, after_whole),
            };
            if !has_whole && !has_fraction {
                return Err(invalid());
            }
            let end =
                after_number.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after_number.len());
            let (name, after_unit) = after_number.split_at(end);
            let days_allowed = first && after_whole.len() == after_number.len();
            let unit = match name {
                "" => return Err(DurationError::MissingUnit(brief(text))),
                "ns" => 1,
                "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
                "ms" => MILLISECOND,
                "s" => SECOND,
                "m" => MINUTE,
                "h" => HOUR,
                "d" if days_allowed => DAY,
                "d" => return Err(DurationError::InvalidDays(brief(text))),
                _ => {
                    return Err(DurationError::UnknownUnit { unit: brief(name), text: brief(text) });
                }
            };
            if whole > LIMIT / unit {
                return Err(invalid());
            }
            let mut part = whole * unit;
            if fraction > 0 {
                // As Go computes it, in floating point: exact to the nanosecond up to fractions of hours.
                part += (fraction as f64 * (unit as f64 / scale)) as u64;
                if part > LIMIT {
                    return Err(invalid());
                }
            }
            total = total.checked_add(part).filter(|total| *total <= LIMIT).ok_or_else(invalid)?;
            rest = after_unit;
            first = false;
        }
        let nanos = if negative { 0_i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() };
        nanos.map(Self).ok_or_else(invalid)
    }
}

/// Leading digits; `None` on overflow. No digits are 0.
fn leading_int(text: &str) -> Option<(u64, &str)> {
    let mut value: u64 = 0;
    let mut length = 0;
    for digit in text.bytes().take_while(u8::is_ascii_digit) {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        if value > LIMIT {
            return None;
        }
        length += 1;
    }
    Some((value, &text[length..]))
}

/// Digits after the point, with ten to the power of their number. Digits beyond the precision are dropped.
fn leading_fraction(text: &str) -> (u64, f64, &str) {
    let (mut value, mut scale, mut length) = (0_u64, 1.0_f64, 0);
    let mut full = false;
    for digit in text.bytes().take_while(u8::is_ascii_digit) {
        length += 1;
        if full || value > (LIMIT - 1) / 10 {
            full = true;
            continue;
        }
        let next = value * 10 + u64::from(digit - b'0');
        if next > LIMIT {
            full = true;
            continue;
        }
        value = next;
        scale *= 10.0;
    }
    (value, scale, &text[length..])
}

/// Truncates a text from a peer for error messages.
fn brief(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        if nanos == 0 {
            return f.pad("0s");
        }
        let mut text = String::from(sign);
        if nanos < SECOND {
            let (unit, name) = match nanos {
                0..MICROSECOND => (1, "ns"),
                MICROSECOND..MILLISECOND => (MICROSECOND, "µs"),
                _ => (MILLISECOND, "ms"),
            };
            text.push_str(&(nanos / unit).to_string());
            push_fraction(&mut text, nanos % unit, unit);
            text.push_str(name);
            return f.pad(&text);
        }
        let (hours, minutes) = (nanos / HOUR, nanos / MINUTE % 60);
        if hours > 0 {
            text.push_str(&format!("{hours}h"));
        }
        if hours > 0 || minutes > 0 {
            text.push_str(&format!("{minutes}m"));
        }
        text.push_str(&(nanos / SECOND % 60).to_string());
        push_fraction(&mut text, nanos % SECOND, SECOND);
        text.push('s');
        f.pad(&text)
    }
}

/// Appends `.digits` of `part` over `whole` (a power of ten), without trailing zeros; nothing when it is zero.
fn push_fraction(text: &mut String, part: u64, whole: u64) {
    if part == 0 {
        return;
    }
    let width = whole.ilog10() as usize;
    let digits = format!("{part:0width$}");
    text.push('.');
    text.push_str(digits.trim_end_matches('0'));
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = GoDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 10s or 3h59m58s")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<GoDuration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
#[path = "duration_tests.rs"]
mod tests;
