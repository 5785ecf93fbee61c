//! A bitmap of the IPv6 networks that may hold decisions, which answers for most free addresses.
//!
//! ```text
//!  upper 32 bits ─► hash ─► bit of 2^18: a host here, or an interval of few /32s
//!  upper 16 bits ────────► bit of 2^16: an interval of many /32s here
//! ```
//! Registries hand out /32s and larger prefixes, and the entries of a list lie in a few thousand of them. If neither bit
//! is set, there is no decision. If one is set there may be: hashes collide, and bits of removed entries stay until the
//! next [`Presence::build`], so that no counts are needed. The size is constant, 40 KiB, to fit the first or second level
//! cache of a processor; a change copies it only when it sets a bit.

use std::sync::Arc;

use crate::index::Entry;
use crate::prefix::{Key, V6};
use crate::table::NONE;

/// Bits for hashes of /32s.
const PREFIXES: usize = 1 << 18;
/// Bits for /16s.
const WIDE: usize = 1 << 16;
/// The most /32s of an interval that are marked one by one: each costs time and makes collisions more likely.
const FEW: u64 = 256;
/// Removals, in addition to half of the table, after which a build is due.
const STALE: usize = 1024;

#[derive(Debug, Clone)]
pub(crate) struct Presence {
    bits: Arc<Bits>,
    /// Changes since the last build that may have left a bit without an entry.
    stale: usize,
}

#[derive(Debug, Clone)]
struct Bits {
    prefixes: [u64; PREFIXES / 64],
    wide: [u64; WIDE / 64],
}

impl Default for Presence {
    fn default() -> Self {
        Self { bits: Arc::new(Bits { prefixes: [0; PREFIXES / 64], wide: [0; WIDE / 64] }), stale: 0 }
    }
}

/// The bit of a /32: multiplication by 2^64 over the golden ratio spreads neighbours evenly. No seed, as a collision
/// costs no more than the search that follows.
#[inline]
fn bit_of(prefix: u64) -> usize {
    (prefix.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PREFIXES.trailing_zeros())) as usize
}

