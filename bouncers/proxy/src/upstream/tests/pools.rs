//! Reuse of connections, retries, health, reloads, ways to connect.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use http_body_util::Full;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::scripted::{PATIENCE, Upstream, config, eventually, get, start, text, with_body};
use crate::config::{
    HealthCheckConfig, HostHeader, PoolConfig, ProxyProtocolVersion, ServerConfig, UpstreamAddress,
    UpstreamProtocol,
};
use crate::upstream::{ErrorKind, Pools};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

async fn healthy() -> Upstream {
    Upstream::answering(OK, false).await
}

/// An upstream whose port nobody listens on.
async fn refusing() -> Upstream {
    let mut upstream = healthy().await;
    upstream.address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    upstream
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_or_received_bytes_is_not_used() {
    let upstream = Upstream::start(|mut peer, number| async move {
        peer.head().await;
        peer.send(OK).await;
        if number == 0 {
            return;
        }
        // What a server sends on an idle connection before it closes it; it must not answer the next request.
        tokio::time::sleep(Duration::from_millis(20)).await;
        peer.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").await;
        peer.hold().await;
    })
    .await;
    let mut pool = config(&[&upstream]);
    pool.retries = 0;
    let pools = start(pool);
    for request in 1..=3 {
        let forwarded =
            pools.get(0).forward(with_body(Method::POST, Full::<Bytes>::default())).await.unwrap();
        assert_eq!(forwarded.response.status(), 200);
        assert_eq!(upstream.connections(), request);
        // The runtime has to see the event first; a connection that is taken before fails, and is retried if it may be.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn idle_connections_are_bounded_and_age() {
    let upstream = healthy().await;
    let mut pool = config(&[&upstream]);
    pool.keep_alive = 2;
    pool.keep_alive_idle = Duration::from_millis(100);
    let pools = start(pool);
    let server = Arc::clone(&pools.get(0).servers()[0]);
    let pool = Arc::clone(pools.get(0));
    let forward = || async { text(pool.forward(get("/")).await.unwrap()).await.unwrap() };
    tokio::join!(forward(), forward(), forward(), forward());
    assert!(server.idle_connections() <= 2);
    eventually(|| server.idle_connections() == 0 && server.metrics().open.get() == 0).await;
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_is_tried_at_another_upstream() {
    let (down, up) = (refusing().await, healthy().await);
    let pools = start(config(&[&down, &up]));
    for _ in 0..4 {
        let request = with_body(Method::POST, Full::new(Bytes::from_static(b"once")));
        let forwarded = pools.get(0).forward(request).await.unwrap();
        assert_eq!(&*forwarded.server, format!("http://{}", up.address));
    }
    let metrics = pools.get(0).servers()[0].metrics();
    assert_eq!(metrics.connect_failures.get(), 2);
    assert_eq!(pools.get(0).servers()[1].metrics().retries.get(), 2);
}

#[tokio::test]
async fn only_idempotent_requests_are_repeated_once_sent() {
    let dying = Upstream::start(|mut peer, _| async move {
        peer.head().await;
    })
    .await;
    let up = healthy().await;
    let pools = start(config(&[&dying, &up]));
    let send =
        async |method| pools.get(0).forward(with_body(method, Full::new(Bytes::from_static(b"x")))).await;
    let (mut refused, mut repeated) = (0, 0);
    for _ in 0..4 {
        if let Err(error) = send(Method::POST).await {
            assert_eq!((error.kind, error.attempts), (ErrorKind::Closed, 1));
            refused += 1;
        }
    }
    for _ in 0..4 {
        repeated += u32::from(send(Method::PUT).await.unwrap().attempts) - 1;
    }
    assert!(refused > 0 && repeated > 0, "{refused} {repeated}");
}

#[tokio::test]
async fn a_small_body_is_sent_again_and_a_large_one_is_not() {
    for (size, attempts, succeeds) in [(60_000, 2, true), (100_000, 1, false)] {
        let upstream = Upstream::start(move |mut peer, number| async move {
            peer.until(&vec![b'x'; size]).await;
            if number > 0 {
                peer.send(OK).await;
                peer.hold().await;
            }
        })
        .await;
        let pools = start(config(&[&upstream]));
        let result =
            pools.get(0).forward(with_body(Method::PUT, Full::new(Bytes::from(vec![b'x'; size])))).await;
        let seen = result.as_ref().map_or_else(|error| error.attempts, |forwarded| forwarded.attempts);
        assert_eq!((result.is_ok(), seen), (succeeds, attempts), "{size}");
    }
}

#[tokio::test]
async fn failed_connections_eject_an_upstream_and_one_request_brings_it_back() {
    let gone = refusing().await;
    let mut pool = config(&[&gone]);
    (pool.max_failures, pool.failure_pause, pool.retries) = (2, Duration::from_millis(300), 0);
    let pools = start(pool);
    let pool = pools.get(0);
    for _ in 0..2 {
        assert_eq!(pool.forward(get("/")).await.unwrap_err().kind, ErrorKind::Connect);
    }
    let error = pool.forward(get("/")).await.unwrap_err();
    assert_eq!((error.kind, error.status().as_u16(), error.server), (ErrorKind::NoneUp, 503, None));
    assert!(!pool.is_up());
    let listener = TcpListener::bind(gone.address).await.unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(OK.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    tokio::time::timeout(PATIENCE, async {
        while pool.forward(get("/")).await.is_err_and(|error| error.kind == ErrorKind::NoneUp) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(pool.servers()[0].metrics().ejections.get(), 1);
}

#[tokio::test]
async fn failed_requests_eject_an_upstream_only_when_another_is_up() {
    let (one, two) = (Upstream::start(|_, _| async {}).await, Upstream::start(|_, _| async {}).await);
    let mut pool = config(&[&one, &two]);
    (pool.max_failures, pool.retries) = (1, 0);
    let pools = start(pool);
    for _ in 0..6 {
        assert_eq!(pools.get(0).forward(get("/")).await.unwrap_err().kind, ErrorKind::Closed);
    }
    let up = pools.get(0).servers().iter().filter(|server| server.is_up()).count();
    assert_eq!(up, 1);
}

#[tokio::test]
async fn invalid_responses_eject_no_upstream() {
    let (bad, good) = (Upstream::answering("HTTP/1.1 1 no\r\n\r\n", true).await, healthy().await);
    let mut pool = config(&[&bad, &good]);
    pool.max_failures = 1;
    let pools = start(pool);
    for _ in 0..6 {
        let _ = pools.get(0).forward(get("/")).await;
    }
    assert!(pools.get(0).servers().iter().all(|server| server.is_up()));
}

#[tokio::test]
async fn checks_take_an_upstream_out_and_bring_it_back() {
    let (sender, receiver) = tokio::sync::watch::channel(true);
    let upstream = Upstream::start(move |mut peer, _| {
        let up = receiver.clone();
        async move {
            let head = peer.head().await.unwrap();
            assert!(head.starts_with("GET /health HTTP/1.1\r\nhost: check.example\r\n"), "{head}");
            let status = if *up.borrow() { 204 } else { 500 };
            peer.send(format!("HTTP/1.1 {status} x\r\n\r\n")).await;
        }
    })
    .await;
    let mut pool = config(&[&upstream]);
    pool.health_check = Some(HealthCheckConfig {
        path: Some("/health".to_owned()),
        host: Some("check.example".to_owned()),
        status: (200, 399),
        interval: Duration::from_millis(20),
        timeout: PATIENCE,
        healthy_after: 2,
        unhealthy_after: 2,
    });
    let pools = start(pool);
    let server = &pools.get(0).servers()[0];
    assert!(server.is_up());
    sender.send(false).unwrap();
    eventually(|| !server.is_up()).await;
    assert_eq!(pools.get(0).forward(get("/")).await.unwrap_err().kind, ErrorKind::NoneUp);
    sender.send(true).unwrap();
    eventually(|| server.is_up()).await;
}

#[tokio::test]
async fn a_reload_keeps_what_did_not_change() {
    let upstream = healthy().await;
    let stop = CancellationToken::new();
    let unchanged = Arc::new(config(&[&upstream]));
    let changed = Arc::new(PoolConfig { name: "other".to_owned(), ..config(&[&upstream]) });
    let before = Pools::start(&[Arc::clone(&unchanged), Arc::clone(&changed)], None, &stop).unwrap();
    for index in 0..2 {
        text(before.get(index).forward(get("/")).await.unwrap()).await.unwrap();
    }
    let changed = Arc::new(PoolConfig { retries: 5, ..(*changed).clone() });
    let after = Pools::start(&[changed, unchanged], Some(&before), &stop).unwrap();
    assert!(Arc::ptr_eq(before.get(0), after.get(1)));
    assert_eq!(after.get(1).servers()[0].idle_connections(), 1);
    assert_eq!(after.get(0).servers()[0].idle_connections(), 0);
    assert_eq!(after.get(0).servers()[0].metrics().responses[1].get(), 1, "counters go on");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_failed_connection() {
    let mut pool = config(&[&healthy().await]);
    pool.servers[0].address = UpstreamAddress::Tcp { host: "does-not-exist.invalid".to_owned(), port: 80 };
    let error = start(pool).get(0).forward(get("/")).await.unwrap_err();
    assert_eq!((error.kind, error.status().as_u16()), (ErrorKind::Connect, 502));
}

#[tokio::test]
async fn a_name_with_two_addresses_is_reached_at_the_one_that_answers() {
    let upstream = healthy().await;
    let mut pool = config(&[&upstream]);
    let port = upstream.address.port();
    pool.servers[0].address = UpstreamAddress::Tcp { host: "localhost".to_owned(), port };
    assert_eq!(start(pool).get(0).forward(get("/")).await.unwrap().response.status(), 200);
}

#[tokio::test]
async fn a_connection_that_is_not_established_in_time_is_a_timeout() {
    // The backlog of a socket that accepts nothing fills up, and the kernel ignores further connections.
    let socket = socket_with_full_backlog().await;
    let mut pool = config(&[&healthy().await]);
    pool.servers[0].address = UpstreamAddress::Tcp { host: "127.0.0.1".to_owned(), port: socket.0 };
    pool.timeouts.connect = Duration::from_millis(200);
    pool.retries = 0;
    let error = start(pool).get(0).forward(get("/")).await.unwrap_err();
    assert_eq!((error.kind, error.status().as_u16()), (ErrorKind::ConnectTimeout, 504));
}

/// A port, and what keeps it busy.
async fn socket_with_full_backlog() -> (u16, tokio::net::TcpListener, Vec<tokio::net::TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut streams = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        streams.push(stream.unwrap());
        assert!(streams.len() < 1000);
    }
    (address.port(), listener, streams)
}

#[tokio::test]
async fn a_unix_socket_is_an_upstream() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    });
    let mut pool = config(&[&healthy().await]);
    let url = format!("unix:{}", path.display());
    pool.servers = vec![ServerConfig { url, tls: false, address: UpstreamAddress::Unix(path), weight: 1 }];
    let pools = start(pool);
    for _ in 0..2 {
        assert_eq!(text(pools.get(0).forward(get("/")).await.unwrap()).await.unwrap(), "hi");
    }
}

#[tokio::test]
async fn host_is_the_clients_the_upstreams_or_a_fixed_one() {
    let upstream = Upstream::start(|mut peer, _| async move {
        while let Some(head) = peer.head().await {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len())).await;
        }
    })
    .await;
    for (host, expected) in [
        (HostHeader::Preserve, "client.example".to_owned()),
        (HostHeader::Upstream, upstream.address.to_string()),
        (HostHeader::Fixed(HeaderValue::from_static("fixed.example")), "fixed.example".to_owned()),
    ] {
        let pools = start(PoolConfig { host, ..config(&[&upstream]) });
        let seen = text(pools.get(0).forward(get("/a?b=c")).await.unwrap()).await.unwrap();
        assert_eq!(seen, format!("GET /a?b=c HTTP/1.1\r\nhost: {expected}\r\n\r\n"));
    }
}

#[tokio::test]
async fn a_connection_that_announced_a_client_serves_no_other() {
    let upstream = Upstream::start(|mut peer, _| async move {
        let announced = peer.until(b"\r\n").await.unwrap();
        while peer.head().await.is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{announced}", announced.len()))
                .await;
        }
    })
    .await;
    let mut pool = config(&[&upstream]);
    pool.send_proxy_protocol = Some(ProxyProtocolVersion::V1);
    let pools = start(pool.clone());
    for (client, peer, expected) in [
        ("192.0.2.1", "192.0.2.1:1000", "PROXY TCP4 192.0.2.1 198.51.100.1 1000 443\r\n"),
        ("192.0.2.2", "192.0.2.9:1000", "PROXY TCP4 192.0.2.2 198.51.100.1 0 443\r\n"),
        ("192.0.2.1", "192.0.2.1:1000", "PROXY TCP4 192.0.2.1 198.51.100.1 1000 443\r\n"),
    ] {
        let mut request = get("/");
        (request.client, request.peer) = (client.parse().ok(), peer.parse().ok());
        request.local = "198.51.100.1:443".parse().ok();
        assert_eq!(text(pools.get(0).forward(request).await.unwrap()).await.unwrap(), expected);
    }
    assert_eq!(upstream.connections(), 2);

    pool.protocol = UpstreamProtocol::Http2;
    let error = Pools::check(&[Arc::new(pool)]).unwrap_err().to_string();
    assert!(error.contains("pools.test: send_proxy_protocol"), "{error}");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let mut pool = config(&[&healthy().await]);
    pool.servers[0].tls = true;
    pool.tls.ca = Some(directory.path().join("ca.pem"));
    let error = Pools::check(&[Arc::new(pool.clone())]).unwrap_err().to_string();
    assert!(error.contains("pools.test.tls.ca: cannot read") && error.contains("ca.pem"), "{error}");
    std::fs::write(directory.path().join("ca.pem"), "nothing").unwrap();
    let error = Pools::check(&[Arc::new(pool)]).unwrap_err().to_string();
    assert!(error.contains("ca.pem is not usable: it contains no certificate"), "{error}");
}
