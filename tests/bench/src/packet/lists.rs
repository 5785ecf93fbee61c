//! Made-up blocklists, the same in every run, and the source addresses of the packets that meet them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use ip_network::IpNetwork;
use ip_network_table::IpNetworkTable;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Sources of one kind of packets: a power of two, as the sender of frames asks.
pub(crate) const SOURCES: usize = 1 << 17;

/// Prefix lengths of ranges, and how many in a thousand have each: as public IPv4 lists have them, and for IPv6 the
/// sizes that are handed out to customers.
const V4_LENGTHS: &[(u8, u32)] = &[
    (16, 3),
    (17, 3),
    (18, 5),
    (19, 15),
    (20, 31),
    (21, 31),
    (22, 77),
    (23, 62),
    (24, 423),
    (25, 23),
    (26, 23),
    (27, 23),
    (28, 23),
    (29, 15),
    (30, 8),
    (31, 6),
];
const V6_LENGTHS: &[(u8, u32)] =
    &[(32, 10), (36, 10), (40, 20), (44, 30), (48, 270), (52, 30), (56, 150), (60, 40), (64, 440)];

/// How a list lies in the address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Spread {
    /// Anywhere.
    Uniform,
    /// As real lists: hosts crowd into few /24s (IPv6: /48s of few /32s), ranges into few /16s (/32s), and some of
    /// these hold many more than others.
    Clustered,
}

/// What is banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    pub(crate) v6: bool,
    pub(crate) spread: Spread,
    pub(crate) hosts: usize,
    pub(crate) ranges: usize,
}

/// A list and the sources of packets.
pub(crate) struct List {
    contents: Contents,
    pub(crate) nets: Vec<IpNet>,
    table: IpNetworkTable<()>,
    random: Rng,
}

impl List {
    pub(crate) fn new(contents: Contents) -> Self {
        let mut list =
            Self { contents, nets: Vec::new(), table: IpNetworkTable::new(), random: Rng::with_seed(7) };
        // 32 hosts in the average /24, 100 ranges in the average /16.
        let crowds = list.crowds(contents.hosts / 256, if contents.v6 { 32 } else { 16 });
        let close = list.subnets(&crowds, contents.hosts / 32, if contents.v6 { 48 } else { 24 });
        list.fill(contents.hosts, &close, |_, _| 128);
        let wide = list.crowds(contents.ranges / 100, if contents.v6 { 32 } else { 16 });
        list.fill(contents.ranges, &wide, |random, v6| {
            let lengths = if v6 { V6_LENGTHS } else { V4_LENGTHS };
            let mut left = random.u32(0..lengths.iter().map(|(_, share)| share).sum());
            let picked = lengths.iter().find(|(_, share)| {
                let here = left < *share;
                left = left.saturating_sub(*share);
                here
            });
            picked.map_or(24, |(length, _)| *length)
        });
        list
    }

    /// Networks of this length, anywhere.
    fn crowds(&mut self, count: usize, length: u8) -> Vec<IpNet> {
        (0..count.max(1)).map(|_| prefix(self.anywhere(), length)).collect()
    }

    /// Networks of this length inside others.
    fn subnets(&mut self, nets: &[IpNet], count: usize, length: u8) -> Vec<IpNet> {
        (0..count.max(1))
            .map(|_| {
                let net = nets[self.random.usize(..nets.len())];
                prefix(inside(&mut self.random, net), length)
            })
            .collect()
    }

    /// Adds so many distinct entries, inside `crowds` when the list is clustered.
    fn fill(&mut self, count: usize, crowds: &[IpNet], length: fn(&mut Rng, bool) -> u8) {
        let full = self.nets.len() + count;
        while self.nets.len() < full {
            let address = match self.contents.spread {
                Spread::Uniform => self.anywhere(),
                Spread::Clustered => {
                    // The square makes the first crowds many times as dense as the last.
                    let at = self.random.f64().powi(2) * crowds.len() as f64;
                    inside(&mut self.random, crowds[at as usize])
                }
            };
            let net = prefix(address, length(&mut self.random, self.contents.v6));
            if self.table.insert(network(net), ()).is_none() {
                self.nets.push(net);
            }
        }
    }

