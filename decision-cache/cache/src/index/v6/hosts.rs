//! Which row holds for exactly one address: a hash table in shards that snapshots share.
//!
//! A bucket is one cache line that holds keys and rows together. Apart from the buckets lie their filters, four
//! bytes each and so small that they stay near the processor: most misses go no further. A bucket also
//! remembers which hashes spilled over into the next one, so that a search goes on only when it must. A change
//! copies the shards it touches.

use std::hint::select_unpredictable;
use std::sync::Arc;

use crate::index::Cell;
use crate::prefix::Wide;
use crate::table::NONE;

/// Hosts per shard that a new table aims at: copying a shard is most of what one changed host costs.
const SHARD: usize = 512;
/// Shards per page of the directory. A change copies the pages of the shards it touches.
const PAGE: usize = 32;

/// `N` slots in one cache line. A free slot has the row [`NONE`].
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Bucket<K, const N: usize> {
    keys: [K; N],
    rows: [u32; N],
    spilled: u32,
}

/// What [`Hosts`] asks of a bucket, whatever its number of slots.
pub(crate) trait Slots<K>: Copy + std::fmt::Debug {
    /// Slots in a bucket.
    const SLOTS: usize;
    /// Percent of the slots filled when a shard is laid out.
    const FILL: usize;
    const FREE: Self;
    fn row_of(&self, key: K) -> u32;
    fn slot(&mut self, key: K) -> Option<&mut u32>;
    fn insert(&mut self, cell: Cell<K>) -> bool;
    fn spill(&mut self, hash: u64);
    fn spilled(&self) -> u32;
    fn cells(&self) -> impl Iterator<Item = Cell<K>>;
}

impl<K: Wide, const N: usize> Slots<K> for Bucket<K, N> {
    const SLOTS: usize = N;
    const FILL: usize = if N < 4 { 65 } else { 80 };
    const FREE: Self = Self { keys: [K::FIRST; N], rows: [NONE; N], spilled: 0 };

    #[inline]
    fn row_of(&self, key: K) -> u32 {
        // Which slot matches, if any, cannot be predicted; NONE is all ones. Two halves that may overlap fit
        // vector registers.
        let half = if N < 4 { N } else { N.div_ceil(2) };
        let row_within = |from: usize, to: usize| {
            let mut row = NONE;
            for at in from..to {
                row &= select_unpredictable(self.keys[at].differs(key), NONE, self.rows[at]);
            }
            row
        };
        let mut row = row_within(0, half);
        if half < N {
            row &= row_within(N - half, N);
        }
        row
    }

    fn slot(&mut self, key: K) -> Option<&mut u32> {
        self.keys
            .iter()
            .zip(&mut self.rows)
            .find(|(slot, row)| **slot == key && **row != NONE)
            .map(|(_, row)| row)
    }

    fn insert(&mut self, cell: Cell<K>) -> bool {
        let free = self.rows.iter().position(|row| *row == NONE);
        if let Some(at) = free {
            (self.keys[at], self.rows[at]) = (cell.key, cell.row);
        }
        free.is_some()
    }

    fn spill(&mut self, hash: u64) {
        self.spilled |= spill_bit(hash);
    }

    #[inline]
    fn spilled(&self) -> u32 {
        self.spilled
    }

    fn cells(&self) -> impl Iterator<Item = Cell<K>> {
        let pairs = self.keys.iter().zip(&self.rows);
        pairs.filter(|(_, row)| **row != NONE).map(|(key, row)| Cell { key: *key, row: *row })
    }
}

#[derive(Debug, Clone)]
struct Shard<K: Wide> {
    /// For each bucket the marks of all hashes at home there.
    filters: Arc<[u32]>,
    buckets: Arc<[K::Bucket]>,
}

type Page<K> = [Shard<K>; PAGE];

#[derive(Debug, Clone)]
pub(crate) struct Hosts<K: Wide> {
    pages: Arc<[Arc<Page<K>>]>,
    /// The hash's upper bits from here on choose the shard.
    shift: u32,
    seed: [u64; 2],
    len: usize,
}

