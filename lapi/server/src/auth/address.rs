//! The client's address: the peer's, or the one that a trusted proxy forwards.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;
use palisade_daemon::listen::{ClientGroup, Peer};
use palisade_net::PrefixSet;

/// The client's address: the peer's, or the one a trusted proxy forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientAddress {
    /// As the stock server writes it: IPv4-mapped addresses as IPv4, IPv6 compressed; verbatim when it was forwarded by
    /// a proxy. Empty for a link-local peer with a zone.
    pub(crate) text: String,
    /// The parsed address; `None` when `text` is empty, or is the address of a proxy that forwards an unreadable one.
    pub(crate) ip: Option<IpAddr>,
    /// Whether the request came over the unix socket; the address is then 127.0.0.1.
    pub(crate) socket: bool,
}

impl ClientAddress {
    /// Whether the client is on this host.
    pub(crate) fn is_local(&self) -> bool {
        self.socket || self.ip.is_some_and(|ip| ip.to_canonical().is_loopback())
    }

    /// What the client's share of connections and bodies is counted by.
    pub(crate) fn group(&self) -> ClientGroup {
        // Clients without a usable address share one.
        ClientGroup::of((!self.socket).then(|| self.ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into())))
    }

    /// The address of a request.
    pub(crate) fn of(peer: Option<&Peer>, headers: &HeaderMap, proxies: &PrefixSet) -> Self {
        let unknown = Peer::plain(Some(SocketAddr::from(([0, 0, 0, 0], 0))));
        Self::find(peer.unwrap_or(&unknown), headers, proxies)
    }

    /// Determines the address from the peer and the headers. Pure.
    pub(crate) fn find(peer: &Peer, headers: &HeaderMap, proxies: &PrefixSet) -> Self {
        let Some(address) = peer.address else {
            return Self { text: "127.0.0.1".to_owned(), ip: Some(Ipv4Addr::LOCALHOST.into()), socket: true };
        };
        let ip = address.ip().to_canonical();
        if proxies.contains(ip) {
            for header in ["x-forwarded-for", "x-real-ip"] {
                match forwarded_client(headers, header, proxies) {
                    Forwarded::Absent => {}
                    Forwarded::Client(text, ip) => return Self { text, ip: Some(ip), socket: false },
                    // Some client of the proxy, so neither local nor trusted. The next header is not consulted: a proxy
                    // that sets one leaves the other as the client sent it.
                    Forwarded::Unreadable => return Self { text: ip.to_string(), ip: None, socket: false },
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

/// What a forwarding header names.
enum Forwarded {
    Absent,
    Client(String, IpAddr),
    /// An entry that counts is no address.
    Unreadable,
}

/// The client in a forwarding header: from the right, the first entry that is not a trusted proxy, or the leftmost entry.
/// All lines are one list, since a proxy may append a line instead of an entry.
fn forwarded_client(headers: &HeaderMap, name: &str, proxies: &PrefixSet) -> Forwarded {
    let mut last = Forwarded::Absent;
    for line in headers.get_all(name).iter().rev() {
        // By bytes: what the client sent further left may be anything.
        for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
            let Some((text, ip)) = std::str::from_utf8(entry).ok().and_then(|text| address(text.trim()))
            else {
                return Forwarded::Unreadable;
            };
            if !proxies.contains(ip) {
                return Forwarded::Client(text, ip);
            }
            last = Forwarded::Client(text, ip);
        }
    }
    last
}

/// An address as proxies write it, and its text: as written, without the port and brackets that some add.
fn address(entry: &str) -> Option<(String, IpAddr)> {
    if let Ok(ip) = entry.parse() {
        return Some((entry.to_owned(), ip));
    }
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']'));
    let ip = match bare {
        Some(bare) => IpAddr::V6(bare.parse().ok()?),
        None => entry.parse::<SocketAddr>().ok()?.ip(),
    };
    Some((ip.to_string(), ip))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn nets(list: &[&str]) -> PrefixSet {
        list.iter().map(|net| net.parse::<ipnet::IpNet>().unwrap()).collect()
    }

    /// The address; with a question mark when it is a proxy's, and the client's is unreadable.
    fn find(peer: &str, headers: &[(&'static str, &str)], proxies: &[&str]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let found = ClientAddress::find(&Peer::plain(Some(peer.parse().unwrap())), &map, &nets(proxies));
        assert!(found.ip.is_some() || !found.is_local());
        let mark = if found.ip.is_some() || found.text.is_empty() { "" } else { "?" };
        found.text + mark
    }

    #[test]
    fn the_peer_unless_a_trusted_proxy_names_another() {
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
            // An unreadable entry that counts leaves the proxy's address, which is then neither local nor trusted; one
            // further left does not matter.
            (
                "192.0.2.1:5",
                &[(XFF, "198.51.100.7, x"), (REAL, "198.51.100.8")],
                &["192.0.2.0/24"],
                "192.0.2.1?",
            ),
            ("192.0.2.1:5", &[(XFF, "unknown"), (REAL, "127.0.0.1")], &["192.0.2.0/24"], "192.0.2.1?"),
            ("127.0.0.1:5", &[(XFF, "")], &["127.0.0.1/32"], "127.0.0.1?"),
            ("127.0.0.1:5", &[(REAL, "x")], &["127.0.0.1/32"], "127.0.0.1?"),
            ("192.0.2.1:5", &[(XFF, "x, 198.51.100.7")], &["192.0.2.0/24"], "198.51.100.7"),
            ("192.0.2.1:5", &[(XFF, "\u{e9}, 198.51.100.7")], &["192.0.2.0/24"], "198.51.100.7"),
            ("127.0.0.1:5", &[(XFF, "198.51.100.7\u{e9}")], &["127.0.0.1/32"], "127.0.0.1?"),
            // With a port, in brackets.
            ("192.0.2.1:5", &[(XFF, "198.51.100.7:4711")], &["192.0.2.0/24"], "198.51.100.7"),
            ("192.0.2.1:5", &[(XFF, "[2001:db8::1]")], &["192.0.2.0/24"], "2001:db8::1"),
            ("192.0.2.1:5", &[(XFF, "[2001:db8:0::1]:443")], &["192.0.2.0/24"], "2001:db8::1"),
            // All lines are one list.
            ("192.0.2.1:5", &[(XFF, "127.0.0.1"), (XFF, "198.51.100.9")], &["192.0.2.0/24"], "198.51.100.9"),
            (
                "192.0.2.1:5",
                &[(XFF, "127.0.0.1"), (XFF, "198.51.100.9"), (XFF, "192.0.2.8")],
                &["192.0.2.0/24"],
                "198.51.100.9",
            ),
            // Verbatim.
            ("192.0.2.1:5", &[(XFF, "::FFFF:1.2.3.4")], &["192.0.2.0/24"], "::FFFF:1.2.3.4"),
        ] {
            assert_eq!(find(peer, headers, proxies), expected, "{peer} {headers:?} {proxies:?}");
        }
        let socket = ClientAddress::find(&Peer::plain(None), &HeaderMap::new(), &PrefixSet::default());
        assert!(socket.is_local() && socket.text == "127.0.0.1");
    }
}
