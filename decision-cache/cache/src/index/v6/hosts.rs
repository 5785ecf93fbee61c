//! A hash table from an IPv6 address to its host row, in shards that snapshots share.
//!
//! A bucket is one cache line of keys and rows. The filters of the buckets are stored apart, four bytes each, so that they
//! stay in a processor's cache and answer most misses. A bucket also records which hashes spilled into the next one, so
//! that a search continues there only if necessary. A change copies the shards it touches.

use std::hint::select_unpredictable;
use std::sync::Arc;

use crate::index::Entry;
use crate::prefix::{Key, V6};
use crate::table::NONE;

/// Hosts per shard that a new table aims at: copying a shard is most of what one changed host costs.
const SHARD: usize = 512;
/// Shards per page of the directory. A change copies the pages of the shards it touches.
const PAGE: usize = 32;

/// Slots in a bucket: as many as fit a cache line.
const SLOTS: usize = 3;
/// Percent of the slots filled when a shard is laid out.
const FILL: usize = 65;

/// One cache line of hosts. A free slot has the row [`NONE`].
#[derive(Debug, Clone, Copy)]
// 3 keys of 16 bytes, 3 rows and the spilled hashes of 4 bytes each are 64 bytes.
#[repr(align(64))]
struct Bucket {
    keys: [V6; SLOTS],
    rows: [u32; SLOTS],
    spilled: u32,
}

impl Bucket {
    const FREE: Self = Self { keys: [V6::FIRST; SLOTS], rows: [NONE; SLOTS], spilled: 0 };

    #[inline]
    fn row_of(&self, key: V6) -> u32 {
        // Which slot matches, if any, cannot be predicted, so none is branched on; NONE is all ones.
        let mut row = NONE;
        for at in 0..SLOTS {
            row &= select_unpredictable(self.keys[at].differs(key), NONE, self.rows[at]);
        }
        row
    }

    fn slot(&mut self, key: V6) -> Option<&mut u32> {
        let mut slots = self.keys.iter().zip(&mut self.rows);
        // A free slot keeps the key of its last host.
        slots.find(|(slot, row)| **slot == key && **row != NONE).map(|(_, row)| row)
    }

    fn insert(&mut self, entry: Entry<V6>) -> bool {
        let free = self.rows.iter().position(|row| *row == NONE);
        if let Some(at) = free {
            (self.keys[at], self.rows[at]) = (entry.key, entry.row);
        }
        free.is_some()
    }

    fn entries(&self) -> impl Iterator<Item = Entry<V6>> {
        let pairs = self.keys.iter().zip(&self.rows);
        pairs.filter(|(_, row)| **row != NONE).map(|(key, row)| Entry { key: *key, row: *row })
    }
}

#[derive(Debug, Clone)]
struct Shard {
    /// For each bucket the marks of all hashes whose home it is.
    filters: Arc<[u32]>,
    buckets: Arc<[Bucket]>,
}

type Page = [Shard; PAGE];

#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    pages: Arc<[Arc<Page>]>,
    /// The bits of a hash above this one choose the shard.
    shift: u32,
    seed: [u64; 2],
    len: usize,
}

impl Hosts {
    /// An empty table; `seed` decides the shard and bucket of an address.
    pub(crate) fn new(seed: u64) -> Self {
        // Two independent words out of one seed, as SplitMix64 does it.
        let mix = |n: u64| {
            let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            n ^ (n >> 31)
        };
        let step = 0x9e37_79b9_7f4a_7c15u64;
        let seed = [mix(seed.wrapping_add(step)), mix(seed.wrapping_add(step.wrapping_mul(2))) | 1];
        let empty = Room::for_hosts(0).shard();
        let page = Arc::new(std::array::from_fn(|_| empty.clone()));
        Self { pages: Arc::from([page]), shift: 64 - PAGE.trailing_zeros(), seed, len: 0 }
    }

    #[inline]
    pub(crate) fn find(&self, key: V6) -> u32 {
        let hash = key.hash(self.seed);
        self.shard(self.shard_of(hash)).find(hash, key)
    }

