//! Where a request comes from.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, request::Parts},
};
use palisade_lapi_config::Nets;

use crate::{error::ApiError, state::Lapi};

/// The other end of the connection; put into each request by the listener.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address; `None` on the unix socket.
    pub address: Option<SocketAddr>,
    /// The certificates it showed, its own first, as DER.
    pub certificates: Arc<[Vec<u8>]>,
}

impl Peer {
    /// A peer without certificate.
    pub fn plain(address: Option<SocketAddr>) -> Self {
        Self { address, certificates: Arc::new([]) }
    }
}

/// The client's address: the peer's, or the one a trusted proxy tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAddress {
    /// As the stock server writes it: IPv4 in its own form, IPv6 compressed; as sent when a proxy told it. Empty for
    /// a link-local peer with a zone.
    pub text: String,
    /// The same as an address; `None` when `text` is empty.
    pub ip: Option<IpAddr>,
    /// Whether it came over the unix socket; its address is then 127.0.0.1.
    pub socket: bool,
}

impl ClientAddress {
    /// From this host.
    pub fn is_local(&self) -> bool {
        self.socket || self.ip.is_some_and(|ip| ip.to_canonical().is_loopback())
    }

    /// Finds the address: pure, from what the listener and the headers say.
    pub fn find(peer: &Peer, headers: &HeaderMap, proxies: &Nets) -> Self {
        let Some(address) = peer.address else {
            return Self { text: "127.0.0.1".to_owned(), ip: Some(Ipv4Addr::LOCALHOST.into()), socket: true };
        };
        let ip = address.ip().to_canonical();
        if proxies.contains(ip) {
            for header in ["x-forwarded-for", "x-real-ip"] {
                let line = headers.get(header).and_then(|value| value.to_str().ok());
                if let Some((text, ip)) = line.and_then(|line| told(line, proxies)) {
                    return Self { text, ip: Some(ip), socket: false };
                }
            }
        }
        match address {
            // Go writes the zone behind the address, and then cannot read it back.
            SocketAddr::V6(six) if six.scope_id() != 0 && six.ip().is_unicast_link_local() => {
                Self { text: String::new(), ip: None, socket: false }
            }
            _ => Self { text: ip.to_string(), ip: Some(ip), socket: false },
        }
    }
}

/// The client in a list of forwarders: from the right the first that is no proxy of ours, or the leftmost. `None` when
/// something unreadable stands in the way.
fn told(line: &str, proxies: &Nets) -> Option<(String, IpAddr)> {
    let entries: Vec<&str> = line.split(',').map(str::trim).collect();
    for (index, entry) in entries.iter().enumerate().rev() {
        let ip: IpAddr = entry.parse().ok()?;
        if index == 0 || !proxies.contains(ip) {
            return Some(((*entry).to_owned(), ip));
        }
    }
    None
}

impl FromRequestParts<Lapi> for ClientAddress {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, lapi: &Lapi) -> Result<Self, ApiError> {
        let nobody = Peer::plain(Some(SocketAddr::from(([0, 0, 0, 0], 0))));
        let peer = parts.extensions.get::<Peer>().unwrap_or(&nobody);
        Ok(Self::find(peer, &parts.headers, &lapi.server.trusted_proxies))
    }
}

/// A client that may delete alerts: one of `trusted_ips`, of this host, or on the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedAddress(pub ClientAddress);

impl FromRequestParts<Lapi> for TrustedAddress {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, lapi: &Lapi) -> Result<Self, ApiError> {
        let client = ClientAddress::from_request_parts(parts, lapi).await?;
        if client.is_local() || client.ip.is_some_and(|ip| lapi.server.trusted_ips.contains(ip)) {
            return Ok(Self(client));
        }
        let text = format!("access forbidden from this IP ({})", client.text);
        Err(ApiError::message(StatusCode::FORBIDDEN, text))
    }
}
