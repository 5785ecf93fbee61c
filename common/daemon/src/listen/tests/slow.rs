//! Slow clients of a strict listener: bodies that do not come, responses that are not taken, handshakes, descriptors.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Frame};

use super::floods::{
    DATA, END_HEADERS, END_STREAM, GET, HEADERS, POST, SETTINGS, WINDOW_UPDATE, connect, frame, receive,
};
use super::options::Server;
use super::*;
use crate::listen::{ListenerOptions, StrictHttp};

fn limits() -> Limits {
    Limits {
        body_idle: Duration::from_millis(800),
        body_grace: Duration::from_millis(800),
        body_rate: 1000,
        write_stalled: Duration::from_millis(500),
        ..Limits::default()
    }
}

async fn strict() -> Server {
    let options = ListenerOptions { strict: Some(StrictHttp::default()), ..ListenerOptions::default() };
    Server::new(limits(), vec![options]).await
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("it is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_stop_or_drip_are_answered_with_a_timeout() {
    let server = strict().await;
    for (head, dripped) in [
        ("content-length: 100000", &b""[..]),
        ("content-length: 100000", b"x"),
        ("transfer-encoding: chunked", b""),
        ("transfer-encoding: chunked", b"1\r\nx\r\n"),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(format!("POST / HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n").as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let mut answer = [0; 12];
        let dripping = async {
            while write.write_all(dripped).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            read = timeout(Duration::from_secs(20), read.read_exact(&mut answer)) => {
                read.expect("it ends").unwrap();
            }
            () = dripping => {}
        }
        assert_eq!(&answer, b"HTTP/1.1 408", "{head} {dripped:?}");
        assert!(rest(&mut stream).await.contains("connection: close\r\n"), "{head}");
    }
    assert_eq!(server.refused("slow_body"), 4);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_at_a_rate_may_take_long() {
    let server = strict().await;
    let mut stream = server.connect().await;
    let chunk = [b'x'; 1000];
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 20000\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..20 {
        stream.write_all(&chunk).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200"));
    server.close().await;
}

/// A body without an end, in small parts.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 100])))))
    }
}

/// A strict listener whose responses do not end.
async fn endless() -> Server {
    let options = ListenerOptions { strict: Some(StrictHttp::default()), ..ListenerOptions::default() };
    let service = tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Endless)));
    Server::serving(limits(), vec![options], service).await
}

/// Waits until the server has closed all connections, whether the client notices or not.
async fn all_closed(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server.connections.is_empty() {
        assert!(Instant::now() < deadline, "a connection stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_that_are_not_read_end_the_connection() {
    let server = endless().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream.readable().await.unwrap();
    all_closed(&server).await;
    assert!(server.connections.metrics().cut.get() >= 1);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_window_that_opens_byte_by_byte_does_not_hold_a_connection() {
    let server = endless().await;
    let head = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET);
    // A window of nothing from the start, one that is used up, and both with a byte more now and then.
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for before in [&no_window[..], b""] {
        for drips in [false, true] {
            let mut stream = connect(&server).await;
            stream.write_all(&[before, &head].concat()).await.unwrap();
            let (mut read, mut write) = stream.split();
            let reading = async { while receive(&mut read).await.is_some() {} };
            let dripping = async {
                let drip = [0, 1].map(|stream| frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1])).concat();
                while !drips || write.write_all(&drip).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                read = timeout(Duration::from_secs(20), reading) => read.expect("it is closed"),
                () = dripping => {}
            }
        }
    }
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_body_that_drips_is_answered_and_other_streams_go_on() {
    let server = strict().await;
    let mut stream = connect(&server).await;
    stream.write_all(&frame(HEADERS, END_HEADERS, 1, POST)).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut answers = Vec::new();
    let reading = async {
        while answers.len() < 4 {
            let (kind, _, id, payload) = receive(&mut read).await.expect("the connection stays");
            if kind == HEADERS {
                answers.push((id, payload[0]));
            }
        }
    };
    let dripping = async {
        for number in 0.. {
            let mut frames = frame(DATA, 0, 1, b"x");
            if number % 10 == 5 {
                frames.extend(frame(HEADERS, END_STREAM | END_HEADERS, 3 + 2 * number, GET));
            }
            if write.write_all(&frames).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        read = timeout(Duration::from_secs(20), reading) => read.expect("all are answered"),
        () = dripping => {}
    }
    // `:status` by the static table: 0x88 is 200, 0x48 begins another one.
    assert!(answers.iter().any(|(id, status)| *id == 1 && *status == 0x48), "{answers:?}");
    assert!(answers.iter().filter(|(id, status)| *id != 1 && *status == 0x88).count() >= 2, "{answers:?}");
    assert_eq!(server.refused("slow_body"), 1);
    server.close().await;
}
