//! The TLS handshake of a connection, within a time limit and a number of handshakes at once.

use std::sync::Arc;

use tokio::{net::TcpStream, sync::SemaphorePermit, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

use super::{
    connections::Shared, open_connection::OpenConnection, refusal::refuse_plain_http, tls::TlsServer,
};

/// The protocol of handshakes that only prove a name to an ACME server (RFC 8737).
const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// A connection after its handshake.
pub(super) struct Encrypted {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) server_name: Option<Box<str>>,
    pub(super) certificates: Arc<[Vec<u8>]>,
}

/// Shakes hands; `None` if that fails, takes too long, or is all that the client wants.
pub(super) async fn encrypt(
    shared: &Shared,
    mut stream: TcpStream,
    tls: &TlsServer,
    open: &OpenConnection,
) -> Option<Encrypted> {
    let client = open.activity().client();
    let acceptor = TlsAcceptor::from(tls.config.clone());
    let handshake = async {
        match refuse_plain_http(&mut stream).await {
            Some(false) => {
                let _permit = permit(shared, open).await;
                let done = acceptor.accept(stream).await;
                open.activity().handshake_ends();
                Some(done)
            }
            Some(true) | None => None,
        }
    };
    // The reaper does not time the handshake, which therefore has a timeout of its own. At debug level: any scanner
    // can cause failures.
    let stream = tokio::select! {
        () = open.activity().immediate_close() => return None,
        done = timeout(shared.limits.load().handshake, handshake) => match done {
            Ok(Some(Ok(stream))) => stream,
            Ok(None) => {
                debug!(client = client.map(tracing::field::display), "plain HTTP, or nothing, where TLS is expected");
                return None;
            }
            Ok(Some(Err(cause))) => {
                let error = &cause as &dyn std::error::Error;
                debug!(client = client.map(tracing::field::display), error, "TLS handshake failed");
                return None;
            }
            Err(_) => {
                debug!(client = client.map(tracing::field::display), "TLS handshake took too long");
                return None;
            }
        },
    };
    let session = stream.get_ref().1;
    if session.alpn_protocol() == Some(ACME_PROTOCOL) {
        return None;
    }
    // rustls has it in lower case.
    let server_name = session.server_name().map(Box::from);
    let shown = session.peer_certificates().unwrap_or_default();
    let certificates = shown.iter().map(|certificate| certificate.to_vec()).collect();
    Some(Encrypted { stream, server_name, certificates })
}

/// A permit for a handshake. When there is none, one of the client with the most of them is closed for it.
async fn permit<'a>(shared: &'a Shared, open: &OpenConnection) -> Option<SemaphorePermit<'a>> {
    open.activity().handshake_begins();
    if let Ok(permit) = shared.handshakes.try_acquire() {
        return Some(permit);
    }
    if shared.reaper.evict_handshake_for(open.activity().group()) {
        shared.metrics.refused("handshakes");
    }
    shared.handshakes.acquire().await.ok()
}
