//! Decides which trailers are passed on.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use super::names;

/// Removes the trailers that may not come at the end of a message (RFC 9110, 6.5.1): framing, routing, credentials,
/// cookies, what describes the body, and what tells who the client is. All others stay, since gRPC's metadata may have
/// any name; they are never merged into the header.
pub fn filter_trailers(trailers: &mut HeaderMap) {
    let removed: SmallVec<[HeaderName; 4]> =
        trailers.keys().filter(|name| !is_allowed(name)).cloned().collect();
    for name in removed {
        trailers.remove(name);
    }
}

/// The trailers that `Trailer` announces and that are passed on.
pub(super) fn announced(headers: &HeaderMap) -> Option<HeaderValue> {
    let names = headers
        .get_all(header::TRAILER)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).filter(is_allowed);
    let names: Vec<HeaderName> = names.collect();
    let list: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
    HeaderValue::from_str(&list.join(", ")).ok().filter(|list| !list.is_empty())
}

fn is_allowed(name: &HeaderName) -> bool {
    let text = name.as_str();
    let message = matches!(
        *name,
        header::HOST
            | header::AUTHORIZATION
            | header::WWW_AUTHENTICATE
            | header::COOKIE
            | header::SET_COOKIE
            | header::CACHE_CONTROL
            | header::EXPECT
            | header::LOCATION
            | header::RANGE
            | header::VARY
            | header::AGE
            | header::EXPIRES
            | header::DATE
            | header::RETRY_AFTER
            | header::MAX_FORWARDS
    );
    !(message
        || text.starts_with("content-")
        || text.starts_with("if-")
        || text.starts_with("access-control-")
        || names::is_hop_by_hop(name)
        || names::is_forwarded(text)
        || names::is_own(text)
        || names::is_odd(text))
}
