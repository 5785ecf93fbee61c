//! The index of IPv4: pages of leaves, found by the upper bits of an address.
//!
//! ```text
//!  top 10 bits ─► page ─► next 6 bits: line of the /16 ─► its hosts and boundaries
//!                              └─ crowded ─► 4 pages of /24s
//! ```
//! IPv4 is so full that most /16s of a large table hold something, and so short that what a lookup needs to know
//! of one fits a cache line. Everything is behind `Arc`: a patch copies the pages it touches. A /16 with too much in
//! it is apart from its page, so that a crowded place does not make copies dear.

mod line;
mod page;

use std::sync::Arc;

use crate::index::v4::page::{Content, LEAVES, Page, Step, Writer};
use crate::index::{Blocks, Cell, Compiled, Found, Parts, push_span};
use crate::prefix::{Key, V4};
use crate::table::{NONE, Table};

const PAGES: usize = 1024;
/// Low bits of an address that a page spans, and a leaf in it.
const TOP: Level = Level { page: 22, leaf: 16 };
/// The same in a crowded /16.
const INNER: Level = Level { page: 14, leaf: 8 };
/// Pages in a crowded /16.
const QUARTERS: usize = 4;
/// A crowded /16 with no more hosts and spans than this goes back into its page.
const CROWD_MERGE: usize = 128;

#[derive(Debug, Clone, Copy)]
struct Level {
    page: u32,
    leaf: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Pages(Arc<Root>);

#[derive(Debug, Clone)]
struct Root {
    pages: [Page; PAGES],
    crowds: [Option<Arc<Crowds>>; PAGES],
}

/// For each leaf of a page the pages in its place, if it is crowded.
type Crowds = [Option<Arc<Quarters>>; LEAVES];
type Quarters = [Page; QUARTERS];

/// The number of the leaf of this address in its page.
#[inline]
fn leaf_of(key: V4, level: Level) -> usize {
    (key >> level.leaf) as usize % LEAVES
}

/// The number of the page of this address in a crowded /16.
fn quarter_of(key: V4) -> usize {
    (key >> INNER.page) as usize % QUARTERS
}

/// The first address of part `at` of the block that starts at `start`, and the last; a part has `bits` low bits.
fn part(start: V4, at: usize, bits: u32) -> (V4, V4) {
    let first = start | (at as V4) << bits;
    (first, first | ((1 << bits) - 1))
}

impl Compiled<V4> for Pages {
    fn new(_seed: u64) -> Self {
        let page = Page::uniform(NONE);
        Self(Arc::new(Root {
            pages: std::array::from_fn(|_| page.clone()),
            crowds: std::array::from_fn(|_| None),
        }))
    }

    #[inline]
    fn find(&self, key: V4) -> Found {
        match self.0.pages[(key >> TOP.page) as usize].find(leaf_of(key, TOP), key as u16) {
            Step::Found(found) => found,
            Step::Elsewhere => self.0.find_elsewhere(key).into(),
        }
    }

    fn rebuild(&mut self, mut hosts: Vec<Cell<V4>>, spans: &[Cell<V4>], table: &Table) {
        hosts.sort_unstable_by_key(|cell| cell.key);
        hosts.dedup_by(|later, kept| {
            let same = later.key == kept.key;
            if same {
                kept.row = table.stronger(kept.row, later.row);
            }
            same
        });
        let mut content = Content { hosts: &hosts, spans, carried: NONE };
        let (mut crowds, mut shared) = (std::array::from_fn(|_| None), None);
        let pages = std::array::from_fn(|at| {
            let (first, last) = part(0, at, TOP.page);
            let (page, crowd) = build(first, TOP, content.take_up_to(last));
            crowds[at] = crowd;
            share(page, &mut shared)
        });
        self.0 = Arc::new(Root { pages, crowds });
    }

    fn patch(&mut self, hosts: &[Cell<V4>], blocks: &Blocks<V4>, spans: Parts<'_, V4>) {
        let root = Arc::make_mut(&mut self.0);
        let mut changes = Changes { hosts, blocks, spans };
        let mut shared = None;
        for (at, (page, crowds)) in root.pages.iter_mut().zip(&mut root.crowds).enumerate() {
            let (first, last) = part(0, at, TOP.page);
            let mine = changes.take_in(first, last);
            if !mine.is_empty() {
                let (patched, crowd) = patch(page, crowds.as_deref(), first, TOP, mine);
                (*page, *crowds) = (share(patched, &mut shared), crowd);
            }
        }
    }

