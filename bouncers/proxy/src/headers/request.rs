//! Rewrites the fields of a request.

use std::fmt::Write;
use std::net::IpAddr;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use smallvec::SmallVec;

use super::names;
use crate::client_address::ClientAddress;
use crate::config::AddressSource;
use crate::request_rules::Upgrade;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// A peer's address and its text, which is made once for each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddressValue {
    /// The address.
    pub address: IpAddr,
    text: HeaderValue,
}

impl PeerAddressValue {
    /// The peer at an address; IPv4-mapped ones are IPv4.
    pub fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, text: value(format_args!("{address}")) }
    }
}

/// What the forwarded fields are written from.
#[derive(Debug)]
pub struct Forwarding<'a> {
    /// The client, and the proxies it came through.
    pub client: &'a ClientAddress,
    /// The peer; `None` for a unix socket.
    pub peer: Option<&'a PeerAddressValue>,
    /// The header client addresses are taken from.
    pub source: &'a AddressSource,
    /// Whether the connection uses TLS.
    pub tls: bool,
    /// The authority as received ([`CheckedRequest::authority`](crate::request_rules::CheckedRequest::authority)).
    pub authority: &'a str,
    /// What the upstream gets as `Host`; `None` for the client's.
    pub host: Option<&'a HeaderValue>,
    /// Whether to write `Forwarded` (RFC 7239) too.
    pub write_forwarded: bool,
    /// The protocol to switch to.
    pub upgrade: Option<Upgrade<'a>>,
    /// The protocol towards the upstream: [`Version::HTTP_11`] or [`Version::HTTP_2`].
    pub upstream: Version,
}

/// What was dropped, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Forwarded fields of untrusted peers.
    pub forwarded: usize,
    /// Fields with underscores or other odd characters in their names.
    pub odd_names: usize,
    /// `Proxy` and fields that only the proxy writes.
    pub own: usize,
}

/// Makes a client's fields the upstream's.
///
/// - Fields of the connection and those `Connection` names are removed; [`check`](crate::request_rules::check) has refused
///   names that must stay. `Upgrade` is written anew for [`Forwarding::upgrade`].
/// - `Host` is there exactly once with HTTP/1.1, and not with HTTP/2, where `:authority` has it.
/// - `Expect` is removed: the proxy answers `100 Continue` itself when the upstream's connection takes the body.
/// - `TE: trailers` stays with HTTP/2 only, which gRPC requires.
/// - `Content-Length` stays as it was checked.
pub fn rewrite_request(headers: &mut HeaderMap, forwarding: &Forwarding<'_>) -> Dropped {
    let keeps_te = forwarding.upstream == Version::HTTP_2 && accepts_trailers(headers);
    remove_connection_named(headers, |_| false);
    let dropped = remove_unforwarded(headers, forwarding);
    join_cookies(headers);
    if keeps_te {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // The received `Host` is the authority, and sharing its bytes costs no allocation.
    let received = headers.get(header::HOST).cloned();
    let authority = received.or_else(|| HeaderValue::from_str(forwarding.authority).ok());
    write_forwarded(headers, forwarding, authority.clone());
    write_host(headers, forwarding, authority);
    if let (Some(upgrade), Version::HTTP_11) = (forwarding.upgrade, forwarding.upstream)
        && let Ok(protocol) = HeaderValue::from_str(upgrade.protocol())
    {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    dropped
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    let tokens = |value: &HeaderValue| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    };
    headers.get_all(header::TE).iter().any(tokens)
}

/// Removes the fields that `Connection` names, unless `keep` says otherwise.
pub(super) fn remove_connection_named(headers: &mut HeaderMap, keep: impl Fn(&[u8]) -> bool) {
    let mut named: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for value in headers.get_all(header::CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let usual = [&b"keep-alive"[..], b"close", b"upgrade", b"te"];
            if token.is_empty() || usual.iter().any(|usual| token.eq_ignore_ascii_case(usual)) || keep(token)
            {
                continue;
            }
            named.extend(HeaderName::from_bytes(token).ok());
        }
    }
    for name in named {
        headers.remove(name);
    }
}

/// Removes what is never forwarded, or not from this peer. Most requests have one or two such fields.
fn remove_unforwarded(headers: &mut HeaderMap, forwarding: &Forwarding<'_>) -> Dropped {
    let mut dropped = Dropped::default();
    let mut removed: SmallVec<[HeaderName; 8]> = SmallVec::new();
    let source = match forwarding.source {
        AddressSource::List(name) | AddressSource::Single(name) => name,
        AddressSource::Forwarded => &header::FORWARDED,
    };
    let trusted = forwarding.client.peer_is_trusted;
    for name in headers.keys() {
        let text = name.as_str();
        if names::is_hop_by_hop(name) || *name == header::EXPECT {
        } else if names::is_odd(text) {
            dropped.odd_names += 1;
        } else if !trusted && (names::is_forwarded(text) || name == source) {
            dropped.forwarded += 1;
        } else if names::is_own(text) {
            dropped.own += 1;
        // Of a trusted peer's, too: it may pass on what its client sent, unless the address is taken from it.
        } else if *name != header::FORWARDED {
            continue;
        }
        removed.push(name.clone());
    }
    for name in removed {
        headers.remove(name);
    }
    dropped
}

