//! The index of IPv4: a radix tree whose leaves hold all that is known of a block of addresses in one place.
//!
//! One byte per level; leaves hold up to [`LEAF_MAX`] sorted cells. A leaf keeps two sorted runs side by side:
//! *spans* (from this address on, the strongest range is that row) and *hosts* (exactly this address has that
//! row). IPv4 is so full that a lookup meets its leaf after two nodes, and what it reads there lies together.
//! Everything is behind `Arc`: a patch copies the leaves it touches and the few nodes above them.

use std::sync::Arc;

use crate::index::{Blocks, Cell, Compiled, Found, Parts, push_span};
use crate::prefix::{Key, V4};
use crate::table::{NONE, Table};

/// A leaf with more cells than this becomes a node. A node costs 6 KiB, so a leaf must hold enough to pay
/// for one; a lookup bisects a leaf in eight steps at most.
const LEAF_MAX: usize = 256;
/// A node whose leaves together hold no more than this becomes a leaf again.
const LEAF_MERGE: usize = 64;

#[derive(Debug, Clone)]
enum Child {
    Empty,
    Leaf { spans: u32, cells: Arc<[Cell<V4>]> },
    Node(Arc<Node>),
}

type Node = [Child; 256];

#[derive(Debug, Clone)]
pub(crate) struct Tree {
    root: Child,
}

/// The byte of an address at a depth.
fn byte(key: V4, depth: usize) -> usize {
    (key >> (24 - 8 * depth)) as usize & 0xff
}

/// The first address of child `byte` of the block that starts at `start` and lies `depth` bytes deep.
fn child_start(start: V4, depth: usize, byte: usize) -> V4 {
    start | (byte as V4) << (24 - 8 * depth)
}

/// The last address of the block that starts at `start` and lies `depth` bytes deep.
fn block_end(start: V4, depth: usize) -> V4 {
    start.end_of(8 * depth as u8)
}

impl Compiled<V4> for Tree {
    fn new(_seed: u64) -> Self {
        Self { root: Child::Empty }
    }

    #[inline]
    fn find(&self, key: V4) -> Found {
        let mut child = &self.root;
        let mut depth = 0;
        loop {
            match child {
                Child::Empty => return Found { host: NONE, span: NONE },
                Child::Node(node) => {
                    child = &node[byte(key, depth)];
                    depth += 1;
                }
                Child::Leaf { spans, cells } => {
                    let (spans, hosts) = cells.split_at(*spans as usize);
                    let host = match hosts.binary_search_by(|cell| cell.key.cmp(&key)) {
                        Ok(at) => hosts[at].row,
                        Err(_) => NONE,
                    };
                    let span = match spans.partition_point(|cell| cell.key <= key) {
                        0 => NONE,
                        after => spans[after - 1].row,
                    };
                    return Found { host, span };
                }
            }
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
        self.root = grow(0, 0, &hosts, spans, NONE);
    }

    fn patch(&mut self, hosts: &[Cell<V4>], blocks: &Blocks<V4>, spans: Parts<'_, V4>) {
        let blocks: Vec<_> = blocks.iter().map(|(first, length)| (*first, first.end_of(*length))).collect();
        apply(&mut self.root, 0, 0, hosts, &blocks, spans);
    }

    fn spans_within(&self, first: V4, last: V4) -> Vec<Cell<V4>> {
        let mut out = Vec::new();
        collect_spans(&self.root, 0, 0, first, last, &mut out);
        out
    }
}

fn grow(start: V4, depth: usize, hosts: &[Cell<V4>], spans: &[Cell<V4>], carried: u32) -> Child {
    // `carried` is the span in force at `start` when none of `spans` begins exactly there.
    let needs_carry = carried != NONE && spans.first().is_none_or(|cell| cell.key > start);
    let span_count = spans.len() + usize::from(needs_carry);
    if hosts.is_empty() && (span_count == 0 || (!needs_carry && spans.iter().all(|cell| cell.row == NONE))) {
        return Child::Empty;
    }
    if hosts.len() + span_count <= LEAF_MAX || depth == 4 {
        let carry = needs_carry.then_some(Cell { key: start, row: carried });
        let cells = carry.into_iter().chain(spans.iter().copied()).chain(hosts.iter().copied());
        return Child::Leaf { spans: span_count as u32, cells: cells.collect() };
    }
    let (mut hosts, mut spans, mut carried) = (hosts, spans, carried);
    let node: Node = std::array::from_fn(|byte| {
        let first = child_start(start, depth, byte);
        let last = block_end(first, depth + 1);
        let (mine, rest) = hosts.split_at(hosts.partition_point(|cell| cell.key <= last));
        let (here, later) = spans.split_at(spans.partition_point(|cell| cell.key <= last));
        (hosts, spans) = (rest, later);
        let child = grow(first, depth + 1, mine, here, carried);
        carried = here.last().map_or(carried, |cell| cell.row);
        child
    });
    Child::Node(Arc::new(node))
}

fn apply(
    child: &mut Child,
    start: V4,
    depth: usize,
    hosts: &[Cell<V4>],
    blocks: &[(V4, V4)],
    spans: Parts<'_, V4>,
) {
    if let Child::Node(node) = child {
        let node = Arc::make_mut(node);
        let (mut hosts, mut blocks) = (hosts, blocks);
        for (byte, child) in node.iter_mut().enumerate() {
            let first = child_start(start, depth, byte);
            let last = block_end(first, depth + 1);
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
        _ => Some(spans(start, 8 * depth as u8))
            .filter(|new| new.iter().any(|cell| cell.row != NONE))
            .unwrap_or_default(),
    };
    let new_hosts = merge(old_hosts, hosts);
    *child = grow(start, depth, &new_hosts, &new_spans, NONE);
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

/// Turns a node with little left in it back into a leaf.
fn shrink(child: &mut Child, start: V4, depth: usize) {
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
        push_span(&mut spans, Cell { key: child_start(start, depth, byte), row: NONE });
        if let Child::Leaf { spans: count, cells } = child {
            let (mine, rest) = cells.split_at(*count as usize);
            mine.iter().for_each(|cell| push_span(&mut spans, *cell));
            hosts.extend_from_slice(rest);
        }
    }
    *child = grow(start, depth, &hosts, &spans, NONE);
}

fn collect_spans(child: &Child, start: V4, depth: usize, first: V4, last: V4, out: &mut Vec<Cell<V4>>) {
    let (from, to) = (start.max(first), block_end(start, depth).min(last));
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
            for byte in byte(from, depth)..=byte(to, depth) {
                collect_spans(&node[byte], child_start(start, depth, byte), depth + 1, first, last, out);
            }
        }
    }
}
