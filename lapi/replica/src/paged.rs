//! An ordered collection in pages that snapshots share.
//!
//! A clone costs two reference counts. A write after that copies only the page list and the pages it changes, so a slow
//! reader keeps old pages alive and nothing else.

use std::sync::Arc;

pub(crate) trait Keyed: Clone {
    type Key: Ord + Copy + std::fmt::Debug;
    fn key(&self) -> Self::Key;
}

/// Approximate size of a page: copying one takes microseconds.
const PAGE_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Paged<T: Keyed> {
    index: Arc<Index<T>>,
    len: usize,
}

impl<T: Keyed> Clone for Paged<T> {
    fn clone(&self) -> Self {
        Self { index: Arc::clone(&self.index), len: self.len }
    }
}

#[derive(Debug)]
struct Index<T: Keyed> {
    /// The first key of every page, so that a search touches only one page.
    firsts: Vec<T::Key>,
    pages: Vec<Arc<Vec<T>>>,
}

impl<T: Keyed> Clone for Index<T> {
    fn clone(&self) -> Self {
        Self { firsts: self.firsts.clone(), pages: self.pages.clone() }
    }
}

impl<T: Keyed> Index<T> {
    /// Appends sorted elements in as few pages as possible.
    fn push_evenly(&mut self, items: Vec<T>, max: usize) {
        let pages = items.len().div_ceil(max).max(1);
        for page in items.chunks(items.len().div_ceil(pages).max(1)) {
            self.firsts.push(page[0].key());
            self.pages.push(Arc::new(page.to_vec()));
        }
    }
}

/// A position in the collection; valid until the collection changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    page: usize,
    slot: usize,
}

impl<T: Keyed> Default for Paged<T> {
    fn default() -> Self {
        Self { index: Arc::new(Index { firsts: Vec::new(), pages: Vec::new() }), len: 0 }
    }
}

impl<T: Keyed> Paged<T> {
    const MAX: usize = if PAGE_BYTES / size_of::<T>() < 16 { 16 } else { PAGE_BYTES / size_of::<T>() };
    /// Spare capacity of a page that is copied or grows.
    // Reserving a whole page would waste half of it wherever a page was split and not filled again.
    const ROOM: usize = Self::MAX / 8;

