//! The index of IPv4: pages of leaves, addressed by the upper bits of an address.
//!
//! ```text
//!  top 10 bits ─► page ─► next 6 bits: line of the /16 ─► its hosts and boundaries
//!                              └─ crowded ─► 4 pages of /24s
//! ```
//! Most /16s of a large IPv4 table hold something, and what a lookup needs of one fits a cache line. Everything is
//! behind `Arc`: a patch copies the pages it changes. A /16 with too many entries is stored apart from its page, so
//! that copying the page stays cheap.

mod draft;
mod line;
mod page;
mod patch;

use std::sync::Arc;

use crate::index::v4::draft::{Crowds, INNER, Level, QUARTERS, TOP, build, part};
use crate::index::v4::page::{Content, LEAVES, Page, Step};
use crate::index::v4::patch::{Changes, patch};
use crate::index::{Entry, Found, Index, IntervalsOf, Prefixes};
use crate::prefix::V4;
use crate::table::{NONE, Table};

const PAGES: usize = 1024;

#[derive(Debug, Clone)]
pub(crate) struct Ipv4Index(Arc<Root>);

#[derive(Debug, Clone)]
struct Root {
    pages: [Page; PAGES],
    // Beside the pages and not in them: few pages need one, and most lookups do not read it.
    crowds: [Option<Arc<Crowds>>; PAGES],
}

/// The number of the leaf of this address in its page.
#[inline]
fn leaf_of(key: V4, level: Level) -> usize {
    (key >> level.leaf) as usize % LEAVES
}

/// The number of the page of this address in a crowded /16.
fn quarter_of(key: V4) -> usize {
    (key >> INNER.page) as usize % QUARTERS
}

impl Index for Ipv4Index {
    type Key = V4;

    // Without a seed: the place of an address follows from its bits, so there are no collisions to provoke.
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

    fn rebuild(&mut self, mut hosts: Vec<Entry<V4>>, intervals: &[Entry<V4>], table: &Table) {
        hosts.sort_unstable_by_key(|entry| entry.key);
        // An address has a row for each origin and remediation.
        hosts.dedup_by(|later, kept| {
            let same = later.key == kept.key;
            if same {
                kept.row = table.stronger(kept.row, later.row);
            }
            same
        });
        let mut content = Content { hosts: &hosts, intervals, carried: NONE };
        let (mut crowds, mut shared) = (std::array::from_fn(|_| None), None);
        let pages = std::array::from_fn(|at| {
            let (first, last) = part(0, at, TOP.page);
            let (page, crowd) = build(first, TOP, content.take_up_to(last));
            crowds[at] = crowd;
            share(page, &mut shared)
        });
        self.0 = Arc::new(Root { pages, crowds });
    }

    fn patch(&mut self, hosts: &[Entry<V4>], prefixes: &Prefixes<V4>, intervals: IntervalsOf<'_, V4>) {
        // The last snapshot shares the root, so this copies 40 KiB of pointers: 32 bytes for each page and 8 for its
        // crowded leaves. It is done once for all changes of a response.
        let root = Arc::make_mut(&mut self.0);
        let mut changes = Changes { hosts, prefixes, intervals };
        let mut shared = None;
        for (at, (page, crowds)) in root.pages.iter_mut().zip(&mut root.crowds).enumerate() {
            let (first, last) = part(0, at, TOP.page);
            let mine = changes.take_within(first, last);
            if !mine.is_empty() {
                let (patched, crowd) = patch(page, crowds.as_deref(), first, TOP, mine);
                (*page, *crowds) = (share(patched, &mut shared), crowd);
            }
        }
    }
}