    fn spans_within(&self, first: V4, last: V4) -> Vec<Cell<V4>> {
        let mut out = Vec::new();
        for at in first >> TOP.page..=last >> TOP.page {
            let (page, crowds) = (&self.0.pages[at as usize], self.0.crowds[at as usize].as_deref());
            push_spans(page, crowds, at << TOP.page, TOP, &mut out);
        }
        within(&out, first, last)
    }
}

impl Root {
    /// The rows of a host and a span: a pair fits registers, so that the usual way is not slowed down by memory that
    /// both ways would share.
    #[cold]
    #[inline(never)]
    fn find_elsewhere(&self, key: V4) -> (u32, u32) {
        let (at, leaf) = ((key >> TOP.page) as usize, leaf_of(key, TOP));
        let page = &self.pages[at];
        if !page.is_crowded(leaf) {
            return page.find_long(leaf, key as u16);
        }
        let quarters = self.crowds[at].as_deref().and_then(|crowds| crowds[leaf].as_deref());
        let page = &quarters.expect("a crowded leaf has pages of its own")[quarter_of(key)];
        let leaf = leaf_of(key, INNER);
        match page.find(leaf, key as u16) {
            Step::Found(found) => found.rows(),
            Step::Elsewhere => page.find_long(leaf, key as u16),
        }
    }
}

/// Pages all of one row are one page when they follow each other.
fn share(page: Page, last: &mut Option<(u32, Page)>) -> Page {
    let Some(row) = page.as_uniform() else { return page };
    match last {
        Some((held, shared)) if *held == row => shared.clone(),
        _ => last.insert((row, page)).1.clone(),
    }
}

/// A page being written, and what of it is crowded.
struct Draft {
    writer: Writer,
    crowds: Option<Box<Crowds>>,
}

impl Draft {
    fn new() -> Self {
        Self { writer: Writer::default(), crowds: None }
    }

    fn leaf(&mut self, at: usize, start: V4, content: Content<'_>) {
        if content.fits_leaf() {
            self.writer.leaf(start, &content);
        } else {
            self.crowd(at, Arc::new(quarters(start, content)));
        }
    }

    fn crowd(&mut self, at: usize, quarters: Arc<Quarters>) {
        self.writer.crowded();
        let crowds = self.crowds.get_or_insert_with(|| Box::new(std::array::from_fn(|_| None)));
        crowds[at] = Some(quarters);
    }

    fn finish(self) -> (Page, Option<Arc<Crowds>>) {
        (self.writer.page(), self.crowds.map(Arc::from))
    }
}

fn build(start: V4, level: Level, mut content: Content<'_>) -> (Page, Option<Arc<Crowds>>) {
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
        build(first, INNER, content.take_up_to(last)).0
    })
}

/// What a patch asks for in some block of addresses.
#[derive(Clone, Copy)]
struct Changes<'a> {
    hosts: &'a [Cell<V4>],
    blocks: &'a Blocks<V4>,
    spans: Parts<'a, V4>,
}

impl Changes<'_> {
    /// What touches `[first, last]`. Later calls ask of later addresses.
    fn take_in(&mut self, first: V4, last: V4) -> Self {
        let (hosts, later) = self.hosts.split_at(self.hosts.partition_point(|cell| cell.key <= last));
        self.hosts = later;
        // A block that reaches past `last` stays for the next call.
        let passed = self.blocks.partition_point(|(start, length)| start.end_of(*length) < first);
        self.blocks = &self.blocks[passed..];
        let blocks = &self.blocks[..self.blocks.partition_point(|(start, _)| *start <= last)];
        Self { hosts, blocks, spans: self.spans }
    }

    fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.blocks.is_empty()
    }
}

fn patch(
    page: &Page,
    crowds: Option<&Crowds>,
    start: V4,
    level: Level,
    mut changes: Changes<'_>,
) -> (Page, Option<Arc<Crowds>>) {
    let mut draft = Draft::new();
    // The spans last asked for, and up to where they say what holds.
    let (mut asked, mut asked_last) = (Vec::new(), None);
    for at in 0..LEAVES {
        let (first, last) = part(start, at, level.leaf);
        let mine = changes.take_in(first, last);
        let crowd = crowds.and_then(|crowds| crowds[at].as_ref());
        match crowd {
            None if mine.is_empty() => draft.writer.copy(page),
            Some(crowd) if mine.is_empty() => draft.crowd(at, Arc::clone(crowd)),
            Some(crowd) => patch_crowd(&mut draft, at, first, crowd, mine),
            None => {
                let (hosts, mut spans) = page.read(at, first);
                if let Some(block) = mine.blocks.first() {
                    if asked_last.is_none_or(|asked_last| asked_last < first) {
                        let (from, length) = unit(*block, (start, first), level);
                        asked = (mine.spans)(from, length);
                        asked_last = Some(from.end_of(length));
                    }
                    spans = within(&asked, first, last);
                }
                let hosts = merge(&hosts, mine.hosts);
                draft.leaf(at, first, Content { hosts: &hosts, spans: &spans, carried: NONE });
            }
        }
    }
    draft.finish()
}