/// HTTP/2 clients may send one field for each cookie; HTTP/1.1 has one for all (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let mut joined = BytesMut::new();
    for crumb in headers.get_all(header::COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    // Joined valid values are a valid value.
    if let Ok(joined) = HeaderValue::from_maybe_shared(joined.freeze()) {
        headers.insert(header::COOKIE, joined);
    }
}

fn write_forwarded(headers: &mut HeaderMap, forwarding: &Forwarding<'_>, authority: Option<HeaderValue>) {
    let ClientAddress { client, chain, peer_is_trusted, .. } = forwarding.client;
    let real = match (client, forwarding.peer) {
        (Some(client), Some(peer)) if *client == peer.address => Some(peer.text.clone()),
        (Some(client), _) => Some(value(format_args!("{client}"))),
        (None, _) => None,
    };
    let list = match (chain.is_empty(), forwarding.peer) {
        (true, None) => None,
        (true, Some(peer)) => Some(peer.text.clone()),
        (false, peer) => Some(list(chain, peer)),
    };
    set(headers, X_REAL_IP, real);
    set(headers, X_FORWARDED_FOR, list);
    let proto = if forwarding.tls { "https" } else { "http" };
    if !(*peer_is_trusted
        && is_one_of(headers, &X_FORWARDED_PROTO, |proto| matches!(proto, "http" | "https")))
    {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if !(*peer_is_trusted && is_one_of(headers, &X_FORWARDED_HOST, is_authority)) {
        set(headers, X_FORWARDED_HOST, authority);
    }
    if forwarding.write_forwarded {
        headers.insert(header::FORWARDED, rfc7239(forwarding, proto));
    }
}

fn list(chain: &[IpAddr], peer: Option<&PeerAddressValue>) -> HeaderValue {
    let mut text = BytesMut::with_capacity(64);
    for (at, hop) in chain.iter().copied().chain(peer.map(|peer| peer.address)).enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        // Writing to memory cannot fail.
        let _ = write!(text, "{separator}{hop}");
    }
    HeaderValue::from_maybe_shared(text.freeze()).expect("addresses and commas are visible ASCII")
}

/// One element for each hop; the last one has what is known of this connection.
fn rfc7239(forwarding: &Forwarding<'_>, proto: &str) -> HeaderValue {
    let mut text = BytesMut::with_capacity(96);
    for hop in forwarding.client.chain.iter().copied().chain(forwarding.peer.map(|peer| peer.address)) {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = match hop {
            IpAddr::V4(four) => write!(text, "{separator}for={four}"),
            IpAddr::V6(six) => write!(text, "{separator}for=\"[{six}]\""),
        };
    }
    let separator = if text.is_empty() { "for=unknown;" } else { ";" };
    let _ = write!(text, "{separator}host=\"{}\";proto={proto}", forwarding.authority);
    HeaderValue::from_maybe_shared(text.freeze())
        .expect("a checked authority is visible ASCII without quotes")
}

/// HTTP/1.1 has `Host`, HTTP/2 has `:authority`, which the caller sets.
fn write_host(headers: &mut HeaderMap, forwarding: &Forwarding<'_>, authority: Option<HeaderValue>) {
    match forwarding.upstream {
        Version::HTTP_2 => _ = headers.remove(header::HOST),
        _ => set(headers, header::HOST, forwarding.host.cloned().or(authority)),
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => _ = headers.insert(name, value),
        None => _ = headers.remove(name),
    }
}

/// Whether there is one line, and it is sound.
fn is_one_of(headers: &HeaderMap, name: &HeaderName, sound: impl Fn(&str) -> bool) -> bool {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next().and_then(|line| line.to_str().ok());
    first.is_some_and(sound) && lines.next().is_none()
}

fn is_authority(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !text.is_empty() && text.len() <= 261 && text.bytes().all(plain)
}

fn value(text: std::fmt::Arguments<'_>) -> HeaderValue {
    let mut buffer = BytesMut::with_capacity(40);
    let _ = buffer.write_fmt(text);
    HeaderValue::from_maybe_shared(buffer.freeze()).expect("an address is visible ASCII")
}
