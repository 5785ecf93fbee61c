//! Refuses requests that upstreams could read differently. Pure.
//!
//! What passes has one host, one framing and one path: the path that routes are matched against is the path that is
//! forwarded, up to duplicate slashes that no route depends on ([`CheckedRequest::target`]). What HTTP parsing hides
//! from a service (bare line feeds, `Content-Length` beside `Transfer-Encoding`, fragments) is refused by the listener.

mod authority;
mod fields;
mod path;
mod refusal;
mod upgrade;

use std::borrow::Cow;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, Method, Uri, Version, header};

use self::fields::Fields;
use self::path::NormalPath;
pub use self::refusal::{REFUSALS, Refusal};
pub use self::upgrade::Upgrade;
use crate::config::{AddressSource, LimitsConfig};

/// Header fields of a request, crumbs of a cookie counted one by one.
pub const MAX_FIELDS: usize = 100;

/// Bytes of a method.
pub const MAX_METHOD_BYTES: usize = 32;

/// What a request may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLimits {
    /// Bytes of path and query.
    pub target_bytes: usize,
    /// Header fields.
    pub fields: usize,
    /// The header client addresses are taken from. As for all forwarded headers, `Connection` may not name it.
    pub address_header: HeaderName,
}

impl RequestLimits {
    /// The limits of a configuration.
    pub fn new(limits: &LimitsConfig, source: &AddressSource) -> Self {
        let address_header = match source {
            AddressSource::List(name) | AddressSource::Single(name) => name.clone(),
            AddressSource::Forwarded => header::FORWARDED,
        };
        Self { target_bytes: limits.target_bytes, fields: MAX_FIELDS, address_header }
    }
}

/// A request with one reading.
#[derive(Debug)]
pub struct CheckedRequest<'a> {
    /// The method that routes are matched against; `GET` for an extended `CONNECT`.
    pub method: &'a Method,
    /// Lower case, without port and trailing dot; IPv6 addresses in brackets.
    pub host: Cow<'a, str>,
    /// As far as one is given.
    pub port: Option<u16>,
    /// Host and port as received: what upstreams get as `Host`.
    pub authority: &'a str,
    /// The path that routes are matched against: dot segments resolved, unreserved characters decoded, duplicate slashes
    /// merged. `*` for `OPTIONS *`.
    pub path: Cow<'a, str>,
    /// The protocol to switch to. Requests with a body switch to none, nor do those with HTTP/1.0.
    pub upgrade: Option<Upgrade<'a>>,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The declared length of the body; `None` when it is unknown, or there is no body.
    pub content_length: Option<u64>,
    /// Whether the response may end with trailers.
    pub accepts_trailers: bool,
    /// Fields whose names have characters besides letters, digits and hyphens; they are not forwarded.
    pub odd_names: usize,
    other: Option<Box<path::Readings>>,
    received: &'a Uri,
}

/// Checks a request.
///
/// # Errors
/// The refusal, when upstreams could read the request differently, or it exceeds a limit.
pub fn check<'a>(parts: &'a Parts, limits: &RequestLimits) -> Result<CheckedRequest<'a>, Refusal> {
    let protocol = parts.extensions.get::<hyper::ext::Protocol>();
    let method = check_method(&parts.method, parts.version, protocol.is_some())?;
    let fields = Fields::read(parts, limits)?;
    let authority = authority::of(&parts.uri, parts.version, &fields)?;
    let length = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if length > limits.target_bytes {
        return Err(Refusal::TARGET_TOO_LONG);
    }
    let NormalPath { matched, other } = path::normalise(&parts.uri, &parts.method)?;
    Ok(CheckedRequest {
        method,
        host: authority.host,
        port: authority.port,
        authority: authority.text,
        path: matched,
        upgrade: upgrade::find(&fields, parts.version, protocol)?,
        expect_continue: fields.expect_continue,
        content_length: fields.content_length,
        accepts_trailers: fields.accepts_trailers,
        odd_names: fields.odd_names,
        other,
        received: &parts.uri,
    })
}

/// Refuses a host that the connection's certificate does not cover. A connection to one name may carry requests for
/// others (RFC 9113, 9.1.1), but only for those the client could verify.
///
/// `covered` says whether the certificate that was served is valid for a host; it is not asked when the server name is
/// the host. Without a server name (plain connections, requests for addresses) all hosts are accepted.
///
/// # Errors
/// 421 when it is not covered.
pub fn check_server_name(
    host: &str,
    server_name: Option<&str>,
    covered: impl FnOnce(&str) -> bool,
) -> Result<(), Refusal> {
    let Some(name) = server_name else { return Ok(()) };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.eq_ignore_ascii_case(host) || covered(host) { Ok(()) } else { Err(Refusal::HOST_NOT_COVERED) }
}

/// Extended `CONNECT` (RFC 8441) is a GET in disguise; all other `CONNECT` would make an open proxy.
fn check_method(method: &Method, version: Version, extended: bool) -> Result<&Method, Refusal> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS
        | Method::PATCH => Ok(method),
        Method::CONNECT if extended && version == Version::HTTP_2 => Ok(&Method::GET),
        Method::CONNECT => Err(Refusal::CONNECT),
        // It returns the request with cookies and credentials to scripts that must not read them.
        Method::TRACE => Err(Refusal::TRACE),
        _ => match method.as_str().as_bytes() {
            // Begins the preface of HTTP/2.
            b"PRI" => Err(Refusal::INVALID_METHOD),
            text if text.len() > MAX_METHOD_BYTES => Err(Refusal::INVALID_METHOD),
            // Methods are case-sensitive, but some upstreams fold them.
            [b'A'..=b'Z', rest @ ..]
                if rest.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_')) =>
            {
                Ok(method)
            }
            _ => Err(Refusal::INVALID_METHOD),
        },
    }
}

impl CheckedRequest<'_> {
    /// Further paths that upstreams may see in the target: with `%2F` and `%5C` as slashes, without `;` parameters. The
    /// router refuses the request if one of them belongs to another route.
    pub fn other_readings(&self) -> impl Iterator<Item = &str> {
        self.other.iter().flat_map(|other| other.readings.iter().map(String::as_str))
    }

    /// The path and query to forward, for a route with the path prefix `prefix`.
    ///
    /// It is the received one, unless the path was normalised. Duplicate slashes behind the prefix are kept, since some
    /// applications have URLs in paths; within the prefix they are merged, so that an upstream that does not merge them
    /// finds what the route was chosen for.
    ///
    /// # Errors
    /// When the normalised target is invalid; normalising a valid one does not make it so.
    pub fn target(&self, prefix: &str) -> Result<PathAndQuery, Refusal> {
        let kept = self.other.as_ref().and_then(|other| other.with_duplicate_slashes.as_deref());
        let path = match kept {
            Some(kept) if crate::routing::is_below(kept, prefix) => kept,
            _ => &self.path,
        };
        path::join(self.received, path)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
