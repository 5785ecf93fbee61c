//! The compiled, read-only index: which row holds for an address.
//!
//! A radix tree of one byte per level whose leaves hold up to [`LEAF_MAX`] sorted cells. A leaf keeps two
//! sorted runs side by side: *spans* (from this address on, the strongest range is that row) and *hosts*
//! (exactly this address has that row). Everything is behind `Arc`: a patch copies the leaves it touches and
//! the few nodes above them, readers of older versions are not disturbed.

use std::sync::Arc;

use crate::prefix::Key;
use crate::table::NONE;

/// A leaf with more cells than this becomes a node. A node costs 6 KiB, so a leaf must hold enough to pay
/// for one; a lookup bisects a leaf in eight steps at most.
const LEAF_MAX: usize = 256;
/// A node whose leaves together hold no more than this becomes a leaf again.
const LEAF_MERGE: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell<K> {
    pub(crate) key: K,
    pub(crate) row: u32,
}

/// A sorted run of cells.
pub(crate) type Cells<K> = [Cell<K>];

#[derive(Debug, Clone)]
enum Child<K> {
    Empty,
    Leaf { spans: u32, cells: Arc<[Cell<K>]> },
    Node(Arc<Node<K>>),
}

type Node<K> = [Child<K>; 256];

#[derive(Debug, Clone)]
pub(crate) struct Index<K> {
    root: Child<K>,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self { root: Child::Empty }
    }
}

/// The rows an address meets: its own host row and the strongest range row, either may be [`NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) host: u32,
    pub(crate) span: u32,
}

/// What a patch changes: host cells to set or (with [`NONE`]) remove, sorted by key, and blocks of addresses
/// whose spans must be asked for again, sorted and disjoint.
pub(crate) struct Patch<'a, K> {
    pub(crate) hosts: &'a [Cell<K>],
    pub(crate) blocks: &'a [(K, K)],
    /// Answers the spans of the block at this start, fixed in so many bytes: sorted, neighbours different. Empty
    /// when no range touches the block.
    pub(crate) spans: &'a dyn Fn(K, usize) -> Vec<Cell<K>>,
}

impl<K: Key> Index<K> {
    /// Builds the index of sorted hosts and sorted spans in one pass.
    pub(crate) fn build(hosts: &[Cell<K>], spans: &[Cell<K>]) -> Self {
        Self { root: grow(K::default(), 0, hosts, spans, NONE) }
    }

    #[inline]
    pub(crate) fn find(&self, key: K) -> Found {
        let mut child = &self.root;
        let mut depth = 0;
        loop {
            match child {
                Child::Empty => return Found { host: NONE, span: NONE },
                Child::Node(node) => {
                    child = &node[key.byte(depth)];
                    depth += 1;
                }
                Child::Leaf { spans, cells } => {
                    let (spans, hosts) = cells.split_at(*spans as usize);
                    let host = match hosts.binary_search_by(|cell| cell.key.cmp(&key)) {
                        Ok(at) => hosts[at].row,
                        Err(_) => NONE,
                    };
                    let span = match spans {
                        [] => NONE,
                        spans => match spans.partition_point(|cell| cell.key <= key) {
                            0 => NONE,
                            after => spans[after - 1].row,
                        },
                    };
                    return Found { host, span };
                }
            }
        }
    }

    pub(crate) fn patch(&mut self, patch: &Patch<'_, K>) {
        apply(&mut self.root, K::default(), 0, patch.hosts, patch.blocks, patch.spans);
    }

    /// Calls `host` for each host cell in order.
    pub(crate) fn each_host<'a>(&'a self, host: &mut dyn FnMut(&'a Cell<K>)) {
        each_leaf(&self.root, &mut |spans, cells| cells[spans..].iter().for_each(&mut *host));
    }

    /// The spans of `[first, last]`, merged across leaves: sorted, the first at or after `first`; cells with
    /// [`NONE`] mark gaps.
    pub(crate) fn spans_within(&self, first: K, last: K) -> Vec<Cell<K>> {
        let mut out = Vec::new();
        collect_spans(&self.root, K::default(), 0, first, last, &mut out);
        out
    }