    /// From elements in ascending order of distinct keys.
    pub(crate) fn from_sorted(sorted: Vec<T>) -> Self {
        let len = sorted.len();
        let mut index = Index { firsts: Vec::new(), pages: Vec::new() };
        for page in sorted.chunks(Self::MAX) {
            index.firsts.push(page[0].key());
            index.pages.push(Arc::new(page.to_vec()));
        }
        Self { index: Arc::new(index), len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &T::Key) -> Option<&T> {
        let at = self.position(key);
        self.at(at).filter(|found| found.key() == *key)
    }

    /// The position of the first element whose key is not below `key`.
    pub(crate) fn position(&self, key: &T::Key) -> Position {
        let page = self.page_of(key);
        let slot =
            self.index.pages.get(page).map_or(0, |page| page.partition_point(|item| item.key() < *key));
        Position { page, slot }
    }

    pub(crate) fn first(&self) -> Option<&T> {
        self.index.pages.first()?.first()
    }

    pub(crate) fn last(&self) -> Option<&T> {
        self.index.pages.last()?.last()
    }

    pub(crate) fn start(&self) -> Position {
        Position { page: 0, slot: 0 }
    }

    /// The element at this position or, past the end of a page, the next one.
    pub(crate) fn at(&self, at: Position) -> Option<&T> {
        let page = self.index.pages.get(at.page)?;
        page.get(at.slot).or_else(|| self.index.pages.get(at.page + 1)?.first())
    }

    /// The element at this position; advances the position.
    pub(crate) fn next(&self, at: &mut Position) -> Option<&T> {
        let mut page = self.index.pages.get(at.page)?;
        if at.slot >= page.len() {
            page = self.index.pages.get(at.page + 1)?;
            *at = Position { page: at.page + 1, slot: 0 };
        }
        at.slot += 1;
        page.get(at.slot - 1)
    }

    /// The elements from the first whose key is not below `key`, in order.
    pub(crate) fn from(&self, key: T::Key) -> impl Iterator<Item = &T> {
        let Position { page, slot } = self.position(&key);
        let rest = self.index.pages.get(page + 1..).unwrap_or_default();
        let first = self.index.pages.get(page).and_then(|page| page.get(slot..)).unwrap_or_default();
        first.iter().chain(rest.iter().flat_map(|page| page.iter()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.index.pages.iter().flat_map(|page| page.iter())
    }

    /// The number of elements with smaller keys.
    pub(crate) fn rank(&self, key: &T::Key) -> usize {
        let Position { page, slot } = self.position(key);
        self.index.pages.iter().take(page).map(|page| page.len()).sum::<usize>() + slot
    }

    /// Inserts an element and returns the one it replaced.
    pub(crate) fn insert(&mut self, item: T) -> Option<T> {
        let key = item.key();
        let Position { page: at, slot } = self.position(&key);
        let index = Arc::make_mut(&mut self.index);
        let last_page = at + 1 == index.pages.len();
        let Some(shared) = index.pages.get_mut(at) else {
            index.firsts.push(key);
            index.pages.push(Arc::new(vec![item]));
            self.len += 1;
            return None;
        };
        // Replaced in place: neither the keys nor the number of elements change.
        if let Some(same) = shared.get(slot).filter(|same| same.key() == key) {
            let old = same.clone();
            Self::writable(shared)[slot] = item;
            return Some(old);
        }
        self.len += 1;
        if shared.len() < Self::MAX {
            let page = Self::writable(shared);
            if page.len() == page.capacity() {
                // Not `push`'s doubling, which would give a page of half the size capacity for twice as many.
                page.reserve_exact(Self::ROOM.min(Self::MAX - page.len()).max(1));
            }
            page.insert(slot, item);
            if slot == 0 {
                index.firsts[at] = key;
            }
        } else if slot == shared.len() && last_page {
            // Ids ascend, so most insertions append. Starting a new page instead of splitting keeps the earlier ones
            // full.
            let mut page = Vec::with_capacity(Self::ROOM);
            page.push(item);
            index.firsts.push(key);
            index.pages.push(Arc::new(page));
        } else {
            let half = Self::MAX / 2;
            let mut lower = Vec::with_capacity(half + Self::ROOM);
            lower.extend_from_slice(&shared[..half]);
            let mut upper = Vec::with_capacity(half + Self::ROOM);
            upper.extend_from_slice(&shared[half..]);
            if slot <= half {
                lower.insert(slot, item)
            } else {
                upper.insert(slot - half, item)
            }
            index.firsts[at] = lower[0].key();
            index.firsts.insert(at + 1, upper[0].key());
            *shared = Arc::new(lower);
            index.pages.insert(at + 1, Arc::new(upper));
        }
        None
    }

    /// Inserts many elements in ascending order of new keys; each affected page is written once.
    pub(crate) fn insert_sorted(&mut self, items: Vec<T>) {
        // Rebuilding the list of pages costs with its length, which is too much for a few elements.
        if items.len() < 32 {
            for item in items {
                self.insert(item);
            }
            return;
        }
        self.len += items.len();
        let index = Arc::make_mut(&mut self.index);
        // Moved out and back: pages that stay are neither copied nor counted again.
        let firsts = std::mem::take(&mut index.firsts);
        let pages = std::mem::take(&mut index.pages);
        let mut items = items.into_iter().peekable();
        for (at, page) in pages.into_iter().enumerate() {
            let next = firsts.get(at + 1);
            let fresh: Vec<T> =
                std::iter::from_fn(|| items.next_if(|item| next.is_none_or(|next| item.key() < *next)))
                    .collect();
            if fresh.is_empty() {
                index.firsts.push(firsts[at]);
                index.pages.push(page);
            } else {
                index.push_evenly(Self::merged(&page, fresh), Self::MAX);
            }
        }
        index.push_evenly(items.collect(), Self::MAX);
    }

    fn merged(page: &[T], fresh: Vec<T>) -> Vec<T> {
        let mut all = Vec::with_capacity(page.len() + fresh.len());
        let mut held = page.iter().peekable();
        for item in fresh {
            while let Some(before) = held.next_if(|held| held.key() < item.key()) {
                all.push(before.clone());
            }
            all.push(item);
        }
        all.extend(held.cloned());
        all
    }

    /// Modifies an element; its key must not change.
    pub(crate) fn modify<R>(&mut self, key: &T::Key, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let Position { page, slot } = self.position(key);
        // Looked up before `make_mut`, so that a key that does not exist copies nothing.
        self.index.pages.get(page)?.get(slot).filter(|found| found.key() == *key)?;
        let page = Self::writable(&mut Arc::make_mut(&mut self.index).pages[page]);
        let done = change(&mut page[slot]);
        debug_assert!(page[slot].key() == *key);
        Some(done)
    }

    pub(crate) fn remove(&mut self, key: &T::Key) -> Option<T> {
        let Position { page: at, slot } = self.position(key);
        self.index.pages.get(at)?.get(slot).filter(|found| found.key() == *key)?;
        let index = Arc::make_mut(&mut self.index);
        let page = Self::writable(&mut index.pages[at]);
        let item = page.remove(slot);
        self.len -= 1;
        if page.is_empty() {
            index.pages.remove(at);
            index.firsts.remove(at);
            return Some(item);
        }
        index.firsts[at] = page[0].key();
        // A quarter, while a split leaves halves: alternating insertions and removals do not split and merge all the
        // time.
        if page.len() < Self::MAX / 4 {
            // Merge with the smaller neighbour if both fit into one page with spare capacity.
            let len = |at: usize| index.pages.get(at).map_or(usize::MAX, |page| page.len());
            let lower = match at.checked_sub(1) {
                Some(before) if len(before) <= len(at + 1) => before,
                _ => at,
            };
            if len(lower).saturating_add(len(lower + 1)) <= Self::MAX * 3 / 4 {
                index.firsts.remove(lower + 1);
                let upper = index.pages.remove(lower + 1);
                let page = Self::writable(&mut index.pages[lower]);
                page.reserve_exact(upper.len());
                page.extend_from_slice(&upper);
            }
        }
        Some(item)
    }

    /// The page of the first key not below `key`, or the last page.
    fn page_of(&self, key: &T::Key) -> usize {
        // A key before the first page belongs into that page.
        self.index.firsts.partition_point(|first| first <= key).saturating_sub(1)
    }

    fn writable(page: &mut Arc<Vec<T>>) -> &mut Vec<T> {
        if Arc::get_mut(page).is_none() {
            let mut copy = Vec::with_capacity((page.len() + Self::ROOM).min(Self::MAX));
            copy.extend_from_slice(page);
            *page = Arc::new(copy);
        }
        Arc::get_mut(page).expect("a page copied just now has one owner")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Large, so that a page holds few.
    #[derive(Debug, Clone, PartialEq)]
    struct Item(u16, u32, [u64; 100]);

    impl Keyed for Item {
        type Key = u16;
        fn key(&self) -> u16 {
            self.0
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u16, u32),
        Append(u32),
        InsertMany(u16, u8),
        Remove(u16),
        RemoveFrom(u16, u8),
        Modify(u16, u32),
        Snapshot,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..400_u16, any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
            6 => any::<u32>().prop_map(Step::Append),
            2 => (0..400_u16, any::<u8>()).prop_map(|(key, n)| Step::InsertMany(key, n)),
            4 => (0..400_u16).prop_map(Step::Remove),
            1 => (0..400_u16, any::<u8>()).prop_map(|(key, n)| Step::RemoveFrom(key, n)),
            2 => (0..400_u16, any::<u32>()).prop_map(|(key, value)| Step::Modify(key, value)),
            1 => Just(Step::Snapshot),
        ];
        proptest::collection::vec(step, 1..400)
    }

    fn check(paged: &Paged<Item>, model: &BTreeMap<u16, u32>) {
        let wanted: Vec<_> = model.iter().map(|(key, value)| (*key, *value)).collect();
        let pairs = |items: &mut dyn Iterator<Item = &Item>| -> Vec<(u16, u32)> {
            items.map(|item| (item.0, item.1)).collect()
        };
        assert_eq!(pairs(&mut paged.iter()), wanted);
        assert_eq!(paged.len(), wanted.len());
        let mut at = paged.start();
        assert_eq!(pairs(&mut std::iter::from_fn(|| paged.next(&mut at))), wanted);
        for key in (0..420).step_by(7) {
            let from: Vec<_> = wanted.iter().copied().filter(|(other, _)| *other >= key).collect();
            assert_eq!(pairs(&mut paged.from(key)), from);
            assert_eq!(paged.at(paged.position(&key)).map(|item| item.0), from.first().map(|first| first.0));
            assert_eq!(paged.rank(&key), wanted.len() - from.len());
            assert_eq!(paged.get(&key).map(|item| item.1), model.get(&key).copied());
        }
        assert!(paged.index.pages.iter().all(|page| !page.is_empty() && page.len() <= Paged::<Item>::MAX));
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map_and_snapshots_stay(steps in steps()) {
            let (mut paged, mut model) = (Paged::default(), BTreeMap::new());
            let mut snapshots = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(key, value) => {
                        let old = paged.insert(Item(key, value, [0; 100])).map(|item| item.1);
                        prop_assert_eq!(old, model.insert(key, value));
                    }
                    Step::Append(value) => {
                        let key = model.last_key_value().map_or(0, |(key, _)| key + 1);
                        paged.insert(Item(key, value, [0; 100]));
                        model.insert(key, value);
                    }
                    Step::InsertMany(key, n) => {
                        let keys = (key..400).step_by(3).take(usize::from(n));
                        let keys: Vec<u16> = keys.filter(|key| !model.contains_key(key)).collect();
                        paged.insert_sorted(keys.iter().map(|key| Item(*key, 7, [0; 100])).collect());
                        model.extend(keys.into_iter().map(|key| (key, 7)));
                    }
                    Step::Remove(key) => {
                        prop_assert_eq!(paged.remove(&key).map(|item| item.1), model.remove(&key));
                    }
                    Step::RemoveFrom(key, n) => {
                        for _ in 0..n {
                            let Some(key) = model.range(key..).next().map(|(key, _)| *key) else { break };
                            prop_assert_eq!(paged.remove(&key).map(|item| item.1), model.remove(&key));
                        }
                    }
                    Step::Modify(key, value) => {
                        let there = paged.modify(&key, |item| item.1 = value).is_some();
                        prop_assert_eq!(there, model.contains_key(&key));
                        model.entry(key).and_modify(|old| *old = value);
                    }
                    Step::Snapshot => snapshots.push((paged.clone(), model.clone())),
                }
            }
            snapshots.push((paged, model));
            for (paged, model) in &snapshots {
                check(paged, model);
                let rebuilt = Paged::from_sorted(paged.iter().cloned().collect());
                check(&rebuilt, model);
            }
        }
    }
}
