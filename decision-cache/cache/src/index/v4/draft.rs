//! Writes pages of the IPv4 index, and pages of /24s for leaves that do not fit.

use std::sync::Arc;

use crate::index::v4::page::{Content, LEAVES, Page, Writer};
use crate::prefix::V4;

/// Low bits of an address within a page, and within a leaf of it.
// A page is a /10 of 64 /16s.
pub(super) const TOP: Level = Level { page: 22, leaf: 16 };
/// The same in a crowded /16.
// A page is a /18 of 64 /24s.
pub(super) const INNER: Level = Level { page: 14, leaf: 8 };
/// Pages in a crowded /16.
pub(super) const QUARTERS: usize = 4;

#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub(super) page: u32,
    pub(super) leaf: u32,
}

/// For each crowded leaf of a page the pages that replace it.
pub(super) type Crowds = [Option<Arc<Quarters>>; LEAVES];
pub(super) type Quarters = [Page; QUARTERS];

/// The first address of part `at` of the prefix that starts at `start`, and the last; a part has `bits` low bits.
pub(super) fn part(start: V4, at: usize, bits: u32) -> (V4, V4) {
    let first = start | (at as V4) << bits;
    (first, first | ((1 << bits) - 1))
}

/// A page being written, and its crowded leaves.
pub(super) struct Draft {
    pub(super) writer: Writer,
    crowds: Option<Box<Crowds>>,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self { writer: Writer::default(), crowds: None }
    }

    pub(super) fn leaf(&mut self, at: usize, start: V4, content: Content<'_>) {
        if content.fits_leaf() {
            self.writer.leaf(start, &content);
        } else {
            self.crowd(at, Arc::new(quarters(start, content)));
        }
    }

    pub(super) fn crowd(&mut self, at: usize, quarters: Arc<Quarters>) {
        self.writer.crowded();
        // Few pages have a crowded leaf, so the list of 64 pointers is made for the first one.
        let crowds = self.crowds.get_or_insert_with(|| Box::new(std::array::from_fn(|_| None)));
        crowds[at] = Some(quarters);
    }

    pub(super) fn finish(self) -> (Page, Option<Arc<Crowds>>) {
        (self.writer.page(), self.crowds.map(Arc::from))
    }
}

pub(super) fn build(start: V4, level: Level, mut content: Content<'_>) -> (Page, Option<Arc<Crowds>>) {
    let mut draft = Draft::new();
    for at in 0..LEAVES {
        let (first, last) = part(start, at, level.leaf);
        draft.leaf(at, first, content.take_up_to(last));
    }
    draft.finish()
}

fn quarters(start: V4, mut content: Content<'_>) -> Quarters {
    std::array::from_fn(|at| {
        let (first, last) = part(start, at, INNER.page);
        // No crowded leaves to keep: a /24 has at most 256 hosts and 256 boundaries, and so always fits.
        build(first, INNER, content.take_up_to(last)).0
    })
}