    /// Walks the places where two versions of an index do not share storage.
    ///
    /// `host` gets each address that has a host cell in either version there, with both rows; `block` gets
    /// both versions' cells of each leaf whose spans may differ.
    pub(crate) fn differences(
        &self,
        older: &Self,
        host: &mut dyn FnMut(K, u32, u32),
        block: &mut dyn FnMut(&Cells<K>, &Cells<K>),
    ) {
        differ(&older.root, &self.root, host, block);
    }
}

fn grow<K: Key>(start: K, depth: usize, hosts: &[Cell<K>], spans: &[Cell<K>], carried: u32) -> Child<K> {
    // `carried` is the span in force at `start` when none of `spans` begins exactly there.
    let needs_carry = carried != NONE && spans.first().is_none_or(|cell| cell.key > start);
    let span_count = spans.len() + usize::from(needs_carry);
    if hosts.is_empty() && (span_count == 0 || (!needs_carry && spans.iter().all(|cell| cell.row == NONE))) {
        return Child::Empty;
    }
    if hosts.len() + span_count <= LEAF_MAX || depth == K::BYTES {
        let carry = needs_carry.then_some(Cell { key: start, row: carried });
        let cells = carry.into_iter().chain(spans.iter().copied()).chain(hosts.iter().copied());
        return Child::Leaf { spans: span_count as u32, cells: cells.collect() };
    }
    let (mut hosts, mut spans, mut carried) = (hosts, spans, carried);
    let node: Node<K> = std::array::from_fn(|byte| {
        let first = start.child(depth, byte);
        let last = first.block_end(depth + 1);
        let (mine, rest) = hosts.split_at(hosts.partition_point(|cell| cell.key <= last));
        let (here, later) = spans.split_at(spans.partition_point(|cell| cell.key <= last));
        (hosts, spans) = (rest, later);
        let child = grow(first, depth + 1, mine, here, carried);
        carried = here.last().map_or(carried, |cell| cell.row);
        child
    });
    Child::Node(Arc::new(node))
}

fn apply<K: Key>(
    child: &mut Child<K>,
    start: K,
    depth: usize,
    hosts: &[Cell<K>],
    blocks: &[(K, K)],
    spans: &dyn Fn(K, usize) -> Vec<Cell<K>>,
) {
    if let Child::Node(node) = child {
        let node = Arc::make_mut(node);
        let (mut hosts, mut blocks) = (hosts, blocks);
        for (byte, child) in node.iter_mut().enumerate() {
            let first = start.child(depth, byte);
            let last = first.block_end(depth + 1);
            let (mine, rest) = hosts.split_at(hosts.partition_point(|cell| cell.key <= last));
            hosts = rest;
            // A block that reaches past this child stays in the list for the next one.
            blocks = &blocks[blocks.partition_point(|block| block.1 < first)..];
            let touching = &blocks[..blocks.partition_point(|block| block.0 <= last)];
            if !mine.is_empty() || !touching.is_empty() {
                apply(child, first, depth + 1, mine, touching, spans);
            }
        }
        shrink(child, start, depth);
        return;
    }
    let (old_spans, old_hosts) = match child {
        Child::Leaf { spans, cells } => cells.split_at(*spans as usize),
        _ => (&[][..], &[][..]),
    };
    let new_spans = match blocks {
        [] => old_spans.to_vec(),
        _ => spans(start, depth),
    };
    let new_hosts = merge(old_hosts, hosts);
    *child = grow(start, depth, &new_hosts, &new_spans, NONE);
}

