//! The values of decisions.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use palisade_net::{canonical, parse_prefix};

use crate::json_text::{push_number, push_text};

/// A decision's value. Addresses and prefixes in canonical notation need no text, so two values are equal exactly when
/// their texts are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// An IPv4 address with its prefix length, host bits kept, or 255 for an address without one.
    Four([u8; 4], u8),
    /// An IPv6 address, likewise.
    Six([u8; 16], u8),
    /// Any other text.
    Text(Arc<str>),
}

/// The prefix length of an address without one.
const HOST: u8 = u8::MAX;

/// A fixed buffer for the text of an address, to avoid allocating.
struct Short {
    // The longest text has 43 bytes: 39 of an IPv6 address and 4 of its prefix length.
    bytes: [u8; 48],
    len: usize,
}

impl std::fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl Short {
    const fn new() -> Self {
        Self { bytes: [0; 48], len: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Value {
    /// Parses a text; any text is a value.
    pub fn new(text: &str) -> Self {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, len.parse::<u8>().ok().filter(|len| *len <= 128)),
            None => (text, Some(HOST)),
        };
        let parsed = match (address.parse(), len) {
            (Ok(IpAddr::V4(four)), Some(len)) if len <= 32 || len == HOST => Self::Four(four.octets(), len),
            (Ok(IpAddr::V6(six)), Some(len)) => Self::Six(six.octets(), len),
            _ => return Self::Text(text.into()),
        };
        let mut shown = Short::new();
        // Other notations stay text: responses repeat the value as it was posted.
        if parsed.write(&mut shown).is_ok() && shown.bytes() == text.as_bytes() {
            parsed
        } else {
            Self::Text(text.into())
        }
    }

    fn write(&self, out: &mut Short) -> std::fmt::Result {
        let len = match self {
            Self::Four(octets, len) => {
                write!(out, "{}", Ipv4Addr::from(*octets))?;
                *len
            }
            Self::Six(octets, len) => {
                write!(out, "{}", Ipv6Addr::from(*octets))?;
                *len
            }
            Self::Text(_) => return Err(std::fmt::Error),
        };
        if len == HOST { Ok(()) } else { write!(out, "/{len}") }
    }

    /// The text, as it was parsed.
    pub fn text(&self) -> String {
        let mut out = Short::new();
        match self {
            Self::Text(text) => text.as_ref().to_owned(),
            Self::Four(..) | Self::Six(..) => {
                self.write(&mut out).expect("an address fits into 48 bytes");
                String::from_utf8_lossy(out.bytes()).into_owned()
            }
        }
    }

    /// Appends the quoted text.
    pub fn push_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => push_text(out, text),
            Self::Four(octets, len) => {
                out.push(b'"');
                for (at, octet) in octets.iter().enumerate() {
                    if at > 0 {
                        out.push(b'.');
                    }
                    push_number(out, u64::from(*octet));
                }
                if *len != HOST {
                    out.push(b'/');
                    push_number(out, u64::from(*len));
                }
                out.push(b'"');
            }
            Self::Six(..) => {
                let mut shown = Short::new();
                self.write(&mut shown).expect("an address fits into 48 bytes");
                out.push(b'"');
                out.extend_from_slice(shown.bytes());
                out.push(b'"');
            }
        }
    }

    /// The prefix this value denotes, as [`parse_prefix`] reads it.
    pub fn prefix(&self) -> Option<IpNet> {
        match self {
            Self::Four(octets, len) => {
                // `192.0.2.1` and `192.0.2.1/32` are different values and the same prefix.
                let len = if *len == HOST { 32 } else { *len };
                IpNet::new(Ipv4Addr::from(*octets).into(), len).ok().map(canonical)
            }
            Self::Six(octets, len) => {
                let len = if *len == HOST { 128 } else { *len };
                IpNet::new(Ipv6Addr::from(*octets).into(), len).ok().map(canonical)
            }
            Self::Text(text) => parse_prefix(text).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_text_and_are_read_as_the_lapi_reads_them() {
        for (text, is_text) in [
            ("1.2.3.4", false),
            ("1.2.3.4/32", false),
            ("1.2.3.4/24", false),
            ("0.0.0.0/0", false),
            ("1.2.3.4/033", true),
            ("1.2.3.4/33", true),
            ("1.2.3.4/255", true),
            ("1.2.3.4/024", true),
            ("01.2.3.4", true),
            ("2001:db8::1", false),
            ("2001:DB8::1", true),
            ("2001:db8::/32", false),
            ("2001:db8:0:0::/64", true),
            ("::ffff:1.2.3.4", false),
            ("::ffff:1.2.3.4/120", false),
            ("::ffff:1.2.3.4/64", false),
            ("2001:0db8:0000:0000:0000:0000:0000:0001", true),
            ("FR", true),
            ("", true),
            ("1.2.3.4/+8", true),
            ("1.2.3.4%eth0", true),
        ] {
            let value = Value::new(text);
            assert_eq!(value.text(), text);
            assert_eq!(matches!(value, Value::Text(_)), is_text, "{text}");
            assert_eq!(value.prefix(), parse_prefix(text).ok(), "{text}");
            let mut json = Vec::new();
            value.push_json(&mut json);
            assert_eq!(String::from_utf8(json).unwrap(), format!("\"{text}\""));
        }
    }
}
