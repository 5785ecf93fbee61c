//! Upstreams that send what a test says, and pools to reach them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{
    Balance, HostHeader, PoolConfig, ServerConfig, TimeoutsConfig, UpstreamAddress, UpstreamProtocol,
    UpstreamTls,
};
use crate::upstream::{BoxError, Forwarded, Outgoing, Pools};

/// No test waits this long unless it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// An upstream on a port of its own.
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// Runs `script` for each connection, with the number of the connection.
    pub(super) async fn start<F: Future<Output = ()> + Send + 'static>(
        script: impl Fn(Peer, usize) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self { address: listener.local_addr().unwrap(), connections: Arc::default() };
        let connections = Arc::clone(&upstream.connections);
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = connections.fetch_add(1, Ordering::SeqCst);
                tasks.spawn(script(Peer { stream, received: Vec::new() }, number));
            }
        });
        upstream
    }

    /// Answers each request, whose body is empty, with the same bytes; then closes the connection or goes on.
    pub(super) async fn answering(answer: impl Into<Vec<u8>>, closes: bool) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |mut peer, _| {
            let answer = Arc::clone(&answer);
            async move {
                while peer.head().await.is_some() {
                    peer.send(&answer).await;
                    if closes {
                        return;
                    }
                }
            }
        })
        .await
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// The upstream's end of a connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    /// Reads until `end` was received, and returns everything up to it; `None` at the end of the stream.
    pub(super) async fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.received, end) {
                let taken: Vec<_> = self.received.drain(..at + end.len()).collect();
                return Some(String::from_utf8(taken).unwrap());
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// The next head.
    pub(super) async fn head(&mut self) -> Option<String> {
        self.until(b"\r\n\r\n").await
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Closes the connection so that the other end sees a reset.
    pub(super) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Keeps the connection open until the other end closes it.
    pub(super) async fn hold(mut self) {
        let mut buffer = [0; 4096];
        while !matches!(self.stream.read(&mut buffer).await, Ok(0) | Err(_)) {}
    }
}

pub(super) fn config(servers: &[&Upstream]) -> PoolConfig {
    let server = |upstream: &&Upstream| ServerConfig {
        url: format!("http://{}", upstream.address),
        tls: false,
        address: UpstreamAddress::Tcp {
            host: upstream.address.ip().to_string(),
            port: upstream.address.port(),
        },
        weight: 1,
    };
    PoolConfig {
        name: "test".to_owned(),
        servers: servers.iter().map(server).collect(),
        balance: Balance::RoundRobin,
        health_check: None,
        max_failures: 0,
        failure_pause: Duration::from_secs(60),
        timeouts: TimeoutsConfig {
            connect: Duration::from_secs(15),
            head: Duration::from_secs(15),
            idle: Duration::from_secs(15),
            tunnel_idle: Duration::from_secs(15),
        },
        keep_alive: 16,
        keep_alive_idle: Duration::from_secs(60),
        protocol: UpstreamProtocol::Http1,
        tls: UpstreamTls::default(),
        send_proxy_protocol: None,
        send_forwarded: false,
        retries: 1,
        host: HostHeader::Preserve,
    }
}

pub(super) fn start(config: PoolConfig) -> Pools {
    Pools::start(&[Arc::new(config)], None, &CancellationToken::new()).unwrap()
}

/// A request without a body.
pub(super) fn get(target: &'static str) -> Outgoing<Full<Bytes>> {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::HOST, HeaderValue::from_static("client.example"));
    Outgoing {
        method: Method::GET,
        target: PathAndQuery::from_static(target),
        headers,
        body: Full::default(),
        body_is_empty: true,
        client: None,
        peer: None,
        local: None,
        upgrade: None,
    }
}

/// A request with a body.
pub(super) fn with_body<B>(method: Method, body: B) -> Outgoing<B> {
    let Outgoing { target, headers, client, peer, local, upgrade, .. } = get("/");
    Outgoing { method, target, headers, body, body_is_empty: false, client, peer, local, upgrade }
}

/// The body of a response as text, or the error it ended with.
pub(super) async fn text<B>(forwarded: Forwarded<B>) -> Result<String, String>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let collected = tokio::time::timeout(PATIENCE, forwarded.response.into_body().collect()).await.unwrap();
    let bytes = collected.map_err(|error| format!("{error:?}"))?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

/// Waits until `condition` holds.
pub(super) async fn eventually(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "the condition never held");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
