//! The index of IPv6: hosts and spans apart.
//!
//! IPv6 is so empty that a tree over it is deep. A hash table for hosts and a directory over spans answer in
//! few dependent reads and next to no unpredictable branch, and a processor runs both searches side by side.

use crate::hosts::Hosts;
use crate::index::{Blocks, Cell, Compiled, Found, Parts};
use crate::prefix::Wide;
use crate::spans::Spans;
use crate::table::Table;

#[derive(Debug, Clone)]
pub(crate) struct Split<K: Wide> {
    hosts: Hosts<K>,
    spans: Spans<K>,
}

impl<K: Wide> Compiled<K> for Split<K> {
    fn new(seed: u64) -> Self {
        Self { hosts: Hosts::new(seed), spans: Spans::default() }
    }

    #[inline]
    fn find(&self, key: K) -> Found {
        (self.hosts.find(key), self.spans.find(key)).into()
    }

    fn rebuild(&mut self, hosts: Vec<Cell<K>>, spans: &[Cell<K>], table: &Table) {
        self.hosts.fill(&hosts, |a, b| table.stronger(a, b));
        self.spans = Spans::build(spans);
    }

    fn patch(&mut self, hosts: &[Cell<K>], blocks: &Blocks<K>, spans: Parts<'_, K>) {
        self.hosts.patch(hosts);
        let ends: Vec<_> = blocks.iter().map(|(first, length)| (*first, first.end_of(*length))).collect();
        self.spans.patch(&ends, &|at| spans(blocks[at].0, blocks[at].1));
    }

    fn spans_within(&self, first: K, last: K) -> Vec<Cell<K>> {
        self.spans.within(first, last)
    }
}
