//! Which IPv6 networks may hold anything: a bitmap that answers for most addresses that are free.
//!
//! ```text
//!  upper 32 bits ─► hash ─► bit of 2^18: a host here, or a span of few /32s
//!  upper 16 bits ────────► bit of 2^16: a span of many /32s here
//! ```
//! Registries hand out /32s and larger blocks, and what a list holds lies in a few thousand of them. Where neither bit
//! is set, nothing is held. A bit that is set decides nothing: hashes collide, and what was removed keeps its bit until
//! the next [`Presence::build`], so that nothing has to be counted. The size is constant, 40 KiB, to stay in the first
//! or second cache of a processor; a change copies it only when it sets a bit.

use std::sync::Arc;

use crate::index::Cell;
use crate::prefix::Wide;
use crate::table::NONE;

/// Bits for hashes of /32s.
const BLOCKS: usize = 1 << 18;
/// Bits for /16s.
const WIDE: usize = 1 << 16;
/// The most /32s of a span that are marked one by one: each costs time and makes collisions more likely.
const FEW: u64 = 256;
/// Removals, beside half of the table, after which a build is due.
const STALE: usize = 1024;

#[derive(Debug, Clone)]
pub(crate) struct Presence {
    bits: Arc<Bits>,
    /// How many changes since the last build may have left a bit with nothing behind it.
    stale: usize,
}

#[derive(Debug, Clone)]
struct Bits {
    blocks: [u64; BLOCKS / 64],
    wide: [u64; WIDE / 64],
}

impl Default for Presence {
    fn default() -> Self {
        Self { bits: Arc::new(Bits { blocks: [0; BLOCKS / 64], wide: [0; WIDE / 64] }), stale: 0 }
    }
}

/// The bit of a /32: multiplication by 2^64 over the golden ratio spreads neighbours evenly. No seed, as a collision
/// costs no more than the search that follows.
#[inline]
fn bit_of(block: u64) -> usize {
    (block.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BLOCKS.trailing_zeros())) as usize
}

/// The /32 of an address.
fn block_of<K: Wide>(key: K) -> u64 {
    key.top().into() >> 32
}

#[inline]
fn is_set(words: &[u64], bit: usize) -> bool {
    words[bit / 64] >> (bit % 64) & 1 != 0
}

impl Presence {
    /// Whether an address with these upper bits may be held.
    #[inline]
    pub(crate) fn may_hold(&self, top: u64) -> bool {
        let bits = &*self.bits;
        // Both bits in one test: a second branch is one more to mispredict.
        is_set(&bits.blocks, bit_of(top >> 32)) | is_set(&bits.wide, (top >> 48) as usize)
    }

    /// From all hosts and all spans, which are sorted.
    pub(crate) fn build<K: Wide>(hosts: impl Iterator<Item = K>, spans: &[Cell<K>]) -> Self {
        let mut presence = Self::default();
        hosts.for_each(|host| presence.add_host(host));
        presence.add_spans(spans, K::LAST);
        presence
    }

    pub(crate) fn add_host<K: Wide>(&mut self, host: K) {
        self.set_block(block_of(host));
    }

    /// A host is gone, maybe the last one of its /32.
    pub(crate) fn remove_host(&mut self) {
        self.stale += 1;
    }

    /// Replaces the spans in the block of `length` bits that starts at `first`.
    pub(crate) fn replace_spans<K: Wide>(&mut self, first: K, length: u8, spans: &[Cell<K>]) {
        self.stale += 1;
        let last = first.end_of(length);
        // Short ranges set many bits. `spans` is all there is in the /16s of this block, so those need no build.
        if length <= 16 {
            (block_of(first) >> 16..=block_of(last) >> 16).for_each(|wide| self.clear_wide(wide as usize));
        }
        self.add_spans(spans, last);
    }

    /// Adds sorted spans of which the last one goes up to `last`.
    fn add_spans<K: Wide>(&mut self, spans: &[Cell<K>], last: K) {
        let ends = spans.iter().skip(1).filter_map(|next| next.key.previous()).chain([last]);
        for (cell, end) in spans.iter().zip(ends).filter(|(cell, _)| cell.row != NONE) {
            let (first, last) = (block_of(cell.key), block_of(end));
            if last - first < FEW {
                (first..=last).for_each(|block| self.set_block(block));
            } else {
                (first >> 16..=last >> 16).for_each(|wide| self.set_wide(wide as usize));
            }
        }
    }

    /// Whether so much was removed from a table of `len` hosts and spans that a build costs a constant for each
    /// removal.
    pub(crate) fn is_stale(&self, len: usize) -> bool {
        self.stale > STALE + len / 2
    }

