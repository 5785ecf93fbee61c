//! Patches pages of the IPv4 index: copies a page with some hosts and intervals replaced.

use std::sync::Arc;

use crate::index::v4::draft::{Crowds, Draft, INNER, Level, QUARTERS, Quarters, part};
use crate::index::v4::page::{Content, LEAVES, Page};
use crate::index::{Entry, IntervalsOf, Prefixes, push_interval};
use crate::prefix::{Key, V4};
use crate::table::NONE;

/// A crowded /16 with no more hosts and intervals than this is moved back into its page.
// Far below LEAF_MAX, so that a leaf whose size varies around a limit is not moved to and fro.
const CROWD_MERGE: usize = 128;

/// The changes of a patch, or those within a part of the address space.
#[derive(Clone, Copy)]
pub(super) struct Changes<'a> {
    pub(super) hosts: &'a [Entry<V4>],
    pub(super) prefixes: &'a Prefixes<V4>,
    pub(super) intervals: IntervalsOf<'a, V4>,
}

impl Changes<'_> {
    /// The changes within `[first, last]`; calls are in the order of addresses.
    pub(super) fn take_within(&mut self, first: V4, last: V4) -> Self {
        let (hosts, later) = self.hosts.split_at(self.hosts.partition_point(|entry| entry.key <= last));
        self.hosts = later;
        // A prefix that reaches past `last` stays for the next call.
        let passed = self.prefixes.partition_point(|(start, length)| start.end_of(*length) < first);
        // Not split off like hosts: prefixes are dropped only once they lie before the part.
        self.prefixes = &self.prefixes[passed..];
        let prefixes = &self.prefixes[..self.prefixes.partition_point(|(start, _)| *start <= last)];
        Self { hosts, prefixes, intervals: self.intervals }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.prefixes.is_empty()
    }
}

pub(super) fn patch(
    page: &Page,
    crowds: Option<&Crowds>,
    start: V4,
    level: Level,
    mut changes: Changes<'_>,
) -> (Page, Option<Arc<Crowds>>) {
    let mut draft = Draft::new();
    // The intervals computed last, and the last address they cover.
    let (mut computed, mut computed_to) = (Vec::new(), None);
    for at in 0..LEAVES {
        let (first, last) = part(start, at, level.leaf);
        let mine = changes.take_within(first, last);
        let crowd = crowds.and_then(|crowds| crowds[at].as_ref());
        match crowd {
            None if mine.is_empty() => draft.writer.copy(page),
            Some(crowd) if mine.is_empty() => draft.crowd(at, Arc::clone(crowd)),
            Some(crowd) => patch_crowd(&mut draft, at, first, crowd, mine),
            None => {
                let (hosts, mut intervals) = page.read(at, first);
                if let Some(prefix) = mine.prefixes.first() {
                    // A short prefix covers many leaves of the page. Its intervals are computed once and cut to each
                    // of them.
                    if computed_to.is_none_or(|last| last < first) {
                        let (from, length) = unit(*prefix, (start, first), level);
                        computed = (mine.intervals)(from, length);
                        computed_to = Some(from.end_of(length));
                    }
                    intervals = within(&computed, first, last);
                }
                let hosts = merge(&hosts, mine.hosts);
                draft.leaf(at, first, Content { hosts: &hosts, intervals: &intervals, carried: NONE });
            }
        }
    }
    draft.finish()
}

/// The prefix whose intervals are computed in one go: the leaf, or the part of `prefix` in the page if it covers the
/// leaf.
fn unit(prefix: (V4, u8), (page, leaf): (V4, V4), level: Level) -> (V4, u8) {
    let [page_length, leaf_length] = [level.page, level.leaf].map(|bits| (V4::BITS - bits) as u8);
    match prefix.1 {
        // No further than the page, because the next page is patched by a call of its own.
        length if length <= page_length => (page, page_length),
        length if length <= leaf_length => prefix,
        _ => (leaf, leaf_length),
    }
}

fn patch_crowd(draft: &mut Draft, at: usize, start: V4, crowd: &Quarters, mut changes: Changes<'_>) {
    let quarters: Quarters = std::array::from_fn(|at| {
        let (first, last) = part(start, at, INNER.page);
        let mine = changes.take_within(first, last);
        if mine.is_empty() { crowd[at].clone() } else { patch(&crowd[at], None, first, INNER, mine).0 }
    });
    let weight: usize = quarters.iter().map(Page::weight).sum();
    // The weight counts up to one too many per leaf. It saves reading all leaves on most patches; the exact number is
    // compared below.
    if weight <= CROWD_MERGE + QUARTERS * LEAVES {
        let (mut hosts, mut intervals) = (Vec::new(), Vec::new());
        for (at, page) in quarters.iter().enumerate() {
            for leaf in 0..LEAVES {
                let first = part(part(start, at, INNER.page).0, leaf, INNER.leaf).0;
                let (more_hosts, more_intervals) = page.read(leaf, first);
                hosts.extend(more_hosts);
                // Each leaf repeats the row at its first address, which is not a boundary of the /16.
                more_intervals.into_iter().for_each(|entry| push_interval(&mut intervals, entry));
            }
        }
        if hosts.len() + intervals.len() <= CROWD_MERGE {
            return draft.leaf(at, start, Content { hosts: &hosts, intervals: &intervals, carried: NONE });
        }
    }
    draft.crowd(at, Arc::new(quarters));
}

/// Merges sorted changes into sorted entries; a change to [`NONE`] removes.
fn merge(old: &[Entry<V4>], changes: &[Entry<V4>]) -> Vec<Entry<V4>> {
    let mut out = Vec::with_capacity(old.len() + changes.len());
    let mut rest = old;
    for change in changes {
        let (before, after) = rest.split_at(rest.partition_point(|entry| entry.key < change.key));
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

/// Cuts the intervals of a prefix down to `[first, last]`; the first begins at `first`.
fn within(intervals: &[Entry<V4>], first: V4, last: V4) -> Vec<Entry<V4>> {
    let after = intervals.partition_point(|entry| entry.key <= first);
    let row = after.checked_sub(1).map_or(NONE, |at| intervals[at].row);
    let later = intervals[after..].iter().take_while(|entry| entry.key <= last);
    std::iter::once(Entry { key: first, row }).chain(later.copied()).collect()
}
