//! Decides which addresses may be connected to. Pure.
//!
//! Only addresses that anybody on the internet may have are permitted, and what an endpoint allows besides. The tables
//! follow the IANA registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890 and its updates). Addresses that
//! embed an IPv4 address, which a gateway or tunnel forwards to, are permitted only if that one is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_net::PrefixSet;

/// First address, prefix length, and what the addresses are.
type V4Range = ([u8; 4], u32, &'static str);
type V6Range = ([u16; 8], u32, &'static str);

const LOOPBACK: &str = "a loopback address";
const LINK_LOCAL: &str = "a link-local address";
const PRIVATE: &str = "a private address";
const MULTICAST: &str = "a multicast address";
const UNSPECIFIED: &str = "the unspecified address or one of this network";
const DOCUMENTATION: &str = "an address for documentation";
const BENCHMARKING: &str = "an address for benchmarks";
const PROTOCOL: &str = "an address for protocol assignments";
const RESERVED: &str = "a reserved address";

/// The more specific ranges come first.
#[rustfmt::skip]
const V4: &[V4Range] = &[
    ([255, 255, 255, 255], 32, "the broadcast address"),         // RFC 919
    ([0, 0, 0, 0],          8, UNSPECIFIED),                     // RFC 791, section 3.2
    ([10, 0, 0, 0],         8, PRIVATE),                         // RFC 1918
    ([100, 64, 0, 0],      10, "an address of carrier-grade NAT"), // RFC 6598
    ([127, 0, 0, 0],        8, LOOPBACK),                        // RFC 1122, section 3.2.1.3
    ([169, 254, 0, 0],     16, LINK_LOCAL),                      // RFC 3927; cloud metadata services
    ([172, 16, 0, 0],      12, PRIVATE),                         // RFC 1918
    ([192, 0, 0, 0],       24, PROTOCOL),                        // RFC 6890, section 2.1
    ([192, 0, 2, 0],       24, DOCUMENTATION),                   // RFC 5737
    ([192, 88, 99, 0],     24, "an address of 6to4 relays"),     // RFC 7526
    ([192, 168, 0, 0],     16, PRIVATE),                         // RFC 1918
    ([198, 18, 0, 0],      15, BENCHMARKING),                    // RFC 2544
    ([198, 51, 100, 0],    24, DOCUMENTATION),                   // RFC 5737
    ([203, 0, 113, 0],     24, DOCUMENTATION),                   // RFC 5737
    ([224, 0, 0, 0],        4, MULTICAST),                       // RFC 5771
    ([240, 0, 0, 0],        4, RESERVED),                        // RFC 1112, section 4
];

/// The more specific ranges come first. Outside of 2000::/3 nothing is permitted, so the other ranges here are for the
/// text alone. Addresses with an embedded IPv4 address are judged before.
#[rustfmt::skip]
const V6: &[V6Range] = &[
    ([0, 0, 0, 0, 0, 0, 0, 0],           128, UNSPECIFIED),      // RFC 4291, section 2.5.2
    ([0, 0, 0, 0, 0, 0, 0, 1],           128, LOOPBACK),         // RFC 4291, section 2.5.3
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0],    48, "an address of local NAT64"), // RFC 8215
    ([0x100, 0, 0, 0, 0, 0, 0, 0],        64, "a discard-only address"), // RFC 6666
    ([0x2001, 2, 0, 0, 0, 0, 0, 0],       48, BENCHMARKING),     // RFC 5180
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0],   32, DOCUMENTATION),    // RFC 3849
    ([0x2001, 0, 0, 0, 0, 0, 0, 0],       23, PROTOCOL),         // RFC 2928
    ([0x3ffe, 0, 0, 0, 0, 0, 0, 0],       16, RESERVED),         // RFC 3701
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0],       20, DOCUMENTATION),    // RFC 9637
    ([0x2000, 0, 0, 0, 0, 0, 0, 0],        3, ""),               // RFC 4291, section 2.4: global unicast
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0],        7, "a unique local address"), // RFC 4193
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0],       10, LINK_LOCAL),       // RFC 4291, section 2.5.6
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0],       10, "a site-local address"), // RFC 3879
    ([0xff00, 0, 0, 0, 0, 0, 0, 0],        8, MULTICAST),        // RFC 4291, section 2.7
    ([0, 0, 0, 0, 0, 0, 0, 0],             0, RESERVED),         // RFC 4291, section 2.4
];

