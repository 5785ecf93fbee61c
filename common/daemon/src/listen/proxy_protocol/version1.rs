//! Version 1: a line of text.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str,
};

use super::{ProxyHeader, ProxyHeaderError, addresses};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// The longest line, with CR and LF.
const MAX_LINE: usize = 107;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = memchr::memchr(b'\n', line) else {
        return if bytes.len() < MAX_LINE { Ok(None) } else { Err(ProxyHeaderError::TooLong) };
    };
    let malformed = ProxyHeaderError::Addresses;
    let text =
        line[..end].strip_suffix(b"\r").and_then(|line| line.strip_prefix(SIGNATURE)).ok_or(malformed)?;
    let mut fields = text.split(|byte| *byte == b' ');
    let length = end + 1;
    let family = match fields.next() {
        // What follows is ignored.
        Some(b"UNKNOWN") => return Ok(Some(ProxyHeader { length, addresses: None })),
        Some(b"TCP4") => 4,
        Some(b"TCP6") => 6,
        _ => return Err(ProxyHeaderError::Family),
    };
    let mut next = || fields.next().and_then(|field| str::from_utf8(field).ok()).ok_or(malformed);
    let (source, destination) = (next()?, next()?);
    let (source_port, destination_port) = (next()?, next()?);
    if fields.next().is_some() {
        return Err(malformed);
    }
    let source = SocketAddr::new(address(source, family)?, port(source_port)?);
    let destination = SocketAddr::new(address(destination, family)?, port(destination_port)?);
    Ok(Some(ProxyHeader { length, addresses: Some(addresses(source, destination)) }))
}

fn address(text: &str, family: u8) -> Result<IpAddr, ProxyHeaderError> {
    let parsed = match family {
        4 => text.parse::<Ipv4Addr>().map(IpAddr::V4),
        _ => text.parse::<Ipv6Addr>().map(IpAddr::V6),
    };
    parsed.map_err(|_| ProxyHeaderError::Addresses)
}

/// A decimal number without sign or leading zeros.
fn port(text: &str) -> Result<u16, ProxyHeaderError> {
    let is_plain = text == "0" || text.starts_with(|digit: char| matches!(digit, '1'..='9'));
    text.parse().ok().filter(|_| is_plain).ok_or(ProxyHeaderError::Addresses)
}