/// Sorted cells with sorted changes laid over them; a change to [`NONE`] removes.
fn merge<K: Key>(old: &[Cell<K>], changes: &[Cell<K>]) -> Vec<Cell<K>> {
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

/// Turns a node with little left in it back into a leaf.
fn shrink<K: Key>(child: &mut Child<K>, start: K, depth: usize) {
    let Child::Node(node) = child else { return };
    let mut total = 0;
    for child in node.iter() {
        match child {
            Child::Empty => {}
            Child::Leaf { cells, .. } => total += cells.len(),
            Child::Node(_) => return,
        }
        if total > LEAF_MERGE {
            return;
        }
    }
    let (mut spans, mut hosts) = (Vec::new(), Vec::new());
    for (byte, child) in node.iter().enumerate() {
        // Where a child says nothing of ranges, the span before it ends.
        push_span(&mut spans, Cell { key: start.child(depth, byte), row: NONE });
        if let Child::Leaf { spans: count, cells } = child {
            let (mine, rest) = cells.split_at(*count as usize);
            mine.iter().for_each(|cell| push_span(&mut spans, *cell));
            hosts.extend_from_slice(rest);
        }
    }
    *child = grow(start, depth, &hosts, &spans, NONE);
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

fn each_leaf<'a, K: Key>(child: &'a Child<K>, leaf: &mut dyn FnMut(usize, &'a [Cell<K>])) {
    match child {
        Child::Empty => {}
        Child::Leaf { spans, cells } => leaf(*spans as usize, cells),
        Child::Node(node) => node.iter().for_each(|child| each_leaf(child, leaf)),
    }
}

fn collect_spans<K: Key>(
    child: &Child<K>,
    start: K,
    depth: usize,
    first: K,
    last: K,
    out: &mut Vec<Cell<K>>,
) {
    let (from, to) = (start.max(first), start.block_end(depth).min(last));
    if from > to {
        return;
    }
    match child {
        Child::Empty => push_span(out, Cell { key: from, row: NONE }),
        Child::Leaf { spans, cells } => {
            let spans = &cells[..*spans as usize];
            let after = spans.partition_point(|cell| cell.key <= from);
            let row = if after == 0 { NONE } else { spans[after - 1].row };
            push_span(out, Cell { key: from, row });
            spans[after..].iter().take_while(|cell| cell.key <= to).for_each(|cell| push_span(out, *cell));
        }
        Child::Node(node) => {
            for byte in from.byte(depth)..=to.byte(depth) {
                collect_spans(&node[byte], start.child(depth, byte), depth + 1, first, last, out);
            }
        }
    }
}

fn differ<K: Key>(
    old: &Child<K>,
    new: &Child<K>,
    host: &mut dyn FnMut(K, u32, u32),
    block: &mut dyn FnMut(&Cells<K>, &Cells<K>),
) {
    match (old, new) {
        (Child::Empty, Child::Empty) => {}
        (Child::Node(old), Child::Node(new)) => {
            if !Arc::ptr_eq(old, new) {
                old.iter().zip(new.iter()).for_each(|(old, new)| differ(old, new, host, block));
            }
        }
        (Child::Leaf { cells: old, .. }, Child::Leaf { cells: new, .. }) if Arc::ptr_eq(old, new) => {}
        _ => {
            let ((old_spans, old_hosts), (new_spans, new_hosts)) = (flatten(old), flatten(new));
            let (mut old, mut new) = (old_hosts.iter().peekable(), new_hosts.iter().peekable());
            while let Some(key) = old.peek().map(|c| c.key).into_iter().chain(new.peek().map(|c| c.key)).min()
            {
                let before = old.next_if(|cell| cell.key == key).map_or(NONE, |cell| cell.row);
                let after = new.next_if(|cell| cell.key == key).map_or(NONE, |cell| cell.row);
                host(key, before, after);
            }
            if !old_spans.is_empty() || !new_spans.is_empty() {
                block(&old_spans, &new_spans);
            }
        }
    }
}

/// All spans and all hosts below a child.
fn flatten<K: Key>(child: &Child<K>) -> (Vec<Cell<K>>, Vec<Cell<K>>) {
    let (mut spans, mut hosts) = (Vec::new(), Vec::new());
    each_leaf(child, &mut |count, cells| {
        spans.extend_from_slice(&cells[..count]);
        hosts.extend_from_slice(&cells[count..]);
    });
    (spans, hosts)
}
