//! Upstreams with HTTP/2.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::task::TaskTracker;

use super::bodies::{channel, data};
use super::scripted::{PATIENCE, Upstream, config, eventually, get, start, text, with_body};
use crate::config::{PoolConfig, UpstreamProtocol};
use crate::upstream::{BadAnswer, ErrorKind, Pools, Upgrade, tunnel};

fn pools(upstreams: &[&Upstream]) -> Pools {
    start(PoolConfig { protocol: UpstreamProtocol::Http2, ..config(upstreams) })
}

/// Runs `script` for each request, with its number and that of its connection.
async fn serving<F: Future<Output = ()> + Send + 'static>(
    script: impl Fn(Request<RecvStream>, SendResponse<Bytes>, usize) -> F + Clone + Send + 'static,
) -> Upstream {
    Upstream::start(move |peer, connection| {
        let script = script.clone();
        async move {
            let mut builder = h2::server::Builder::new();
            let handshake = builder.enable_connect_protocol().handshake(peer.stream);
            let Ok(mut server) = handshake.await else { return };
            let tasks = TaskTracker::new();
            while let Some(Ok((request, respond))) = server.accept().await {
                tasks.spawn(script(request, respond, connection));
            }
        }
    })
    .await
}

fn respond(mut to: SendResponse<Bytes>, body: impl Into<Bytes>) {
    let mut stream = to.send_response(Response::new(()), false).unwrap();
    stream.send_data(body.into(), true).unwrap();
}

async fn whole(mut body: RecvStream) -> String {
    let mut text = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn requests_share_a_connection_and_have_the_fields_of_http2() {
    let upstream = serving(|request, to, _| async move {
        let (head, body) = request.into_parts();
        let headers: Vec<_> =
            head.headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        let seen = format!("{} {} {} {}", head.method, head.uri, headers.join(" "), whole(body).await);
        respond(to, seen);
    })
    .await;
    let pools = pools(&[&upstream]);
    let request = || {
        let mut request = with_body(Method::POST, Full::new(Bytes::from_static(b"hello")));
        for (name, value) in
            [("connection", "x"), ("keep-alive", "1"), ("te", "trailers"), ("content-length", "9")]
        {
            request.headers.insert(name, HeaderValue::from_static(value));
        }
        request
    };
    let forward = async || text(pools.get(0).forward(request()).await.unwrap()).await.unwrap();
    let (one, two, three) = tokio::join!(forward(), forward(), forward());
    assert_eq!(one, "POST http://client.example/ te=trailers content-length=5 hello");
    assert_eq!((&one, &one), (&two, &three));
    assert_eq!(upstream.connections(), 1);
    assert_eq!(pools.get(0).servers()[0].idle_connections(), 1);
}

#[tokio::test]
async fn a_hyper_server_is_an_upstream() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let upstream = Upstream::start(|peer, _| async move {
        let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
            let body = request.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Response::new(Full::new(body)))
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(peer.stream), service).await;
    })
    .await;
    let pools = pools(&[&upstream]);
    // More than the windows hold.
    let large = "x".repeat(3_000_000);
    let request = with_body(Method::POST, Full::new(Bytes::from(large.clone())));
    let forwarded = pools.get(0).forward(request).await.unwrap();
    assert_eq!(forwarded.response.headers()["content-length"], "3000000");
    assert!(text(forwarded).await.unwrap() == large);
}

#[tokio::test]
async fn a_call_streams_both_ways_and_ends_with_trailers() {
    let upstream = serving(|request, mut to, _| async move {
        assert_eq!(request.headers()["te"], "trailers");
        assert!(!request.headers().contains_key("content-length"));
        let mut stream = to.send_response(Response::new(()), false).unwrap();
        let mut body = request.into_body();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            stream.send_data(data, false).unwrap();
        }
        let mut trailers = body.trailers().await.unwrap().unwrap();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        stream.send_trailers(trailers).unwrap();
    })
    .await;
    let pools = pools(&[&upstream]);
    let (sender, body) = channel();
    let mut request = with_body(Method::POST, body);
    request.headers.insert("te", HeaderValue::from_static("trailers"));
    let mut body = pools.get(0).forward(request).await.unwrap().response.into_body();
    for message in ["one", "two"] {
        sender.send(data(message)).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), message);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-client", HeaderValue::from_static("1"));
    sender.send(Ok(Frame::trailers(trailers))).unwrap();
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert!(trailers["grpc-status"] == "0" && trailers["x-client"] == "1");
    assert!(body.frame().await.is_none());
    assert_eq!(pools.get(0).servers()[0].in_flight(), 0);
}

