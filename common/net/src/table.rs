//! Values by prefix.

use std::fmt;
use std::net::IpAddr;

use ip_network::IpNetwork;
use ip_network_table::IpNetworkTable;
use ipnet::IpNet;

use crate::canonical;

/// Values by prefix, immutable, in the order in which they were collected. Several may have the same prefix.
pub struct PrefixTable<T> {
    entries: Vec<(IpNet, T)>,
    /// Positions in `entries`.
    index: IpNetworkTable<Vec<usize>>,
}

/// A list of prefixes, such as trusted proxies.
pub type PrefixSet = PrefixTable<()>;

impl<T> PrefixTable<T> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The prefixes in order.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.entries.iter().map(|(net, _)| *net)
    }

    /// The values whose prefixes contain all of `net`.
    pub fn covering(&self, net: IpNet) -> impl Iterator<Item = &T> {
        let net = canonical(net);
        let around =
            self.index.matches(net.addr()).filter(move |(around, _)| around.netmask() <= net.prefix_len());
        around.flat_map(|(_, positions)| positions).map(|position| &self.entries[*position].1)
    }

    /// The values whose prefixes lie inside `net`, itself not included.
    pub fn inside(&self, net: IpNet) -> impl Iterator<Item = &T> {
        let net = canonical(net);
        // Most targets are addresses; ranges are rare enough for a scan.
        let entries = if net.prefix_len() == net.max_prefix_len() { &[] } else { &self.entries[..] };
        entries.iter().filter(move |(inner, _)| net != *inner && net.contains(inner)).map(|(_, value)| value)
    }
}

impl PrefixSet {
    /// Whether `address` is in one of the prefixes.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.index.longest_match(address.to_canonical()).is_some()
    }
}

impl<T> FromIterator<(IpNet, T)> for PrefixTable<T> {
    fn from_iter<I: IntoIterator<Item = (IpNet, T)>>(entries: I) -> Self {
        let mut table = Self::default();
        for (net, value) in entries {
            let net = canonical(net);
            let key = IpNetwork::new(net.addr(), net.prefix_len()).expect("host bits are cleared");
            match table.index.exact_match_mut(key) {
                Some(positions) => positions.push(table.entries.len()),
                None => _ = table.index.insert(key, vec![table.entries.len()]),
            }
            table.entries.push((net, value));
        }
        table
    }
}

impl FromIterator<IpNet> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        nets.into_iter().map(|net| (net, ())).collect()
    }
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), index: IpNetworkTable::new() }
    }
}

impl<T: Clone> Clone for PrefixTable<T> {
    fn clone(&self) -> Self {
        self.entries.iter().cloned().collect()
    }
}

impl<T: PartialEq> PartialEq for PrefixTable<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<T: Eq> Eq for PrefixTable<T> {}

impl<T: fmt::Debug> fmt::Debug for PrefixTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.entries).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse_prefix;

    #[test]
    fn addresses_of_both_families_and_notations() {
        let list = ["10.1.2.3/8", "192.0.2.1", "2001:db8::/32", "::1"];
        let set: PrefixSet = list.into_iter().map(|text| parse_prefix(text).unwrap()).collect();
        for (address, inside) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8::9", true),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(!PrefixSet::default().contains("::1".parse().unwrap()));
        let all: PrefixSet = [parse_prefix("0.0.0.0/0").unwrap()].into_iter().collect();
        assert!(
            all.contains("203.0.113.5".parse().unwrap()) && !all.contains("2001:db8::5".parse().unwrap())
        );
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_look_at_every_entry(
            nets in prop::collection::vec((0_u8..4, 0_u8..8, 0_u8..=32, any::<bool>()), 0..20),
            target in (0_u8..4, 0_u8..8, 0_u8..=32, any::<bool>()),
        ) {
            let net = |(a, b, length, six): (u8, u8, u8, bool)| {
                let text = if six { format!("{a}::{b}/{}", 96 + length) } else { format!("10.{a}.0.{b}/{length}") };
                parse_prefix(&text).unwrap()
            };
            let nets: Vec<IpNet> = nets.into_iter().map(net).collect();
            let target = net(target);
            let table: PrefixTable<usize> = nets.iter().copied().zip(0..).collect();
            let positions = |meant: &dyn Fn(&IpNet) -> bool| -> Vec<usize> {
                nets.iter().enumerate().filter(|(_, net)| meant(net)).map(|(at, _)| at).collect()
            };
            let mut covering: Vec<usize> = table.covering(target).copied().collect();
            covering.sort_unstable();
            prop_assert_eq!(covering, positions(&|net| net.contains(&target)));
            let inside: Vec<usize> = table.inside(target).copied().collect();
            prop_assert_eq!(inside, positions(&|net| target.contains(net) && *net != target));
        }
    }
}
