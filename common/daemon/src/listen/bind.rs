//! Binds the TCP listener named by `listen_uri`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Length of the accept queue.
// All bouncers reconnect at once after a restart. The kernel caps it at `net.core.somaxconn`.
pub(super) const BACKLOG: u32 = 4096;

/// Why a listener cannot be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// `listen_uri` is malformed.
    #[error("listening on {uri}: {what}; write listen_uri as HOST:PORT, for example 127.0.0.1:8080")]
    Address {
        /// As configured.
        uri: String,
        /// What is wrong with it.
        what: String,
    },
    /// The address cannot be bound.
    #[error("listening on {uri}: cannot use {address}; free the port or set another listen_uri")]
    Taken {
        /// As configured.
        uri: String,
        /// The address it stands for.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        cause: io::Error,
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

/// Binds `HOST:PORT`. Without a host, all interfaces of both families; for a host name, its first address that can be
/// bound.
///
/// # Errors
///
/// When the text is malformed or the address is in use.
pub async fn bind(uri: &str) -> Result<TcpListener, ListenError> {
    let wrong = |what: String| ListenError::Address { uri: uri.to_owned(), what };
    let (host, port) =
        uri.rsplit_once(':').ok_or_else(|| wrong(format!("address {uri}: missing port in address")))?;
    let port: u16 = port.parse().map_err(|_| wrong(format!("address {port}: invalid port")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = if host.is_empty() {
        // IPv6 first, as one such socket accepts both families. IPv4 is for hosts without IPv6.
        vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]
    } else if let Ok(ip) = host.parse::<IpAddr>() {
        vec![(ip, port).into()]
    } else {
        let found = lookup_host((host, port)).await;
        found.map_err(|cause| wrong(format!("lookup {host}: {cause}")))?.collect()
    };
    let mut failure = None;
    for address in addresses {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(cause) => failure = Some((address, cause)),
        }
    }
    Err(match failure {
        Some((address, cause)) => ListenError::Taken { uri: uri.to_owned(), address, cause },
        None => wrong(format!("lookup {host}: no address")),
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As Go does: a restart need not wait for connections of the previous process in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // Accept both families, whatever the system default.
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn all_interfaces_means_both_families() {
        let listener = bind(":0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
        let taken = bind(&format!("127.0.0.1:{port}")).await;
        assert!(matches!(taken, Err(ListenError::Taken { .. })), "{taken:?}");
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        for (uri, text) in [
            ("127.0.0.1", "missing port in address"),
            ("127.0.0.1:-80", "address -80: invalid port"),
            ("127.0.0.1:70000", "address 70000: invalid port"),
            ("no such host:80", "lookup no such host"),
        ] {
            let error = bind(uri).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("listening on {uri}: ")) && error.contains(text), "{error}");
        }
    }
}
