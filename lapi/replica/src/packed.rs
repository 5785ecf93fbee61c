//! A decision packed into 80 bytes.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use ipnet::IpNet;
use palisade_model::{Commit, Scope, StoredDecision, Target, Value};
use palisade_wire::UnixMillis;
use uuid::Uuid;

use crate::label::Label;

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
            value: row.target.value.clone(),
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
            origin: Arc::clone(&self.label.origin),
            scenario: Arc::clone(&self.label.scenario),
            target: Target { scope: Scope::stored(&self.label.scope), value: self.value.clone() },
            remediation: Arc::clone(&self.label.kind),
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
}
