//! Reads RFC 3339 times as Go does.

use jiff::SignedDuration;
use jiff::civil::DateTime;

/// Parses a time with the layout `time.RFC3339`, in UTC. As in Go, a comma may precede the fraction, the hour may have one
/// digit, and there are neither leap seconds nor lower-case letters.
///
/// ```
/// let time = palisade_go_compat::parse_rfc3339("2026-07-01T12:00:00.5+02:00").unwrap();
/// assert_eq!(time.to_string(), "2026-07-01T10:00:00.5");
/// assert_eq!(palisade_go_compat::parse_rfc3339("2026-07-01 12:00:00Z"), None);
/// ```
pub fn parse_rfc3339(text: &str) -> Option<DateTime> {
    let mut rest = Rest(text.as_bytes());
    let year = rest.number(4)?;
    rest.expect(b'-')?;
    let month = rest.number(2)?;
    rest.expect(b'-')?;
    let day = rest.number(2)?;
    rest.expect(b'T')?;
    let hour = rest.number(if rest.0.get(1).is_some_and(u8::is_ascii_digit) { 2 } else { 1 })?;
    rest.expect(b':')?;
    let minute = rest.number(2)?;
    rest.expect(b':')?;
    let second = rest.number(2)?;
    let nanos = rest.fraction();
    let offset = rest.offset()?;
    if !rest.0.is_empty() {
        return None;
    }
    let small = |number: i32| i8::try_from(number).ok();
    let (month, day) = (small(month)?, small(day)?);
    let (hour, minute, second) = (small(hour)?, small(minute)?, small(second)?);
    let local = DateTime::new(i16::try_from(year).ok()?, month, day, hour, minute, second, nanos).ok()?;
    local.checked_sub(offset).ok()
}

struct Rest<'t>(&'t [u8]);

impl Rest<'_> {
    /// So many digits.
    fn number(&mut self, digits: usize) -> Option<i32> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number
            .iter()
            .try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i32::from(digit - b'0')))
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// Nanoseconds; digits beyond the ninth are dropped.
    fn fraction(&mut self) -> i32 {
        let [b'.' | b',', digits @ ..] = self.0 else { return 0 };
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return 0;
        }
        let (digits, rest) = digits.split_at(count);
        self.0 = rest;
        let padded = digits.iter().copied().chain(std::iter::repeat(b'0'));
        padded.take(9).fold(0, |value, digit| value * 10 + i32::from(digit - b'0'))
    }

    fn offset(&mut self) -> Option<SignedDuration> {
        let (sign, rest) = self.0.split_first()?;
        self.0 = rest;
        let sign = match sign {
            b'Z' => return Some(SignedDuration::ZERO),
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let hours = self.number(2)?;
        self.expect(b':')?;
        let minutes = self.number(2)?;
        // As Go, which takes 24 hours and 60 minutes too.
        let valid = hours <= 24 && minutes <= 60;
        valid.then(|| SignedDuration::from_secs(i64::from(sign * (hours * 3600 + minutes * 60))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, expected) in [
            ("2026-11-26T10:00:00Z", "2026-11-26T10:00:00"),
            ("2026-11-26T10:00:00+02:00", "2026-11-26T08:00:00"),
            ("2026-11-26T23:30:00-05:45", "2026-11-27T05:15:00"),
            ("2026-11-26T10:00:00.123456789Z", "2026-11-26T10:00:00.123456789"),
            ("2026-11-26T10:00:00.1234567891Z", "2026-11-26T10:00:00.123456789"),
            ("2026-11-26T10:00:00,5Z", "2026-11-26T10:00:00.5"),
            ("2026-11-26T1:00:00Z", "2026-11-26T01:00:00"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59"),
            ("2028-02-29T00:00:00+24:60", "2028-02-27T23:00:00"),
        ] {
            assert_eq!(parse_rfc3339(text).map(|time| time.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "1",
            "not a time",
            "2026-11-26 10:00:00",
            "2026-11-26T10:00:00",
            "2026-11-26t10:00:00z",
            "2026-11-26T24:00:00Z",
            "2016-12-31T23:59:60Z",
            "2026-13-45T10:00:00Z",
            "2026-02-29T10:00:00Z",
            "20261126T100000Z",
            "2026-11-26T10:00:00.Z",
            "2026-11-26T10:00:00Zx",
            "2026-11-26T10:00:00+0200",
            "2026-11-26T10:00:00+25:00",
            "+026-11-26T10:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "é026-11-26T10:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