    /// Lays the table out for these entries. Of two on one address the stronger one stays.
    pub(crate) fn fill(&mut self, entries: &[Entry<V6>], stronger: impl Fn(u32, u32) -> u32) {
        let shards = (entries.len() / SHARD).next_power_of_two().max(PAGE);
        self.shift = 64 - shards.trailing_zeros();
        // Counted first, so that each shard is laid out once, for the hosts it will have.
        let mut counts = vec![0usize; shards];
        entries.iter().for_each(|entry| counts[self.shard_of(entry.key.hash(self.seed))] += 1);
        let mut rooms: Vec<Room> = counts.into_iter().map(Room::for_hosts).collect();
        self.len = 0;
        for entry in entries {
            let hash = entry.key.hash(self.seed);
            let room = &mut rooms[self.shard_of(hash)];
            if let Some(row) = room.row(hash, entry.key) {
                *row = stronger(*row, entry.row);
            } else {
                room.insert(hash, *entry);
                self.len += 1;
            }
        }
        let mut rooms = rooms.into_iter();
        let mut shard = |_| rooms.next().unwrap_or_else(|| Room::for_hosts(0)).shard();
        self.pages = (0..shards / PAGE).map(|_| Arc::new(std::array::from_fn(&mut shard))).collect();
    }

    /// Sets the row of each address, or removes the address if the row is [`NONE`].
    pub(crate) fn patch(&mut self, changes: &[Entry<V6>]) {
        if changes.is_empty() {
            return;
        }
        let mut changes: Vec<_> = changes.iter().map(|entry| (entry.key.hash(self.seed), entry)).collect();
        // The upper bits of a hash choose the shard: sorted, the changes of a shard are neighbours, and it is copied
        // once.
        changes.sort_unstable_by_key(|(hash, _)| *hash);
        let mut pages: Vec<_> = self.pages.to_vec();
        let mut len = self.len;
        for run in changes.chunk_by(|(a, _), (b, _)| self.shard_of(*a) == self.shard_of(*b)) {
            let at = self.shard_of(run[0].0);
            let shard = &mut Arc::make_mut(&mut pages[at / PAGE])[at % PAGE];
            let mut room = Room::of(shard);
            len -= room.len;
            for (hash, entry) in run {
                room.set(*hash, **entry, self.seed);
            }
            room.tidy(self.seed);
            len += room.len;
            *shard = room.shard();
        }
        self.len = len;
        self.pages = pages.into();
        let shards = self.pages.len() * PAGE;
        if self.len > shards * SHARD * 2 || (shards > PAGE && self.len < shards * SHARD / 16) {
            // The table has at least doubled, or shrunk to an eighth, since it was laid out. So each change pays a
            // constant for this.
            let entries: Vec<_> = self.entries().collect();
            self.fill(&entries, |kept, _| kept);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// In no useful order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<V6>> {
        let shards = self.pages.iter().flat_map(|page| page.iter());
        shards.flat_map(|shard| shard.buckets.iter().flat_map(Bucket::entries))
    }

    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    #[inline]
    fn shard(&self, at: usize) -> &Shard {
        &self.pages[at / PAGE][at % PAGE]
    }
}

/// The bucket of a hash: its lower half, scaled to the number of buckets.
#[inline]
fn home(hash: u64, buckets: usize) -> usize {
    // Not the upper half: its first bits chose the shard and are the same for all hosts in it.
    (((hash & 0xffff_ffff) * buckets as u64) >> 32) as usize
}

#[inline]
fn spill_bit(hash: u64) -> u32 {
    // The lowest bits, because the others of this half are alike within a bucket.
    1 << (hash & 31)
}

/// The bits of a hash in its bucket's filter: two, rarely equal.
#[inline]
fn mark(hash: u64) -> u32 {
    1 << (hash & 31) | 1 << (hash >> 5 & 31)
}

impl Shard {
    #[inline]
    fn find(&self, hash: u64, key: V6) -> u32 {
        let home = home(hash, self.filters.len());
        // A branch, although it may be mispredicted half of the time: the processor continues with the next lookup,
        // while a computed address would make it wait for memory.
        if mark(hash) & !self.filters[home] != 0 {
            return NONE;
        }
        let bucket = &self.buckets[home];
        let row = bucket.row_of(key);
        if row == NONE && bucket.spilled & spill_bit(hash) != 0 {
            self.find_spilled(home, hash, key)
        } else {
            row
        }
    }

