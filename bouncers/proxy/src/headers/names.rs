//! Sorts field names: which belong to a connection, to the proxy itself, or to neither.

use http::{HeaderName, header};

/// Fields that tell an upstream who the client is, or how it reached the proxy, besides `X-Forwarded-*`. Applications
/// believe them, so they are never passed on from untrusted peers.
const FORWARDED: &[&str] = &[
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-appengine-user-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "true-client-ip",
    "fly-client-ip",
    "fastly-client-ip",
];

/// Fields that `Connection` may not name, besides the forwarded ones and the proxy's own: they frame the message, or
/// upstreams decide by them, so a client must not be able to have them removed.
const PROTECTED: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "content-type",
    "content-encoding",
    "content-range",
    "authorization",
    "cookie",
    "origin",
    "referer",
    "user-agent",
    "expect",
    "range",
    "proxy",
    "via",
];

/// Prefixes of fields of ours and of CrowdSec's.
const OWN: &[&str] = &["x-crowdsec-", "x-palisade-"];

/// Whether the field belongs to a connection and is never forwarded.
pub fn is_connection_field(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => true,
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings"),
    }
}

/// Whether the field is for the next hop only (RFC 9110, 7.6.1).
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    match *name {
        header::TE | header::TRAILER | header::PROXY_AUTHENTICATE | header::PROXY_AUTHORIZATION => true,
        _ => is_connection_field(name),
    }
}

/// Whether the field tells who the client is.
pub fn is_forwarded(name: &str) -> bool {
    has_prefix(name, "x-forwarded-")
        || matches!(name.as_bytes(), [b'f' | b'x' | b'c' | b't', ..]) && FORWARDED.contains(&name)
}

/// Whether the field is one of ours or of CrowdSec's, or is `Proxy`, which CGI programs take for the address of a proxy.
pub fn is_own(name: &str) -> bool {
    name == "proxy" || OWN.iter().any(|prefix| has_prefix(name, prefix))
}

/// Whether the name has characters besides letters, digits and hyphens. CGI-like upstreams read `X_Forwarded_For` as
/// `X-Forwarded-For`, so such fields are not forwarded; nginx drops them too.
pub fn is_odd(name: &str) -> bool {
    !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Whether `Connection` may not name the field, in any case of letters.
pub(crate) fn is_protected(token: &[u8]) -> bool {
    let same = |name: &str| token.eq_ignore_ascii_case(name.as_bytes());
    let begins = |prefix: &str| {
        token.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    PROTECTED.iter().any(|name| same(name))
        || FORWARDED.iter().any(|name| same(name))
        || begins("x-forwarded-")
        || OWN.iter().any(|prefix| begins(prefix))
}

/// Whether the byte may be part of a name (RFC 9110, 5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.len() > prefix.len() && name.starts_with(prefix)
}
