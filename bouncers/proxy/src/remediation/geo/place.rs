//! Countries and autonomous systems as decisions write them, without allocation.

use std::fmt;

use smallvec::SmallVec;

/// A country: two upper-case letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    /// Of two letters in any case; `None` for anything else.
    pub fn new(text: &str) -> Option<Self> {
        let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
        letters
            .iter()
            .all(u8::is_ascii_alphabetic)
            .then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("letters of ASCII")
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The number of an autonomous system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SystemNumber(pub u32);

/// The decimal digits of a [`SystemNumber`].
#[derive(Debug)]
pub struct SystemText(SmallVec<[u8; 16]>);

impl SystemNumber {
    /// Its digits, as decisions have them.
    pub fn text(self) -> SystemText {
        let mut digits = SmallVec::new();
        let mut rest = self.0;
        loop {
            // A digit is less than 10.
            digits.push(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        digits.reverse();
        SystemText(digits)
    }
}

impl SystemText {
    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits of ASCII")
    }
}

impl fmt::Display for SystemNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_decisions_write_them() {
        assert_eq!(CountryCode::new("fr").unwrap().as_str(), "FR");
        for text in ["", "F", "FRA", "F1", "é"] {
            assert_eq!(CountryCode::new(text), None, "{text}");
        }
        for number in [0, 7, 10, 64500, u32::MAX] {
            assert_eq!(SystemNumber(number).text().as_str(), number.to_string());
        }
    }
}
