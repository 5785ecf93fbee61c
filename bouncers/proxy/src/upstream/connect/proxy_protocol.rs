//! Builds PROXY protocol headers. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::config::ProxyProtocolVersion;
use crate::upstream::h1::Announced;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The header that announces source and destination; `None` when they are not known, such as for unix sockets.
pub(super) fn header(version: ProxyProtocolVersion, announced: Option<Announced>) -> Vec<u8> {
    let announced = announced.map(|(source, destination)| same_family(source, destination));
    match version {
        ProxyProtocolVersion::V1 => version_1(announced),
        ProxyProtocolVersion::V2 => version_2(announced),
    }
}

/// The header has one family for both addresses.
fn same_family(source: SocketAddr, destination: SocketAddr) -> Announced {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (source, destination) = (canonical(source), canonical(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let mapped = |address: SocketAddr| SocketAddr::new(IpAddr::V6(to_ipv6(address.ip())), address.port());
    (mapped(source), mapped(destination))
}

fn to_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn version_1(announced: Option<Announced>) -> Vec<u8> {
    let Some((source, destination)) = announced else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.port(), destination.port());
    format!("PROXY {family} {} {} {from} {to}\r\n", source.ip(), destination.ip()).into_bytes()
}

fn version_2(announced: Option<Announced>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some((source, destination)) = announced else {
        // Version 2, LOCAL, no addresses.
        header.extend([0x20, 0x00, 0, 0]);
        return header;
    };
    // Version 2, PROXY; the family over TCP; the length of the addresses and ports.
    header.extend(if source.is_ipv4() { [0x21, 0x11, 0, 12] } else { [0x21, 0x21, 0, 36] });
    for address in [source, destination] {
        match address.ip() {
            IpAddr::V4(address) => header.extend(address.octets()),
            IpAddr::V6(address) => header.extend(address.octets()),
        }
    }
    for address in [source, destination] {
        header.extend(address.port().to_be_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProxyProtocolVersion::{V1, V2};

    fn addresses(source: &str, destination: &str) -> Option<Announced> {
        Some((source.parse().unwrap(), destination.parse().unwrap()))
    }

    #[test]
    fn version_1_is_text() {
        for (announced, text) in [
            (
                addresses("192.0.2.7:5000", "198.51.100.1:443"),
                "PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n",
            ),
            (addresses("[2001:db8::7]:0", "[2001:db8::1]:80"), "PROXY TCP6 2001:db8::7 2001:db8::1 0 80\r\n"),
            (
                addresses("[2001:db8::7]:1", "192.0.2.1:80"),
                "PROXY TCP6 2001:db8::7 ::ffff:192.0.2.1 1 80\r\n",
            ),
            (addresses("[::ffff:192.0.2.7]:1", "192.0.2.1:80"), "PROXY TCP4 192.0.2.7 192.0.2.1 1 80\r\n"),
            (None, "PROXY UNKNOWN\r\n"),
        ] {
            assert_eq!(String::from_utf8(header(V1, announced)).unwrap(), text);
        }
    }

    #[test]
    fn version_2_is_binary() {
        let v4 = header(V2, addresses("192.0.2.7:5000", "198.51.100.1:443"));
        assert_eq!(v4[..12], SIGNATURE);
        assert_eq!(v4[12..], [0x21, 0x11, 0, 12, 192, 0, 2, 7, 198, 51, 100, 1, 0x13, 0x88, 0x01, 0xbb]);
        let v6 = header(V2, addresses("[2001:db8::7]:5000", "[2001:db8::1]:443"));
        assert_eq!((v6.len(), &v6[12..16]), (16 + 36, &[0x21, 0x21, 0, 36][..]));
        assert_eq!(header(V2, None)[12..], [0x20, 0, 0, 0]);
    }
}
