//! The index of IPv6: a bitmap of networks in use, a hash table of hosts, and sorted intervals.
//!
//! IPv6 is sparse: most free addresses lie in a /32 without decisions, which the bitmap alone shows. A tree over the rest
//! would be deep. The hash table and the directory over intervals need few dependent reads and almost no unpredictable
//! branch, and a processor runs both searches in parallel.

mod hosts;
mod intervals;
mod presence;

use crate::index::v6::hosts::Hosts;
use crate::index::v6::intervals::Intervals;
use crate::index::v6::presence::Presence;
use crate::index::{Entry, Found, Index, IntervalsOf, Prefixes};
use crate::prefix::{Key, V6};
use crate::table::{NONE, Table};

#[derive(Debug, Clone)]
pub(crate) struct Ipv6Index {
    presence: Presence,
    hosts: Hosts,
    intervals: Intervals,
}

impl Index for Ipv6Index {
    type Key = V6;

    fn new(seed: u64) -> Self {
        Self { presence: Presence::default(), hosts: Hosts::new(seed), intervals: Intervals::default() }
    }

    #[inline]
    fn find(&self, key: V6) -> Found {
        if self.presence.may_hold(key.top()) {
            // Both, although a host would often be enough: neither depends on the other, so a processor runs them in
            // parallel.
            (self.hosts.find(key), self.intervals.find(key)).into()
        } else {
            (NONE, NONE).into()
        }
    }

    fn rebuild(&mut self, hosts: Vec<Entry<V6>>, intervals: &[Entry<V6>], table: &Table) {
        self.presence = Presence::build(hosts.iter().map(|entry| entry.key), intervals);
        self.hosts.fill(&hosts, |a, b| table.stronger(a, b));
        self.intervals = Intervals::build(intervals);
    }

    fn patch(&mut self, hosts: &[Entry<V6>], prefixes: &Prefixes<V6>, intervals: IntervalsOf<'_, V6>) {
        for entry in hosts {
            // A host that only got another row sets its bit again, which copies nothing.
            if entry.row == NONE { self.presence.remove_host() } else { self.presence.add_host(entry.key) }
        }
        self.hosts.patch(hosts);
        let ends: Vec<_> = prefixes.iter().map(|(first, length)| (*first, first.end_of(*length))).collect();
        // Computing the intervals of a prefix is the expensive part, so the bitmap takes them from the same call.
        self.intervals.patch(&ends, &mut |at| {
            let (first, length) = prefixes[at];
            let entries = intervals(first, length);
            self.presence.replace_intervals(first, length, &entries);
            entries
        });
        if self.presence.is_stale(self.hosts.len() + self.intervals.weight()) {
            let intervals = self.intervals.within(V6::FIRST, V6::LAST);
            self.presence = Presence::build(self.hosts.entries().map(|entry| entry.key), &intervals);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host `n` in a /32 of its own.
    fn host(n: u128) -> V6 {
        V6::from_bits((0x2400_0000 + n) << 96 | 1)
    }

    fn free_networks_to_search(index: &Ipv6Index) -> usize {
        (0..200_000).filter(|n| index.presence.may_hold(host(*n).top())).count()
    }

    #[test]
    fn hosts_come_and_go_in_ever_other_networks() {
        let mut index = Ipv6Index::new(1);
        index.patch(&[Entry { key: host(7), row: 7 }], &[], &|_, _| Vec::new());
        for round in 1..=20u128 {
            let keys: Vec<_> = (0..500).map(|n| host(round * 1000 + n)).collect();
            let entries = |row| keys.iter().map(|key| Entry { key: *key, row }).collect::<Vec<_>>();
            index.patch(&entries(3), &[], &|_, _| Vec::new());
            assert!(keys.iter().chain([&host(7)]).all(|key| index.find(*key).is_held));
            index.patch(&entries(NONE), &[], &|_, _| Vec::new());
            assert!(!keys.iter().any(|key| index.find(*key).is_held));
        }
        // 10,000 networks were in use; the bits they left are cleared after 1,024 removals.
        let left = free_networks_to_search(&index);
        assert!(left < 5000, "{left} of 200,000 networks");
        assert!(index.find(host(7)).is_held);
    }

    #[test]
    fn ranges_come_and_go_in_ever_other_networks() {
        let mut index = Ipv6Index::new(1);
        let all = [Entry { key: host(7), row: 7 }];
        index.patch(&all, &[(host(3_000_000), 64)], &|first, _| vec![Entry { key: first, row: 9 }]);
        for round in 0..3000u128 {
            // Neighbouring prefixes of 28 to 39 bits.
            let length = 28 + (round % 12) as u8;
            let net = crate::prefix::Prefix::from_key(host(round * 16), 128).shortened(length);
            let prefix = [(V6::of(&net), length)];
            let last = V6::of(&net).end_of(length);
            index.patch(&[], &prefix, &|first, _| vec![Entry { key: first, row: 5 }]);
            assert!(index.find(prefix[0].0).is_held && index.find(last).is_held);
            index.patch(&[], &prefix, &|first, _| vec![Entry { key: first, row: NONE }]);
            assert!(!index.find(last).is_held);
        }
        assert!(index.find(host(3_000_000)).is_held && index.find(host(7)).is_held);
        let left = free_networks_to_search(&index);
        assert!(left < 20_000, "{left} of 200,000 networks");
    }
}
