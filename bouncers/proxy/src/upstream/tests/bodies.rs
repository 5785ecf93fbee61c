//! Bodies in both directions: streaming, back-pressure, timeouts, `Expect`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;

use super::scripted::{PATIENCE, Upstream, config, eventually, get, start, text, with_body};
use crate::upstream::{BoxError, ErrorKind};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// A body whose frames a test sends one by one.
#[derive(Debug)]
pub(super) struct Channel(mpsc::UnboundedReceiver<Result<Frame<Bytes>, BoxError>>);

pub(super) fn channel() -> (mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>, Channel) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Channel(receiver))
}

pub(super) fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

impl Body for Channel {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx)
    }
}

/// Answers with what it received, after the end that the test names.
async fn echo(end: &'static [u8]) -> Upstream {
    Upstream::start(move |mut peer, _| async move {
        while let Some(received) = peer.until(end).await {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{received}", received.len()))
                .await;
        }
    })
    .await
}

#[tokio::test]
async fn a_body_of_known_length_follows_its_head_in_one_message() {
    let upstream = echo(b"\r\n\r\nhello").await;
    let pools = start(config(&[&upstream]));
    for _ in 0..2 {
        let request = with_body(Method::POST, Full::new(Bytes::from_static(b"hello")));
        let seen = text(pools.get(0).forward(request).await.unwrap()).await.unwrap();
        assert_eq!(seen, "POST / HTTP/1.1\r\nhost: client.example\r\ncontent-length: 5\r\n\r\nhello");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_chunked_with_its_trailers() {
    let upstream = echo(b"x-sum: 7\r\n\r\n").await;
    let pools = start(config(&[&upstream]));
    let (sender, body) = channel();
    let large = "x".repeat(20_000);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    trailers.insert("content-length", HeaderValue::from_static("7"));
    sender.send(data("hello")).unwrap();
    sender.send(Ok(Frame::data(Bytes::from(large.clone())))).unwrap();
    sender.send(data("")).unwrap();
    sender.send(data("!")).unwrap();
    sender.send(Ok(Frame::trailers(trailers))).unwrap();
    let seen = text(pools.get(0).forward(with_body(Method::POST, body)).await.unwrap()).await.unwrap();
    let (_, body) = seen.split_once("transfer-encoding: chunked\r\n\r\n").unwrap();
    assert_eq!(body, format!("5\r\nhello\r\n4e20\r\n{large}\r\n1\r\n!\r\n0\r\nx-sum: 7\r\n\r\n"));
}

#[tokio::test]
async fn trailers_of_the_response_pass() {
    let answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nGrpc-Status: 0\r\n\r\n";
    let upstream = Upstream::answering(answer, false).await;
    let pools = start(config(&[&upstream]));
    let forwarded = pools.get(0).forward(get("/")).await.unwrap();
    let collected = forwarded.response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    text(pools.get(0).forward(get("/")).await.unwrap()).await.unwrap();
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn both_bodies_stream_at_the_same_time() {
    let upstream = Upstream::start(|mut peer, _| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..3 {
            peer.until(b"ping\r\n").await;
            peer.send("4\r\npong\r\n").await;
        }
        peer.until(b"0\r\n\r\n").await;
        peer.send("0\r\n\r\n").await;
        peer.head().await;
        peer.send(OK).await;
    })
    .await;
    let pools = start(config(&[&upstream]));
    let (sender, body) = channel();
    let mut response = pools.get(0).forward(with_body(Method::POST, body)).await.unwrap().response;
    for _ in 0..3 {
        sender.send(data("ping")).unwrap();
        let frame =
            tokio::time::timeout(PATIENCE, response.body_mut().frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "pong");
    }
    drop(sender);
    assert!(response.body_mut().frame().await.is_none());
    text(pools.get(0).forward(get("/")).await.unwrap()).await.unwrap();
    assert_eq!(upstream.connections(), 1, "complete in both directions, so it is used again");
}

#[tokio::test]
async fn a_response_before_the_end_of_the_request_ends_the_connection() {
    let upstream = Upstream::start(|mut peer, _| async move {
        peer.head().await;
        peer.send(OK).await;
        peer.hold().await;
    })
    .await;
    let pools = start(config(&[&upstream]));
    let (_sender, body) = channel();
    assert_eq!(text(pools.get(0).forward(with_body(Method::POST, body)).await.unwrap()).await.unwrap(), "hi");
    assert_eq!(pools.get(0).servers()[0].idle_connections(), 0);
    eventually(|| pools.get(0).servers()[0].metrics().open.get() == 0).await;
}

#[tokio::test]
async fn a_failing_client_body_is_the_clients_fault_and_leaves_no_half_request_behind() {
    let upstream = Upstream::start(|mut peer, _| async move {
        assert_eq!(peer.until(b"never").await, None);
    })
    .await;
    let pools = start(config(&[&upstream]));
    let (sender, body) = channel();
    sender.send(data("hel")).unwrap();
    sender.send(Err("gone".into())).unwrap();
    let error = pools.get(0).forward(with_body(Method::PUT, body)).await.unwrap_err();
    assert!(error.is_client());
    assert_eq!(error.cause().unwrap().to_string(), "gone");
    assert_eq!(pools.get(0).servers()[0].metrics().open.get(), 0);

    // A body that is shorter or longer than announced would be completed by, or run into, the next request.
    for text in ["hell", "hello!"] {
        let frames = vec![Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes())))];
        let body = Announced(Frames(frames));
        let error = pools.get(0).forward(with_body(Method::PUT, body)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::ClientBody);
    }
}

