//! Computes gates: hash sets of cells, which rules look up before the sets of the decisions. Pure.
//!
//! A cell is a prefix of fixed width, and a gate holds the cells that decisions touch. A packet whose address lies in
//! no cell of any gate is not banned, so it costs one look-up per gate, whatever the number of decisions, origins and
//! prefix lengths. A gate must hold a superset of what it guards at every moment; cells are counted, so that a cell is
//! removed with the last element in it.
//!
//! ```text
//!  192.0.2.7/32   ─► 192.0.0.0/22                       a host or a long prefix: the cell around it
//!  10.1.0.0/16    ─► 10.1.0.0/22, 10.1.4.0/22, ...      at most 8 bits shorter than the gate: every cell in it
//!  10.8.0.0/13    ─► 10.8.0.0/14, 10.12.0.0/14          shorter still: a gate that is 8 bits wider, and so on
//! ```
//!
//! Behind the gates, a packet from a cell that holds something would be looked up in the set of every source and prefix
//! length. Inner gates guard groups of these in the same way: the hosts of all sources (cells of one address), long
//! ranges, short ranges. So the price of a clean packet near a banned address does not grow with them either.
//!
//! IPv6 needs several gates, as its prefixes are of many lengths. There a front gate holds the cells of all of them, so
//! that most packets are looked up once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::config::IpFamily;
use crate::target::SetId;

/// A prefix at most this many bits shorter than a gate is spread over its cells.
// It then fills up to 256 cells. A gate of its own would cost every clean packet a look-up.
const SPREAD_BITS: u8 = 8;

/// Cells of a gate that the ranges of one prefix length may fill.
// Some 20 MB of kernel memory.
const SPREAD_CELLS: u64 = 1 << 18;

/// Width of the gate that guards hosts and most ranges.
pub(crate) fn main_width(ip: IpFamily) -> u8 {
    match ip {
        // Narrower cells let fewer clean packets pass but take more memory. Measured per packet, /22 is best for lists
        // of 100,000 to 200,000.
        IpFamily::V4 => 22,
        // IPv6 lists hold /64 and longer prefixes of sites, and a site is given a /48.
        IpFamily::V6 => 48,
    }
}

/// Width of the gate that guards `count` prefixes of this length.
fn width(ip: IpFamily, length: u8, count: u32) -> u8 {
    // A clean packet is looked up in every gate, so the lengths that are too short for the main gate share as few
    // others as possible: one per 8 bits.
    let main = main_width(ip);
    if length > main {
        return main;
    }
    let mut shared = (0..).map_while(|nth: u8| main.checked_sub(nth * SPREAD_BITS));
    let fits = |width: &u8| {
        width
            .checked_sub(length)
            .is_some_and(|missing| missing <= SPREAD_BITS && u64::from(count) << missing <= SPREAD_CELLS)
    };
    // With so many ranges that no shared gate fits, their length gets a gate of its own: one cell per range.
    shared.find(fits).unwrap_or(length)
}

/// Number of sets from which an inner gate replaces the look-ups in them.
// For fewer it would save too little for its memory.
pub(crate) const INNER_FROM: usize = 3;

/// The width of the front gate. It is looked up before all gates of the same or a longer prefix, when there are
/// several.
pub(crate) fn front_width(ip: IpFamily) -> Option<u8> {
    match ip {
        // No front gate: most addresses share a /14 with something banned, so it would let nearly every packet pass.
        IpFamily::V4 => None,
        // A provider is given a /32, and most /32s hold nothing banned.
        IpFamily::V6 => Some(32),
    }
}

/// Which gates guard elements of one prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guards {
    pub(crate) outer: u8,
    /// The width of the inner gate, where there is one for the group.
    pub(crate) inner: Option<u8>,
}

/// The gates that guard prefixes of this length, when there are `count` of them.
pub(crate) fn guards(ip: IpFamily, length: u8, count: u32) -> Guards {
    let outer = width(ip, length, count);
    let inner = inner_width(ip, length).filter(|inner| {
        // Only the main gate leads to inner gates, and their cells are bounded in the same way.
        let cells = u64::from(count) << inner.saturating_sub(length);
        outer == main_width(ip) && cells <= SPREAD_CELLS
    });
    Guards { outer, inner }
}

/// The width of the inner gate of the group that a prefix length belongs to.
fn inner_width(ip: IpFamily, length: u8) -> Option<u8> {
    // Groups are cut so that no range fills more than 256 cells, and few neighbours of a range share its cell.
    match (ip, length) {
        (IpFamily::V4, 32) => Some(32),
        (IpFamily::V4, 22..) => Some(24),
        (IpFamily::V4, 14..) => Some(21),
        (IpFamily::V6, 128) => Some(128),
        (IpFamily::V6, 49..) => Some(56),
        (IpFamily::V6, 40..) => Some(48),
        (IpFamily::V4 | IpFamily::V6, _) => None,
    }
}

/// The cells of this width that a prefix touches.
pub(crate) fn cells(net: IpNet, width: u8) -> impl Iterator<Item = IpAddr> {
    let missing = width.saturating_sub(net.prefix_len());
    let first = truncate(net.addr(), width);
    // `missing` is bound by `SPREAD_BITS`, see `guards`.
    (0..1_u32 << missing).map(move |nth| match first {
        IpAddr::V4(first) => {
            // A gate of width 0 has one cell; the shift by all bits must not overflow.
            let step = u32::from(32 - width);
            Ipv4Addr::from_bits(first.to_bits() | nth.checked_shl(step).unwrap_or(0)).into()
        }
        IpAddr::V6(first) => {
            let step = u32::from(128 - width);
            Ipv6Addr::from_bits(first.to_bits() | u128::from(nth).checked_shl(step).unwrap_or(0)).into()
        }
    })
}