    #[cold]
    fn find_spilled(&self, home: usize, hash: u64, key: V6) -> u32 {
        let (before, after) = self.buckets.split_at(home + 1);
        // Wraps around in the order of `Room::insert`. A bucket without the spill bit of this hash ends the search.
        for bucket in after.iter().chain(before) {
            let row = bucket.row_of(key);
            if row != NONE || bucket.spilled & spill_bit(hash) == 0 {
                return row;
            }
        }
        NONE
    }
}

/// A shard being written.
struct Room {
    filters: Vec<u32>,
    buckets: Vec<Bucket>,
    len: usize,
}

impl Room {
    fn for_hosts(len: usize) -> Self {
        let count = 1 + len * 100 / (SLOTS * FILL);
        Self { filters: vec![0; count], buckets: vec![Bucket::FREE; count], len: 0 }
    }

    fn of(shard: &Shard) -> Self {
        let len = shard.buckets.iter().map(|bucket| bucket.entries().count()).sum();
        Self { filters: shard.filters.to_vec(), buckets: shard.buckets.to_vec(), len }
    }

    fn shard(self) -> Shard {
        Shard { filters: self.filters.into(), buckets: self.buckets.into() }
    }

    fn set(&mut self, hash: u64, entry: Entry<V6>, seed: [u64; 2]) {
        match self.row(hash, entry.key) {
            Some(row) => {
                *row = entry.row;
                // The marks of a removed host stay in the filter, where others may have the same ones. `tidy` removes
                // them.
                self.len -= usize::from(entry.row == NONE);
            }
            None if entry.row == NONE => {}
            None => {
                // Before the last slots are used, with which nearly every search would continue in further buckets.
                if self.len + 1 >= self.buckets.len() * SLOTS * 9 / 10 {
                    self.lay_out(1 + self.len + self.len / 2, seed);
                }
                self.insert(hash, entry);
            }
        }
    }

    /// Lays the shard out anew if it is mostly empty, or if removed hosts have left its filters full.
    fn tidy(&mut self, seed: [u64; 2]) {
        let marks: u32 = self.filters.iter().map(|filter| filter.count_ones()).sum();
        let spilled: u32 = self.buckets.iter().map(|bucket| bucket.spilled.count_ones()).sum();
        // A host sets at most two marks and, if it is not in its own bucket, at least one spill bit. More than the
        // hosts could have set are from removed ones and let misses read buckets in vain.
        let roomy = Self::for_hosts(2 * self.len).buckets.len() < self.buckets.len();
        if roomy || marks as usize > 8 + self.len * 5 / 2 || spilled as usize > 8 + self.len / 2 {
            self.lay_out(self.len, seed);
        }
    }

    /// The same hosts with room for `len`.
    fn lay_out(&mut self, len: usize, seed: [u64; 2]) {
        let old = std::mem::replace(self, Self::for_hosts(len));
        old.buckets
            .iter()
            .flat_map(Bucket::entries)
            .for_each(|entry| self.insert(entry.key.hash(seed), entry));
    }

    fn row(&mut self, hash: u64, key: V6) -> Option<&mut u32> {
        let (before, after) = self.buckets.split_at_mut(home(hash, self.filters.len()));
        for bucket in after.iter_mut().chain(before) {
            let more = bucket.spilled & spill_bit(hash) != 0;
            let slot = bucket.slot(key);
            if slot.is_some() || !more {
                return slot;
            }
        }
        None
    }

    /// Inserts an address that the shard does not contain; there is a free slot.
    fn insert(&mut self, hash: u64, entry: Entry<V6>) {
        let home = home(hash, self.filters.len());
        self.filters[home] |= mark(hash);
        self.len += 1;
        let (before, after) = self.buckets.split_at_mut(home);
        for bucket in after.iter_mut().chain(before) {
            if bucket.insert(entry) {
                return;
            }
            bucket.spilled |= spill_bit(hash);
        }
        unreachable!("a shard is laid out with free slots");
    }
}
