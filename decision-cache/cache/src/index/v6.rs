//! The index of IPv6: hosts and spans apart, behind a bitmap of the networks that hold either.
//!
//! IPv6 is so empty that most free addresses lie in a /32 that holds nothing: for those the bitmap answers alone. A
//! tree would be deep, so for the others a hash table for hosts and a directory over spans answer in few dependent
//! reads and next to no unpredictable branch, and a processor runs both searches side by side.

pub(crate) mod hosts;
mod intervals;
mod presence;

use crate::index::v6::hosts::Hosts;
use crate::index::v6::intervals::Spans;
use crate::index::v6::presence::Presence;
use crate::index::{Blocks, Cell, Compiled, Found, Parts};
use crate::prefix::Wide;
use crate::table::{NONE, Table};

#[derive(Debug, Clone)]
pub(crate) struct Split<K: Wide> {
    presence: Presence,
    hosts: Hosts<K>,
    spans: Spans<K>,
}

impl<K: Wide> Compiled<K> for Split<K> {
    fn new(seed: u64) -> Self {
        Self { presence: Presence::default(), hosts: Hosts::new(seed), spans: Spans::default() }
    }

    #[inline]
    fn find(&self, key: K) -> Found {
        if self.presence.may_hold(key.top().into()) {
            (self.hosts.find(key), self.spans.find(key)).into()
        } else {
            (NONE, NONE).into()
        }
    }

    fn rebuild(&mut self, hosts: Vec<Cell<K>>, spans: &[Cell<K>], table: &Table) {
        self.presence = Presence::build(hosts.iter().map(|cell| cell.key), spans);
        self.hosts.fill(&hosts, |a, b| table.stronger(a, b));
        self.spans = Spans::build(spans);
    }

    fn patch(&mut self, hosts: &[Cell<K>], blocks: &Blocks<K>, spans: Parts<'_, K>) {
        for cell in hosts {
            if cell.row == NONE { self.presence.remove_host() } else { self.presence.add_host(cell.key) }
        }
        self.hosts.patch(hosts);
        let ends: Vec<_> = blocks.iter().map(|(first, length)| (*first, first.end_of(*length))).collect();
        self.spans.patch(&ends, &mut |at| {
            let (first, length) = blocks[at];
            let cells = spans(first, length);
            self.presence.replace_spans(first, length, &cells);
            cells
        });
        if self.presence.is_stale(self.hosts.len() + self.spans.weight()) {
            let spans = self.spans.within(K::FIRST, K::LAST);
            self.presence = Presence::build(self.hosts.cells().map(|cell| cell.key), &spans);
        }
    }

    fn spans_within(&self, first: K, last: K) -> Vec<Cell<K>> {
        self.spans.within(first, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::{Key, V6};

    /// Host `n` in a /32 of its own.
    fn host(n: u128) -> V6 {
        V6::from_bits((0x2400_0000 + n) << 96 | 1)
    }

    fn free_networks_to_search(index: &Split<V6>) -> usize {
        (0..200_000).filter(|n| index.presence.may_hold(host(*n).top())).count()
    }

    #[test]
    fn hosts_come_and_go_in_ever_other_networks() {
        let mut index = Split::<V6>::new(1);
        index.patch(&[Cell { key: host(7), row: 7 }], &[], &|_, _| Vec::new());
        for round in 1..=20u128 {
            let keys: Vec<_> = (0..500).map(|n| host(round * 1000 + n)).collect();
            let cells = |row| keys.iter().map(|key| Cell { key: *key, row }).collect::<Vec<_>>();
            index.patch(&cells(3), &[], &|_, _| Vec::new());
            assert!(keys.iter().chain([&host(7)]).all(|key| index.find(*key).is_held));
            index.patch(&cells(NONE), &[], &|_, _| Vec::new());
            assert!(!keys.iter().any(|key| index.find(*key).is_held));
        }
        // 10,000 networks were in use; what the last ones left is rubbed out after 1,024 removals.
        let left = free_networks_to_search(&index);
        assert!(left < 5000, "{left} of 200,000 networks");
        assert!(index.find(host(7)).is_held);
    }

    #[test]
    fn ranges_come_and_go_in_ever_other_networks() {
        let mut index = Split::<V6>::new(1);
        let all = [Cell { key: host(7), row: 7 }];
        index.patch(&all, &[(host(3_000_000), 64)], &|first, _| vec![Cell { key: first, row: 9 }]);
        for round in 0..3000u128 {
            // Neighbouring blocks of 28 to 39 bits.
            let length = 28 + (round % 12) as u8;
            let net = crate::prefix::Prefix::from_key(host(round * 16), 128).shortened(length);
            let block = [(V6::of(&net), length)];
            let last = V6::of(&net).end_of(length);
            index.patch(&[], &block, &|first, _| vec![Cell { key: first, row: 5 }]);
            assert!(index.find(block[0].0).is_held && index.find(last).is_held);
            index.patch(&[], &block, &|first, _| vec![Cell { key: first, row: NONE }]);
            assert!(!index.find(last).is_held);
        }
        assert!(index.find(host(3_000_000)).is_held && index.find(host(7)).is_held);
        let left = free_networks_to_search(&index);
        assert!(left < 20_000, "{left} of 200,000 networks");
    }
}
