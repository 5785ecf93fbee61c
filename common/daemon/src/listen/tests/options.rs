//! Listeners with options: PROXY protocol, refusals, limits per address, closing by address, tunnels.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use hyper::{StatusCode, header, upgrade};
use hyper_util::rt::TokioIo;
use palisade_net::{PrefixSet, parse_prefix};
use tokio::task::JoinHandle;

use super::*;
use crate::listen::{Connections, HttpService, ListenSocket, Listener, ListenerOptions, PerAddress};

/// Answers with what the peer is, or opens a tunnel that echoes.
async fn describe(mut request: Request<ReceivedBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    let peer = request.extensions().get::<Peer>().unwrap().clone();
    if request.headers().contains_key(header::UPGRADE) {
        let held = peer.hold().unwrap();
        let upgrade = upgrade::on(&mut request);
        TaskTracker::new().spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let mut tunnel = TokioIo::new(upgraded);
            let (mut read, mut write) = tokio::io::split(&mut tunnel);
            tokio::select! {
                _ = tokio::io::copy(&mut read, &mut write) => {}
                () = held.closed() => {}
            }
        });
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
        response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
        return Ok(response);
    }
    let _ = request.into_body().collect().await;
    let info = peer.info();
    let text =
        |address: Option<SocketAddr>| address.map(|address| address.ip().to_string()).unwrap_or_default();
    let local = info.local_address.map(|address| address.to_string()).unwrap_or_default();
    let (client, socket) = (text(peer.address), text(info.socket_address));
    let name = info.server_name.as_deref().unwrap_or("-");
    let said =
        format!("{client} over {socket} to {local}, listener {}, TLS {} {name}", info.listener, info.tls);
    Ok(Response::new(Full::from(said)))
}

/// Listeners that share their connections.
pub(super) struct Server {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) connections: Connections,
    pub(super) tls: Arc<ArcSwapOption<TlsServer>>,
    stop: CancellationToken,
    served: Vec<JoinHandle<()>>,
}

impl Server {
    pub(super) async fn new(limits: Limits, options: Vec<ListenerOptions>) -> Self {
        Self::serving(limits, options, tower::service_fn(describe)).await
    }

    pub(super) async fn serving(
        limits: Limits,
        options: Vec<ListenerOptions>,
        service: impl HttpService,
    ) -> Self {
        let (connections, stop) = (Connections::new(limits), CancellationToken::new());
        let tls = Arc::new(ArcSwapOption::empty());
        let (mut addresses, mut served) = (Vec::new(), Vec::new());
        for (index, options) in options.into_iter().enumerate() {
            let tcp = bind("127.0.0.1:0").await.unwrap();
            addresses.push(tcp.local_addr().unwrap());
            let listener = Listener {
                index,
                socket: ListenSocket::Tcp(tcp),
                tls: tls.clone(),
                options: Arc::new(ArcSwap::from_pointee(options)),
            };
            let (connections, service, stop) = (connections.clone(), service.clone(), stop.clone());
            served.push(TaskTracker::new().spawn(async move {
                connections.accept(listener, service, stop).await;
            }));
        }
        let (running, end) = (connections.clone(), stop.clone());
        served.push(TaskTracker::new().spawn(async move { running.run(end).await }));
        Self { addresses, connections, tls, stop, served }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addresses[0]).await.unwrap()
    }

    pub(super) fn refused(&self, reason: &'static str) -> u64 {
        let labels = crate::listen::RefusedLabels { reason };
        self.connections.metrics().refused.get_or_create(&labels).get()
    }

    pub(super) async fn close(self) {
        self.stop.cancel();
        for task in self.served {
            timeout(Duration::from_secs(20), task).await.expect("it ends").unwrap();
        }
        assert!(self.connections.is_empty());
        assert_eq!(self.connections.metrics().open.get(), 0);
    }
}

pub(super) fn prefixes(list: &[&str]) -> PrefixSet {
    list.iter().map(|text| parse_prefix(text).unwrap()).collect()
}

