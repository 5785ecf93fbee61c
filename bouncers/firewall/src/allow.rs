//! What is let through before any ban is looked at, as disjoint stretches of addresses.

use std::net::IpAddr;

use crate::config::{Config, IpFamily};
use crate::layout::family_of;
use crate::netlink::following;

/// The configured prefixes and the protected addresses (the LAPI's own), sorted and merged. Loopback addresses
/// need no entry: the loopback interface is let through as a whole.
pub(crate) fn stretches(config: &Config, protected: &[IpAddr]) -> Vec<(IpAddr, IpAddr)> {
    let nets = config.allow.nets.iter().map(|net| (net.network(), net.broadcast()));
    let protected = protected.iter().filter(|_| config.protect_lapi).map(|address| address.to_canonical());
    let protected = protected.filter(|address| !address.is_loopback() && !address.is_unspecified());
    let mut all: Vec<_> = nets.chain(protected.map(|address| (address, address))).collect();
    all.sort_unstable();
    let mut merged: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(all.len());
    for (first, last) in all {
        match merged.last_mut() {
            Some((_, reach)) if first <= *reach || following(*reach) == Some(first) => {
                *reach = last.max(*reach)
            }
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// The families that have anything to let through.
pub(crate) fn families(stretches: &[(IpAddr, IpAddr)]) -> Vec<IpFamily> {
    [IpFamily::V4, IpFamily::V6]
        .into_iter()
        .filter(|ip| stretches.iter().any(|(first, _)| family_of(*first) == *ip))
        .collect()
}

/// Whether a prefix or address that is let through covers this address.
pub(crate) fn covers(stretches: &[(IpAddr, IpAddr)], address: IpAddr) -> bool {
    let after = stretches.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).is_some_and(|at| address <= stretches[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Allow;

    fn merged(nets: &[&str], protected: &[&str]) -> Vec<String> {
        let nets = nets.iter().map(|net| net.parse().unwrap()).collect();
        let config = Config { allow: Allow { nets, interfaces: Vec::new() }, ..crate::testing::config() };
        let protected: Vec<IpAddr> = protected.iter().map(|address| address.parse().unwrap()).collect();
        let stretches = stretches(&config, &protected);
        for (first, last) in &stretches {
            assert!(covers(&stretches, *first) && covers(&stretches, *last));
        }
        assert!(!covers(&stretches, "1.1.1.1".parse().unwrap()));
        stretches.iter().map(|(first, last)| format!("{first}-{last}")).collect()
    }

    #[test]
    fn overlapping_and_neighbouring_prefixes_become_one() {
        let nets = ["10.0.0.0/25", "10.0.0.128/25", "10.0.0.7/32", "2001:db8::/32", "192.0.2.0/24"];
        let expected = [
            "10.0.0.0-10.0.0.255",
            "192.0.2.0-192.0.2.255",
            "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        ];
        assert_eq!(merged(&nets, &["192.0.2.9", "127.0.0.1", "::1"]), expected);
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert_eq!(merged(&[], &["::ffff:203.0.113.5"]), ["203.0.113.5-203.0.113.5"]);
    }
}