/// The /32 of an address.
fn prefix_of(key: V6) -> u64 {
    key.top() >> 32
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
        is_set(&bits.prefixes, bit_of(top >> 32)) | is_set(&bits.wide, (top >> 48) as usize)
    }

    /// Built from all hosts and all sorted intervals.
    pub(crate) fn build(hosts: impl Iterator<Item = V6>, intervals: &[Entry<V6>]) -> Self {
        let mut presence = Self::default();
        hosts.for_each(|host| presence.add_host(host));
        presence.add_intervals(intervals, V6::LAST);
        presence
    }

    pub(crate) fn add_host(&mut self, host: V6) {
        self.set_prefix(prefix_of(host));
    }

    /// Counts the removal of a host, perhaps the last one of its /32.
    pub(crate) fn remove_host(&mut self) {
        self.stale += 1;
    }

    /// Replaces the intervals in the prefix of `length` bits that starts at `first`.
    pub(crate) fn replace_intervals(&mut self, first: V6, length: u8, intervals: &[Entry<V6>]) {
        self.stale += 1;
        let last = first.end_of(length);
        // `intervals` is complete for the /16s of so short a prefix, so their bits are exact again without a build.
        if length <= 16 {
            (prefix_of(first) >> 16..=prefix_of(last) >> 16).for_each(|wide| self.clear_wide(wide as usize));
        }
        self.add_intervals(intervals, last);
    }

    /// Adds sorted intervals of which the last one goes up to `last`.
    fn add_intervals(&mut self, intervals: &[Entry<V6>], last: V6) {
        let ends = intervals.iter().skip(1).filter_map(|next| next.key.previous()).chain([last]);
        for (entry, end) in intervals.iter().zip(ends).filter(|(entry, _)| entry.row != NONE) {
            let (first, last) = (prefix_of(entry.key), prefix_of(end));
            // A short prefix such as 2000::/3 would otherwise set most of the bits for /32s.
            if last - first < FEW {
                (first..=last).for_each(|prefix| self.set_prefix(prefix));
            } else {
                (first >> 16..=last >> 16).for_each(|wide| self.set_wide(wide as usize));
            }
        }
    }

    /// Whether a build is due for a table of `len` hosts and intervals: after enough removals that it costs each of them
    /// a constant.
    pub(crate) fn is_stale(&self, len: usize) -> bool {
        self.stale > STALE + len / 2
    }

    // Only changes are written, because the storage may be shared with a snapshot.
    fn set_prefix(&mut self, prefix: u64) {
        let bit = bit_of(prefix);
        if !is_set(&self.bits.prefixes, bit) {
            Arc::make_mut(&mut self.bits).prefixes[bit / 64] |= 1 << (bit % 64);
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
    use crate::prefix::Prefix;

    fn key(text: &str) -> V6 {
        let address: std::net::Ipv6Addr = text.parse().unwrap();
        V6::from_bits(address.to_bits())
    }

    fn interval(text: &str, length: u8) -> (V6, u8, Vec<Entry<V6>>) {
        (key(text), length, vec![Entry { key: key(text), row: 1 }])
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
            presence.replace_intervals(first, length, &[Entry { key: first, row: 1 }]);
            let last = first.end_of(length);
            let (from, to) = (first.top(), last.top());
            for part in 0..=1000u64 {
                let top = from + (u128::from(to - from) * u128::from(part) / 1000) as u64;
                assert!(presence.may_hold(top), "{:?} in /{length}", V6::from_top(top));
            }
        }
    }

    #[test]
    fn most_free_networks_are_recognised() {
        let hosts = (0..4096u128).map(|n| V6::from_bits(0x2400 << 112 | n << 100 | n));
        let presence = Presence::build(hosts.clone(), &[Entry { key: V6::FIRST, row: NONE }]);
        assert!(hosts.clone().all(|host| presence.may_hold(host.top())));
        let free = (0..100_000u64).map(|n| 0x2600 << 48 | n << 32);
        let passed = free.filter(|top| presence.may_hold(*top)).count();
        assert!(passed < 3000, "{passed} of 100,000");
    }

    #[test]
    fn a_wide_range_that_is_lifted_leaves_nothing() {
        let mut presence = Presence::default();
        presence.add_host(key("2001:db8::1"));
        let (first, length, intervals) = interval("2000::", 3);
        presence.replace_intervals(first, length, &intervals);
        assert!(may_hold(&presence, "2a01:4f8::1"));
        assert!(!may_hold(&presence, "4000::"));
        // A /12 within stays when the /3 is removed.
        let left = [("2000::", NONE), ("2600::", 2), ("2610::", NONE)];
        let left: Vec<_> = left.iter().map(|(at, row)| Entry { key: key(at), row: *row }).collect();
        presence.replace_intervals(first, length, &left);
        assert!(!may_hold(&presence, "2a01:4f8::1"));
        assert!(may_hold(&presence, "260f:ffff:ffff::"));
        assert!(!may_hold(&presence, "2610::"));
        assert!(may_hold(&presence, "2001:db8::1"));
    }

    #[test]
    fn a_change_within_a_16_leaves_the_bit_of_the_rest() {
        let mut presence = Presence::default();
        let (first, length, intervals) = interval("2a00::", 16);
        presence.replace_intervals(first, length, &intervals);
        // A /20 replaces a part of it and is removed again.
        presence.replace_intervals(key("2a00:1000::"), 20, &[Entry { key: key("2a00:1000::"), row: NONE }]);
        assert!(may_hold(&presence, "2a00::") && may_hold(&presence, "2a00:ffff::"));
    }

    #[test]
    fn a_change_that_sets_no_bit_copies_nothing() {
        let mut presence = Presence::default();
        presence.add_host(key("2001:db8::1"));
        let published = presence.clone();
        presence.add_host(key("2001:db8::2"));
        presence.remove_host();
        presence.replace_intervals(key("2001:db8:1::"), 48, &[Entry { key: key("2001:db8:1::"), row: 1 }]);
        assert!(Arc::ptr_eq(&published.bits, &presence.bits));
        presence.add_host(key("2001:db9::1"));
        assert!(may_hold(&presence, "2001:db9::1") && !may_hold(&published, "2001:db9::1"));
    }
}