/// A stream of frames.
#[derive(Debug)]
struct Frames(Vec<Result<Frame<Bytes>, Infallible>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop())
    }
}

/// A body that announces five bytes.
#[derive(Debug)]
struct Announced(Frames);

impl Body for Announced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(5)
    }
}

#[tokio::test]
async fn an_expecting_client_sends_its_body_after_the_upstreams_100() {
    let upstream = Upstream::start(|mut peer, _| async move {
        let head = peer.head().await.unwrap();
        assert!(head.contains("expect: 100-continue\r\n"));
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.until(b"hello").await;
        peer.send(OK).await;
    })
    .await;
    let pools = start(config(&[&upstream]));
    let mut request = with_body(Method::POST, Full::new(Bytes::from_static(b"hello")));
    request.headers.insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
    assert_eq!(text(pools.get(0).forward(request).await.unwrap()).await.unwrap(), "hi");
}

#[tokio::test]
async fn an_expecting_client_keeps_its_body_when_the_upstream_refuses_it() {
    /// A body that must not be polled.
    struct Untouched;
    impl Body for Untouched {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            panic!("the body was polled")
        }
    }
    let upstream = Upstream::answering("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", false).await;
    let pools = start(config(&[&upstream]));
    let mut request = with_body(Method::POST, Untouched);
    request.headers.insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
    let forwarded = pools.get(0).forward(request).await.unwrap();
    assert_eq!(forwarded.response.status(), 413);
    drop(forwarded);
    assert_eq!(pools.get(0).servers()[0].idle_connections(), 0, "the upstream may wait for the body");
}

#[tokio::test]
async fn an_upstream_that_ignores_the_expectation_gets_the_body_all_the_same() {
    let upstream = echo(b"\r\n\r\nhello").await;
    let pools = start(config(&[&upstream]));
    let mut request = with_body(Method::POST, Full::new(Bytes::from_static(b"hello")));
    request.headers.insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
    assert!(text(pools.get(0).forward(request).await.unwrap()).await.unwrap().ends_with("hello"));
}

#[tokio::test]
async fn a_head_or_a_body_that_does_not_come_is_a_timeout() {
    let upstream = Upstream::start(|mut peer, number| async move {
        peer.head().await;
        match number {
            0 => {}
            1 => peer.send("HTTP/1.1 200 OK\r\n").await,
            _ => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi").await,
        }
        peer.hold().await;
    })
    .await;
    let mut pool = config(&[&upstream]);
    pool.timeouts.head = Duration::from_millis(100);
    pool.timeouts.idle = Duration::from_millis(100);
    let pools = start(pool);
    for _ in 0..2 {
        let error = pools.get(0).forward(get("/")).await.unwrap_err();
        assert_eq!((error.kind, error.status().as_u16(), error.attempts), (ErrorKind::HeadTimeout, 504, 1));
    }
    assert_eq!(text(pools.get(0).forward(get("/")).await.unwrap()).await, Err("Idle".to_owned()));
}

#[tokio::test]
async fn a_slow_client_is_not_taken_for_an_idle_upstream() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(200_000));
    let upstream = Upstream::answering(answer, false).await;
    let mut pool = config(&[&upstream]);
    pool.timeouts.idle = Duration::from_millis(50);
    let pools = start(pool);
    let mut response = pools.get(0).forward(get("/")).await.unwrap().response;
    response.body_mut().frame().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let rest = response.into_body().collect().await.unwrap().to_bytes();
    assert!(rest.len() > 100_000);
}

#[tokio::test]
async fn an_upstream_that_does_not_read_stops_the_client_and_times_out() {
    let upstream = Upstream::start(|peer, _| async move {
        std::future::pending::<()>().await;
        drop(peer);
    })
    .await;
    let mut pool = config(&[&upstream]);
    pool.timeouts.idle = Duration::from_millis(200);
    let pools = start(pool);
    let (sender, body) = channel();
    for _ in 0..1000 {
        sender.send(Ok(Frame::data(Bytes::from(vec![0; 64 * 1024])))).unwrap();
    }
    let error = pools.get(0).forward(with_body(Method::POST, body)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::SendTimeout);
    assert!(sender.is_closed(), "the rest of the body was not taken");
}

#[tokio::test]
async fn a_response_is_not_read_ahead_of_the_client() {
    let (progress, mut sent) = mpsc::unbounded_channel();
    let upstream = Upstream::start(move |mut peer, _| {
        let progress = progress.clone();
        async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
            loop {
                peer.send([0; 64 * 1024]).await;
                progress.send(()).unwrap();
            }
        }
    })
    .await;
    let pools = start(config(&[&upstream]));
    let response = pools.get(0).forward(get("/")).await.unwrap().response;
    // The sockets' buffers fill, and then the upstream is stopped.
    let mut pieces = 0;
    while tokio::time::timeout(Duration::from_millis(500), sent.recv()).await.is_ok() {
        pieces += 1;
        assert!(pieces < 1000, "64 MB were sent without a client that reads");
    }
    drop(response);
}
