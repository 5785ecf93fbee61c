//! What decisions apply to.

use ipnet::IpNet;
use palisade_net::InvalidAddress;

use crate::Value;

/// An owned [`palisade_wire::Scope`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Values are addresses.
    Ip,
    /// Values are prefixes.
    Range,
    /// Values are country codes.
    Country,
    /// Values are numbers of autonomous systems.
    As,
    /// Any other name.
    Other(Box<str>),
}

impl Scope {
    /// Parses a scope; any name is one.
    pub fn parse(text: &str) -> Self {
        match palisade_wire::Scope::parse(text) {
            palisade_wire::Scope::Ip => Self::Ip,
            palisade_wire::Scope::Range => Self::Range,
            palisade_wire::Scope::Country => Self::Country,
            palisade_wire::Scope::As => Self::As,
            palisade_wire::Scope::Other(name) => Self::Other(name.into()),
        }
    }

    /// A scope from the database. Only canonical names are the known scopes there: filters compare names exactly.
    pub fn stored(text: &str) -> Self {
        let scope = Self::parse(text);
        if scope.as_str() == text { scope } else { Self::Other(text.into()) }
    }

    /// Its canonical name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ip => palisade_wire::Scope::Ip.as_str(),
            Self::Range => palisade_wire::Scope::Range.as_str(),
            Self::Country => palisade_wire::Scope::Country.as_str(),
            Self::As => palisade_wire::Scope::As.as_str(),
            Self::Other(name) => name,
        }
    }
}

/// What a decision applies to: a scope and a value of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The scope.
    pub scope: Scope,
    /// The value, which repeats its text as it was posted.
    pub value: Value,
}

impl Target {
    /// Parses a target. This is done once, where a decision comes in.
    ///
    /// # Errors
    ///
    /// When the scope is `Ip` or `Range` and the value neither an address nor a prefix.
    pub fn parse(scope: &str, value: &str) -> Result<Self, InvalidAddress> {
        let target = Self { scope: Scope::parse(scope), value: Value::new(value) };
        match target.scope {
            Scope::Ip | Scope::Range if target.value.prefix().is_none() => {
                Err(InvalidAddress(value.to_owned()))
            }
            _ => Ok(target),
        }
    }

    /// A target from the database, which was validated when it was stored.
    pub fn stored(scope: &str, value: &str) -> Self {
        Self { scope: Scope::stored(scope), value: Value::new(value) }
    }

    /// The prefix it covers; `None` for scopes other than `Ip` and `Range`.
    pub fn prefix(&self) -> Option<IpNet> {
        matches!(self.scope, Scope::Ip | Scope::Range).then(|| self.value.prefix()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_validated_and_scopes_canonical() {
        let prefix = |scope, value| Target::parse(scope, value).unwrap().prefix().map(|net| net.to_string());
        assert_eq!(prefix("ip", "::ffff:192.0.2.1").as_deref(), Some("192.0.2.1/32"));
        assert_eq!(prefix("Range", "192.0.2.1/24").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(prefix("country", "192.0.2.1"), None);
        let error = Target::parse("IP", "example.org").unwrap_err();
        assert_eq!(error.to_string(), "invalid ip address 'example.org'");
        let target = Target::parse("session", "2001:DB8::1").unwrap();
        assert_eq!((target.scope.as_str(), &*target.value.text()), ("session", "2001:DB8::1"));
        assert_eq!(Target::parse("rAnge", "::/0").unwrap().scope.as_str(), "Range");
        assert_eq!(Target::stored("ip", "192.0.2.1").scope, Scope::Other("ip".into()));
    }
}
