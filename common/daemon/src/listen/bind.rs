//! Binds the TCP listener named by `listen_uri`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use palisade_go_compat::{unset_variable, with_causes};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Length of the accept queue.
// All bouncers reconnect at once after a restart. The kernel caps it at `net.core.somaxconn`.
pub(super) const BACKLOG: u32 = 4096;

/// Why a listener cannot be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// `listen_uri` is malformed.
    #[error(
        "listening on {uri}: listen tcp: {what}; write listen_uri as HOST:PORT, for example 127.0.0.1:8080"
    )]
    Address {
        /// As configured.
        uri: String,
        /// What is wrong with it.
        what: String,
    },
    /// The address cannot be bound.
    #[error(
        "listening on {uri}: listen tcp {address}: bind: {}; free the port or set another listen_uri",
        with_causes(cause)
    )]
    Taken {
        /// As configured.
        uri: String,
        /// The address it stands for.
        address: SocketAddr,
        /// The system's reason; part of the text above.
        cause: io::Error,
    },
    /// The service manager passed no usable socket of this name.
    #[error("listening on socket {name}: {what}")]
    Inherited {
        /// As configured.
        name: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// The unix socket cannot be bound.
    #[error("listening on unix socket {}: {what}", path.display())]
    Socket {
        /// As configured.
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
}

/// Binds `HOST:PORT`. Without a host, or with `0.0.0.0` or `[::]`, all interfaces of both families, as Go's servers do;
/// for a host name, its first address that can be bound.
///
/// # Errors
///
/// When the text is malformed or the address is in use.
pub async fn bind(uri: &str) -> Result<TcpListener, ListenError> {
    let (host, port) = split(uri)?;
    bind_host(host, port).await.map_err(|failure| failure.of(uri, host))
}

/// Finds what [`bind`] would refuse whatever else runs on this host: a malformed text, a name without address, an address
/// that is not this host's, a port that this user may not use. An address in use is no error.
///
/// # Errors
///
/// As [`bind`].
pub async fn check_bind(uri: &str) -> Result<(), ListenError> {
    let (host, port) = split(uri)?;
    check_host(host, port).await.map_err(|failure| failure.of(uri, host))
}

/// Why a host's addresses cannot be bound.
#[derive(Debug)]
pub(crate) struct BindFailure {
    /// The address that was tried last; `None` when there is none.
    address: Option<SocketAddr>,
    pub(crate) cause: io::Error,
}

impl BindFailure {
    fn of(self, uri: &str, host: &str) -> ListenError {
        let Self { address, cause } = self;
        match address {
            Some(address) => ListenError::Taken { uri: uri.to_owned(), address, cause },
            None => malformed(uri, format!("lookup {host}: {cause}")),
        }
    }
}

/// Binds a host, in brackets or not; see [`bind`].
pub(crate) async fn bind_host(host: &str, port: u16) -> Result<TcpListener, BindFailure> {
    first_bound(host, port, |socket| socket.listen(BACKLOG)).await
}

/// The same without effect; see [`check_bind`].
pub(crate) async fn check_host(host: &str, port: u16) -> Result<(), BindFailure> {
    // Bound, but not listening: no client can connect, and another process may still listen there.
    match first_bound(host, port, |_| Ok(())).await {
        Err(BindFailure { address: Some(_), cause }) if cause.kind() == io::ErrorKind::AddrInUse => Ok(()),
        result => result,
    }
}

async fn first_bound<T>(
    host: &str,
    port: u16,
    then: impl Fn(TcpSocket) -> io::Result<T>,
) -> Result<T, BindFailure> {
    let addresses = resolve(host, port).await.map_err(|cause| BindFailure { address: None, cause })?;
    let mut failure = BindFailure { address: None, cause: io::Error::other("no address") };
    for address in addresses {
        match bound(address).and_then(&then) {
            Ok(done) => return Ok(done),
            Err(cause) => {
                let is_final = address.ip().is_unspecified() && !is_absent_family(&cause);
                failure = BindFailure { address: Some(address), cause };
                // On a host with IPv6, listening on IPv4 alone would be half of what is wanted.
                if is_final {
                    break;
                }
            }
        }
    }
    Err(failure)
}

fn malformed(uri: &str, what: String) -> ListenError {
    ListenError::Address { uri: uri.to_owned(), what }
}

/// Host and port as written.
fn split(uri: &str) -> Result<(&str, u16), ListenError> {
    if let Some(name) = unset_variable(uri) {
        return Err(malformed(uri, format!("the environment variable {name} is not set")));
    }
    let (host, port) = uri
        .rsplit_once(':')
        .ok_or_else(|| malformed(uri, format!("address {uri}: missing port in address")))?;
    let port = port.parse().map_err(|_| malformed(uri, format!("address {port}: invalid port")))?;
    Ok((host, port))
}

/// The addresses to try, in order.
async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() => Ok(vec![(ip, port).into()]),
        Err(_) if !host.is_empty() => Ok(lookup_host((host, port)).await?.collect()),
        // IPv6 first, as one such socket accepts both families. IPv4 is for hosts without IPv6.
        _ => Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]),
    }
}

/// Whether the error means that the kernel does not have this family of addresses.
fn is_absent_family(cause: &io::Error) -> bool {
    let code = cause.raw_os_error();
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].into_iter().any(|errno| code == Some(errno.raw_os_error()))
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As Go does: a restart need not wait for connections of the previous process in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // Accept both families, whatever the system default.
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn all_interfaces_means_both_families() {
        let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        for uri in [":0", "0.0.0.0:0", "[::]:0"] {
            let listener = bind(uri).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            if has_ipv6 {
                TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
            }
            for taken in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"), format!(":{port}")] {
                let refused = bind(&taken).await;
                assert!(matches!(refused, Err(ListenError::Taken { .. })), "{refused:?}");
                check_bind(&taken).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn one_ipv4_address_means_ipv4_only() {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap_err();
        let text = bind(&format!("127.0.0.1:{port}")).await.unwrap_err().to_string();
        let words = format!(
            "listening on 127.0.0.1:{port}: listen tcp 127.0.0.1:{port}: bind: address already in use; free the port"
        );
        assert!(text.starts_with(&words), "{text}");
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        for (uri, text) in [
            ("127.0.0.1", "missing port in address"),
            ("127.0.0.1:-80", "address -80: invalid port"),
            ("127.0.0.1:70000", "address 70000: invalid port"),
            ("18764", "missing port in address"),
            ("no such host:80", "lookup no such host"),
            ("192.0.2.1:80", "listen tcp 192.0.2.1:80: bind: cannot assign requested address"),
            ("${HOST}:80", "the environment variable HOST is not set"),
            ("$LISTEN", "the environment variable LISTEN is not set"),
        ] {
            let error = bind(uri).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("listening on {uri}: ")) && error.contains(text), "{error}");
            assert_eq!(check_bind(uri).await.unwrap_err().to_string(), error);
        }
    }
}