/// The cell of this width around an address.
pub(crate) fn truncate(address: IpAddr, width: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(width)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(width)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// How many elements lie in each cell of each gate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CellCounts {
    v4: HashMap<(SetId, u32), u32>,
    v6: HashMap<(SetId, u128), u32>,
}

impl CellCounts {
    /// Counts one more element in a cell; `true` when it is the first.
    pub(crate) fn enter(&mut self, gate: SetId, cell: IpAddr) -> bool {
        let count = match cell {
            IpAddr::V4(cell) => self.v4.entry((gate, cell.to_bits())).or_default(),
            IpAddr::V6(cell) => self.v6.entry((gate, cell.to_bits())).or_default(),
        };
        *count += 1;
        *count == 1
    }

    /// Counts one element less in a cell; `true` when it was the last.
    pub(crate) fn leave(&mut self, gate: SetId, cell: IpAddr) -> bool {
        fn leave<K>(entry: Entry<'_, K, u32>) -> bool {
            match entry {
                Entry::Occupied(mut entry) if *entry.get() > 1 => {
                    *entry.get_mut() -= 1;
                    false
                }
                Entry::Occupied(entry) => {
                    entry.remove();
                    true
                }
                // Nothing to remove from the kernel, and the count must not wrap around.
                Entry::Vacant(_) => false,
            }
        }
        match cell {
            IpAddr::V4(cell) => leave(self.v4.entry((gate, cell.to_bits()))),
            IpAddr::V6(cell) => leave(self.v6.entry((gate, cell.to_bits()))),
        }
    }

    /// Whether any element lies in this cell.
    pub(crate) fn holds(&self, gate: SetId, cell: IpAddr) -> bool {
        match cell {
            IpAddr::V4(cell) => self.v4.contains_key(&(gate, cell.to_bits())),
            IpAddr::V6(cell) => self.v6.contains_key(&(gate, cell.to_bits())),
        }
    }

    /// Every cell with anything in it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SetId, IpAddr)> {
        let v4 = self.v4.keys().map(|(gate, cell)| (*gate, Ipv4Addr::from_bits(*cell).into()));
        v4.chain(self.v6.keys().map(|(gate, cell)| (*gate, Ipv6Addr::from_bits(*cell).into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(net: &str, width: u8) -> Vec<String> {
        cells(net.parse().unwrap(), width).map(|cell| cell.to_string()).collect()
    }

    #[test]
    fn cells_cover_the_prefix() {
        assert_eq!(of("192.0.2.7/32", 22), ["192.0.0.0"]);
        assert_eq!(of("192.0.2.0/24", 22), ["192.0.0.0"]);
        assert_eq!(of("10.0.0.0/20", 22), ["10.0.0.0", "10.0.4.0", "10.0.8.0", "10.0.12.0"]);
        assert_eq!(of("10.0.0.0/14", 22).len(), 256);
        assert_eq!(of("255.255.252.0/22", 22), ["255.255.252.0"]);
        assert_eq!(of("0.0.0.0/0", 0), ["0.0.0.0"]);
        assert_eq!(of("10.8.0.0/13", 14), ["10.8.0.0", "10.12.0.0"]);
        assert_eq!(of("2001:db8::/47", 48), ["2001:db8::", "2001:db8:1::"]);
        assert_eq!(of("2001:db8:0:1::7/128", 48), ["2001:db8::"]);
        assert_eq!(of("::/0", 0), ["::"]);
    }

    #[test]
    fn short_or_numerous_prefixes_get_another_gate() {
        for (ip, length, count, expected) in [
            (IpFamily::V4, 32, 1_000_000, 22),
            (IpFamily::V4, 22, 1_000_000, 22),
            (IpFamily::V4, 16, 4096, 22),
            (IpFamily::V4, 16, 4097, 16),
            (IpFamily::V4, 14, 1, 22),
            (IpFamily::V4, 14, 1025, 14),
            (IpFamily::V4, 13, 1, 14),
            (IpFamily::V4, 8, 256, 14),
            (IpFamily::V4, 0, 1, 6),
            (IpFamily::V6, 64, 1_000_000, 48),
            (IpFamily::V6, 40, 1024, 48),
            (IpFamily::V6, 40, 1025, 40),
            (IpFamily::V6, 33, 2048, 40),
            (IpFamily::V6, 33, 2049, 33),
            (IpFamily::V6, 32, 1, 40),
            (IpFamily::V6, 32, 1025, 32),
            (IpFamily::V6, 29, 1, 32),
            (IpFamily::V6, 0, 1, 8),
        ] {
            assert_eq!(width(ip, length, count), expected, "{ip:?} /{length} x {count}");
        }
    }

    #[test]
    fn a_cell_goes_with_the_last_element_in_it() {
        let (mut counts, gate) = (CellCounts::default(), SetId(3));
        let cell = "192.0.0.0".parse().unwrap();
        assert!(counts.enter(gate, cell));
        assert!(!counts.enter(gate, cell));
        assert!(!counts.leave(gate, cell));
        assert!(counts.holds(gate, cell));
        assert!(counts.leave(gate, cell));
        assert!(!counts.holds(gate, cell));
        assert_eq!(counts, CellCounts::default());
    }
}
