//! Opens connections to upstreams.

mod proxy_protocol;
mod resolve;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;

use self::resolve::Resolver;
pub(crate) use self::tls::{TlsConfigs, TlsMaterial};
use super::error::{BoxError, ErrorKind, PoolError};
use super::h1::Announced;
use super::transport::{Socket, Transport};
use crate::config::{PoolConfig, ProxyProtocolVersion, ServerConfig, UpstreamAddress};

/// Where an upstream is, and how it is spoken to below HTTP.
#[derive(Debug)]
pub(crate) struct Target {
    address: Address,
    tls: Option<(TlsConfigs, ServerName<'static>)>,
    proxy_protocol: Option<ProxyProtocolVersion>,
    host: String,
}

#[derive(Debug)]
enum Address {
    Tcp(Resolver),
    Unix(std::path::PathBuf),
}

/// The protocols that are offered by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// As `protocol` of the pool says.
    Configured,
    /// HTTP/1.1 alone, for upgrades.
    Http1,
}

/// A connection that was not established.
#[derive(Debug)]
pub(crate) struct ConnectError {
    pub(crate) kind: ErrorKind,
    pub(crate) source: Option<BoxError>,
    /// The reason is here, such as the limit on open files, and not at the upstream.
    pub(crate) local: bool,
}

impl ConnectError {
    fn io(kind: ErrorKind, error: io::Error) -> Self {
        let local = matches!(
            error.raw_os_error().map(rustix::io::Errno::from_raw_os_error),
            Some(
                rustix::io::Errno::MFILE
                    | rustix::io::Errno::NFILE
                    | rustix::io::Errno::ADDRNOTAVAIL
                    | rustix::io::Errno::NOBUFS
            )
        );
        Self { kind, source: Some(error.into()), local }
    }
}

impl Target {
    pub(crate) fn new(
        pool: &PoolConfig,
        server: &ServerConfig,
        tls: Option<&TlsConfigs>,
    ) -> Result<Self, PoolError> {
        let (address, host, name) = match &server.address {
            UpstreamAddress::Tcp { host, port } => {
                let default_port = if server.tls { 443 } else { 80 };
                let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let authority = if *port == default_port { bracketed } else { format!("{bracketed}:{port}") };
                (Address::Tcp(Resolver::new(host, *port)), authority, host.clone())
            }
            UpstreamAddress::Unix(path) => {
                (Address::Unix(path.clone()), "localhost".to_owned(), "localhost".to_owned())
            }
        };
        let tls = match tls.filter(|_| server.tls) {
            None => None,
            Some(config) => {
                let name = pool.tls.server_name.clone().unwrap_or(name);
                let verified = ServerName::try_from(name.clone())
                    .map_err(|_| PoolError::ServerName { pool: pool.name.clone(), name })?;
                Some((config.clone(), verified))
            }
        };
        Ok(Self { address, tls, proxy_protocol: pool.send_proxy_protocol, host })
    }

    /// The authority of the URL.
    pub(crate) fn host_header(&self) -> HeaderValue {
        // Hosts were checked with the configuration; an empty one is valid for an authority that is not known.
        HeaderValue::from_str(&self.host).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects within `limit`, which covers resolution, TCP, the PROXY protocol header and TLS.
    pub(crate) async fn connect(
        &self,
        announced: Option<Announced>,
        offer: Offer,
        limit: Duration,
    ) -> Result<Transport, ConnectError> {
        match tokio::time::timeout(limit, self.connect_without_limit(announced, offer)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError { kind: ErrorKind::ConnectTimeout, source: None, local: false }),
        }
    }

    async fn connect_without_limit(
        &self,
        announced: Option<Announced>,
        offer: Offer,
    ) -> Result<Transport, ConnectError> {
        let connected = async {
            let mut socket = match &self.address {
                Address::Tcp(resolver) => Socket::Tcp(resolver.connect().await?),
                Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
            };
            if let Some(version) = self.proxy_protocol {
                socket.write_all(&proxy_protocol::header(version, announced)).await?;
            }
            Ok(socket)
        };
        let socket = connected.await.map_err(|error| ConnectError::io(ErrorKind::Connect, error))?;
        let Some((configs, name)) = &self.tls else { return Ok(Transport::Plain(socket)) };
        let config = match offer {
            Offer::Configured => &configs.configured,
            Offer::Http1 => &configs.http1,
        };
        let tls = TlsConnector::from(Arc::clone(config)).connect(name.clone(), socket).await;
        let tls = tls.map_err(|error| ConnectError::io(ErrorKind::Tls, error))?;
        Ok(Transport::Tls(Box::new(tls)))
    }
}

/// Connects to one address.
async fn connect_tcp(address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    // Heads and small bodies are written at once; nothing is gained by waiting for more.
    stream.set_nodelay(true)?;
    Ok(stream)
}
