//! The least that an exact lookup in a large list costs: flat sorted arrays that any change rebuilds whole.
//!
//! ```text
//!  IPv4: top 16 bits ─► offsets[65,536 + 1] ─► starts, ends: low 16 bits of disjoint intervals, sorted
//!  IPv6: top 16 bits ─► offsets[65,536 + 1] ─► which /32s hold anything, sorted
//!                          next 8 bits ─► offsets[256 for each such /32, + 1] ─► disjoint intervals, sorted
//! ```
//! IPv6 has a second level because addresses crowd in few /32s. A product cannot have these, as it must publish changes
//! in less time than they take to build.

use std::net::IpAddr;

use ipnet::IpNet;

/// What distinct prefixes hold.
pub(crate) struct Floor {
    v4: Floor4,
    v6: Floor6,
}

impl Floor {
    /// From distinct prefixes in order; where they nest the innermost holds.
    pub(crate) fn new(nets: &[IpNet]) -> Self {
        let v4 = nets.iter().filter_map(|net| match net {
            IpNet::V4(net) => Some((net.network().to_bits().into(), net.broadcast().to_bits().into())),
            IpNet::V6(_) => None,
        });
        let v6 = nets.iter().filter_map(|net| match net {
            IpNet::V6(net) => Some((net.network().to_bits(), net.broadcast().to_bits())),
            IpNet::V4(_) => None,
        });
        Self { v4: Floor4::new(disjoint(v4)), v6: Floor6::new(disjoint(v6)) }
    }

    /// The place of the interval that holds this address; decisions could lie in the same order.
    #[inline]
    pub(crate) fn find(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        }
    }
}

/// A first and a last address.
type Interval = (u128, u128);

/// Sorted intervals that nest, cut into such as do not.
fn disjoint(nested: impl Iterator<Item = Interval>) -> Vec<Interval> {
    let mut out = Vec::new();
    // The intervals around the current place, innermost last; what lies before `next` is complete.
    let (mut around, mut next) = (Vec::<u128>::new(), 0);
    // An inner interval may have left nothing of the outer one.
    let mut close = |next: &mut u128, end: u128| {
        if *next <= end {
            out.push((*next, end));
        }
        *next = end.saturating_add(1);
    };
    for (start, end) in nested {
        while let Some(outer) = around.pop_if(|outer| *outer < start) {
            close(&mut next, outer);
        }
        if !around.is_empty() && next < start {
            close(&mut next, start - 1);
        }
        around.push(end);
        next = start;
    }
    while let Some(outer) = around.pop() {
        close(&mut next, outer);
    }
    out
}

/// Counts to the sums before them, and the whole sum at the end.
fn offsets(mut counts: Vec<u32>) -> Vec<u32> {
    let mut sum = 0;
    for count in &mut counts {
        sum += std::mem::replace(count, sum);
    }
    counts.push(sum);
    counts
}

/// Disjoint intervals, none across a /16.
struct Floor4 {
    offsets: Vec<u32>,
    starts: Vec<u16>,
    ends: Vec<u16>,
}

impl Floor4 {
    fn new(intervals: Vec<Interval>) -> Self {
        let (mut counts, mut starts, mut ends) = (vec![0; 1 << 16], Vec::new(), Vec::new());
        for (mut start, end) in intervals {
            while start <= end {
                let cut = end.min(start | 0xffff);
                counts[(start >> 16) as usize] += 1;
                starts.push(start as u16);
                ends.push(cut as u16);
                start = cut + 1;
            }
        }
        Self { offsets: offsets(counts), starts, ends }
    }

    #[inline]
    fn find(&self, address: u32) -> Option<u32> {
        let (top, low) = (address as usize >> 16, address as u16);
        let first = self.offsets[top];
        let leaf = first as usize..self.offsets[top + 1] as usize;
        let before = self.starts[leaf].partition_point(|start| *start <= low) as u32;
        let at = (first + before).checked_sub(1).filter(|_| before > 0)?;
        (low <= self.ends[at as usize]).then_some(at)
    }
}

/// Disjoint intervals, each in the cell of its first address.
struct Floor6 {
    /// For each /16 its first /32.
    offsets: Vec<u32>,
    /// The /32s that hold anything, by the lower half of their bits.
    blocks: Vec<u16>,
    /// For each /40 in these /32s its first interval.
    cells: Vec<u32>,
    intervals: Vec<Interval>,
}

