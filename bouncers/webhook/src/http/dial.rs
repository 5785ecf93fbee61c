//! Opens connections to a receiver: resolves its name, checks each address, connects, and starts TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use palisade_bouncer::outbound::alternate_families;
use palisade_go_compat::with_causes;
use rustls::{AlertDescription, Error as TlsError};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use url::Host;

use super::reason::{retry, shown, unsent};
use super::transport::{ReadLimit, Stream, Transport, Written};
use super::{HttpError, guard, tls};
use crate::config::HttpConfig;
use crate::sink::{Failure, FailureKind};

/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 6;

/// How names are resolved.
pub(super) enum Resolver {
    System,
    /// Each resolution has the next result; the last one stays.
    #[cfg(test)]
    Listed(std::sync::Mutex<Vec<Vec<IpAddr>>>),
}

impl Resolver {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        match self {
            Self::System => {
                let addresses = tokio::net::lookup_host((name, port)).await?;
                Ok(addresses.map(|address| address.ip()).collect())
            }
            #[cfg(test)]
            Self::Listed(results) => {
                let mut results = results.lock().unwrap();
                Ok(if results.len() > 1 { results.remove(0) } else { results[0].clone() })
            }
        }
    }
}

/// Opens connections to one receiver.
pub(super) struct Dialer {
    config: Arc<HttpConfig>,
    host: Host<String>,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    resolver: Resolver,
}

impl Dialer {
    pub(super) fn new(config: Arc<HttpConfig>, resolver: Resolver) -> Result<Self, HttpError> {
        let host = config.url.host().ok_or(HttpError::Url("it has no host"))?.to_owned();
        let port = config.url.port_or_known_default().ok_or(HttpError::Url("it has no port"))?;
        let tls = match config.url.scheme() {
            "http" => None,
            "https" => {
                let name = match &host {
                    Host::Domain(name) => ServerName::try_from(name.clone())
                        .map_err(|_| HttpError::Url("no certificate can have its host as a name"))?,
                    Host::Ipv4(address) => ServerName::from(IpAddr::from(*address)),
                    Host::Ipv6(address) => ServerName::from(IpAddr::from(*address)),
                };
                Some((TlsConnector::from(tls::client_config(&config.tls)?), name))
            }
            _ => return Err(HttpError::Url("its scheme is neither http nor https")),
        };
        Ok(Self { config, host, port, tls, resolver })
    }

    /// Connects. Nothing is kept from one connection to the next, so that each one's address is checked.
    pub(super) async fn dial(&self, written: Written) -> Result<Transport, Failure> {
        let limit = self.config.connect_timeout;
        let deadline = Instant::now() + limit;
        let late = || {
            let reason = format!("no connection to {} within {}", self.host, shown(limit));
            retry(false, reason)
        };
        let addresses = timeout_at(deadline, self.permitted()).await.map_err(|_| late())??;
        let socket = self.connect(&addresses, deadline).await?;
        // Requests are written at once; nothing is gained by waiting for more.
        let _ = socket.set_nodelay(true);
        let stream = match &self.tls {
            None => Stream::Plain(socket),
            Some((connector, name)) => {
                let handshake = timeout_at(deadline, connector.connect(name.clone(), socket));
                let tls = handshake.await.map_err(|_| late())?;
                Stream::Tls(Box::new(tls.map_err(|error| self.tls_failure(&error))?))
            }
        };
        Ok(Transport { stream, written, read_limit: ReadLimit::default() })
    }

    /// The addresses of the receiver that may be connected to.
    async fn permitted(&self) -> Result<Vec<SocketAddr>, Failure> {
        let resolved =
            match &self.host {
                Host::Ipv4(address) => vec![IpAddr::from(*address)],
                Host::Ipv6(address) => vec![IpAddr::from(*address)],
                Host::Domain(name) => self.resolver.resolve(name, self.port).await.map_err(|error| {
                    retry(false, format!("cannot resolve {name}: {}", with_causes(&error)))
                })?,
            };
        let mut refused = None;
        let mut permitted = Vec::new();
        for address in resolved {
            match guard::refusal(address, &self.config.allowed_addresses) {
                None => permitted.push(SocketAddr::new(address, self.port)),
                Some(what) => refused = refused.or(Some((address, what))),
            }
        }
        match refused {
            _ if !permitted.is_empty() => Ok(alternate_families(permitted, MAX_ADDRESSES)),
            None => Err(retry(false, format!("{} has no address", self.host))),
            Some((address, what)) => {
                let of = match &self.host {
                    Host::Domain(name) => format!(" ({name})"),
                    _ => String::new(),
                };
                let reason = format!(
                    "not connected to {address}{of}: it is {what}; name it under `allow_addresses` of the endpoint if \
                     messages are to be sent there"
                );
                Err(unsent(FailureKind::Refusing, reason))
            }
        }
    }

    /// Tries the addresses in turn, each with an equal part of the time that is left.
    async fn connect(&self, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Failure> {
        let mut last = None;
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            // Six at most.
            let share = left / (addresses.len() - tried) as u32;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => last = Some(format!("{address}: {}", with_causes(&error))),
                Err(_) => {
                    last = Some(format!("{address}: no answer within {}", shown(share.max(MILLISECOND))))
                }
            }
        }
        Err(retry(false, format!("cannot connect to {}", last.unwrap_or_else(|| self.host.to_string()))))
    }

    fn tls_failure(&self, error: &io::Error) -> Failure {
        let kind = if refuses(error) { FailureKind::Refusing } else { FailureKind::Retry };
        unsent(kind, format!("TLS with {} failed: {}", self.host, with_causes(error)))
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// Whether a TLS error is about a certificate: it will not go away by itself.
pub(super) fn refuses(error: &io::Error) -> bool {
    use AlertDescription as Alert;
    match error.get_ref().and_then(|error| error.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidCertificate(_)) => true,
        Some(TlsError::AlertReceived(alert)) => matches!(
            alert,
            Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError
                | Alert::CertificateRequired
        ),
        _ => false,
    }
}