#[tokio::test]
async fn a_stream_that_ends_with_an_error_cuts_the_response() {
    let upstream = serving(|_, mut to, _| async move {
        let mut stream = to.send_response(Response::new(()), false).unwrap();
        stream.send_data(Bytes::from_static(b"half"), false).unwrap();
        stream.send_reset(Reason::INTERNAL_ERROR);
    })
    .await;
    let pools = pools(&[&upstream]);
    match pools.get(0).forward(get("/")).await {
        Ok(forwarded) => assert!(text(forwarded).await.unwrap_err().starts_with("Http2")),
        // The reset may overtake the response's head.
        Err(error) => assert_eq!(error.kind, ErrorKind::Closed),
    }
}

#[tokio::test]
async fn a_refused_stream_is_repeated_whatever_the_method() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let upstream = serving(move |request, mut to, _| {
        let number = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            if number == 0 {
                return to.send_reset(Reason::REFUSED_STREAM);
            }
            let body = whole(request.into_body()).await;
            respond(to, body);
        }
    })
    .await;
    let pools = pools(&[&upstream]);
    let request = with_body(Method::POST, Full::new(Bytes::from_static(b"once")));
    let forwarded = pools.get(0).forward(request).await.unwrap();
    assert_eq!(forwarded.attempts, 2);
    assert_eq!(text(forwarded).await.unwrap(), "once");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_goes_away_is_replaced_and_finishes_what_it_has() {
    let upstream = Upstream::start(|peer, _| async move {
        let mut server = h2::server::handshake(peer.stream).await.unwrap();
        let tasks = TaskTracker::new();
        while let Some(Ok((request, to))) = server.accept().await {
            server.graceful_shutdown();
            tasks.spawn(async move {
                whole(request.into_body()).await;
                respond(to, "done");
            });
        }
    })
    .await;
    let pools = pools(&[&upstream]);
    for _ in 0..3 {
        let request = with_body(Method::POST, Full::new(Bytes::from_static(b"once")));
        assert_eq!(text(pools.get(0).forward(request).await.unwrap()).await.unwrap(), "done");
    }
    eventually(|| pools.get(0).servers()[0].metrics().open.get() == 0).await;
}

#[tokio::test]
async fn requests_wait_for_a_stream_when_the_upstream_limits_them() {
    let running = Arc::new(AtomicUsize::new(0));
    let peak = Arc::new(AtomicUsize::new(0));
    let (count, most) = (Arc::clone(&running), Arc::clone(&peak));
    let upstream = Upstream::start(move |peer, _| {
        let (count, most) = (Arc::clone(&count), Arc::clone(&most));
        async move {
            let mut builder = h2::server::Builder::new();
            let mut server =
                builder.max_concurrent_streams(2).handshake::<_, Bytes>(peer.stream).await.unwrap();
            let tasks = TaskTracker::new();
            while let Some(Ok((_, to))) = server.accept().await {
                let (count, most) = (Arc::clone(&count), Arc::clone(&most));
                most.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tasks.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    count.fetch_sub(1, Ordering::SeqCst);
                    respond(to, "done");
                });
            }
        }
    })
    .await;
    let pools = Arc::new(pools(&[&upstream]));
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let pools = Arc::clone(&pools);
            TaskTracker::new().spawn(async move { text(pools.get(0).forward(get("/")).await.unwrap()).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), "done");
    }
    assert_eq!(upstream.connections(), 4);
    assert!(peak.load(Ordering::SeqCst) <= 8);
}

