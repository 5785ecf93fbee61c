//! Defines a request to forward and its response.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response};

use super::body::UpstreamBody;
use super::tunnel::UpstreamTunnel;

/// A request to forward.
#[derive(Debug)]
pub struct Outgoing<B> {
    /// The method.
    pub method: Method,
    /// Path and query as the client sent them.
    pub target: PathAndQuery,
    /// The fields for the upstream, without hop-by-hop fields. `Host` is replaced as the pool says; `Content-Length` and
    /// `Transfer-Encoding` are ignored: the message is framed from the body.
    pub headers: HeaderMap,
    /// The body.
    pub body: B,
    /// Whether there is none. The body is then never polled.
    pub body_is_empty: bool,
    /// The client's address, which [`Balance::ClientAddress`](crate::config::Balance::ClientAddress) hashes.
    pub client: Option<IpAddr>,
    /// The address of the connection's other end, for the PROXY protocol.
    pub peer: Option<SocketAddr>,
    /// The address that the peer connected to, for the PROXY protocol.
    pub local: Option<SocketAddr>,
    /// The protocol that the client asks to switch to. The request then has no body.
    pub upgrade: Option<Upgrade>,
}

/// A request to switch protocols.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// The value of `Upgrade`, or of `:protocol`.
    pub protocol: HeaderValue,
    /// Whether the client used extended CONNECT (RFC 8441) and not an HTTP/1.1 upgrade.
    pub extended_connect: bool,
}

/// The response to a request.
#[derive(Debug)]
pub struct Forwarded<B> {
    /// Status, fields and body. Framing fields are consistent with the body; other hop-by-hop fields are as received.
    ///
    /// When [`Forwarded::tunnel`] is set, the status is the one for the client: 101 for an upgrade, 200 for extended
    /// CONNECT.
    pub response: Response<UpstreamBody<B>>,
    /// The upstream's side of the tunnel, when it switched protocols.
    pub tunnel: Option<UpstreamTunnel>,
    /// The upstream, as configured.
    pub server: Arc<str>,
    /// How many attempts were made, at least 1.
    pub attempts: u8,
    /// The time it took to get a connection in the last attempt; zero when an idle one was used.
    pub connect: Duration,
    /// From the start of the last attempt to the response's head.
    pub head: Duration,
}