    /// A unicast address that no special network holds.
    fn anywhere(&mut self) -> IpAddr {
        if self.contents.v6 {
            let address = 0x2400 << 112 | self.random.u128(..1 << 123);
            return Ipv6Addr::from_bits(address).into();
        }
        loop {
            let address = Ipv4Addr::from_bits(self.random.u32(0x0100_0000..0xe000_0000));
            // Whole /8s around private, shared and documentation networks.
            if ![10, 100, 127, 169, 172, 192, 198, 203].contains(&address.octets()[0]) {
                return address.into();
            }
        }
    }

    fn holds(&self, address: IpAddr) -> bool {
        self.table.longest_match(address).is_some()
    }

    /// Keeps these out of what is clean from now on, without banning them.
    pub(crate) fn exclude(&mut self, nets: &[IpNet]) {
        for net in nets {
            self.table.insert(network(*net), ());
        }
    }

    /// Addresses that are not banned: anywhere for a uniform list; half of them in the neighbourhood (/16, IPv6 /32)
    /// of an entry for a clustered one, as visitors and attackers share providers.
    pub(crate) fn clean(&mut self) -> Vec<IpAddr> {
        let crowd = if self.contents.v6 { 32 } else { 16 };
        let clustered = self.contents.spread == Spread::Clustered && !self.nets.is_empty();
        let mut found = Vec::with_capacity(SOURCES);
        while found.len() < SOURCES {
            let address =
                if clustered && found.len() % 2 == 0 { self.near_an_entry(crowd) } else { self.anywhere() };
            if !self.holds(address) {
                found.push(address);
            }
        }
        found
    }

    /// Addresses that are not banned themselves, each in the /22 (IPv6: /48) of an entry.
    pub(crate) fn neighbours(&mut self) -> Vec<IpAddr> {
        let close = if self.contents.v6 { 48 } else { 22 };
        let mut found = Vec::with_capacity(SOURCES);
        while found.len() < SOURCES {
            let address = self.near_an_entry(close);
            if !self.holds(address) {
                found.push(address);
            }
        }
        found
    }

    fn near_an_entry(&mut self, length: u8) -> IpAddr {
        let net = self.nets[self.random.usize(..self.nets.len())];
        inside(&mut self.random, prefix(net.addr(), length.min(net.prefix_len())))
    }

    /// Banned addresses, entry by entry: anywhere in a range, or its first address.
    pub(crate) fn banned(&mut self, first_only: bool) -> Vec<IpAddr> {
        (0..SOURCES)
            .map(|_| {
                let net = self.nets[self.random.usize(..self.nets.len())];
                if first_only { net.network() } else { inside(&mut self.random, net) }
            })
            .collect()
    }
}

fn inside(random: &mut Rng, net: IpNet) -> IpAddr {
    match net {
        IpNet::V4(net) => {
            let host = random.u32(..) & u32::from(net.hostmask());
            Ipv4Addr::from_bits(net.network().to_bits() | host).into()
        }
        IpNet::V6(net) => {
            let host = random.u128(..) & u128::from(net.hostmask());
            Ipv6Addr::from_bits(net.network().to_bits() | host).into()
        }
    }
}

/// The network of this length, or the host, around an address.
fn prefix(address: IpAddr, length: u8) -> IpNet {
    match address {
        IpAddr::V4(address) => IpNet::V4(Ipv4Net::new_assert(address, length.min(32)).trunc()),
        IpAddr::V6(address) => IpNet::V6(Ipv6Net::new_assert(address, length.min(128)).trunc()),
    }
}

fn network(net: IpNet) -> IpNetwork {
    IpNetwork::new(net.network(), net.prefix_len()).expect("a truncated network is valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_what_is_banned_and_nothing_clean() {
        for v6 in [false, true] {
            for spread in [Spread::Uniform, Spread::Clustered] {
                let mut list = List::new(Contents { v6, spread, hosts: 3000, ranges: 600 });
                assert_eq!(list.nets.len(), 3600);
                assert!(list.banned(true).into_iter().all(|address| list.holds(address)));
                assert!(list.banned(false).into_iter().all(|address| list.holds(address)));
                assert!(!list.clean().into_iter().any(|address| list.holds(address)));
                assert!(!list.neighbours().into_iter().any(|address| list.holds(address)));
            }
        }
    }
}
