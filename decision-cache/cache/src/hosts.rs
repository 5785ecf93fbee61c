//! Which row holds for exactly one address: a hash table in shards that snapshots share.
//!
//! A bucket is one cache line that holds keys and rows together, so that a probe costs one line whether it
//! hits or not. A bucket also remembers which hashes spilled over into the next one (a filter of 32 bits), so
//! that a miss goes on only when it must. A change copies the shards it touches.

use std::hint::select_unpredictable;
use std::sync::Arc;

use crate::index::Cell;
use crate::prefix::Key;
use crate::table::NONE;

/// Hosts per shard that a new table aims at: copying a shard is most of what one changed host costs.
const SHARD: usize = 384;
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

impl<K: Key, const N: usize> Slots<K> for Bucket<K, N> {
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

type Shard<K> = Arc<[<K as Key>::Bucket]>;
type Page<K> = [Shard<K>; PAGE];

#[derive(Debug, Clone)]
pub(crate) struct Hosts<K: Key> {
    pages: Arc<[Arc<Page<K>>]>,
    /// The hash's upper bits from here on choose the shard.
    shift: u32,
    seed: [u64; 2],
    len: usize,
}

impl<K: Key> Hosts<K> {
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
        let empty: Shard<K> = Arc::from([K::Bucket::FREE]);
        let page = Arc::new(std::array::from_fn(|_| Arc::clone(&empty)));
        Self { pages: Arc::from([page]), shift: 64 - PAGE.trailing_zeros(), seed, len: 0 }
    }

    /// The row of this address, or [`NONE`].
    #[inline]
    pub(crate) fn find(&self, key: K) -> u32 {
        let hash = key.hash(self.seed);
        find_in(self.shard(self.shard_of(hash)), hash, key)
    }

    /// Lays the table out for these cells. Of two on one address the stronger one stays.
    pub(crate) fn fill(&mut self, cells: &[Cell<K>], stronger: impl Fn(u32, u32) -> u32) {
        let shards = (cells.len() / SHARD).next_power_of_two().max(PAGE);
        self.shift = 64 - shards.trailing_zeros();
        let mut counts = vec![0usize; shards];
        cells.iter().for_each(|cell| counts[self.shard_of(cell.key.hash(self.seed))] += 1);
        let mut parts: Vec<Vec<K::Bucket>> = counts.into_iter().map(room_for::<K>).collect();
        self.len = 0;
        for cell in cells {
            let hash = cell.key.hash(self.seed);
            let shard = &mut parts[self.shard_of(hash)];
            match slot_in(shard, hash, cell.key) {
                Some(row) => *row = stronger(*row, cell.row),
                None => {
                    insert_in(shard, hash, *cell);
                    self.len += 1;
                }
            }
        }
        let mut parts = parts.into_iter().map(Shard::<K>::from);
        let empty: Shard<K> = Arc::from([K::Bucket::FREE]);
        let page = |_| Arc::new(std::array::from_fn(|_| parts.next().unwrap_or_else(|| Arc::clone(&empty))));
        self.pages = (0..shards / PAGE).map(page).collect();
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
            let (changed, before, after) = self.changed(shard, run);
            *shard = changed;
            len = len + after - before;
        }
        self.len = len;
        self.pages = pages.into();
        let shards = self.pages.len() * PAGE;
        if self.len > shards * SHARD * 2 || (shards > PAGE && self.len < shards * SHARD / 16) {
            // As with any growing vector, this is rare enough that each change pays a constant for it.
            let mut cells = Vec::with_capacity(self.len);
            self.each(&mut |cell| cells.push(cell));
            self.fill(&cells, |kept, _| kept);
        }
    }

    /// Calls `host` for each address, in no useful order.
    pub(crate) fn each(&self, host: &mut dyn FnMut(Cell<K>)) {
        self.pages.iter().flat_map(|page| page.iter()).for_each(|shard| each_in::<K>(shard, host));
    }

    /// Calls `host` with each address that storage not shared by both holds, and its row in each.
    pub(crate) fn differences(&self, older: &Self, host: &mut dyn FnMut(K, u32, u32)) {
        let aligned = self.seed == older.seed && self.shift == older.shift;
        if !aligned {
            self.each(&mut |cell| host(cell.key, older.find(cell.key), cell.row));
            older.each(&mut |cell| {
                if self.find(cell.key) == NONE {
                    host(cell.key, cell.row, NONE);
                }
            });
            return;
        }
        let pages = older.pages.iter().zip(self.pages.iter()).filter(|(old, new)| !Arc::ptr_eq(old, new));
        let shards = pages.flat_map(|(old, new)| old.iter().zip(new.iter()));
        for (old, new) in shards.filter(|(old, new)| !Arc::ptr_eq(old, new)) {
            let in_shard = |shard, key: K| find_in::<K>(shard, key.hash(self.seed), key);
            each_in::<K>(new, &mut |cell| host(cell.key, in_shard(old, cell.key), cell.row));
            each_in::<K>(old, &mut |cell| {
                if in_shard(new, cell.key) == NONE {
                    host(cell.key, cell.row, NONE);
                }
            });
        }
    }

    fn shard_of(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    #[inline]
    fn shard(&self, at: usize) -> &[K::Bucket] {
        &self.pages[at / PAGE][at % PAGE]
    }

    /// A copy of a shard with changes made, and how many addresses it held and holds.
    fn changed(&self, shard: &Shard<K>, changes: &[(u64, &Cell<K>)]) -> (Shard<K>, usize, usize) {
        let mut buckets = shard.to_vec();
        let (mut len, mut spilled) = (0, 0);
        for bucket in &buckets {
            len += bucket.cells().count();
            spilled += bucket.spilled().count_ones() as usize;
        }
        let before = len;
        for (hash, cell) in changes {
            match slot_in(&mut buckets, *hash, cell.key) {
                Some(row) => {
                    *row = cell.row;
                    len -= usize::from(cell.row == NONE);
                }
                None if cell.row == NONE => {}
                None => {
                    if len + 1 >= buckets.len() * K::Bucket::SLOTS * 9 / 10 {
                        buckets = self.laid_out(&buckets, 1 + len + len / 2);
                    }
                    insert_in(&mut buckets, *hash, **cell);
                    len += 1;
                }
            }
        }
        // Much room unused, or spill filters that removed addresses left full.
        if room_for::<K>(2 * len).len() < buckets.len() || spilled > 8 + len / 2 {
            buckets = self.laid_out(&buckets, len);
        }
        (buckets.into(), before, len)
    }

    /// The same addresses in a shard with room for `len`.
    fn laid_out(&self, buckets: &[K::Bucket], len: usize) -> Vec<K::Bucket> {
        let mut out = room_for::<K>(len);
        each_in::<K>(buckets, &mut |cell| insert_in(&mut out, cell.key.hash(self.seed), cell));
        out
    }
}