impl Root {
    /// The rows of a host and a range, for a leaf longer than a line.
    // A pair is returned in registers, so that the usual path does not go through memory for the sake of this one.
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

/// Consecutive pages that have one row throughout share their storage: most of the pages of a small table, and those
/// within a short prefix.
fn share(page: Page, last: &mut Option<(u32, Page)>) -> Page {
    let Some(row) = page.as_uniform() else { return page };
    match last {
        Some((held, shared)) if *held == row => shared.clone(),
        _ => last.insert((row, page)).1.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::index::push_interval;
    use crate::prefix::Key;

    /// What an index should hold; a prefix has one row.
    #[derive(Default)]
    struct Model {
        hosts: BTreeMap<V4, u32>,
        prefixes: BTreeMap<(V4, u8), u32>,
    }

    impl Model {
        /// The smallest prefix around an address wins.
        fn interval(&self, key: V4) -> u32 {
            let around = |length: &u8| {
                let start = key & !V4::MAX.checked_shr((*length).into()).unwrap_or(0);
                self.prefixes.get(&(start, *length)).copied()
            };
            (0..=31u8).rev().find_map(|length| around(&length)).unwrap_or(NONE)
        }

        fn intervals(&self, first: V4, length: u8) -> Vec<Entry<V4>> {
            let last = first.end_of(length);
            let edges =
                self.prefixes.keys().flat_map(|(start, length)| [Some(*start), start.end_of(*length).next()]);
            let mut keys: Vec<_> = edges.flatten().filter(|key| (first..=last).contains(key)).collect();
            keys.push(first);
            keys.sort_unstable();
            let mut out = Vec::new();
            keys.into_iter().for_each(|key| push_interval(&mut out, Entry { key, row: self.interval(key) }));
            out
        }

        fn patch(&self, pages: &mut Ipv4Index, hosts: &[V4], prefixes: &Prefixes<V4>) {
            let mut entries: Vec<_> = hosts
                .iter()
                .map(|key| Entry { key: *key, row: self.hosts.get(key).copied().unwrap_or(NONE) })
                .collect();
            entries.sort_unstable_by_key(|entry| entry.key);
            entries.dedup();
            pages.patch(&entries, prefixes, &|first, length| self.intervals(first, length));
        }

        fn check(&self, pages: &Ipv4Index) {
            let near = |key: &V4| [key.wrapping_sub(1), *key, key.wrapping_add(1)];
            let edges = self.prefixes.keys().flat_map(|(start, length)| [*start, start.end_of(*length)]);
            let keys: Vec<_> = self.hosts.keys().copied().chain(edges).flat_map(|key| near(&key)).collect();
            for key in keys {
                let rows = (self.hosts.get(&key).copied().unwrap_or(NONE), self.interval(key));
                let found = pages.find(key);
                assert_eq!(found, rows.into(), "{key:#x}");
            }
        }
    }

    #[test]
    fn leaves_grow_long_and_crowded_and_shrink_again() {
        let (mut model, mut pages) = (Model::default(), Ipv4Index::new(0));
        let place = |n: u32| 0x0a40_0000 | n.wrapping_mul(0x9e37_79b1) >> 16;
        let crowded = |pages: &Ipv4Index| pages.0.crowds.iter().flatten().count();
        // Ranges of 8 to 31 bits around and among the hosts, the last of a /24 at its every address.
        let mut prefixes: Vec<(V4, u8)> = vec![(0x0a00_0000, 8), (0x0a40_0000, 18), (0x0a41_0000, 16)];
        prefixes.extend((0..128).map(|n| (0x0a40_0700 + 2 * n, 31)));
        prefixes.extend((0..60).map(|n| (0x0a40_8000 + (n << 8), 25)));
        prefixes.sort_unstable();
        let sizes = [20, 40, 300, 700, 3000, 20_000];
        for (round, pair) in [0].iter().chain(&sizes).zip(&sizes).map(|(from, to)| *from..*to).enumerate() {
            let hosts: Vec<_> = pair.map(place).collect();
            model.hosts.extend(hosts.iter().map(|key| (*key, *key & 0xffff)));
            let some: Vec<_> = prefixes.iter().copied().skip(round).step_by(sizes.len()).collect();
            model
                .prefixes
                .extend(some.iter().map(|prefix| (*prefix, 100_000 + prefix.0 % 977 + u32::from(prefix.1))));
            for prefix in &some {
                model.patch(&mut pages, &[], &[*prefix]);
            }
            model.patch(&mut pages, &hosts, &[]);
            model.check(&pages);
        }
        assert_eq!(crowded(&pages), 1);
        let mut rebuilt = Ipv4Index::new(0);
        let entries = model.hosts.iter().map(|(key, row)| Entry { key: *key, row: *row }).collect();
        rebuilt.rebuild(entries, &model.intervals(0, 0), &Table::default());
        model.check(&rebuilt);
        let before = pages.clone();
        for keep in [3000, 90, 0] {
            let gone: Vec<_> = model.hosts.keys().copied().skip(keep).collect();
            gone.iter().for_each(|key| {
                model.hosts.remove(key);
            });
            let some: Vec<_> = model.prefixes.keys().copied().skip(keep.min(20)).collect();
            model.prefixes.retain(|prefix, _| !some.contains(prefix));
            for prefix in &some {
                model.patch(&mut pages, &[], &[*prefix]);
            }
            model.patch(&mut pages, &gone, &[]);
            model.check(&pages);
        }
        assert_eq!(crowded(&pages), 0);
        assert!(pages.0.pages.iter().all(|page| page.as_uniform() == Some(NONE)));
        assert_eq!(crowded(&before), 1, "an older version stays as it was");
    }
}