    // What would not change is not written: the storage may be shared with a snapshot.
    fn set_block(&mut self, block: u64) {
        let bit = bit_of(block);
        if !is_set(&self.bits.blocks, bit) {
            Arc::make_mut(&mut self.bits).blocks[bit / 64] |= 1 << (bit % 64);
        }
    }

    fn set_wide(&mut self, bit: usize) {
        if !is_set(&self.bits.wide, bit) {
            Arc::make_mut(&mut self.bits).wide[bit / 64] |= 1 << (bit % 64);
        }
    }

    fn clear_wide(&mut self, bit: usize) {
        if is_set(&self.bits.wide, bit) {
            Arc::make_mut(&mut self.bits).wide[bit / 64] &= !(1 << (bit % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::{Key, Prefix, V6};

    fn key(text: &str) -> V6 {
        let address: std::net::Ipv6Addr = text.parse().unwrap();
        V6::from_bits(address.to_bits())
    }

    fn span(text: &str, length: u8) -> (V6, u8, Vec<Cell<V6>>) {
        (key(text), length, vec![Cell { key: key(text), row: 1 }])
    }

    fn may_hold(presence: &Presence, text: &str) -> bool {
        presence.may_hold(key(text).top())
    }

    #[test]
    fn ranges_of_every_length_are_seen_from_end_to_end() {
        for length in 0..128 {
            let net = Prefix::from_key(key("2a0e:97c5:a5a5:a5a5::"), 128).shortened(length);
            let first = V6::of(&net);
            let mut presence = Presence::default();
            presence.replace_spans(first, length, &[Cell { key: first, row: 1 }]);
            let last = first.end_of(length);
            let (from, to) = (first.top(), last.top());
            for part in 0..=1000u64 {
                let top = from + (u128::from(to - from) * u128::from(part) / 1000) as u64;
                assert!(presence.may_hold(top), "{:?} in /{length}", V6::from_top(top));
            }
        }
    }

    #[test]
    fn most_free_networks_are_told_apart() {
        let hosts = (0..4096u128).map(|n| V6::from_bits(0x2400 << 112 | n << 100 | n));
        let presence = Presence::build(hosts.clone(), &[Cell { key: V6::FIRST, row: NONE }]);
        assert!(hosts.clone().all(|host| presence.may_hold(host.top())));
        let free = (0..100_000u64).map(|n| 0x2600 << 48 | n << 32);
        let passed = free.filter(|top| presence.may_hold(*top)).count();
        assert!(passed < 3000, "{passed} of 100,000");
    }

    #[test]
    fn a_wide_range_that_is_lifted_leaves_nothing() {
        let mut presence = Presence::default();
        presence.add_host(key("2001:db8::1"));
        let (first, length, spans) = span("2000::", 3);
        presence.replace_spans(first, length, &spans);
        assert!(may_hold(&presence, "2a01:4f8::1"));
        assert!(!may_hold(&presence, "4000::"));
        // A /12 within is held on its own while the /3 goes.
        let left = [("2000::", NONE), ("2600::", 2), ("2610::", NONE)];
        let left: Vec<_> = left.iter().map(|(at, row)| Cell { key: key(at), row: *row }).collect();
        presence.replace_spans(first, length, &left);
        assert!(!may_hold(&presence, "2a01:4f8::1"));
        assert!(may_hold(&presence, "260f:ffff:ffff::"));
        assert!(!may_hold(&presence, "2610::"));
        assert!(may_hold(&presence, "2001:db8::1"));
    }

    #[test]
    fn a_change_within_a_16_leaves_the_bit_of_the_rest() {
        let mut presence = Presence::default();
        let (first, length, spans) = span("2a00::", 16);
        presence.replace_spans(first, length, &spans);
        // A /20 takes the place of a part of it and goes again.
        presence.replace_spans(key("2a00:1000::"), 20, &[Cell { key: key("2a00:1000::"), row: NONE }]);
        assert!(may_hold(&presence, "2a00::") && may_hold(&presence, "2a00:ffff::"));
    }

    #[test]
    fn a_change_that_sets_no_bit_copies_nothing() {
        let mut presence = Presence::default();
        presence.add_host(key("2001:db8::1"));
        let published = presence.clone();
        presence.add_host(key("2001:db8::2"));
        presence.remove_host();
        presence.replace_spans(key("2001:db8:1::"), 48, &[Cell { key: key("2001:db8:1::"), row: 1 }]);
        assert!(Arc::ptr_eq(&published.bits, &presence.bits));
        presence.add_host(key("2001:db9::1"));
        assert!(may_hold(&presence, "2001:db9::1") && !may_hold(&published, "2001:db9::1"));
    }
}
