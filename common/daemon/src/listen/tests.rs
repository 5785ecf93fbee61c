//! Real connections: many, slow, silent, encrypted.

mod floods;
mod hostile;
mod options;
mod slow;
mod strict;

use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Bytes};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ConnectionMetrics, Limits, Listeners, Peer, ReceivedBody, Serving, SocketAccess, SocketFile, bind,
    bind_socket,
    tls::{ClientVerification, TlsFiles, TlsServer},
};

/// Reads the body and answers whether the client has an address.
async fn answer(request: Request<ReceivedBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    let from = request.extensions().get::<Peer>().and_then(|peer| peer.address);
    let _ = request.into_body().collect().await;
    Ok(Response::new(Full::from(if from.is_some() { "from an address" } else { "from the socket" })))
}

/// A listening server.
struct Open {
    folder: tempfile::TempDir,
    address: SocketAddr,
    metrics: ConnectionMetrics,
    tls: Arc<ArcSwapOption<TlsServer>>,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    _socket: SocketFile,
}

impl Open {
    async fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = Arc::new(ArcSwapOption::empty());
        let tcp = bind("127.0.0.1:0").await.unwrap();
        let (unix, socket) =
            bind_socket(&folder.path().join("daemon.sock"), &SocketAccess::default()).unwrap();
        let (address, stop) = (tcp.local_addr().unwrap(), CancellationToken::new());
        let metrics = ConnectionMetrics::default();
        let service = tower::service_fn(answer);
        let serving = Serving { service, tls: tls.clone(), limits, metrics: metrics.clone() };
        let listeners = Listeners { tcp: Some(tcp), unix: Some(unix) };
        let served = TaskTracker::new().spawn(listeners.serve(serving, stop.clone()));
        Self { folder, address, metrics, tls, stop, served, _socket: socket }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Stops the server and waits for its end.
    async fn close(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(20), self.served).await.expect("it ends").unwrap();
    }
}

/// Sends a request on a connection that is kept open; returns the head of the response.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    stream.write_all(format!("{request}\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(Duration::from_secs(30), stream.read_u8()).await.unwrap().unwrap());
    }
    let text = String::from_utf8(answer).unwrap();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    text + std::str::from_utf8(&body).unwrap()
}

/// Waits until the peer has closed; returns how long that took.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) -> Duration {
    let (started, mut rest) = (Instant::now(), [0; 1024]);
    loop {
        match timeout(Duration::from_secs(20), stream.read(&mut rest)).await.expect("it is closed") {
            Ok(0) | Err(_) => return started.elapsed(),
            Ok(_) => {}
        }
    }
}

