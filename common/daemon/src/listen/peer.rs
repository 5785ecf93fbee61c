//! The remote end of a connection.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
};

use super::open_connection::{HeldConnection, OpenConnection};

/// The remote end of a connection; the listener adds it to the extensions of each request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The direct peer; with a PROXY protocol header, the client it names. `None` on the unix socket.
    pub address: Option<SocketAddr>,
    /// The client certificates presented, the leaf first, as DER.
    pub certificates: Arc<[Vec<u8>]>,
    /// Whether the TLS handshake verified their signatures.
    pub verified: bool,
    /// The connection, when there is one.
    pub(super) info: Option<Arc<ConnectionInfo>>,
}

/// What does not change while a connection is open.
#[derive(Debug, Default)]
pub struct ConnectionInfo {
    /// The peer of the socket, whatever a PROXY protocol header names.
    pub socket_address: Option<SocketAddr>,
    /// This end of the connection; with a PROXY protocol header, the address that the client connected to.
    pub local_address: Option<SocketAddr>,
    /// The name that the client asked for in the TLS handshake (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// [`Listener::index`](super::Listener::index).
    pub listener: usize,
    /// `Weak`, so that a `Peer` that is kept somewhere does not keep the connection counted.
    pub(super) connection: Weak<OpenConnection>,
}

/// Of a peer without a connection.
static NO_CONNECTION: ConnectionInfo = ConnectionInfo {
    socket_address: None,
    local_address: None,
    server_name: None,
    tls: false,
    listener: 0,
    connection: Weak::new(),
};

impl Peer {
    /// A peer without a client certificate, and without a connection.
    pub fn plain(address: Option<SocketAddr>) -> Self {
        Self { address, certificates: Arc::new([]), verified: false, info: None }
    }

    /// The same with a connection.
    #[must_use]
    pub fn with(self, info: ConnectionInfo) -> Self {
        Self { info: Some(Arc::new(info)), ..self }
    }

    /// The connection; everything absent for a peer without one.
    pub fn info(&self) -> &ConnectionInfo {
        self.info.as_deref().unwrap_or(&NO_CONNECTION)
    }

    /// Records that the peer has shown valid credentials: its connection is then among the last to be closed for others.
    pub fn authenticated(&self) {
        if let Some(connection) = self.info().connection.upgrade() {
            connection.activity().authenticated();
        }
    }

    /// Keeps the connection counted and registered for a tunnel, which goes on after its request. `None` if it is closed
    /// already.
    pub fn hold(&self) -> Option<HeldConnection> {
        self.info().connection.upgrade().map(HeldConnection::new)
    }
}

/// An IPv4 client of a listener for both families appears with an IPv4-mapped IPv6 address; it counts as IPv4
/// everywhere. Other addresses keep their zone.
pub(super) fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mapped_addresses_change() {
        for (address, meant) in [
            ("[::ffff:192.0.2.1]:5", "192.0.2.1:5"),
            ("192.0.2.1:5", "192.0.2.1:5"),
            ("[fe80::1%3]:5", "[fe80::1%3]:5"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(unmapped(address.parse().unwrap()).to_string(), meant);
        }
    }
}
