//! Clients that break the protocol, or take more than their share.

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;
use crate::listen::limits::MAX_HEAD;

/// Everything that the server sends until it closes.
async fn whole_answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> String {
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("it is closed");
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_refused_are_answered_in_json() {
    let open = Open::new(Limits::default()).await;
    let lines = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    for (head, status, text) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "missing required Host header"),
        ("GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n".to_owned(), 400, "missing required Host header"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", lines(150)), 431, "is too large"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD)), 431, "is too large"),
        (
            format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD * 20)),
            431,
            "is too large",
        ),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(MAX_HEAD)), 431, "is too large"),
        ("GET / HTTP/1.1\r\nhost: x\r\nb\0d: y\r\n\r\n".to_owned(), 400, "malformed HTTP request"),
        ("NONSENSE\r\n\r\n".to_owned(), 400, "malformed HTTP request"),
    ] {
        // The second time after a good request on the same connection.
        for before in ["", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut stream = open.connect().await;
            if !before.is_empty() {
                assert!(ask(&mut stream, "GET / HTTP/1.1").await.contains(" 200 "));
            }
            let close = head.replacen("host: x", "host: x\r\nconnection: close", 1);
            let head =
                if close == head { head.replacen("\r\n", "\r\nconnection: close\r\n", 1) } else { close };
            let answer = whole_answer(&mut stream, head.as_bytes()).await;
            let start = &head[..head.len().min(60)];
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{start}: {answer}");
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(body["message"].as_str().is_some_and(|said| said.contains(text)), "{start}: {body}");
        }
    }
    // Without a host in HTTP/1.0 there is nothing wrong.
    let mut stream = open.connect().await;
    assert!(whole_answer(&mut stream, b"GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200 "));
    open.close().await;
}

/// A client of HTTP/2 without TLS.
async fn http2_client(open: &Open) -> http2::SendRequest<Full<Bytes>> {
    let (client, connection) = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(1 << 20)
        .handshake(TokioIo::new(open.connect().await))
        .await
        .unwrap();
    TaskTracker::new().spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_has_the_same_limits_of_heads() {
    let open = Open::new(Limits::default()).await;
    let status = async |build: &dyn Fn(hyper::http::request::Builder) -> hyper::http::request::Builder| {
        let request = build(Request::builder().uri("http://x/health")).body(Full::default()).unwrap();
        let answer = timeout(Duration::from_secs(20), http2_client(&open).await.send_request(request)).await;
        let answer = answer.expect("it answers").unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(status(&|request| request).await.0, 200);
    let lines =
        status(&|request| (0..150).fold(request, |request, n| request.header(format!("x-{n}"), "y"))).await;
    let large = status(&|request| {
        (0..10).fold(request, |request, n| request.header(format!("x-{n}"), "y".repeat(MAX_HEAD / 8)))
    })
    .await;
    for (status, body) in [lines, large] {
        assert!(status == 431 && body.contains("is too large"), "{status} {body}");
    }
    open.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_tls_port_is_told_so() {
    let open = Open::new(Limits::default()).await;
    let one = certificate(open.folder.path(), "one");
    open.tls.store(Some(Arc::new(TlsServer::load(&one).unwrap())));
    for request in [
        "GET /health HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        format!("POST /v1/alerts HTTP/1.1\r\nhost: x\r\ncontent-length: 50000\r\n\r\n{}", "x".repeat(50_000)),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let answer = whole_answer(&mut open.connect().await, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nClient sent an HTTP request to an HTTPS server."), "{answer}");
    }
    // What is no HTTP either gets nothing.
    assert_eq!(whole_answer(&mut open.connect().await, b"\0\x01\x02").await, "");
    assert!(over_tls(&open, &one).await.is_ok());
    open.close().await;
}

/// A connection from another address of the loopback.
async fn connect_from(open: &Open, from: [u8; 4]) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(open.address).await.unwrap()
}

const UNFINISHED: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_all_connections_closes_its_own() {
    // With the usual timeouts, which are of no help here.
    let open = Open::new(Limits { connections: 20, ..Limits::default() }).await;
    let mut honest = connect_from(&open, [127, 0, 0, 2]).await;
    honest.write_all(UNFINISHED).await.unwrap();
    let mut greedy = Vec::new();
    for n in 0..60 {
        let mut stream = open.connect().await;
        // Silent, in the middle of a head, and in the middle of a body.
        stream.write_all([b"".as_slice(), b"GET /", UNFINISHED][n % 3]).await.unwrap();
        greedy.push(stream);
    }
    let begun = Instant::now();
    for n in 3..13 {
        let mut other = connect_from(&open, [127, 0, 0, n]).await;
        assert!(ask(&mut other, "GET / HTTP/1.1").await.contains(" 200 "));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // The oldest connection of all is another client's, and stays.
    honest.write_all(b"12345678").await.unwrap();
    let mut answer = [0; 12];
    timeout(Duration::from_secs(10), honest.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert!(open.metrics.cut.get() >= 40, "{:?}", open.metrics.cut);
    open.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_http2_count_like_connections() {
    let open = Open::new(Limits { connections: 20, ..Limits::default() }).await;
    let (client, connection) =
        http2::handshake::<_, _, Trickle>(TokioExecutor::new(), TokioIo::new(open.connect().await))
            .await
            .unwrap();
    let closed = TaskTracker::new().spawn(connection);
    let many: Vec<_> = (0..100)
        .map(|_| {
            let mut client = client.clone();
            let request = Request::post("http://x/").body(Trickle).unwrap();
            TaskTracker::new().spawn(async move { client.send_request(request).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    for n in 3..13 {
        let mut other = connect_from(&open, [127, 0, 0, n]).await;
        assert!(ask(&mut other, "GET / HTTP/1.1").await.contains(" 200 "));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let _ = timeout(Duration::from_secs(10), closed).await.expect("its connection is closed");
    drop(many);
    open.close().await;
}

/// A body that never comes.
struct Trickle;

impl hyper::body::Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Pending
    }
}
