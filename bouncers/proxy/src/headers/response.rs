//! Rewrites the fields of a response, and refuses responses that clients could read differently.

use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use smallvec::SmallVec;

use super::names;
use super::request::remove_connection_named;
use crate::request_rules::Upgrade;

/// Header fields of an upstream's response.
pub const MAX_RESPONSE_FIELDS: usize = 100;

/// Bytes of the names and values of an upstream's response, with 4 for each field's separators.
pub const MAX_RESPONSE_HEADER_BYTES: usize = 64 * 1024;

/// Where a response goes.
#[derive(Debug)]
pub struct ResponseContext<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The client's version.
    pub client: Version,
    /// The protocol the request asked to switch to.
    pub upgrade: Option<Upgrade<'a>>,
    /// Whether the client takes trailers.
    pub accepts_trailers: bool,
}

/// What follows the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRule {
    /// Nothing, whatever the fields say.
    None,
    /// The body, and trailers if `trailers`.
    Stream {
        /// Whether trailers may follow, after [`filter_trailers`](super::filter_trailers).
        trailers: bool,
    },
    /// The bytes of the protocol that was switched to, in both directions.
    Tunnel,
}

/// Why an upstream's response is not passed on; the client gets 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUpstreamResponse {
    /// 101 without a request for it, or to another protocol.
    #[error("the upstream switched to a protocol that was not asked for; look at its handling of Upgrade")]
    UnrequestedSwitch,
    /// Another interim status at the place of the response.
    #[error("the upstream's response has an interim status")]
    InterimStatus,
    /// More than one coding, or one besides `chunked`.
    #[error("the upstream's response has a Transfer-Encoding besides chunked")]
    TransferCoding,
    /// No number, or several that differ.
    #[error("the upstream's response has an invalid Content-Length")]
    InvalidLength,
    /// More than [`MAX_RESPONSE_FIELDS`].
    #[error("the upstream's response has more than {MAX_RESPONSE_FIELDS} header fields")]
    TooManyFields,
    /// More than [`MAX_RESPONSE_HEADER_BYTES`].
    #[error("the header fields of the upstream's response exceed {MAX_RESPONSE_HEADER_BYTES} bytes")]
    TooLarge,
}

impl BadUpstreamResponse {
    /// Label in logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnrequestedSwitch => "unrequested_switch",
            Self::InterimStatus => "interim_status",
            Self::TransferCoding => "transfer_coding",
            Self::InvalidLength => "invalid_length",
            Self::TooManyFields => "too_many_fields",
            Self::TooLarge => "too_large",
        }
    }
}

/// Makes an upstream's response the client's.
///
/// Fields of the connection are removed, and `Content-Length` is there at most once: not beside a chunked body, and not
/// with a status that has no body. A response to `HEAD` keeps it. For a tunnel to an HTTP/2 client, 101 becomes 200.
///
/// # Errors
/// When the response is malformed, or exceeds a limit.
pub fn rewrite_response(
    parts: &mut Parts,
    context: &ResponseContext<'_>,
) -> Result<BodyRule, BadUpstreamResponse> {
    check_size(&parts.headers)?;
    if switches(parts, context)? {
        return Ok(accept_switch(parts, context));
    }
    if parts.status.is_informational() {
        return Err(BadUpstreamResponse::InterimStatus);
    }
    let chunked = is_chunked(&parts.headers)?;
    let length = declared_length(&parts.headers)?;
    let announced = announced_trailers(&parts.headers, context);
    remove_hop_by_hop(&mut parts.headers);
    if let Some(announced) = announced {
        parts.headers.insert(header::TRAILER, announced);
    }
    let no_body = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match length {
        _ if chunked || no_body => _ = parts.headers.remove(header::CONTENT_LENGTH),
        Some(length) => _ = parts.headers.insert(header::CONTENT_LENGTH, length),
        None => {}
    }
    if no_body || *context.method == Method::HEAD {
        return Ok(BodyRule::None);
    }
    Ok(BodyRule::Stream { trailers: context.accepts_trailers })
}

