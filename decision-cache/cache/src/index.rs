//! The read-only index of one address family: which rows hold for an address.
//!
//! *Hosts* are the rows on exactly one address. *Intervals* cover the whole address space: each reaches from its first
//! address to the next interval, and has the strongest range row over it or none. Versions share storage: a patch copies
//! what it changes, and readers of older versions are not affected. IPv4 is dense and IPv6 sparse, so each has an index
//! of its own kind.

pub(crate) mod v4;
pub(crate) mod v6;

use crate::prefix::Key;
use crate::table::{NONE, Table};

/// A row and its address: of a host, or the first address of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<K> {
    pub(crate) key: K,
    pub(crate) row: u32,
}

/// Prefixes as first address and length, sorted and disjoint.
pub(crate) type Prefixes<K> = [(K, u8)];

/// Computes the intervals of the prefix with this first address and length: sorted, neighbours different, the first at
/// the prefix's first address; [`NONE`] where there is no range.
pub(crate) type IntervalsOf<'a, K> = &'a dyn Fn(K, u8) -> Vec<Entry<K>>;

pub(crate) trait Index: Clone + std::fmt::Debug {
    type Key: Key;

    /// An empty index; `seed` decides where a hash table puts addresses.
    fn new(seed: u64) -> Self;
    fn find(&self, key: Self::Key) -> Found;
    /// Builds the index anew from these hosts and sorted intervals. Of two hosts on one address the stronger one stays.
    fn rebuild(&mut self, hosts: Vec<Entry<Self::Key>>, intervals: &[Entry<Self::Key>], table: &Table);
    /// Sets the row of each of `hosts`, which are sorted, or removes it if it is [`NONE`], and replaces the intervals
    /// within `prefixes`.
    fn patch(
        &mut self,
        hosts: &[Entry<Self::Key>],
        prefixes: &Prefixes<Self::Key>,
        intervals: IntervalsOf<'_, Self::Key>,
    );
}

/// The rows that hold for an address: its own host row and the strongest range row; either may be [`NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whether either is a row. Apart from the rows, so that they are not read for a caller that needs only this.
    pub(crate) is_held: bool,
    pub(crate) host: u32,
    pub(crate) range: u32,
}

impl Found {
    /// Both rows: a pair is returned in registers.
    #[inline]
    pub(crate) fn rows(self) -> (u32, u32) {
        (self.host, self.range)
    }
}

impl From<(u32, u32)> for Found {
    #[inline]
    fn from((host, range): (u32, u32)) -> Self {
        // NONE is all ones: one test, because each alone cannot be predicted.
        Self { is_held: host & range != NONE, host, range }
    }
}

/// Appends an interval; neighbours of one row become one interval, and a later entry at the same key replaces.
pub(crate) fn push_interval<K: Copy + Eq>(out: &mut Vec<Entry<K>>, entry: Entry<K>) {
    if out.last().is_some_and(|last| last.key == entry.key) {
        out.pop();
    }
    // Asked after the removal above: the new entry may continue the interval before the replaced one.
    if out.last().is_none_or(|last| last.row != entry.row) {
        out.push(entry);
    }
}
