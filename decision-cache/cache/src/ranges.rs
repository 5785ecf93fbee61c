//! The ranges of one address family by length, for readers that need every range around an address.
//!
//! The [index](crate::index) has only the strongest one. A clone shares storage; a patch copies the lengths that changed.

use std::sync::Arc;

use crate::index::Entry;
use crate::prefix::{Key, Prefix};
use crate::table::NONE;

/// For each length the ranges, sorted by their first address, each with its first row.
#[derive(Debug, Clone)]
pub(crate) struct Ranges<K> {
    lengths: Vec<Arc<Vec<Entry<K>>>>,
}

impl<K: Key> Default for Ranges<K> {
    fn default() -> Self {
        Self { lengths: vec![Arc::default(); usize::from(K::BITS) + 1] }
    }
}

impl<K: Key> Ranges<K> {
    /// Replaces all ranges. `sorted` by first address.
    pub(crate) fn rebuild(&mut self, sorted: impl Iterator<Item = (Entry<K>, u8)>) {
        let mut lengths = vec![Vec::new(); self.lengths.len()];
        for (entry, length) in sorted {
            lengths[usize::from(length)].push(entry);
        }
        self.lengths = lengths.into_iter().map(Arc::new).collect();
    }

    /// Sets the first row of each of these ranges, or removes it if it is [`NONE`]. `changed` is sorted by first address.
    pub(crate) fn patch(&mut self, changed: impl Iterator<Item = (Entry<K>, u8)>) {
        let mut changes = vec![Vec::new(); self.lengths.len()];
        for (entry, length) in changed {
            changes[usize::from(length)].push(entry);
        }
        for (held, changes) in self.lengths.iter_mut().zip(changes) {
            if !changes.is_empty() {
                *held = Arc::new(merged(held, &changes));
            }
        }
    }

    /// The lengths in use, and how many ranges there are of each.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (u8, u32)> {
        let counts = (0u8..).zip(&self.lengths).filter(|(_, entries)| !entries.is_empty());
        counts.map(|(length, entries)| (length, entries.len() as u32))
    }

    /// The first rows of the ranges that cover an address.
    pub(crate) fn around(&self, key: K) -> impl Iterator<Item = u32> {
        let host = Prefix::from_key(key, K::BITS);
        (0u8..).zip(&self.lengths).filter(|(_, entries)| !entries.is_empty()).filter_map(
            move |(length, entries)| {
                let first = K::of(&host.shortened(length));
                entries.binary_search_by_key(&first, |entry| entry.key).ok().map(|at| entries[at].row)
            },
        )
    }
}

/// Both lists in one; a change replaces.
fn merged<K: Key>(held: &[Entry<K>], changes: &[Entry<K>]) -> Vec<Entry<K>> {
    let mut out = Vec::with_capacity(held.len() + changes.len());
    let mut rest = held;
    for change in changes {
        let before = rest.partition_point(|entry| entry.key < change.key);
        out.extend_from_slice(&rest[..before]);
        rest = &rest[before..];
        if rest.first().is_some_and(|entry| entry.key == change.key) {
            rest = &rest[1..];
        }
        if change.row != NONE {
            out.push(*change);
        }
    }
    out.extend_from_slice(rest);
    out
}