fn check_size(headers: &HeaderMap) -> Result<(), BadUpstreamResponse> {
    if headers.len() > MAX_RESPONSE_FIELDS {
        return Err(BadUpstreamResponse::TooManyFields);
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > MAX_RESPONSE_HEADER_BYTES { Err(BadUpstreamResponse::TooLarge) } else { Ok(()) }
}

/// Whether the upstream switches to the protocol that was asked for.
fn switches(parts: &Parts, context: &ResponseContext<'_>) -> Result<bool, BadUpstreamResponse> {
    if parts.version == Version::HTTP_2 {
        // The answer to an extended CONNECT (RFC 8441, 5).
        return match parts.status {
            StatusCode::SWITCHING_PROTOCOLS => Err(BadUpstreamResponse::UnrequestedSwitch),
            status => Ok(context.upgrade.is_some() && status.is_success()),
        };
    }
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(false);
    }
    let wanted = context.upgrade.map(|upgrade| upgrade.protocol().as_bytes());
    let mut chosen = parts.headers.get_all(header::UPGRADE).iter();
    let same = match (wanted, chosen.next(), chosen.next()) {
        (Some(wanted), Some(chosen), None) => chosen.as_bytes().eq_ignore_ascii_case(wanted),
        _ => false,
    };
    if same { Ok(true) } else { Err(BadUpstreamResponse::UnrequestedSwitch) }
}

fn accept_switch(parts: &mut Parts, context: &ResponseContext<'_>) -> BodyRule {
    remove_hop_by_hop(&mut parts.headers);
    parts.headers.remove(header::CONTENT_LENGTH);
    match context.upgrade {
        Some(Upgrade::Http1(protocol)) if context.client == Version::HTTP_11 => {
            parts.status = StatusCode::SWITCHING_PROTOCOLS;
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            if let Ok(protocol) = HeaderValue::from_str(protocol) {
                parts.headers.insert(header::UPGRADE, protocol);
            }
        }
        _ => {
            parts.status = StatusCode::OK;
            parts.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        }
    }
    BodyRule::Tunnel
}

fn is_chunked(headers: &HeaderMap) -> Result<bool, BadUpstreamResponse> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(BadUpstreamResponse::TransferCoding),
    }
}

/// What `Trailer` may say to an HTTP/1.1 client that takes trailers: it gets only those that are announced.
fn announced_trailers(headers: &HeaderMap, context: &ResponseContext<'_>) -> Option<HeaderValue> {
    if !context.accepts_trailers || context.client != Version::HTTP_11 {
        return None;
    }
    super::trailers::announced(headers)
}

/// The one length, also when it is declared twice.
fn declared_length(headers: &HeaderMap) -> Result<Option<HeaderValue>, BadUpstreamResponse> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(None) };
    let is_number = !first.is_empty()
        && first.as_bytes().iter().all(u8::is_ascii_digit)
        && first.to_str().is_ok_and(|text| text.parse::<u64>().is_ok());
    if is_number && lengths.all(|length| length == first) {
        Ok(Some(first.clone()))
    } else {
        Err(BadUpstreamResponse::InvalidLength)
    }
}

/// Removes what is for this connection only, and verdict fields that only the proxy writes.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // An upstream that names a field of the message in `Connection` is mistaken; the client needs the field.
    remove_connection_named(headers, is_needed_by_clients);
    let removed = headers.keys().filter(|name| names::is_hop_by_hop(name) || names::is_own(name.as_str()));
    let removed: SmallVec<[_; 4]> = removed.cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}

fn is_needed_by_clients(token: &[u8]) -> bool {
    const NEEDED: &[&str] = &[
        "set-cookie",
        "location",
        "cache-control",
        "vary",
        "www-authenticate",
        "strict-transport-security",
        "content-security-policy",
        "x-frame-options",
        "x-content-type-options",
    ];
    names::is_protected(token) || NEEDED.iter().any(|name| token.eq_ignore_ascii_case(name.as_bytes()))
}
