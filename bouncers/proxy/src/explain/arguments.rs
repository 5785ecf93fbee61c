//! Parses the command line of `explain`. Pure.

use std::net::{IpAddr, Ipv4Addr};

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use palisade_daemon::flags::{Command, Flag, Typed};

pub(crate) const EXPLAIN: Command = Command {
    name: "explain",
    words: &["url"],
    flags: &[
        Flag::valued("method", "name", "method of the request; GET by default"),
        Flag::valued("client", "address", "address that the connection is from; 127.0.0.1 by default"),
        Flag::valued("header", "name: value", "a header field; may be repeated"),
        Flag::switch("json", "print JSON instead of text"),
    ],
    help: "what would happen to a request, step by step, and why",
};

/// A request as it would arrive.
#[derive(Debug)]
pub(super) struct ExplainedRequest {
    pub(super) url: String,
    pub(super) tls: bool,
    pub(super) port: u16,
    pub(super) peer: IpAddr,
    pub(super) parts: Parts,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArgumentError {
    #[error("explain: {0:?} is not a URL; write for example https://example.org/path?query")]
    Url(String),
    #[error("explain: {0:?} is not a method")]
    Method(String),
    #[error("explain: {0:?} is not an address")]
    Address(String),
    #[error("explain: {0:?} is not a header field; write for example 'User-Agent: curl/8'")]
    Header(String),
}

/// Parses the arguments.
///
/// # Errors
/// They are no request.
pub(super) fn parse(typed: &Typed) -> Result<ExplainedRequest, ArgumentError> {
    let url = typed.words().first().map(String::as_str).unwrap_or_default();
    let headers: Vec<&str> = typed.values("header").collect();
    request(url, typed.value("method"), typed.value("client"), &headers)
}

pub(super) fn request(
    url: &str,
    method: Option<&str>,
    client: Option<&str>,
    headers: &[&str],
) -> Result<ExplainedRequest, ArgumentError> {
    // Only a part of what was typed is printed: it may be of any length.
    let part = |text: &str| text.chars().take(80).collect::<String>();
    let no_url = || ArgumentError::Url(part(url));
    let uri: Uri = url.parse().map_err(|_| no_url())?;
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(no_url()),
    };
    let authority = uri.authority().ok_or_else(no_url)?;
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let method = method.unwrap_or("GET");
    let client = client.unwrap_or("127.0.0.1");
    let peer: IpAddr = client.trim().parse().map_err(|_| ArgumentError::Address(part(client)))?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| ArgumentError::Method(part(method)))?;
    // As a client sends it in HTTP/1.1: the target, and the host in a field.
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    parts.uri = target.parse().map_err(|_| no_url())?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| no_url())?;
    parts.headers.insert(header::HOST, host);
    for field in headers {
        let wrong = || ArgumentError::Header(part(field));
        let (name, value) = field.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        // A request has one `Host`: the one on the command line replaces the URL's.
        if name == header::HOST {
            parts.headers.insert(name, value);
        } else {
            parts.headers.append(name, value);
        }
    }
    Ok(ExplainedRequest {
        url: url.to_owned(),
        tls,
        port,
        peer: if peer.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { peer.to_canonical() },
        parts,
    })
}