/// The block to ask the spans of: the leaf, or all that `block` has in the page when it covers the leaf.
fn unit(block: (V4, u8), (page, leaf): (V4, V4), level: Level) -> (V4, u8) {
    let [page_length, leaf_length] = [level.page, level.leaf].map(|bits| (V4::BITS - bits) as u8);
    match block.1 {
        length if length <= page_length => (page, page_length),
        length if length <= leaf_length => block,
        _ => (leaf, leaf_length),
    }
}

fn patch_crowd(draft: &mut Draft, at: usize, start: V4, crowd: &Quarters, mut changes: Changes<'_>) {
    let quarters: Quarters = std::array::from_fn(|at| {
        let (first, last) = part(start, at, INNER.page);
        let mine = changes.take_in(first, last);
        if mine.is_empty() { crowd[at].clone() } else { patch(&crowd[at], None, first, INNER, mine).0 }
    });
    let weight: usize = quarters.iter().map(Page::weight).sum();
    if weight <= CROWD_MERGE + QUARTERS * LEAVES {
        let (mut hosts, mut spans) = (Vec::new(), Vec::new());
        for (at, page) in quarters.iter().enumerate() {
            for leaf in 0..LEAVES {
                let first = part(part(start, at, INNER.page).0, leaf, INNER.leaf).0;
                let (more_hosts, more_spans) = page.read(leaf, first);
                hosts.extend(more_hosts);
                more_spans.into_iter().for_each(|cell| push_span(&mut spans, cell));
            }
        }
        if hosts.len() + spans.len() <= CROWD_MERGE {
            return draft.leaf(at, start, Content { hosts: &hosts, spans: &spans, carried: NONE });
        }
    }
    draft.crowd(at, Arc::new(quarters));
}

/// Sorted cells with sorted changes laid over them; a change to [`NONE`] removes.
fn merge(old: &[Cell<V4>], changes: &[Cell<V4>]) -> Vec<Cell<V4>> {
    let mut out = Vec::with_capacity(old.len() + changes.len());
    let mut rest = old;
    for change in changes {
        let (before, after) = rest.split_at(rest.partition_point(|cell| cell.key < change.key));
        out.extend_from_slice(before);
        rest = match after {
            [first, tail @ ..] if first.key == change.key => tail,
            _ => after,
        };
        if change.row != NONE {
            out.push(*change);
        }
    }
    out.extend_from_slice(rest);
    out
}

/// The spans of `[first, last]` out of those of a block around it, the first at `first`.
fn within(spans: &[Cell<V4>], first: V4, last: V4) -> Vec<Cell<V4>> {
    let after = spans.partition_point(|cell| cell.key <= first);
    let row = after.checked_sub(1).map_or(NONE, |at| spans[at].row);
    let later = spans[after..].iter().take_while(|cell| cell.key <= last);
    std::iter::once(Cell { key: first, row }).chain(later.copied()).collect()
}