fn quick() -> Limits {
    Limits {
        headers: Duration::from_millis(400),
        idle: Duration::from_millis(1500),
        idle_when_full: Duration::from_millis(100),
        write_stalled: Duration::from_millis(400),
        drain: Duration::from_millis(500),
        ..Limits::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_and_socket_and_http2_without_tls() {
    let open = Open::new(Limits::default()).await;
    let answer = ask(&mut open.connect().await, "GET / HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("from an address"), "{answer}");
    let path = open.folder.path().join("daemon.sock");
    let mut socket = UnixStream::connect(&path).await.unwrap();
    assert!(ask(&mut socket, "GET / HTTP/1.1").await.ends_with("from the socket"));

    let mut two = open.connect().await;
    two.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    timeout(Duration::from_secs(10), two.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], 4, "SETTINGS");
    open.close().await;
    assert!(UnixStream::connect(&path).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_small_pieces_is_read() {
    let open = Open::new(Limits::default()).await;
    for request in ["GET /health HTTP/1.1\r\nhost: x\r\n\r\n", "PRI /health HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = open.connect().await;
        stream.set_nodelay(true).unwrap();
        for byte in request.bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = [0; 9];
        timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 ", "{request}");
    }
    // Two pipelined requests get two responses.
    let mut stream = open.connect().await;
    stream.write_all("GET /health HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2).as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while String::from_utf8_lossy(&seen).matches("from an address").count() < 2 {
        let read = timeout(Duration::from_secs(10), stream.read_buf(&mut seen)).await.unwrap().unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
    }
    open.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_silent_and_deaf_clients_are_cut_and_busy_ones_are_not() {
    let open = Open::new(quick()).await;
    let mut slow = open.connect().await;
    slow.write_all(b"GET /health HTTP/1.1\r\nhos").await.unwrap();
    let mut silent = open.connect().await;
    let mut busy = open.connect().await;
    let started = Instant::now();
    let working = async {
        while started.elapsed() < Duration::from_secs(3) {
            assert!(ask(&mut busy, "GET /health HTTP/1.1").await.contains("200 OK"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (slow, silent, ()) = tokio::join!(closed(&mut slow), closed(&mut silent), working);
    assert!(slow < Duration::from_secs(10) && silent >= Duration::from_millis(1200), "{slow:?} {silent:?}");

    // Pipelines requests without reading the responses.
    let mut deaf = open.connect().await;
    let asking = async {
        let request = b"GET /v1/heartbeat HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
        while deaf.write_all(&request).await.is_ok() {}
    };
    timeout(Duration::from_secs(30), asking).await.expect("it is cut");
    assert!(open.metrics.cut.get() >= 3);
    open.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_and_a_full_house() {
    let limits = Limits { connections: 300, ..quick() };
    let open = Open::new(limits).await;
    let mut idle = Vec::new();
    for _ in 0..299 {
        idle.push(open.connect().await);
    }
    assert!(ask(&mut open.connect().await, "GET /health HTTP/1.1").await.contains("200 OK"));
    for _ in 0..200 {
        idle.push(open.connect().await);
    }
    // All connections are taken by silent clients: they are closed, and the next one is served.
    let mut late = open.connect().await;
    assert!(ask(&mut late, "GET /health HTTP/1.1").await.contains("200 OK"));
    assert!(open.metrics.open.get() <= 300);
    open.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_requests_under_way_and_not_for_ever() {
    let open = Open::new(Limits { drain: Duration::from_secs(5), ..quick() }).await;
    let mut idle = open.connect().await;
    ask(&mut idle, "GET /health HTTP/1.1").await;
    let mut posting = open.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\n";
    posting.write_all(format!("{head}content-length: 2\r\n\r\n[").as_bytes()).await.unwrap();
    let mut hanging = open.connect().await;
    hanging.write_all(format!("{head}content-length: 9\r\n\r\n[").as_bytes()).await.unwrap();
    // The response proves that the server has accepted the connections.
    let deadline = Instant::now() + Duration::from_secs(10);
    while open.metrics.open.get() < 3 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    open.stop.cancel();
    assert!(closed(&mut idle).await < Duration::from_secs(4), "nothing was under way there");
    posting.write_all(b"]").await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(10), posting.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer:?}");
    closed(&mut hanging).await;
    open.close().await;
}

/// Writes `NAME.pem` and `NAME.key`, a certificate for `localhost`.
fn certificate(folder: &Path, name: &str) -> TlsFiles {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    std::fs::write(&certificate, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let client_verification = ClientVerification::default();
    TlsFiles { certificate, key, client_authorities: None, client_verification }
}

/// The body of a response over TLS, from a client that trusts one certificate.
async fn over_tls(open: &Open, trusted: &TlsFiles) -> std::io::Result<String> {
    over_tls_at(open.address, trusted).await
}

async fn over_tls_at(address: SocketAddr, trusted: &TlsFiles) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    for root in super::tls::certificates("certificate", &trusted.certificate).unwrap() {
        roots.add(root).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream =
        TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await?;
    Ok(ask(&mut stream, "GET / HTTP/1.1").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_for_later_connections() {
    let open = Open::new(Limits::default()).await;
    let (one, other) = (certificate(open.folder.path(), "one"), certificate(open.folder.path(), "other"));
    open.tls.store(Some(Arc::new(TlsServer::load(&one).unwrap())));
    assert!(over_tls(&open, &one).await.unwrap().ends_with("from an address"));
    assert!(over_tls(&open, &other).await.is_err());
    // Plain TCP is refused now.
    let mut plain = open.connect().await;
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    closed(&mut plain).await;
    open.tls.store(Some(Arc::new(TlsServer::load(&other).unwrap())));
    assert!(over_tls(&open, &one).await.is_err());
    assert!(over_tls(&open, &other).await.is_ok());
    open.close().await;
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (one, other) = (certificate(folder.path(), "one"), certificate(folder.path(), "other"));
    std::fs::write(path("empty.pem"), "").unwrap();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(path("encrypted.pem"), encrypted).unwrap();
    let load = |files: TlsFiles| TlsServer::load(&files).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(load(one.clone()), Ok(()));
    for (files, text) in [
        (TlsFiles { certificate: path("none.pem"), ..one.clone() }, "cannot read certificate "),
        (TlsFiles { certificate: path("empty.pem"), ..one.clone() }, "there is no certificate in it"),
        (TlsFiles { key: path("empty.pem"), ..one.clone() }, "there is no private key in it"),
        (TlsFiles { key: path("encrypted.pem"), ..one.clone() }, "is encrypted; write it without passphrase"),
        (TlsFiles { key: other.key, ..one.clone() }, "certificate "),
        (TlsFiles { client_authorities: Some(path("none.pem")), ..one }, "cannot read CA certificate "),
    ] {
        let error = load(files).unwrap_err();
        assert!(error.contains(text), "{error}");
    }
}
