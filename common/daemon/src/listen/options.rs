//! The options of a listener: which protocols it speaks, and which peers it accepts.

use std::{fmt, net::IpAddr, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use hyper::StatusCode;
use palisade_net::PrefixSet;
use tokio::net::{TcpListener, UnixListener};

use super::{peer::Peer, tls::TlsServer};

/// Whether connections from an address are refused.
pub type Refusing = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Receives the requests that a listener refuses.
pub type OnRefused = Arc<dyn Fn(&Peer, StatusCode, &'static str) + Send + Sync>;

/// The options of a listener. The default accepts every peer, and parses requests as leniently as hyper does.
#[derive(Clone)]
#[non_exhaustive]
pub struct ListenerOptions {
    /// Whether HTTP/2 is spoken. With TLS the ALPN protocols of its configuration must agree.
    pub http2: bool,
    /// Whether HTTP/2 clients may open tunnels (RFC 8441).
    pub connect_protocol: bool,
    /// Peers that must begin with a PROXY protocol header, version 1 or 2. From others it is never read.
    pub proxy_protocol_from: PrefixSet,
    /// Closes connections before TLS. It is asked about the address of the PROXY protocol header where one is expected.
    pub refuse: Option<Refusing>,
    /// Connections that an address (IPv6: /64) may have.
    pub per_address: Option<PerAddress>,
    /// Refuses requests with more than one reading, and those over these limits; `None` leaves it to hyper.
    pub strict: Option<StrictHttp>,
    /// Called for each request that a strict listener refuses before the service sees it, with the status and the name of
    /// the reason, for an access log.
    pub on_refused: Option<OnRefused>,
}

/// How many connections an address (IPv6: /64) may have.
#[derive(Debug, Clone)]
pub struct PerAddress {
    /// The limit.
    pub connections: usize,
    /// Addresses without a limit, such as trusted proxies.
    pub exempt: PrefixSet,
}

/// Limits of requests on a strict listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrictHttp {
    /// Bytes of a request's head; 431 above.
    pub head_bytes: usize,
    /// Bytes of a request's target; 414 above.
    pub target_bytes: usize,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            http2: true,
            connect_protocol: false,
            proxy_protocol_from: PrefixSet::default(),
            refuse: None,
            per_address: None,
            strict: None,
            on_refused: None,
        }
    }
}

impl Default for StrictHttp {
    fn default() -> Self {
        Self { head_bytes: 32 * 1024, target_bytes: 16 * 1024 }
    }
}

impl ListenerOptions {
    /// Whether a peer must begin with a PROXY protocol header.
    pub(super) fn expects_header(&self, peer: IpAddr) -> bool {
        !self.proxy_protocol_from.is_empty() && self.proxy_protocol_from.contains(peer)
    }

    pub(super) fn refuses(&self, peer: IpAddr) -> bool {
        self.refuse.as_ref().is_some_and(|refuse| refuse(peer))
    }
}

impl fmt::Debug for ListenerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerOptions")
            .field("http2", &self.http2)
            .field("connect_protocol", &self.connect_protocol)
            .field("proxy_protocol_from", &self.proxy_protocol_from)
            .field("refuse", &self.refuse.is_some())
            .field("per_address", &self.per_address)
            .field("strict", &self.strict)
            .field("on_refused", &self.on_refused.is_some())
            .finish()
    }
}

/// A socket to accept connections on.
#[derive(Debug)]
pub enum ListenSocket {
    /// TCP, with TLS when [`Listener::tls`] is set.
    Tcp(TcpListener),
    /// A unix socket, never with TLS.
    Unix(UnixListener),
}

/// A socket, and how its connections are served.
#[derive(Debug)]
pub struct Listener {
    /// Shown to the service in [`ConnectionInfo`](super::ConnectionInfo), for instance a position in a configuration.
    /// Several listeners may have the same.
    pub index: usize,
    /// Where connections are accepted.
    pub socket: ListenSocket,
    /// Replaced on reload, for later connections; ignored on unix sockets.
    pub tls: Arc<ArcSwapOption<TlsServer>>,
    /// Replaced on reload, for later connections.
    pub options: Arc<ArcSwap<ListenerOptions>>,
}

impl Listener {
    /// A listener without TLS and with the default options.
    pub fn new(socket: ListenSocket) -> Self {
        Self { index: 0, socket, tls: Arc::default(), options: Arc::default() }
    }
}