impl<K: Wide> Hosts<K> {
    /// An empty table; `seed` decides where addresses go.
    pub(crate) fn new(seed: u64) -> Self {
        // Two independent words out of one seed, as SplitMix64 does it.
        let mix = |n: u64| {
            let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            n ^ (n >> 31)
        };
        let step = 0x9e37_79b9_7f4a_7c15u64;
        let seed = [mix(seed.wrapping_add(step)), mix(seed.wrapping_add(step.wrapping_mul(2))) | 1];
        let empty = Room::<K>::for_hosts(0).shard();
        let page = Arc::new(std::array::from_fn(|_| empty.clone()));
        Self { pages: Arc::from([page]), shift: 64 - PAGE.trailing_zeros(), seed, len: 0 }
    }

    /// The row of this address, or [`NONE`].
    #[inline]
    pub(crate) fn find(&self, key: K) -> u32 {
        let hash = key.hash(self.seed);
        self.shard(self.shard_of(hash)).find(hash, key)
    }

    /// Lays the table out for these cells. Of two on one address the stronger one stays.
    pub(crate) fn fill(&mut self, cells: &[Cell<K>], stronger: impl Fn(u32, u32) -> u32) {
        let shards = (cells.len() / SHARD).next_power_of_two().max(PAGE);
        self.shift = 64 - shards.trailing_zeros();
        let mut counts = vec![0usize; shards];
        cells.iter().for_each(|cell| counts[self.shard_of(cell.key.hash(self.seed))] += 1);
        let mut rooms: Vec<Room<K>> = counts.into_iter().map(Room::for_hosts).collect();
        self.len = 0;
        for cell in cells {
            let hash = cell.key.hash(self.seed);
            let room = &mut rooms[self.shard_of(hash)];
            if let Some(row) = room.row(hash, cell.key) {
                *row = stronger(*row, cell.row);
            } else {
                room.insert(hash, *cell);
                self.len += 1;
            }
        }
        let mut rooms = rooms.into_iter();
        let mut shard = |_| rooms.next().unwrap_or_else(|| Room::for_hosts(0)).shard();
        self.pages = (0..shards / PAGE).map(|_| Arc::new(std::array::from_fn(&mut shard))).collect();
    }