fn room_for<K: Key>(len: usize) -> Vec<K::Bucket> {
    vec![K::Bucket::FREE; 1 + len * 100 / (K::Bucket::SLOTS * K::Bucket::FILL)]
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

#[inline]
fn find_in<K: Key>(buckets: &[K::Bucket], hash: u64, key: K) -> u32 {
    let bucket = &buckets[home(hash, buckets.len())];
    let row = bucket.row_of(key);
    // One branch, seldom taken, and so in arithmetic: whether there is a row alone cannot be predicted.
    let none = (u64::from(row) + 1) >> 32;
    let more = none & u64::from(bucket.spilled() >> (hash & 31));
    if more & 1 != 0 { find_spilled::<K>(buckets, hash, key) } else { row }
}

#[cold]
fn find_spilled<K: Key>(buckets: &[K::Bucket], hash: u64, key: K) -> u32 {
    let (before, after) = buckets.split_at(home(hash, buckets.len()) + 1);
    for bucket in after.iter().chain(before) {
        let row = bucket.row_of(key);
        if row != NONE || !(bucket.spilled() & spill_bit(hash) != 0) {
            return row;
        }
    }
    NONE
}

fn slot_in<K: Key, B: Slots<K>>(buckets: &mut [B], hash: u64, key: K) -> Option<&mut u32> {
    let (before, after) = {
        let at = home(hash, buckets.len());
        buckets.split_at_mut(at)
    };
    for bucket in after.iter_mut().chain(before) {
        let more = bucket.spilled() & spill_bit(hash) != 0;
        let slot = bucket.slot(key);
        if slot.is_some() || !more {
            return slot;
        }
    }
    None
}

/// Puts an address that is not there into a shard that has a free slot.
fn insert_in<K: Key, B: Slots<K>>(buckets: &mut [B], hash: u64, cell: Cell<K>) {
    let (before, after) = {
        let at = home(hash, buckets.len());
        buckets.split_at_mut(at)
    };
    for bucket in after.iter_mut().chain(before) {
        if bucket.insert(cell) {
            return;
        }
        bucket.spill(hash);
    }
    unreachable!("a shard is laid out with free slots");
}

fn each_in<K: Key>(buckets: &[K::Bucket], host: &mut dyn FnMut(Cell<K>)) {
    buckets.iter().flat_map(Slots::cells).for_each(host);
}
