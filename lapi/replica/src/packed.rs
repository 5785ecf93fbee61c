//! A decision packed into 80 bytes.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use palisade_model::{Commit, StoredDecision};
use palisade_net::{canonical, parse_prefix};
use palisade_wire::UnixMillis;
use uuid::Uuid;

use crate::json;
use crate::label::Label;

/// A decision's value. Addresses and prefixes in canonical notation need no text, so two values are equal exactly when
/// their texts are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    /// An IPv4 address with its prefix length, host bits kept, or [`HOST`].
    Four([u8; 4], u8),
    /// An IPv6 address, likewise.
    Six([u8; 16], u8),
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
    pub(crate) fn new(text: &str) -> Self {
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

    pub(crate) fn text(&self) -> String {
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
    pub(crate) fn push_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => json::push_text(out, text),
            Self::Four(octets, len) => {
                out.push(b'"');
                for (at, octet) in octets.iter().enumerate() {
                    if at > 0 {
                        out.push(b'.');
                    }
                    json::push_number(out, u64::from(*octet));
                }
                if *len != HOST {
                    out.push(b'/');
                    json::push_number(out, u64::from(*len));
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
    pub(crate) fn prefix(&self) -> Option<IpNet> {
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

#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) id: i64,
    until: i64,
    /// The commit, shifted left; the lowest bit says that other rows may have the same value.
    // One word for both keeps a row at 80 bytes; a million rows are in memory.
    commit: u64,
    /// For a tombstone, its former id.
    alert: i64,
    /// Nil for none.
    uuid: Uuid,
    pub(crate) label: Arc<Label>,
    pub(crate) value: Value,
}

impl Packed {
    pub(crate) fn new(row: &StoredDecision, label: Arc<Label>) -> Self {
        Self {
            id: row.id,
            until: row.until.0,
            commit: row.commit.0 << 1,
            alert: row.alert,
            uuid: row.uuid.unwrap_or_default(),
            label,
            value: Value::new(&row.value),
        }
    }

    pub(crate) fn row(&self) -> StoredDecision {
        StoredDecision {
            id: self.id,
            commit: self.commit(),
            until: self.until(),
            alert: self.alert,
            simulated: self.label.simulated,
            uuid: self.uuid(),
            origin: self.label.origin.to_string(),
            scenario: self.label.scenario.to_string(),
            scope: self.label.scope.to_string(),
            kind: self.label.kind.to_string(),
            value: self.value.text(),
        }
    }

    /// A copy with an id below zero, for a row that is about to be overwritten.
    pub(crate) fn tombstone(&self, id: i64) -> Self {
        Self { id, alert: self.shown_id(), ..self.clone() }
    }

    /// The id to send: for a tombstone, its former id.
    pub(crate) fn shown_id(&self) -> i64 {
        if self.id < 0 { self.alert } else { self.id }
    }

    pub(crate) fn until(&self) -> UnixMillis {
        UnixMillis(self.until)
    }

    pub(crate) fn commit(&self) -> Commit {
        Commit(self.commit >> 1)
    }

    pub(crate) fn uuid(&self) -> Option<Uuid> {
        (!self.uuid.is_nil()).then_some(self.uuid)
    }

    /// Whether other rows may have the same value: no false negatives.
    pub(crate) fn shared(&self) -> bool {
        self.commit & 1 == 1
    }

    pub(crate) fn set_shared(&mut self) {
        self.commit |= 1;
    }

    pub(crate) fn set_until(&mut self, until: UnixMillis) {
        self.until = until.0;
    }

    pub(crate) fn set_commit(&mut self, commit: Commit) {
        self.commit = commit.0 << 1 | self.commit & 1;
    }

    /// Whether it is in force; a row that ends now has ended.
    pub(crate) fn active(&self, now: UnixMillis) -> bool {
        self.until > now.0 && !self.label.gone
    }

    /// The prefix it covers, if its scope is `Ip` or `Range`.
    pub(crate) fn prefix(&self) -> Option<IpNet> {
        if self.label.addressed { self.value.prefix() } else { None }
    }

    /// Whether both have the same target: value, type and scope by text or, with `by_address`, prefix and type.
    pub(crate) fn same_key(&self, other: &Self, by_address: bool) -> bool {
        // Without the scope: `Ip` 192.0.2.1 and `Range` 192.0.2.1/32 are one target to a client that goes by address.
        if by_address && let Some(prefix) = self.prefix() {
            return self.label.kind == other.label.kind && other.prefix() == Some(prefix);
        }
        self.value == other.value
            && (Arc::ptr_eq(&self.label, &other.label)
                || (self.label.kind == other.label.kind && self.label.scope == other.label.scope))
    }

    /// Whether everything but commit and end is equal.
    pub(crate) fn same_words(&self, other: &Self) -> bool {
        let same_label = Arc::ptr_eq(&self.label, &other.label);
        same_label && self.value == other.value && self.alert == other.alert && self.uuid == other.uuid
    }
}

/// Hashes a value with a secret key, since attackers choose values. All notations of a prefix have the same hash.
pub(crate) fn hash_value(state: &RandomState, value: &Value) -> u64 {
    match value.prefix() {
        Some(net) => state.hash_one(net),
        None => state.hash_one(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_takes_eighty_bytes() {
        assert_eq!(size_of::<Packed>(), 80);
    }

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
