//! Finds and checks the host of a request.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::{HeaderValue, Uri, Version};

use super::Refusal;
use super::fields::Fields;

/// The longest name of the DNS.
const MAX_HOST_BYTES: usize = 253;

pub(super) struct Authority<'a> {
    /// As received.
    pub(super) text: &'a str,
    pub(super) host: Cow<'a, str>,
    pub(super) port: Option<u16>,
}

/// The one authority of a request. `Host` and the target's may both be there, and are then equal.
pub(super) fn of<'a>(uri: &'a Uri, version: Version, fields: &Fields<'a>) -> Result<Authority<'a>, Refusal> {
    let host = fields.host.map(text).transpose()?;
    let target = uri.authority().map(http::uri::Authority::as_str);
    if let Some(scheme) = uri.scheme_str()
        && !scheme.eq_ignore_ascii_case("http")
        && !scheme.eq_ignore_ascii_case("https")
    {
        return Err(Refusal::SCHEME);
    }
    // `GET example.org`: only CONNECT has such a target.
    if target.is_some() && uri.path_and_query().is_none() {
        return Err(Refusal::INVALID_TARGET);
    }
    if target.is_some() && uri.scheme().is_none() && version != Version::HTTP_2 {
        return Err(Refusal::INVALID_TARGET);
    }
    match (host, target) {
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => Err(Refusal::HOST_MISMATCH),
        // With HTTP/1.1, `Host` is there in any case.
        (None, Some(target)) if version == Version::HTTP_2 => parse(target),
        (None, _) => Err(Refusal::NO_HOST),
        (Some(host), _) => parse(host),
    }
}

fn text(value: &HeaderValue) -> Result<&str, Refusal> {
    value.to_str().map_err(|_| Refusal::INVALID_HOST)
}

/// A name or an address, and a port.
fn parse(text: &str) -> Result<Authority<'_>, Refusal> {
    if text.contains('@') {
        return Err(Refusal::USERINFO);
    }
    // The last colon before a port is outside the brackets of an address.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(parse_port(port)?)),
        _ => (text, None),
    };
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let address = rest.strip_suffix(']').ok_or(Refusal::INVALID_HOST)?;
            address.parse::<Ipv6Addr>().map_err(|_| Refusal::INVALID_HOST)?;
            host
        }
        None => parse_name(host)?,
    };
    let host = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    };
    Ok(Authority { text, host, port })
}

/// The name without the dot that may end it.
fn parse_name(name: &str) -> Result<&str, Refusal> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut previous = b'.';
    for byte in name.bytes() {
        match byte {
            b'.' if previous == b'.' => return Err(Refusal::INVALID_HOST),
            // Underscores are no part of host names, but container networks have them.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => previous = byte,
            _ => return Err(Refusal::INVALID_HOST),
        }
    }
    // The start value also refuses the empty name.
    if previous == b'.' || name.len() > MAX_HOST_BYTES { Err(Refusal::INVALID_HOST) } else { Ok(name) }
}

fn parse_port(text: &str) -> Result<u16, Refusal> {
    let digits = matches!(text.len(), 1..=5) && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits { text.parse().ok() } else { None };
    port.filter(|port| *port != 0).ok_or(Refusal::INVALID_HOST)
}
