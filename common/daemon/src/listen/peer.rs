//! The remote end of a connection.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::connection_reaper::ConnectionActivity;

/// The remote end of a connection; the listener adds it to the extensions of each request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// `None` on the unix socket.
    pub address: Option<SocketAddr>,
    /// The client certificates presented, the leaf first, as DER.
    pub certificates: Arc<[Vec<u8>]>,
    /// Whether the TLS handshake verified their signatures.
    pub verified: bool,
    /// The connection, when there is one.
    pub(super) activity: Option<Arc<ConnectionActivity>>,
}

impl Peer {
    /// A peer without a client certificate.
    pub fn plain(address: Option<SocketAddr>) -> Self {
        Self { address, certificates: Arc::new([]), verified: false, activity: None }
    }

    /// Records that the peer has shown valid credentials: its connection is then among the last to be closed for others.
    pub fn authenticated(&self) {
        if let Some(activity) = &self.activity {
            activity.authenticated();
        }
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
