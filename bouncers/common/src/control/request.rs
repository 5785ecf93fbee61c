//! Defines the requests of the control socket. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use palisade_stream::{Admitted, admit};
use palisade_wire::Scope;
use serde::{Deserialize, Serialize};

/// Maximum size of a request with its line feed, in bytes.
pub const MAX_REQUEST_BYTES: u64 = 4096;

/// A request: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Request {
    /// The decisions on this subject, written as [`Subject`] parses it.
    Lookup {
        /// An address, a prefix, or `Scope:value`.
        subject: String,
    },
    /// The bouncer's status.
    Status,
    /// An action of the program's own, for [`Bouncer::act`](crate::run::Bouncer::act).
    Action {
        /// Its name.
        name: String,
        /// Its arguments.
        #[serde(default)]
        arguments: Vec<String>,
    },
}

/// A target of decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An address; IPv4-mapped ones are read as IPv4.
    Address(IpAddr),
    /// A prefix, without host bits.
    Range(IpNet),
    /// A value of another scope.
    Named {
        /// `Country`, `AS` or another scope, in canonical spelling.
        scope: String,
        /// `FR`, `64500`, …
        value: String,
    },
}

/// A text is not a valid subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a range; for other scopes write for example Country:FR or AS:64500")]
pub struct SubjectError(String);

impl FromStr for Subject {
    type Err = SubjectError;

    /// Parses a subject.
    fn from_str(text: &str) -> Result<Self, SubjectError> {
        // The same admission as for decisions, so that a LAPI's `as64500` is found under `AS:64500`. Only a part of the
        // text is printed: it may be of any length.
        let wrong = || SubjectError(text.chars().take(80).collect());
        // Before the split: IPv6 addresses contain colons.
        if let Ok(Admitted::Net { net, .. }) = admit(Scope::Ip, text) {
            return Ok(Self::of(net));
        }
        let (scope, value) = text.trim().split_once(':').ok_or_else(wrong)?;
        if scope.is_empty() {
            return Err(wrong());
        }
        let scope = Scope::parse(scope);
        match admit(scope, value).map_err(|_| wrong())? {
            Admitted::Net { net, .. } => Ok(Self::of(net)),
            Admitted::Name(value) => {
                Ok(Self::Named { scope: scope.as_str().to_owned(), value: value.into_owned() })
            }
        }
    }
}

impl Subject {
    fn of(net: IpNet) -> Self {
        if net.prefix_len() == net.max_prefix_len() { Self::Address(net.addr()) } else { Self::Range(net) }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Range(net) => net.fmt(f),
            Self::Named { scope, value } => write!(f, "{scope}:{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_an_action_survives_the_wire() {
        let request = Request::Action { name: "resume".into(), arguments: vec!["a \"b\"\n".into()] };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"ask":"action","name":"resume","arguments":["a \"b\"\n"]}"#);
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        let without = serde_json::from_str::<Request>(r#"{"ask":"action","name":"x"}"#).unwrap();
        assert_eq!(without, Request::Action { name: "x".into(), arguments: Vec::new() });
    }

    #[test]
    fn subjects_are_read_in_common_notations() {
        for (text, shown) in [
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1 ", "192.0.2.1"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("192.0.2.77/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("ip:192.0.2.1", "192.0.2.1"),
            ("Range:2001:db8::/32", "2001:db8::/32"),
            ("country:fr", "Country:FR"),
            ("as:AS64500", "AS:64500"),
            ("as:64500", "AS:64500"),
            ("session:a:b", "session:a:b"),
        ] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), shown);
        }
        for text in
            ["", "example.org", "192.0.2", "192.0.2.1/33", "Country:", ":FR", "ip:ip:x", "ip:Country:FR"]
        {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