/// Why an address may not be connected to; `None` when it may.
pub fn refusal(address: IpAddr, allowed: &PrefixSet) -> Option<&'static str> {
    let address = address.to_canonical();
    if allowed.contains(address) {
        return None;
    }
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => {
            let embedded = embedded(address);
            let refused =
                |v4: &Ipv4Addr| (!allowed.contains((*v4).into())).then(|| special_v4(*v4)).flatten();
            match embedded {
                Some(embedded) => embedded.iter().find_map(refused),
                None => special_v6(address),
            }
        }
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let contains = |(first, length, _): &&V4Range| {
        (u32::from(address) ^ u32::from_be_bytes(*first)).leading_zeros() >= *length
    };
    V4.iter().find(contains).map(|(.., what)| *what)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let contains = |(first, length, _): &&V6Range| {
        (u128::from(address) ^ u128::from(Ipv6Addr::from(*first))).leading_zeros() >= *length
    };
    V6.iter().find(contains).map(|(.., what)| *what).filter(|what| !what.is_empty())
}

/// The IPv4 addresses that packets to `address` reach by NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380: server and
/// client), or translation (RFC 2765). IPv4-mapped addresses are IPv4 addresses before they come here.
fn embedded(address: Ipv6Addr) -> Option<[Ipv4Addr; 2]> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    let one = |address| Some([address, address]);
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] => one(v4(a, b)),
        [0x2002, a, b, ..] => one(v4(a, b)),
        [0x2001, 0, a, b, _, _, c, d] => Some([v4(a, b), v4(!c, !d)]),
        [0, 0, 0, 0, 0xffff, 0, a, b] => one(v4(a, b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> Option<&'static str> {
        refusal(address.parse().unwrap(), &PrefixSet::default())
    }

    #[test]
    fn public_addresses_may_be_connected_to() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:200::1",
            "2400:cb00::1",
            "2002:101:101::1",
            "64:ff9b::1.1.1.1",
            "::ffff:1.1.1.1",
            "2001:0:101:101::fefe:fefe",
        ] {
            assert_eq!(refused(address), None, "{address}");
        }
    }

    #[test]
    fn special_addresses_are_refused_by_name() {
        for (address, what) in [
            ("0.0.0.0", UNSPECIFIED),
            ("0.1.2.3", UNSPECIFIED),
            ("10.0.0.1", PRIVATE),
            ("172.16.0.1", PRIVATE),
            ("172.31.255.255", PRIVATE),
            ("192.168.1.1", PRIVATE),
            ("100.64.0.1", "an address of carrier-grade NAT"),
            ("127.0.0.1", LOOPBACK),
            ("127.255.255.254", LOOPBACK),
            ("169.254.169.254", LINK_LOCAL),
            ("192.0.0.8", PROTOCOL),
            ("192.0.2.1", DOCUMENTATION),
            ("198.51.100.1", DOCUMENTATION),
            ("203.0.113.1", DOCUMENTATION),
            ("192.88.99.1", "an address of 6to4 relays"),
            ("198.19.0.1", BENCHMARKING),
            ("224.0.0.1", MULTICAST),
            ("239.255.255.255", MULTICAST),
            ("240.0.0.1", RESERVED),
            ("255.255.255.255", "the broadcast address"),
            ("::", UNSPECIFIED),
            ("::1", LOOPBACK),
            ("fe80::1", LINK_LOCAL),
            ("fec0::1", "a site-local address"),
            ("fd00:ec2::254", "a unique local address"),
            ("ff02::1", MULTICAST),
            ("2001:db8::1", DOCUMENTATION),
            ("3fff::1", DOCUMENTATION),
            ("2001:2::1", BENCHMARKING),
            ("2001:10::1", PROTOCOL),
            ("100::1", "a discard-only address"),
            ("64:ff9b:1::1", "an address of local NAT64"),
            ("5f00::1", RESERVED),
            ("4000::1", RESERVED),
        ] {
            assert_eq!(refused(address), Some(what), "{address}");
        }
    }

    #[test]
    fn addresses_that_embed_a_refused_one_are_refused() {
        for (address, what) in [
            ("::ffff:127.0.0.1", LOOPBACK),
            ("::ffff:10.0.0.1", PRIVATE),
            ("::ffff:0:10.0.0.1", PRIVATE),
            ("::127.0.0.1", RESERVED),
            ("64:ff9b::169.254.169.254", LINK_LOCAL),
            ("2002:7f00:1::1", LOOPBACK),
            ("2002:c0a8:101::1", PRIVATE),
            // Teredo: a private server, and a private client (its bits are inverted).
            ("2001:0:a00:1::fefe:fefe", PRIVATE),
            ("2001:0:101:101::f5ff:fffe", PRIVATE),
        ] {
            assert_eq!(refused(address), Some(what), "{address}");
        }
    }

    #[test]
    fn what_an_endpoint_allows_may_be_connected_to_in_every_form() {
        let allowed: PrefixSet = ["10.1.0.0/16", "::1/128"]
            .map(|net| palisade_net::parse_prefix(net).unwrap())
            .into_iter()
            .collect();
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "::1"] {
            assert_eq!(refusal(address.parse().unwrap(), &allowed), None, "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.1", "64:ff9b::10.2.0.1", "::2"] {
            assert!(refusal(address.parse().unwrap(), &allowed).is_some(), "{address}");
        }
    }
}
