//! The compiled, read-only index of one family: which rows hold for an address.
//!
//! *Hosts* say what holds for exactly one address, *spans* which range row is the strongest from an address
//! on. Storage is shared between versions: a patch copies what it touches, readers of older versions are not
//! disturbed. The families are filled so differently that each has an index of its own kind.

pub(crate) mod v4;
pub(crate) mod v6;

use crate::table::{NONE, Table};

/// A row at a place: the address itself, or all from it on, depending on who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell<K> {
    pub(crate) key: K,
    pub(crate) row: u32,
}

/// Blocks of addresses as first address and length, sorted and disjoint.
pub(crate) type Blocks<K> = [(K, u8)];

/// Answers the spans of the block at this first address and of this length: sorted, neighbours different, the
/// first at the block's first address; [`NONE`] where there is no range.
pub(crate) type Parts<'a, K> = &'a dyn Fn(K, u8) -> Vec<Cell<K>>;

/// What the index of a family does.
pub(crate) trait Compiled<K>: Clone + std::fmt::Debug {
    /// An empty index; `seed` decides where a hash table puts addresses.
    fn new(seed: u64) -> Self;
    fn find(&self, key: K) -> Found;
    /// Becomes the index of these hosts and sorted spans. Of two hosts on one address the stronger one stays.
    fn rebuild(&mut self, hosts: Vec<Cell<K>>, spans: &[Cell<K>], table: &Table);
    /// Sets the row of each of `hosts`, sorted, or with [`NONE`] takes it out, and asks for the spans of `blocks`
    /// again.
    fn patch(&mut self, hosts: &[Cell<K>], blocks: &Blocks<K>, spans: Parts<'_, K>);
    /// The spans of `[first, last]`: sorted, the first at `first`, neighbours different; [`NONE`] marks gaps.
    fn spans_within(&self, first: K, last: K) -> Vec<Cell<K>>;
}

/// The rows an address meets: its own host row and the strongest range row, either may be [`NONE`].
///
/// Whether they are rows is said apart from them: where this is all that a caller asks, the rows are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whether either is a row.
    pub(crate) is_held: bool,
    /// Whether the host is a row.
    pub(crate) on_address: bool,
    pub(crate) host: u32,
    pub(crate) span: u32,
}

impl Found {
    /// The rows of a host and a span: a pair that is returned in registers.
    #[inline]
    pub(crate) fn rows(self) -> (u32, u32) {
        (self.host, self.span)
    }
}

impl From<(u32, u32)> for Found {
    #[inline]
    fn from((host, span): (u32, u32)) -> Self {
        // NONE is all ones: one test, because each alone cannot be predicted.
        Self { is_held: host & span != NONE, on_address: host != NONE, host, span }
    }
}

/// Appends a span; two neighbours of one row are one span, and a later cell at the same key replaces.
pub(crate) fn push_span<K: Copy + Eq>(out: &mut Vec<Cell<K>>, cell: Cell<K>) {
    if out.last().is_some_and(|last| last.key == cell.key) {
        out.pop();
    }
    if out.last().is_none_or(|last| last.row != cell.row) {
        out.push(cell);
    }
}