fn push_spans(page: &Page, crowds: Option<&Crowds>, start: V4, level: Level, out: &mut Vec<Cell<V4>>) {
    if let Some(row) = page.as_uniform() {
        return push_span(out, Cell { key: start, row });
    }
    for at in 0..LEAVES {
        let first = part(start, at, level.leaf).0;
        match crowds.and_then(|crowds| crowds[at].as_deref()) {
            None => page.read(at, first).1.into_iter().for_each(|cell| push_span(out, cell)),
            Some(quarters) => quarters.iter().enumerate().for_each(|(at, page)| {
                push_spans(page, None, part(first, at, INNER.page).0, INNER, out);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What an index should hold; a block has one row.
    #[derive(Default)]
    struct Model {
        hosts: BTreeMap<V4, u32>,
        blocks: BTreeMap<(V4, u8), u32>,
    }

    impl Model {
        /// The smallest block around an address wins.
        fn span(&self, key: V4) -> u32 {
            let around = |length: &u8| {
                let start = key & !V4::MAX.checked_shr((*length).into()).unwrap_or(0);
                self.blocks.get(&(start, *length)).copied()
            };
            (0..=31u8).rev().find_map(|length| around(&length)).unwrap_or(NONE)
        }

        fn spans(&self, first: V4, length: u8) -> Vec<Cell<V4>> {
            let last = first.end_of(length);
            let edges =
                self.blocks.keys().flat_map(|(start, length)| [Some(*start), start.end_of(*length).next()]);
            let mut keys: Vec<_> = edges.flatten().filter(|key| (first..=last).contains(key)).collect();
            keys.push(first);
            keys.sort_unstable();
            let mut out = Vec::new();
            keys.into_iter().for_each(|key| push_span(&mut out, Cell { key, row: self.span(key) }));
            out
        }

        fn patch(&self, pages: &mut Pages, hosts: &[V4], blocks: &Blocks<V4>) {
            let mut cells: Vec<_> = hosts
                .iter()
                .map(|key| Cell { key: *key, row: self.hosts.get(key).copied().unwrap_or(NONE) })
                .collect();
            cells.sort_unstable_by_key(|cell| cell.key);
            cells.dedup();
            pages.patch(&cells, blocks, &|first, length| self.spans(first, length));
        }

        fn check(&self, pages: &Pages) {
            let near = |key: &V4| [key.wrapping_sub(1), *key, key.wrapping_add(1)];
            let edges = self.blocks.keys().flat_map(|(start, length)| [*start, start.end_of(*length)]);
            let keys: Vec<_> = self.hosts.keys().copied().chain(edges).flat_map(|key| near(&key)).collect();
            for key in keys {
                let rows = (self.hosts.get(&key).copied().unwrap_or(NONE), self.span(key));
                let found = pages.find(key);
                assert_eq!(found, rows.into(), "{key:#x}");
            }
            assert_eq!(pages.spans_within(0, V4::MAX), self.spans(0, 0));
        }
    }

    #[test]
    fn leaves_grow_long_and_crowded_and_shrink_again() {
        let (mut model, mut pages) = (Model::default(), Pages::new(0));
        let place = |n: u32| 0x0a40_0000 | n.wrapping_mul(0x9e37_79b1) >> 16;
        let crowded = |pages: &Pages| pages.0.crowds.iter().flatten().count();
        // Ranges of 8 to 31 bits around and among the hosts, the last of a /24 at its every address.
        let mut blocks: Vec<(V4, u8)> = vec![(0x0a00_0000, 8), (0x0a40_0000, 18), (0x0a41_0000, 16)];
        blocks.extend((0..128).map(|n| (0x0a40_0700 + 2 * n, 31)));
        blocks.extend((0..60).map(|n| (0x0a40_8000 + (n << 8), 25)));
        blocks.sort_unstable();
        let sizes = [20, 40, 300, 700, 3000, 20_000];
        for (round, pair) in [0].iter().chain(&sizes).zip(&sizes).map(|(from, to)| *from..*to).enumerate() {
            let hosts: Vec<_> = pair.map(place).collect();
            model.hosts.extend(hosts.iter().map(|key| (*key, *key & 0xffff)));
            let some: Vec<_> = blocks.iter().copied().skip(round).step_by(sizes.len()).collect();
            model
                .blocks
                .extend(some.iter().map(|block| (*block, 100_000 + block.0 % 977 + u32::from(block.1))));
            for block in &some {
                model.patch(&mut pages, &[], &[*block]);
            }
            model.patch(&mut pages, &hosts, &[]);
            model.check(&pages);
        }
        assert_eq!(crowded(&pages), 1);
        let mut rebuilt = Pages::new(0);
        let cells = model.hosts.iter().map(|(key, row)| Cell { key: *key, row: *row }).collect();
        rebuilt.rebuild(cells, &model.spans(0, 0), &Table::default());
        model.check(&rebuilt);
        let before = pages.clone();
        for keep in [3000, 90, 0] {
            let gone: Vec<_> = model.hosts.keys().copied().skip(keep).collect();
            gone.iter().for_each(|key| {
                model.hosts.remove(key);
            });
            let some: Vec<_> = model.blocks.keys().copied().skip(keep.min(20)).collect();
            model.blocks.retain(|block, _| !some.contains(block));
            for block in &some {
                model.patch(&mut pages, &[], &[*block]);
            }
            model.patch(&mut pages, &gone, &[]);
            model.check(&pages);
        }
        assert_eq!(crowded(&pages), 0);
        assert!(pages.0.pages.iter().all(|page| page.as_uniform() == Some(NONE)));
        assert_eq!(crowded(&before), 1, "an older version stays as it was");
    }
}
