//! Reads the PROXY protocol header of a connection, before TLS.

use std::time::Duration;

use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use super::proxy_protocol::{MAX_HEADER, ProxyHeader, ProxyHeaderError, parse};

/// Buffer size for each read. Headers without extensions fit into one.
const READ: usize = 512;

/// Why a header cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderFailure {
    #[error("{0}")]
    Malformed(#[from] ProxyHeaderError),
    #[error("the connection ended before its PROXY protocol header")]
    Closed,
    #[error("the PROXY protocol header took too long")]
    Slow,
}

/// Reads exactly the header.
pub(super) async fn read(stream: &mut TcpStream, within: Duration) -> Result<ProxyHeader, HeaderFailure> {
    timeout(within, read_header(stream)).await.unwrap_or(Err(HeaderFailure::Slow))
}

async fn read_header(stream: &mut TcpStream) -> Result<ProxyHeader, HeaderFailure> {
    let (mut seen, mut next) = (Vec::new(), [0; READ]);
    loop {
        // Peeked first: the bytes after the header are the client's, and version 1 does not say how long it is.
        let there = stream.peek(&mut next).await.map_err(|_| HeaderFailure::Closed)?;
        let before = seen.len();
        seen.extend_from_slice(&next[..there]);
        let header = parse(&seen)?;
        let taken = header.map_or(there, |header| header.length - before);
        if there == 0 || seen.len() > MAX_HEADER + READ {
            return Err(HeaderFailure::Closed);
        }
        stream.read_exact(&mut next[..taken]).await.map_err(|_| HeaderFailure::Closed)?;
        if let Some(header) = header {
            return Ok(header);
        }
    }
}
