//! One address family of the ledger: its ranges in order, the changes since the last snapshot, and its index.

use std::collections::BTreeSet;

use crate::index::{Entry, Index, push_interval};
use crate::prefix::{Key, Prefix};
use crate::ranges::Ranges;
use crate::table::{NONE, Table};

/// Finds the strongest row on exactly this prefix, or [`NONE`].
pub(crate) type Strongest<'a> = &'a dyn Fn(&Prefix) -> u32;

#[derive(Debug)]
pub(crate) struct Family<I: Index> {
    in_order: BTreeSet<(I::Key, u8)>,
    /// How many ranges there are of each length, so that only lengths in use are searched.
    lengths: Vec<u32>,
    dirty: Vec<Prefix>,
    pub(crate) index: I,
    pub(crate) ranges: Ranges<I::Key>,
}

impl<I: Index> Family<I> {
    /// An empty family; `seed` decides where the index puts addresses.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            in_order: BTreeSet::new(),
            lengths: vec![0; usize::from(I::Key::BITS) + 1],
            dirty: Vec::new(),
            index: I::new(seed),
            ranges: Ranges::default(),
        }
    }

    /// Adds a range with its first row.
    pub(crate) fn open(&mut self, prefix: &Prefix) {
        if !prefix.is_host() && self.in_order.insert((I::Key::of(prefix), prefix.len)) {
            self.lengths[usize::from(prefix.len)] += 1;
        }
    }

    /// Removes a range with its last row.
    pub(crate) fn close(&mut self, prefix: &Prefix) {
        if !prefix.is_host() && self.in_order.remove(&(I::Key::of(prefix), prefix.len)) {
            self.lengths[usize::from(prefix.len)] -= 1;
        }
    }

    /// Notes a change of the rows on this prefix.
    pub(crate) fn touch(&mut self, prefix: Prefix) {
        self.dirty.push(prefix);
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Brings the index up to date at a cost that grows with what changed, or, when most of the table
    /// changed, with the table.
    pub(crate) fn compile(&mut self, table: &Table, strongest: Strongest<'_>) {
        // A patch copies the storage around each change. With an eighth of the rows changed that is nearly all of it,
        // and building it once is cheaper than searching and copying piece by piece.
        if self.dirty.len() > 1024 && self.dirty.len() > table.rows.len() / 8 {
            let intervals = self.sweep(table, strongest, I::Key::FIRST, 0);
            self.index.rebuild(hosts_of(table), &intervals, table);
            self.ranges.rebuild(self.in_order.iter().map(|(first, length)| {
                let row = strongest(&Prefix::from_key(*first, *length));
                (Entry { key: *first, row }, *length)
            }));
            // Not `clear`: after a full pull the vector has room for as many prefixes as the table has rows.
            self.dirty = Vec::new();
            return;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        // A prefix comes before those within it, which the loop below relies on.
        dirty.sort_unstable_by_key(|prefix| (I::Key::of(prefix), prefix.len));
        dirty.dedup();
        let changed = dirty.iter().filter(|prefix| !prefix.is_host());
        self.ranges.patch(
            changed.map(|prefix| (Entry { key: I::Key::of(prefix), row: strongest(prefix) }, prefix.len)),
        );
        let (mut hosts, mut prefixes) = (Vec::new(), Vec::<(I::Key, u8)>::new());
        for prefix in &dirty {
            let first = I::Key::of(prefix);
            if prefix.is_host() {
                hosts.push(Entry { key: first, row: strongest(prefix) });
            } else if prefixes.last().is_none_or(|(start, length)| start.end_of(*length) < first) {
                // Prefixes nest or are apart: one that starts within the last one lies within it.
                prefixes.push((first, prefix.len));
            }
        }
        // A copy is patched because `sweep` borrows `self`. It costs nothing more: the last snapshot shares the index
        // too, so what changes has to be copied in any case.
        let mut index = self.index.clone();
        index.patch(&hosts, &prefixes, &|first, fixed| self.sweep(table, strongest, first, fixed));
        self.index = index;
    }

    /// The intervals of the prefix of `fixed` bits that starts at `first`: sorted, the first at its first address.
    fn sweep(&self, table: &Table, strongest: Strongest<'_>, first: I::Key, fixed: u8) -> Vec<Entry<I::Key>> {
        let last = first.end_of(fixed);
        let whole = Prefix::from_key(first, fixed);
        // Ranges around the prefix do not begin in it, so the ordered set below does not show them. There are at most
        // as many as lengths in use.
        let mut around = NONE;
        for (length, count) in self.lengths.iter().enumerate().take(usize::from(fixed) + 1) {
            if *count > 0 {
                around = table.stronger(around, strongest(&whole.shortened(length as u8)));
            }
        }
        let mut out = Vec::new();
        push_interval(&mut out, Entry { key: first, row: around });
        // Open ranges from the outermost in: where each ends, and the strongest row up to there.
        let mut open = vec![(last, around)];
        let close = |open: &mut Vec<(I::Key, u32)>, out: &mut Vec<Entry<I::Key>>| {
            let ended = open.pop().map(|(end, _)| end);
            // No interval follows a range that ends with the highest address.
            if let (Some(after), Some((_, row))) = (ended.and_then(I::Key::next), open.last()) {
                push_interval(out, Entry { key: after, row: *row });
            }
        };
        for (start, length) in self.in_order.range((first, 0)..=(last, u8::MAX)) {
            // Wider ranges with the same first address, and the prefix itself, are part of `around` already.
            if *length <= fixed {
                continue;
            }
            while open.last().is_some_and(|(end, _)| end < start) {
                close(&mut open, &mut out);
            }
            let prefix = Prefix::from_key(*start, *length);
            let outer = open.last().map_or(NONE, |(_, row)| *row);
            let row = table.stronger(outer, strongest(&prefix));
            open.push((prefix.last(), row));
            push_interval(&mut out, Entry { key: *start, row });
        }
        while open.len() > 1 {
            // A range that ends with the prefix is not followed by an interval in it.
            if open.last().is_some_and(|(end, _)| *end >= last) {
                open.pop();
            } else {
                close(&mut open, &mut out);
            }
        }
        out
    }
}

fn hosts_of<K: Key>(table: &Table) -> Vec<Entry<K>> {
    let wants_v6 = K::BITS == 128;
    let live = table.rows.iter().enumerate().filter(|(_, row)| row.is_live());
    live.filter_map(|(at, row)| {
        let prefix = row.prefix();
        (prefix.v6 == wants_v6 && prefix.is_host()).then(|| Entry { key: K::of(&prefix), row: at as u32 })
    })
    .collect()
}
