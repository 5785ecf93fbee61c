//! The compiled, read-only index of one family: which rows hold for an address.
//!
//! *Hosts* say what holds for exactly one address, *spans* which range row is the strongest from an address
//! on. Both answer with few dependent reads and next to no unpredictable branch, and a processor runs both
//! searches side by side. Storage is shared between versions: a patch copies what it touches, readers of older
//! versions are not disturbed.

use crate::hosts::Hosts;
use crate::prefix::Key;
use crate::spans::Spans;
use crate::table::NONE;

/// A row at a place: the address itself, or all from it on, depending on who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell<K> {
    pub(crate) key: K,
    pub(crate) row: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Index<K: Key> {
    pub(crate) hosts: Hosts<K>,
    pub(crate) spans: Spans<K>,
}

impl<K: Key> Index<K> {
    /// An empty index; `seed` decides where its hash table puts addresses.
    pub(crate) fn new(seed: u64) -> Self {
        Self { hosts: Hosts::new(seed), spans: Spans::default() }
    }

    #[inline]
    pub(crate) fn find(&self, key: K) -> Found {
        Found { host: self.hosts.find(key), span: self.spans.find(key) }
    }
}

impl<K: Key> Default for Index<K> {
    fn default() -> Self {
        Self::new(0)
    }
}

/// The rows an address meets: its own host row and the strongest range row, either may be
/// [`NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) host: u32,
    pub(crate) span: u32,
}

impl Found {
    /// Whether either is a row.
    #[inline]
    pub(crate) fn is_held(self) -> bool {
        // NONE is all ones: one test, because each alone cannot be predicted.
        self.host & self.span != NONE
    }
}

/// Appends a span; two neighbours of one row are one span, and a later cell at the same key replaces.
pub(crate) fn push_span<K: Key>(out: &mut Vec<Cell<K>>, cell: Cell<K>) {
    if out.last().is_some_and(|last| last.key == cell.key) {
        out.pop();
    }
    if out.last().is_none_or(|last| last.row != cell.row) {
        out.push(cell);
    }
}
