//! The remote end of a connection.

use std::{net::SocketAddr, sync::Arc};

/// The remote end of a connection; the listener adds it to the extensions of each request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// `None` on the unix socket.
    pub address: Option<SocketAddr>,
    /// The client certificates presented, the leaf first, as DER.
    pub certificates: Arc<[Vec<u8>]>,
    /// Whether the TLS handshake verified their signatures.
    pub verified: bool,
}

impl Peer {
    /// A peer without a client certificate.
    pub fn plain(address: Option<SocketAddr>) -> Self {
        Self { address, certificates: Arc::new([]), verified: false }
    }
}
