//! Computes the addresses that are exempt from all decisions, as disjoint intervals. Pure.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;
use palisade_net::PrefixSet;

use crate::config::IpFamily;
use crate::enforcer_config::EnforcerConfig;
use crate::layout::family_of;
use crate::netlink::following;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is in `allow.addresses`.
    Allowed,
    /// It is a LAPI's, and `protect_lapi` is on.
    Lapi,
    /// It is one of this host's own.
    Own,
    /// It is a loopback, link-local or unspecified address.
    Special,
}

impl Reason {
    /// As a clause of a sentence about the address.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allow.addresses has it",
            Self::Lapi => "protect_lapi: it is the address of a LAPI",
            Self::Own => "it is an address of this host",
            Self::Special => "it is a loopback or link-local address",
        }
    }
}

/// Loopback, link-local and unspecified addresses.
// None can belong to an attacker on another network.
static SPECIAL: LazyLock<PrefixSet> = LazyLock::new(|| {
    ["0.0.0.0/32", "127.0.0.0/8", "169.254.0.0/16", "::/128", "::1/128", "fe80::/10"]
        .into_iter()
        .map(|net| net.parse::<IpNet>().expect("the table holds prefixes"))
        .collect()
});

/// Everything exempt, sorted and merged.
pub(crate) fn intervals(enforcer_config: &EnforcerConfig) -> Vec<(IpAddr, IpAddr)> {
    let lapi = enforcer_config.protected.iter().filter(|_| enforcer_config.config.protect_lapi);
    // IPv4-mapped addresses occur where a socket serves both families; the rules see IPv4.
    let single =
        lapi.chain(&enforcer_config.local.addresses).map(|address| IpNet::from(address.to_canonical()));
    let nets = enforcer_config.config.allow.nets.prefixes().chain(SPECIAL.prefixes()).chain(single);
    let mut all: Vec<_> = nets.map(|net| (net.network(), net.broadcast())).collect();
    merge(&mut all);
    all
}

/// Sorts intervals, and joins those that overlap or adjoin.
pub(crate) fn merge(intervals: &mut Vec<(IpAddr, IpAddr)>) {
    intervals.sort_unstable();
    intervals.dedup_by(|(first, last), (_, reach)| {
        let joins = *first <= *reach || following(*reach) == Some(*first);
        if joins {
            *reach = (*reach).max(*last);
        }
        joins
    });
}

pub(crate) fn reason(enforcer_config: &EnforcerConfig, address: IpAddr) -> Option<Reason> {
    if enforcer_config.config.allow.nets.contains(address) {
        Some(Reason::Allowed)
    } else if enforcer_config.config.protect_lapi
        && enforcer_config.protected.iter().any(|lapi| lapi.to_canonical() == address)
    {
        Some(Reason::Lapi)
    } else if enforcer_config.local.addresses.contains(&address) {
        Some(Reason::Own)
    } else {
        SPECIAL.contains(address).then_some(Reason::Special)
    }
}

/// The families that have anything exempt.
pub(crate) fn families(intervals: &[(IpAddr, IpAddr)]) -> Vec<IpFamily> {
    [IpFamily::V4, IpFamily::V6]
        .into_iter()
        .filter(|ip| intervals.iter().any(|(first, _)| family_of(*first) == *ip))
        .collect()
}

/// Whether any of these sorted, disjoint intervals covers an address.
pub(crate) fn covers(intervals: &[(IpAddr, IpAddr)], address: IpAddr) -> bool {
    let after = intervals.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).is_some_and(|at| address <= intervals[at].1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Allow, Config};
    use crate::local::LocalNetwork;

    fn enforcer_config(nets: &[&str], protected: &[&str], own: &[&str]) -> EnforcerConfig {
        let nets = nets.iter().map(|net| net.parse::<IpNet>().unwrap()).collect();
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        EnforcerConfig {
            config: Arc::new(Config {
                allow: Allow { nets, interfaces: Vec::new() },
                ..crate::testing::config()
            }),
            protected: addresses(protected),
            local: LocalNetwork { addresses: addresses(own), ..LocalNetwork::default() },
        }
    }

    fn merged(enforcer_config: &EnforcerConfig) -> Vec<String> {
        let intervals = intervals(enforcer_config);
        for (first, last) in &intervals {
            assert!(covers(&intervals, *first) && covers(&intervals, *last));
        }
        assert!(!covers(&intervals, "1.1.1.1".parse().unwrap()));
        let shown = intervals.iter().filter(|(first, _)| !SPECIAL.contains(*first));
        shown.map(|(first, last)| format!("{first}-{last}")).collect()
    }

    #[test]
    fn overlapping_and_neighbouring_prefixes_become_one() {
        let nets = ["10.0.0.0/25", "10.0.0.128/25", "10.0.0.7/32", "2001:db8::/32", "192.0.2.0/24"];
        let expected = [
            "10.0.0.0-10.0.0.255",
            "192.0.2.0-192.0.2.255",
            "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        ];
        assert_eq!(merged(&enforcer_config(&nets, &["192.0.2.9"], &["127.0.0.1", "::1"])), expected);
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert_eq!(merged(&enforcer_config(&[], &["::ffff:203.0.113.5"], &[])), ["203.0.113.5-203.0.113.5"]);
    }

    #[test]
    fn each_exempt_address_has_its_reason() {
        let enforcer_config = enforcer_config(&["192.0.2.0/24"], &["203.0.113.5"], &["198.51.100.1"]);
        for (address, expected) in [
            ("192.0.2.7", Some(Reason::Allowed)),
            ("203.0.113.5", Some(Reason::Lapi)),
            ("198.51.100.1", Some(Reason::Own)),
            ("127.0.0.53", Some(Reason::Special)),
            ("169.254.169.254", Some(Reason::Special)),
            ("fe80::1", Some(Reason::Special)),
            ("198.51.100.2", None),
            ("2001:db8::1", None),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(reason(&enforcer_config, address), expected, "{address}");
            assert_eq!(covers(&intervals(&enforcer_config), address), expected.is_some(), "{address}");
        }
    }
}
