//! Requests that a strict listener refuses: one for each row of `docs/proxy-strictness.md` that HTTP/1.1 has here.

use std::sync::Mutex;

use super::options::{GET, Server, UPGRADE, answer_to, echo, tunnel};
use super::*;
use crate::listen::{ListenerOptions, StrictHttp};

type Refused = Arc<Mutex<Vec<(u16, &'static str)>>>;

/// A strict listener, and what it reports.
async fn strict(limits: Limits) -> (Server, Refused) {
    let refused = Refused::default();
    let seen = refused.clone();
    let options = ListenerOptions {
        strict: Some(StrictHttp { head_bytes: 4096, target_bytes: 1024 }),
        on_refused: Some(Arc::new(move |peer, status, reason| {
            assert!(peer.address.is_some());
            seen.lock().unwrap().push((status.as_u16(), reason));
        })),
        ..ListenerOptions::default()
    };
    (Server::new(limits, vec![options]).await, refused)
}

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("transfer-encoding: chunked\r\n", body)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_two_readings_are_answered_with_an_error_and_closed() {
    let (server, refused) = strict(Limits::default()).await;
    let long = |length: usize| "x".repeat(length);
    let rows: Vec<(String, u16)> = vec![
        ("GET / HTTP/1.1\nhost: x\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost: x\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost: x\r\n\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost: x\rx: y\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost: x\r\nx: y\r\n\tfolded\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost : x\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost: x\r\ncontent-length : 5\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost: x\r\nx: a\x0bb\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n".into(), 400),
        ("GET /#a HTTP/1.1\r\nhost: x\r\n\r\n".into(), 400),
        ("GET /a b HTTP/1.1\r\nhost: x\r\n\r\n".into(), 400),
        ("GET  / HTTP/1.1\r\nhost: x\r\n\r\n".into(), 400),
        ("GET\t/ HTTP/1.1\r\nhost: x\r\n\r\n".into(), 400),
        ("GET / HTTP/1.2\r\nhost: x\r\n\r\n".into(), 400),
        ("GET / HTTP/2.0\r\nhost: x\r\n\r\n".into(), 400),
        ("GET /\r\n\r\n".into(), 400),
        ("\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n".into(), 400),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", long(1100)), 414),
        (format!("GET /{}", long(60_000)), 414),
        (format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", long(4100)), 431),
        (format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}", long(60_000)), 431),
        (format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(100)), 431),
        (post("content-length: 3\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), 400),
        (post("transfer-encoding: chunked\r\ncontent-length: 3\r\n", "0\r\n\r\n"), 400),
        (post("content-length: 3\r\ncontent-length: 3\r\n", "abc"), 400),
        (post("content-length: 3, 3\r\n", "abc"), 400),
        (post("content-length: +3\r\n", "abc"), 400),
        (post("content-length: 3\r\ncontent-length: 4\r\n", "abc"), 400),
        (post("transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), 400),
        (post("transfer-encoding: chunked, gzip\r\n", "0\r\n\r\n"), 400),
        (post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501),
        (post("transfer-encoding: identity\r\n", "abc"), 501),
        (post("transfer-encoding: \x0bchunked\r\n", "0\r\n\r\n"), 400),
        ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
    ];
    let bodies = [
        (chunked("3\nabc\r\n0\r\n\r\n"), 400),
        (chunked("3\r\nabc\n0\r\n\r\n"), 400),
        (chunked("3\r\nabcd\r\n0\r\n\r\n"), 400),
        (chunked("0x3\r\nabc\r\n0\r\n\r\n"), 400),
        (chunked("3 \r\nabc\r\n0\r\n\r\n"), 400),
        (chunked("3;a\nb\r\nabc\r\n0\r\n\r\n"), 400),
        (chunked(&format!("3;{}\r\nabc\r\n0\r\n\r\n", long(300))), 400),
        (chunked("fffffffffffffffff\r\nabc"), 400),
        (chunked("0\r\nno trailer\r\n\r\n"), 400),
        (chunked(&format!("0\r\nx: {}\r\n\r\n", long(9000))), 400),
    ];
    let rows = rows.into_iter().map(|row| (row, true)).chain(bodies.map(|row| (row, false)));
    for ((request, status), in_head) in rows {
        let start: String = request.chars().take(90).collect();
        // Alone, and behind another one on the same connection.
        for before in ["", "GET /first HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let answer = answer_to(&server, format!("{before}{request}").as_bytes()).await;
            let last = answer.rsplit_once("HTTP/1.1 ").map(|(_, last)| last).unwrap_or_default();
            assert!(last.starts_with(&status.to_string()), "{start:?}: {answer}");
            assert!(last.contains("\r\nconnection: close\r\n"), "{start:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 200").count(), usize::from(!before.is_empty()), "{start:?}");
        }
        let refused = std::mem::take(&mut *refused.lock().unwrap());
        // The service has seen the others.
        assert_eq!(refused.len(), if in_head { 2 } else { 0 }, "{start:?}: {refused:?}");
        assert!(refused.iter().all(|one| one.0 == status), "{start:?}: {refused:?}");
    }
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_any_pieces_are_refused_in_the_same_way() {
    let (server, _) = strict(Limits::default()).await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: x\r\nx: y\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "501"),
        ("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\n", "400"),
    ] {
        let mut stream = server.connect().await;
        stream.set_nodelay(true).unwrap();
        for byte in request.bytes() {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut answer = String::new();
        timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_requests_pass_a_strict_listener() {
    let (server, refused) = strict(Limits::default()).await;
    let requests = [
        post("content-length: 5\r\n", "\n\n\n\n\n"),
        chunked("5;a=\"b\"\r\n\n\n\n\n\n\r\nA\r\n0123456789\r\n0\r\nchecksum: x\r\n\r\n"),
        "GET http://x/y HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        post(&format!("x: {}\r\n", "y".repeat(3900)), ""),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(1023)),
        format!("{}\r\n", "OPTIONS * HTTP/1.1\r\nhost: x\r\nx_y: underscores are the service's\r\n"),
    ];
    // Pipelined, and larger than one read.
    let all = format!("{}{GET}", requests.concat().repeat(5));
    let answer = answer_to(&server, all.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), requests.len() * 5 + 1, "{answer}");
    assert!(answer_to(&server, b"GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200"));
    assert!(refused.lock().unwrap().is_empty());
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_carry_any_bytes_once_they_are_open() {
    let (server, _) = strict(Limits::default()).await;
    let mut open = tunnel(&server).await;
    open.write_all(b"\n\0\r\r\nGET /#\n").await.unwrap();
    let mut echoed = [0; 12];
    timeout(Duration::from_secs(10), open.read_exact(&mut echoed)).await.unwrap().unwrap();
    assert_eq!(&echoed, b"\n\0\r\r\nGET /#\n");
    echo(&mut open).await;
    drop(open);
    // Bytes that do not wait for the response, and are no request, close the connection instead.
    let answer = answer_to(&server, &[UPGRADE, b"\x81\x05hello\n"].concat()).await;
    assert_eq!(answer, "");
    assert_eq!(server.refused("early_tunnel"), 1);
    server.close().await;
}