    /// Sets the row of each address, or with [`NONE`] takes the address out.
    pub(crate) fn patch(&mut self, changes: &[Cell<K>]) {
        if changes.is_empty() {
            return;
        }
        let mut changes: Vec<_> = changes.iter().map(|cell| (cell.key.hash(self.seed), cell)).collect();
        changes.sort_unstable_by_key(|(hash, _)| *hash);
        let mut pages: Vec<_> = self.pages.to_vec();
        let mut len = self.len;
        for run in changes.chunk_by(|(a, _), (b, _)| self.shard_of(*a) == self.shard_of(*b)) {
            let at = self.shard_of(run[0].0);
            let shard = &mut Arc::make_mut(&mut pages[at / PAGE])[at % PAGE];
            let mut room = Room::of(shard);
            len -= room.len;
            for (hash, cell) in run {
                room.set(*hash, **cell, self.seed);
            }
            room.tidy(self.seed);
            len += room.len;
            *shard = room.shard();
        }
        self.len = len;
        self.pages = pages.into();
        let shards = self.pages.len() * PAGE;
        if self.len > shards * SHARD * 2 || (shards > PAGE && self.len < shards * SHARD / 16) {
            // As with any growing vector, this is rare enough that each change pays a constant for it.
            let cells: Vec<_> = self.cells().collect();
            self.fill(&cells, |kept, _| kept);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// In no useful order.
    pub(crate) fn cells(&self) -> impl Iterator<Item = Cell<K>> {
        let shards = self.pages.iter().flat_map(|page| page.iter());
        shards.flat_map(|shard| shard.buckets.iter().flat_map(Slots::cells))
    }

    fn shard_of(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    #[inline]
    fn shard(&self, at: usize) -> &Shard<K> {
        &self.pages[at / PAGE][at % PAGE]
    }
}

/// The bucket of a hash: its lower half, scaled to the number of buckets.
#[inline]
fn home(hash: u64, buckets: usize) -> usize {
    (((hash & 0xffff_ffff) * buckets as u64) >> 32) as usize
}

#[inline]
fn spill_bit(hash: u64) -> u32 {
    1 << (hash & 31)
}

/// What a hash leaves in its bucket's filter: two bits, seldom the same.
#[inline]
fn mark(hash: u64) -> u32 {
    1 << (hash & 31) | 1 << (hash >> 5 & 31)
}

impl<K: Wide> Shard<K> {
    #[inline]
    fn find(&self, hash: u64, key: K) -> u32 {
        let home = home(hash, self.filters.len());
        // A branch, though half of them may be guessed wrong: a guess lets the processor run on into the next
        // lookup, where a computed address would have it wait for memory.
        if mark(hash) & !self.filters[home] != 0 {
            return NONE;
        }
        let bucket = &self.buckets[home];
        let row = bucket.row_of(key);
        if row == NONE && bucket.spilled() & spill_bit(hash) != 0 {
            self.find_spilled(home, hash, key)
        } else {
            row
        }
    }

    #[cold]
    fn find_spilled(&self, home: usize, hash: u64, key: K) -> u32 {
        let (before, after) = self.buckets.split_at(home + 1);
        for bucket in after.iter().chain(before) {
            let row = bucket.row_of(key);
            if row != NONE || bucket.spilled() & spill_bit(hash) == 0 {
                return row;
            }
        }
        NONE
    }
}

/// A shard being written.
struct Room<K: Wide> {
    filters: Vec<u32>,
    buckets: Vec<K::Bucket>,
    len: usize,
}

impl<K: Wide> Room<K> {
    fn for_hosts(len: usize) -> Self {
        let count = 1 + len * 100 / (K::Bucket::SLOTS * K::Bucket::FILL);
        Self { filters: vec![0; count], buckets: vec![K::Bucket::FREE; count], len: 0 }
    }

    fn of(shard: &Shard<K>) -> Self {
        let len = shard.buckets.iter().map(|bucket| bucket.cells().count()).sum();
        Self { filters: shard.filters.to_vec(), buckets: shard.buckets.to_vec(), len }
    }

    fn shard(self) -> Shard<K> {
        Shard { filters: self.filters.into(), buckets: self.buckets.into() }
    }

    fn set(&mut self, hash: u64, cell: Cell<K>, seed: [u64; 2]) {
        match self.row(hash, cell.key) {
            Some(row) => {
                *row = cell.row;
                self.len -= usize::from(cell.row == NONE);
            }
            None if cell.row == NONE => {}
            None => {
                if self.len + 1 >= self.buckets.len() * K::Bucket::SLOTS * 9 / 10 {
                    self.lay_out(1 + self.len + self.len / 2, seed);
                }
                self.insert(hash, cell);
            }
        }
    }

    /// Lays the shard out anew when it has much room to spare, or when hosts that are gone have left its
    /// filters full.
    fn tidy(&mut self, seed: [u64; 2]) {
        let marks: u32 = self.filters.iter().map(|filter| filter.count_ones()).sum();
        let spilled: u32 = self.buckets.iter().map(|bucket| bucket.spilled().count_ones()).sum();
        let roomy = Self::for_hosts(2 * self.len).buckets.len() < self.buckets.len();
        if roomy || marks as usize > 8 + self.len * 5 / 2 || spilled as usize > 8 + self.len / 2 {
            self.lay_out(self.len, seed);
        }
    }

    /// The same hosts with room for `len`.
    fn lay_out(&mut self, len: usize, seed: [u64; 2]) {
        let old = std::mem::replace(self, Self::for_hosts(len));
        old.buckets.iter().flat_map(Slots::cells).for_each(|cell| self.insert(cell.key.hash(seed), cell));
    }

    fn row(&mut self, hash: u64, key: K) -> Option<&mut u32> {
        let (before, after) = self.buckets.split_at_mut(home(hash, self.filters.len()));
        for bucket in after.iter_mut().chain(before) {
            let more = bucket.spilled() & spill_bit(hash) != 0;
            let slot = bucket.slot(key);
            if slot.is_some() || !more {
                return slot;
            }
        }
        None
    }

    /// Puts an address in that is not there; there is a free slot.
    fn insert(&mut self, hash: u64, cell: Cell<K>) {
        let home = home(hash, self.filters.len());
        self.filters[home] |= mark(hash);
        self.len += 1;
        let (before, after) = self.buckets.split_at_mut(home);
        for bucket in after.iter_mut().chain(before) {
            if bucket.insert(cell) {
                return;
            }
            bucket.spill(hash);
        }
        unreachable!("a shard is laid out with free slots");
    }
}
