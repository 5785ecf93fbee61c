//! The client's address: the peer's, or the one that a trusted proxy forwards.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;
use palisade_daemon::listen::Peer;
use palisade_net::PrefixSet;

/// The client's address: the peer's, or the one a trusted proxy forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientAddress {
    /// As the stock server writes it: IPv4-mapped addresses as IPv4, IPv6 compressed; verbatim when it was forwarded by
    /// a proxy. Empty for a link-local peer with a zone.
    pub(crate) text: String,
    /// The parsed address; `None` when `text` is empty.
    pub(crate) ip: Option<IpAddr>,
    /// Whether the request came over the unix socket; the address is then 127.0.0.1.
    pub(crate) socket: bool,
}

impl ClientAddress {
    /// Whether the client is on this host.
    pub(crate) fn is_local(&self) -> bool {
        self.socket || self.ip.is_some_and(|ip| ip.to_canonical().is_loopback())
    }

    /// Determines the address from the peer and the headers. Pure.
    pub(crate) fn find(peer: &Peer, headers: &HeaderMap, proxies: &PrefixSet) -> Self {
        let Some(address) = peer.address else {
            return Self { text: "127.0.0.1".to_owned(), ip: Some(Ipv4Addr::LOCALHOST.into()), socket: true };
        };
        let ip = address.ip().to_canonical();
        if proxies.contains(ip) {
            for header in ["x-forwarded-for", "x-real-ip"] {
                let line = headers.get(header).and_then(|value| value.to_str().ok());
                if let Some((text, ip)) = line.and_then(|line| forwarded_client(line, proxies)) {
                    return Self { text, ip: Some(ip), socket: false };
                }
            }
        }
        match address {
            // Go appends the zone to the address and then cannot parse it; the stock server ends up with an empty
            // address.
            SocketAddr::V6(six) if six.scope_id() != 0 && six.ip().is_unicast_link_local() => {
                Self { text: String::new(), ip: None, socket: false }
            }
            _ => Self { text: ip.to_string(), ip: Some(ip), socket: false },
        }
    }
}

/// The client in a forwarding header: from the right, the first entry that is not a trusted proxy, or the leftmost
/// entry. `None` when an entry on the way cannot be parsed.
fn forwarded_client(line: &str, proxies: &PrefixSet) -> Option<(String, IpAddr)> {
    let entries: Vec<&str> = line.split(',').map(str::trim).collect();
    for (index, entry) in entries.iter().enumerate().rev() {
        let ip: IpAddr = entry.parse().ok()?;
        if index == 0 || !proxies.contains(ip) {
            return Some(((*entry).to_owned(), ip));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> PrefixSet {
        list.iter().map(|net| net.parse::<ipnet::IpNet>().unwrap()).collect()
    }

    fn find(peer: &str, headers: &[(&'static str, &str)], proxies: &[&str]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        ClientAddress::find(&Peer::plain(Some(peer.parse().unwrap())), &map, &nets(proxies)).text
    }

    #[test]
    fn the_peer_unless_a_trusted_proxy_tells() {
        const XFF: &str = "x-forwarded-for";
        const REAL: &str = "x-real-ip";
        for (peer, headers, proxies, expected) in [
            ("192.0.2.1:5", &[][..], &[][..], "192.0.2.1"),
            ("[::ffff:192.0.2.1]:5", &[], &[], "192.0.2.1"),
            ("[2001:db8:0:0::1]:5", &[], &[], "2001:db8::1"),
            ("[fe80::1%3]:5", &[], &[], ""),
            ("192.0.2.1:5", &[(XFF, "198.51.100.7")], &[], "192.0.2.1"),
            ("192.0.2.1:5", &[(XFF, "198.51.100.7")], &["192.0.2.0/24"], "198.51.100.7"),
            // From the right, trusted proxies are skipped.
            (
                "192.0.2.1:5",
                &[(XFF, "203.0.113.9, 198.51.100.7, 192.0.2.8")],
                &["192.0.2.0/24"],
                "198.51.100.7",
            ),
            // All entries are trusted proxies: the leftmost one.
            ("192.0.2.1:5", &[(XFF, "192.0.2.9, 192.0.2.8")], &["192.0.2.0/24"], "192.0.2.9"),
            // With the stock default, any IPv4 peer is trusted as a proxy.
            ("203.0.113.5:5", &[(XFF, "127.0.0.1, 8.8.8.8")], &["0.0.0.0/0"], "127.0.0.1"),
            ("[2001:db8::5]:5", &[(XFF, "127.0.0.1")], &["0.0.0.0/0"], "2001:db8::5"),
            // An unparsable entry on the way makes the header unusable; one further left does not.
            (
                "192.0.2.1:5",
                &[(XFF, "198.51.100.7, x"), (REAL, "198.51.100.8")],
                &["192.0.2.0/24"],
                "198.51.100.8",
            ),
            ("192.0.2.1:5", &[(XFF, "x"), (REAL, "y")], &["192.0.2.0/24"], "192.0.2.1"),
            ("192.0.2.1:5", &[(XFF, "x, 198.51.100.7")], &["192.0.2.0/24"], "198.51.100.7"),
            // Verbatim, and only the first header line.
            ("192.0.2.1:5", &[(XFF, "::FFFF:1.2.3.4")], &["192.0.2.0/24"], "::FFFF:1.2.3.4"),
            (
                "192.0.2.1:5",
                &[(XFF, "198.51.100.7"), (XFF, "198.51.100.9")],
                &["192.0.2.0/24"],
                "198.51.100.7",
            ),
        ] {
            assert_eq!(find(peer, headers, proxies), expected, "{peer} {headers:?} {proxies:?}");
        }
        let socket = ClientAddress::find(&Peer::plain(None), &HeaderMap::new(), &PrefixSet::default());
        assert!(socket.is_local() && socket.text == "127.0.0.1");
    }
}