#[tokio::test]
async fn a_slow_response_does_not_stop_others_on_the_connection() {
    let upstream = serving(|request, mut to, _| async move {
        if request.uri().path() == "/small" {
            return respond(to, "small");
        }
        let mut stream = to.send_response(Response::new(()), false).unwrap();
        loop {
            stream.reserve_capacity(16_384);
            let Some(Ok(capacity)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                return;
            };
            stream.send_data(vec![0; capacity].into(), false).unwrap();
        }
    })
    .await;
    let pools = pools(&[&upstream]);
    // Nobody reads these.
    let mut stalled = Vec::new();
    for _ in 0..50 {
        stalled.push(pools.get(0).forward(get("/endless")).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(text(pools.get(0).forward(get("/small")).await.unwrap()).await.unwrap(), "small");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_http2_is_a_failed_connection() {
    let upstream = Upstream::answering("HTTP/1.1 400 Bad Request\r\n\r\n", true).await;
    let error = pools(&[&upstream]).get(0).forward(get("/")).await.unwrap_err();
    assert_eq!((error.kind, error.status()), (ErrorKind::Connect, StatusCode::BAD_GATEWAY));
}

#[tokio::test]
async fn too_many_fields_and_switches_are_refused() {
    let upstream = serving(|request, mut to, _| async move {
        let mut response = Response::new(());
        if request.uri().path() == "/many" {
            for number in 0..101 {
                response.headers_mut().append("x-field", HeaderValue::from(number));
            }
        }
        to.send_response(response, true).unwrap();
    })
    .await;
    let pools = pools(&[&upstream]);
    let error = pools.get(0).forward(get("/many")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadAnswer(BadAnswer::TooManyFields));
    assert_eq!(pools.get(0).forward(get("/few")).await.unwrap().response.status(), 200);
}

fn websocket(extended_connect: bool) -> Option<Upgrade> {
    Some(Upgrade { protocol: HeaderValue::from_static("websocket"), extended_connect })
}

/// Sends `ping` through a tunnel and expects `pong`.
async fn ping(tunnel: tunnel::UpstreamTunnel) {
    let (client, mut browser) = tokio::io::duplex(1024);
    let exchange = async {
        browser.write_all(b"ping").await.unwrap();
        let mut seen = [0; 4];
        browser.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"pong");
        browser.shutdown().await.unwrap();
        assert_eq!(browser.read(&mut seen).await.unwrap(), 0);
    };
    let (report, ()) = tokio::join!(tunnel::run(client, tunnel, PATIENCE, std::future::pending()), exchange);
    assert_eq!((report.to_upstream, report.to_client), (4, 4));
}

#[tokio::test]
async fn websockets_reach_an_upstream_with_extended_connect_from_either_protocol() {
    let upstream = serving(|request, mut to, _| async move {
        assert_eq!(request.method(), Method::CONNECT);
        assert_eq!(request.extensions().get::<h2::ext::Protocol>().unwrap().as_str(), "websocket");
        assert!(!request.headers().contains_key("sec-websocket-key"));
        let mut stream = to.send_response(Response::new(()), false).unwrap();
        let mut body = request.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "ping");
        stream.send_data(Bytes::from_static(b"pong"), false).unwrap();
        assert!(body.data().await.is_none(), "the client's end is passed on");
        stream.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let pools = pools(&[&upstream]);
    let mut request = get("/chat");
    request.upgrade = websocket(false);
    request.headers.insert("sec-websocket-key", HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
    let forwarded = pools.get(0).forward(request).await.unwrap();
    assert_eq!(forwarded.response.status(), 101);
    assert_eq!(forwarded.response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(forwarded.response.headers()["upgrade"], "websocket");
    ping(forwarded.tunnel.unwrap()).await;

    let mut request = get("/chat");
    (request.method, request.upgrade) = (Method::CONNECT, websocket(true));
    let forwarded = pools.get(0).forward(request).await.unwrap();
    assert_eq!(forwarded.response.status(), 200);
    ping(forwarded.tunnel.unwrap()).await;
}

#[tokio::test]
async fn an_extended_connect_becomes_an_upgrade_for_an_upstream_with_http1() {
    for valid in [true, false] {
        let upstream = Upstream::start(move |mut peer, _| async move {
            let head = peer.head().await.unwrap();
            assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
            let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert("sec-websocket-key", HeaderValue::from_str(key).unwrap());
            let accept = crate::upstream::bridge::expected_accept(&headers).unwrap();
            let accept = if valid { accept.to_str().unwrap() } else { "wrong" };
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
            peer.send(format!("{switch}Sec-WebSocket-Accept: {accept}\r\n\r\n")).await;
            peer.until(b"ping").await;
            peer.send("pong").await;
        })
        .await;
        let pools = start(config(&[&upstream]));
        let mut request = get("/chat");
        (request.method, request.upgrade) = (Method::CONNECT, websocket(true));
        let result = pools.get(0).forward(request).await;
        if valid {
            let forwarded = result.unwrap();
            assert_eq!(forwarded.response.status(), 200);
            assert!(forwarded.response.headers().is_empty());
            ping(forwarded.tunnel.unwrap()).await;
        } else {
            assert_eq!(result.unwrap_err().kind, ErrorKind::BadAnswer(BadAnswer::UnrequestedSwitch));
        }
    }
}

#[tokio::test]
async fn a_websocket_is_refused_when_the_upstream_has_no_extended_connect() {
    let upstream = Upstream::start(|peer, _| async move {
        let mut server = h2::server::handshake(peer.stream).await.unwrap();
        while let Some(Ok((_, to))) = server.accept().await {
            respond(to, "ordinary");
        }
    })
    .await;
    let pools = pools(&[&upstream]);
    let mut request = get("/");
    request.upgrade = websocket(false);
    assert_eq!(pools.get(0).forward(request).await.unwrap_err().kind, ErrorKind::UpgradeUnsupported);
    // Any other protocol may be ignored.
    let mut request = get("/");
    request.upgrade = Some(Upgrade { protocol: HeaderValue::from_static("h2c"), extended_connect: false });
    assert_eq!(text(pools.get(0).forward(request).await.unwrap()).await.unwrap(), "ordinary");
}
