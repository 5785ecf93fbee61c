//! Parses PROXY protocol headers, versions 1 and 2, which name the client of a connection through a proxy. Pure.
//!
//! The specification is <https://www.haproxy.org/download/3.1/doc/proxy-protocol.txt>.

mod crc32c;
mod version1;
mod version2;

use std::net::SocketAddr;

use super::peer::unmapped;

/// The longest header: of version 2, with what follows the addresses bounded to what proxies send.
pub const MAX_HEADER: usize = 16 + 4096;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its bytes.
    pub length: usize,
    /// Client and destination; `None` when the socket's own count: a health check of the proxy, or a client that is
    /// neither TCP over IPv4 nor over IPv6.
    pub addresses: Option<ProxiedAddresses>,
}

/// The ends of the connection that a proxy has accepted. IPv4-mapped addresses are IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxiedAddresses {
    /// The client.
    pub source: SocketAddr,
    /// The address that it connected to.
    pub destination: SocketAddr,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// Neither signature.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// Too long.
    #[error("the PROXY protocol header is longer than {MAX_HEADER} bytes, or than 107 in version 1")]
    TooLong,
    /// A version or command that does not exist.
    #[error("the PROXY protocol header has an unknown version or command")]
    Version,
    /// A family or transport that does not exist.
    #[error("the PROXY protocol header has an unknown address family")]
    Family,
    /// An address or port that cannot be read.
    #[error("the PROXY protocol header has malformed addresses")]
    Addresses,
    /// A TLV that is longer than its header or has a wrong size.
    #[error("the PROXY protocol header has malformed extensions")]
    Extensions,
    /// The checksum is wrong.
    #[error("the checksum of the PROXY protocol header is wrong")]
    Checksum,
}

/// Parses the header at the beginning of a connection; `None` if more bytes are needed.
///
/// # Errors
///
/// When no further bytes can make a header of these.
pub fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    if is_prefix(bytes, version2::SIGNATURE) {
        version2::parse(bytes)
    } else if is_prefix(bytes, version1::SIGNATURE) {
        version1::parse(bytes)
    } else {
        Err(ProxyHeaderError::Missing)
    }
}

/// Whether bytes begin with a signature, or are the beginning of it.
fn is_prefix(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes[..length] == signature[..length]
}

fn addresses(source: SocketAddr, destination: SocketAddr) -> ProxiedAddresses {
    ProxiedAddresses { source: unmapped(source), destination: unmapped(destination) }
}

#[cfg(test)]
mod tests;
