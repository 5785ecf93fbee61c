//! The least that an exact IPv4 lookup in a large list costs: flat sorted arrays that any change rebuilds whole.
//!
//! ```text
//!  top 16 bits ─► offsets[65,536 + 1] ─► starts, ends: low 16 bits of disjoint intervals, sorted
//! ```
//! A product cannot have it, as it must publish changes in less time than this takes to build.

use std::net::IpAddr;

use ipnet::IpNet;

/// Disjoint intervals, none across a /16.
pub(crate) struct Floor {
    offsets: Vec<u32>,
    starts: Vec<u16>,
    ends: Vec<u16>,
}

impl Floor {
    /// From distinct IPv4 prefixes in order; where they nest the innermost holds.
    pub(crate) fn new(nets: &[IpNet]) -> Self {
        let mut floor = Self { offsets: vec![0; 1 << 16], starts: Vec::new(), ends: Vec::new() };
        // The prefixes around the current place, innermost last; intervals before `next` are complete.
        let mut around: Vec<u32> = Vec::new();
        let mut next = 0u64;
        for net in nets {
            let IpNet::V4(net) = net else { continue };
            let (start, end) = (net.network().to_bits(), net.broadcast().to_bits());
            while let Some(outer) = around.pop_if(|outer| *outer < start) {
                floor.push(next, outer.into());
                next = u64::from(outer) + 1;
            }
            if !around.is_empty() && next < u64::from(start) {
                floor.push(next, u64::from(start) - 1);
            }
            around.push(end);
            next = start.into();
        }
        while let Some(outer) = around.pop() {
            floor.push(next, outer.into());
            next = u64::from(outer) + 1;
        }
        // So far each offset counts the intervals of its /16.
        let mut sum = 0;
        for offset in &mut floor.offsets {
            sum += std::mem::replace(offset, sum);
        }
        floor.offsets.push(sum);
        floor
    }

    /// Adds an interval, cut at the /16s it spans. An inner prefix may have left nothing of it.
    fn push(&mut self, mut start: u64, end: u64) {
        while start <= end {
            let cut = end.min(start | 0xffff);
            self.offsets[(start >> 16) as usize] += 1;
            self.starts.push(start as u16);
            self.ends.push(cut as u16);
            start = cut + 1;
        }
    }

    /// The place of the interval that holds this address; decisions could lie in the same order.
    #[inline]
    pub(crate) fn find(&self, address: IpAddr) -> Option<u32> {
        let IpAddr::V4(address) = address else { return None };
        let (top, low) = (address.to_bits() as usize >> 16, address.to_bits() as u16);
        let first = self.offsets[top];
        let leaf = first as usize..self.offsets[top + 1] as usize;
        let before = self.starts[leaf].partition_point(|start| *start <= low) as u32;
        let at = (first + before).checked_sub(1).filter(|_| before > 0)?;
        (low <= self.ends[at as usize]).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_the_prefixes_hold() {
        let mut nets: Vec<IpNet> = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.3/32",
            "10.1.2.4/32",
            "192.0.2.0/28",
            "255.255.255.252/30",
            "255.255.255.255/32",
        ]
        .map(|net| net.parse().unwrap())
        .to_vec();
        nets.sort_unstable();
        let floor = Floor::new(&nets);
        let find = |address: &str| floor.find(address.parse().unwrap());
        for (address, held) in [
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
        ] {
            assert_eq!(find(address).is_some(), held, "{address}");
        }
        let distinct = ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5"].map(find);
        assert_eq!(distinct.into_iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }
}
