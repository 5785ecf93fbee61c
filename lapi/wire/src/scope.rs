//! Scopes: whether a decision's value is an address, a range, a country, an AS number, or something else.

use std::fmt;

/// A decision's scope. The four that LAPI knows are recognised in any letter case, because rows stored by servers
/// before 1.6.4 may hold `ip`; every other name is kept exactly as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope<'a> {
    /// One address; the value may still carry `/32` or `/128`.
    Ip,
    /// A prefix in CIDR notation.
    Range,
    /// A two-letter country code.
    Country,
    /// An autonomous system number.
    As,
    /// Any other name, such as `session` or `user`; compared exactly.
    Other(&'a str),
}

impl<'a> Scope<'a> {
    /// Parses a scope; never fails, because unknown names are valid.
    pub fn parse(text: &'a str) -> Self {
        // Lengths first: this runs once for every decision of a startup pull.
        match text.len() {
            2 if text.eq_ignore_ascii_case("ip") => Self::Ip,
            2 if text.eq_ignore_ascii_case("as") => Self::As,
            5 if text.eq_ignore_ascii_case("range") => Self::Range,
            7 if text.eq_ignore_ascii_case("country") => Self::Country,
            _ => Self::Other(text),
        }
    }

    /// The spelling that LAPI stores since 1.6.4.
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Ip => "Ip",
            Self::Range => "Range",
            Self::Country => "Country",
            Self::As => "AS",
            Self::Other(text) => text,
        }
    }
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_known_scopes_are_normalised_and_others_kept() {
        for (text, scope, shown) in [
            ("Ip", Scope::Ip, "Ip"),
            ("ip", Scope::Ip, "Ip"),
            ("IP", Scope::Ip, "Ip"),
            ("rAnge", Scope::Range, "Range"),
            ("country", Scope::Country, "Country"),
            ("as", Scope::As, "AS"),
            ("Session", Scope::Other("Session"), "Session"),
            ("", Scope::Other(""), ""),
            ("ip ", Scope::Other("ip "), "ip "),
        ] {
            assert_eq!(Scope::parse(text), scope, "{text:?}");
            assert_eq!(Scope::parse(text).to_string(), shown);
        }
    }
}
