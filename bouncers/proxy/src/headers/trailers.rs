//! Decides which trailers are passed on.

use http::{HeaderMap, HeaderName, header};
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