impl Floor6 {
    fn new(intervals: Vec<Interval>) -> Self {
        let (mut counts, mut blocks, mut cells) = (vec![0; 1 << 16], Vec::new(), Vec::new());
        let mut done = None;
        for (start, end) in &intervals {
            let (first, last) = (start >> 96, end >> 96);
            for block in first..=last {
                if done.is_none_or(|done| done < block) {
                    counts[(block >> 16) as usize] += 1;
                    blocks.push(block as u16);
                    cells.extend([0; 256]);
                    done = Some(block);
                }
                if block == first {
                    let of_block = cells.len() - 256;
                    cells[of_block + (start >> 88 & 0xff) as usize] += 1;
                }
            }
        }
        Self { offsets: offsets(counts), blocks, cells: offsets(cells), intervals }
    }

    #[inline]
    fn find(&self, address: u128) -> Option<u32> {
        let (top, block) = ((address >> 112) as usize, (address >> 96) as u16);
        let first = self.offsets[top] as usize;
        let leaf = &self.blocks[first..self.offsets[top + 1] as usize];
        let before = leaf.partition_point(|held| *held < block);
        if leaf.get(before) != Some(&block) {
            return None;
        }
        let cell = (first + before) << 8 | (address >> 88 & 0xff) as usize;
        let first = self.cells[cell];
        let leaf = first as usize..self.cells[cell + 1] as usize;
        let before = self.intervals[leaf].partition_point(|(start, _)| *start <= address) as u32;
        // Maybe of an earlier cell: an interval may reach over many.
        let at = (first + before).checked_sub(1)?;
        (address <= self.intervals[at as usize].1).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nets: &[&str], expected: &[(&str, bool)], distinct: &[&str]) {
        let mut nets: Vec<IpNet> = nets.iter().map(|net| net.parse().unwrap()).collect();
        nets.sort_unstable();
        let floor = Floor::new(&nets);
        let find = |address: &&str| floor.find(address.parse().unwrap());
        for (address, held) in expected {
            assert_eq!(find(address).is_some(), *held, "{address}");
        }
        let found: std::collections::BTreeSet<_> = distinct.iter().map(find).collect();
        assert_eq!(found.len(), distinct.len());
    }

    #[test]
    fn it_holds_what_ipv4_prefixes_hold() {
        check(
            &[
                "10.0.0.0/8",
                "10.1.0.0/16",
                "10.1.2.3/32",
                "10.1.2.4/32",
                "192.0.2.0/28",
                "255.255.255.252/30",
                "255.255.255.255/32",
            ],
            &[
                ("9.255.255.255", false),
                ("10.0.0.0", true),
                ("10.1.2.2", true),
                ("10.1.2.3", true),
                ("10.1.2.5", true),
                ("10.255.255.255", true),
                ("11.0.0.0", false),
                ("192.0.2.15", true),
                ("192.0.2.16", false),
                ("255.255.255.251", false),
                ("255.255.255.255", true),
            ],
            &["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5"],
        );
    }

    #[test]
    fn it_holds_what_ipv6_prefixes_hold() {
        check(
            &[
                "2001:db8::/30",
                "2001:db9::/32",
                "2001:db9:ff00::1/128",
                "2001:db9:ff00::2/128",
                "2400:cb00:8000::/33",
                "2400:cb00::/64",
                "ffff:ffff:ffff::/48",
            ],
            &[
                ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", false),
                ("2001:db8::", true),
                ("2001:db9:ff00::", true),
                ("2001:db9:ff00::1", true),
                ("2001:dbb:ffff:ffff:ffff:ffff:ffff:ffff", true),
                ("2001:dbc::", false),
                ("2400:cb00::ffff", true),
                ("2400:cb00:0:1::", false),
                ("2400:cb00:7fff::", false),
                ("2400:cb00:ffff::", true),
                ("2400:cb01::", false),
                ("ffff:ffff:fffe::", false),
                ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ],
            &["2001:db8::", "2001:db9:ff00::", "2001:db9:ff00::1", "2001:db9:ff00::2", "2001:dbb::"],
        );
    }
}