/// What the server sends after these bytes until it closes.
pub(super) async fn answer_to(server: &Server, bytes: &[u8]) -> String {
    // A refused connection may be reset before the client knows that it was accepted.
    let Ok(mut stream) = TcpStream::connect(server.addresses[0]).await else { return String::new() };
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("it is closed");
    String::from_utf8(answer).unwrap()
}

pub(super) const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_names_client_and_destination() {
    let options =
        ListenerOptions { proxy_protocol_from: prefixes(&["127.0.0.0/8"]), ..ListenerOptions::default() };
    let server = Server::new(Limits::default(), vec![options]).await;
    let own = server.addresses[0];
    for (header, said) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.7 12345 443\r\n", "192.0.2.1 over 127.0.0.1 to 198.51.100.7:443,"),
        (
            "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::9 12345 443\r\n",
            "192.0.2.1 over 127.0.0.1 to [2001:db8::9]:443,",
        ),
        ("PROXY UNKNOWN\r\n", &format!("127.0.0.1 over 127.0.0.1 to {own},")),
        ("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", &format!("127.0.0.1 over 127.0.0.1 to {own},")),
    ] {
        let answer = answer_to(&server, format!("{header}{GET}").as_bytes()).await;
        assert!(answer.contains(said), "{header}: {answer}");
    }
    // In small pieces, too.
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in format!("PROXY TCP4 192.0.2.1 198.51.100.7 12345 443\r\n{GET}").bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("192.0.2.1 over"), "{answer}");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_the_proxy_header_they_must_have_are_refused() {
    let options =
        ListenerOptions { proxy_protocol_from: prefixes(&["127.0.0.0/8"]), ..ListenerOptions::default() };
    let limits = Limits { proxy_header: Duration::from_millis(300), ..Limits::default() };
    let server = Server::new(limits, vec![options]).await;
    for bytes in [GET, "PROXY TCP4 192.0.2.1 198.51.100.7 x 443\r\n", "", "PROXY TCP4 192", "PROXY "] {
        assert_eq!(answer_to(&server, bytes.as_bytes()).await, "", "{bytes}");
    }
    assert_eq!(server.refused("proxy_header"), 5);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_from_other_peers_is_never_read() {
    let options =
        ListenerOptions { proxy_protocol_from: prefixes(&["192.0.2.0/24"]), ..ListenerOptions::default() };
    let server = Server::new(Limits::default(), vec![options]).await;
    let header = "PROXY TCP4 192.0.2.1 198.51.100.7 12345 443\r\n";
    let answer = answer_to(&server, format!("{header}{GET}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer_to(&server, GET.as_bytes()).await.contains("127.0.0.1 over 127.0.0.1"));
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_addresses_get_no_byte_and_the_proxy_header_counts() {
    let banned = Arc::new(AtomicBool::new(true));
    let refuse = {
        let banned = banned.clone();
        move |address: IpAddr| banned.load(Ordering::Relaxed) && address.to_string() == "127.0.0.1"
    };
    let direct = ListenerOptions { refuse: Some(Arc::new(refuse)), ..ListenerOptions::default() };
    let refuse = |address: IpAddr| address.to_string() == "192.0.2.1";
    let proxied = ListenerOptions {
        refuse: Some(Arc::new(refuse)),
        proxy_protocol_from: prefixes(&["127.0.0.0/8"]),
        ..ListenerOptions::default()
    };
    let server = Server::new(Limits::default(), vec![direct]).await;
    assert_eq!(answer_to(&server, GET.as_bytes()).await, "");
    banned.store(false, Ordering::Relaxed);
    assert!(answer_to(&server, GET.as_bytes()).await.starts_with("HTTP/1.1 200"));
    assert_eq!(server.refused("refused_address"), 1);
    server.close().await;
    let server = Server::new(Limits::default(), vec![proxied]).await;
    for (client, served) in [("192.0.2.1", false), ("192.0.2.2", true)] {
        let header = format!("PROXY TCP4 {client} 198.51.100.7 12345 443\r\n{GET}");
        assert_eq!(answer_to(&server, header.as_bytes()).await.starts_with("HTTP/1.1 200"), served);
    }
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_on_all_listeners_together() {
    let limit = |exempt: &[&str]| ListenerOptions {
        per_address: Some(PerAddress { connections: 3, exempt: prefixes(exempt) }),
        ..ListenerOptions::default()
    };
    let server = Server::new(Limits::default(), vec![limit(&[]), limit(&[]), limit(&["127.0.0.1"])]).await;
    let mut open = Vec::new();
    for port in [0, 1, 0] {
        let mut stream = TcpStream::connect(server.addresses[port]).await.unwrap();
        assert!(ask(&mut stream, "GET / HTTP/1.1").await.contains(&format!("listener {port}")));
        open.push(stream);
    }
    assert_eq!(answer_to(&server, GET.as_bytes()).await, "");
    let mut exempt = TcpStream::connect(server.addresses[2]).await.unwrap();
    assert!(ask(&mut exempt, "GET / HTTP/1.1").await.contains("listener 2"));
    assert_eq!((server.connections.len(), server.refused("connections_per_address")), (4, 1));
    drop(open);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !answer_to(&server, GET.as_bytes()).await.starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "places are given back");
    }
    server.close().await;
}

pub(super) const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

/// An open tunnel.
pub(super) async fn tunnel(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(UPGRADE).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(Duration::from_secs(10), stream.read_u8()).await.unwrap().unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    echo(&mut stream).await;
    stream
}

pub(super) async fn echo(stream: &mut TcpStream) {
    stream.write_all(b"ping").await.unwrap();
    let mut echoed = [0; 4];
    timeout(Duration::from_secs(10), stream.read_exact(&mut echoed)).await.unwrap().unwrap();
    assert_eq!(&echoed, b"ping");
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_are_counted_outlive_the_idle_timeout_and_end_with_a_ban() {
    let server = Server::new(quick(), vec![ListenerOptions::default()]).await;
    let mut open = tunnel(&server).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    echo(&mut open).await;
    // What looks like a refusal of the parser is content here.
    let content = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    open.write_all(content).await.unwrap();
    let mut echoed = [0; 28];
    timeout(Duration::from_secs(10), open.read_exact(&mut echoed)).await.unwrap().unwrap();
    assert_eq!(&echoed, content);
    assert_eq!((server.connections.len(), server.connections.metrics().open.get()), (1, 1));
    assert_eq!(server.connections.close_where(|address| address.to_string() == "192.0.2.1"), 0);
    assert_eq!(server.connections.close_where(|address| address.to_string() == "127.0.0.1"), 1);
    assert!(closed(&mut open).await < Duration::from_secs(5));
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_end_with_the_drain_timeout() {
    let server = Server::new(quick(), vec![ListenerOptions::default()]).await;
    let mut open = tunnel(&server).await;
    let close = TaskTracker::new().spawn(server.close());
    let begun = Instant::now();
    closed(&mut open).await;
    assert!(begun.elapsed() > Duration::from_millis(400), "{:?}", begun.elapsed());
    close.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_closes_idle_connections_http2_and_requests_in_flight() {
    let server = Server::new(Limits::default(), vec![ListenerOptions::default()]).await;
    let mut idle = server.connect().await;
    assert!(ask(&mut idle, "GET / HTTP/1.1").await.contains(" 200 "));
    let mut busy = server.connect().await;
    busy.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[").await.unwrap();
    let mut two = server.connect().await;
    two.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    two.read_exact(&mut [0; 9]).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.connections.len() < 3 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.connections.close_where(|_| true), 3);
    for stream in [&mut idle, &mut busy, &mut two] {
        assert!(closed(stream).await < Duration::from_secs(5));
    }
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_name_of_the_handshake_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let one = certificate(folder.path(), "one");
    let server =
        Server::new(Limits { handshakes: 1, ..Limits::default() }, vec![ListenerOptions::default()]).await;
    server.tls.store(Some(Arc::new(TlsServer::load(&one).unwrap())));
    // The only handshake at a time is taken by a client that does not go on.
    let mut silent = server.connect().await;
    silent.write_all(&[0x16, 3, 1]).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.connections.is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = over_tls_at(server.addresses[0], &one).await.unwrap();
    assert!(answer.contains("TLS true localhost"), "{answer}");
    closed(&mut silent).await;
    server.close().await;
}
