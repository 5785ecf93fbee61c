//! Parses the addresses that proxies write.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as proxies write it: bare, with a port, in brackets, IPv4-mapped, with a zone. Ports and zones are dropped.
pub(super) fn parse_node(entry: &[u8]) -> Option<IpAddr> {
    parse(std::str::from_utf8(trim(entry)).ok()?, is_port)
}

/// Parses the address; `port` recognises a port.
pub(super) fn parse(text: &str, port: fn(&str) -> bool) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let sound = after.is_empty() || after.strip_prefix(':').is_some_and(port);
        return if sound { six(address) } else { None };
    }
    match text.split_once(':') {
        None => four(text),
        Some((address, after)) if port(after) && address.contains('.') => four(address),
        Some(_) => six(text),
    }
}

fn four(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn six(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        // A zone means something on the proxy's host only.
        Some((address, zone)) if !zone.is_empty() => address,
        Some(_) => return None,
        None => text,
    };
    address.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical())
}

pub(super) fn is_port(text: &str) -> bool {
    matches!(text.len(), 1..=5)
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

/// Without optional whitespace (RFC 9110, 5.6.3).
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
