//! Hostile HTTP/2 clients, with frames made by hand.

use super::options::Server;
use super::*;
use crate::listen::{ListenerOptions, StrictHttp};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// Reason codes.
const ENHANCE_YOUR_CALM: u32 = 11;
const HTTP_1_1_REQUIRED: u32 = 13;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET http://x/`, with indexed fields and a literal authority.
pub(super) const GET: &[u8] = b"\x82\x84\x86\x41\x01x";
/// `POST http://x/`.
pub(super) const POST: &[u8] = b"\x83\x84\x86\x41\x01x";

async fn strict(limits: Limits) -> Server {
    let options = ListenerOptions { strict: Some(StrictHttp::default()), ..ListenerOptions::default() };
    Server::new(limits, vec![options]).await
}

pub(super) async fn connect(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await.unwrap();
    stream
}

/// A received frame: kind, flags, stream, payload.
pub(super) type Received = (u8, u8, u32, Vec<u8>);

pub(super) async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.ok()?;
    let [a, b, c, kind, flags, id @ ..] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((kind, flags, u32::from_be_bytes(id), payload))
}

/// Sends one thing again and again until the server ends the connection; returns the reason of its GOAWAY, if there was
/// one, and how often it was sent.
async fn flood(server: &Server, before: &[u8], mut next: impl FnMut(u32) -> Vec<u8>) -> (Option<u32>, u32) {
    let mut stream = connect(server).await;
    stream.write_all(before).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut reason = None;
    let reading = async {
        while let Some((kind, _, _, payload)) = receive(&mut read).await {
            if kind == GO_AWAY {
                let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
                // hyper also announces an orderly end.
                reason = reason.filter(|there| *there != 0).or(Some(code));
            }
        }
    };
    let mut count = 0;
    let writing = async {
        for number in 0..60_000 {
            count = number;
            if write.write_all(&next(number)).await.is_err() {
                break;
            }
            // So that the last frame is read before a reset of the connection discards it.
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), async { tokio::join!(reading, writing) }).await.expect("it is ended");
    (reason, count)
}

fn stream_id(number: u32) -> u32 {
    2 * number + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_the_connection_with_enhance_your_calm() {
    let server = strict(Limits::default()).await;
    let get = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET);
    let post = frame(HEADERS, END_HEADERS, 1, POST);
    type Next = Box<dyn FnMut(u32) -> Vec<u8>>;
    let same = |one: Vec<u8>| -> Next { Box::new(move |_| one.clone()) };
    let cases: Vec<(&'static str, Vec<u8>, Next)> = vec![
        ("ping_flood", vec![], same(frame(PING, 0, 0, &[0; 8]))),
        ("settings_flood", vec![], same(frame(SETTINGS, 0, 0, b""))),
        ("window_update_flood", vec![], same(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        ("priority_flood", vec![], same(frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9]))),
        ("window_update_flood", get.clone(), same(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]))),
        ("empty_data_flood", post.clone(), same(frame(DATA, 0, 1, b""))),
        ("other_frames_flood", vec![], same(frame(0x0b, 0, 0, b"x"))),
        ("other_frames_flood", vec![], same(frame(PING, 1, 0, &[0; 8]))),
    ];
    for (reason, before, next) in cases {
        let counted = server.refused(reason);
        // All at once, too, with the preface.
        let mut stream = server.connect().await;
        let mut next = next;
        let burst = [PREFACE, &frame(SETTINGS, 0, 0, b""), &before, &next(0).repeat(300)].concat();
        stream.write_all(&burst).await.unwrap();
        let mut kinds = Vec::new();
        while let Some((kind, ..)) =
            timeout(Duration::from_secs(10), receive(&mut stream)).await.expect("it ends")
        {
            kinds.push(kind);
        }
        assert!(kinds.first() == Some(&SETTINGS) && kinds.last() == Some(&GO_AWAY), "{reason}: {kinds:?}");
        let (code, _) = flood(&server, &before, next).await;
        assert_eq!((code, server.refused(reason)), (Some(ENHANCE_YOUR_CALM), counted + 2), "{reason}");
    }
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_and_resets_that_the_server_must_send_end_the_connection() {
    let server = strict(Limits::default()).await;
    // CVE-2023-44487.
    let rapid = |number| {
        let id = stream_id(number);
        [frame(HEADERS, END_STREAM | END_HEADERS, id, GET), frame(RESET, 0, id, &[0, 0, 0, 8])].concat()
    };
    let (code, count) = flood(&server, b"", rapid).await;
    assert!(code == Some(ENHANCE_YOUR_CALM) && count < 50_000, "{code:?} {count}");
    // CVE-2025-8671: frames on a stream that is half closed, and a WINDOW_UPDATE of zero.
    let half_closed = |number| {
        let id = stream_id(number);
        [frame(HEADERS, END_STREAM | END_HEADERS, id, GET), frame(DATA, 0, id, b"x")].concat()
    };
    let (code, count) = flood(&server, b"", half_closed).await;
    assert!(code.is_some_and(|code| code != 0) && count < 50_000, "{code:?} {count}");
    let zero = |number| {
        let id = stream_id(number);
        [frame(HEADERS, END_HEADERS, id, POST), frame(WINDOW_UPDATE, 0, id, &[0; 4])].concat()
    };
    let (code, count) = flood(&server, b"", zero).await;
    assert!(code.is_some_and(|code| code != 0) && count < 50_000, "{code:?} {count}");
    // A body longer than its Content-Length of 1.
    let mismatch = |number| {
        let id = stream_id(number);
        let head = [POST, b"\x5c\x011"].concat();
        [frame(HEADERS, END_HEADERS, id, &head), frame(DATA, END_STREAM, id, b"xx")].concat()
    };
    let (code, count) = flood(&server, b"", mismatch).await;
    assert!(code == Some(ENHANCE_YOUR_CALM) && count < 5000, "{code:?} {count}");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_in_too_many_pieces_or_too_large_end_the_connection() {
    let server = strict(Limits::default()).await;
    // CVE-2024-27316, with and without content.
    for payload in [&b""[..], b"\x90"] {
        let begun = frame(HEADERS, END_STREAM, 1, GET);
        let (code, _) = flood(&server, &begun, |_| frame(CONTINUATION, 0, 1, payload)).await;
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{payload:?}");
    }
    // One field of 4 KiB in the table, named a hundred times in each head.
    let large = [GET, b"\x40\x01a\x7f\x81\x1e", &[b'y'; 3968][..]].concat();
    let first = frame(HEADERS, END_STREAM | END_HEADERS, 1, &large);
    let bomb = |number| {
        frame(HEADERS, END_STREAM | END_HEADERS, stream_id(number + 1), &[GET, &[0xbe; 5000]].concat())
    };
    let (code, count) = flood(&server, &first, bomb).await;
    assert!(code.is_some_and(|code| code != 0) && count < 10_000, "{code:?} {count}");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_http2_clients_are_closed() {
    let limits = Limits { first_byte: Duration::from_millis(500), ..quick() };
    let server = strict(limits).await;
    // Nothing, a part of the preface, all of it and nothing else, an unfinished frame, an unfinished head.
    let unfinished = frame(HEADERS, END_HEADERS, 1, GET);
    for bytes in [
        b"".to_vec(),
        PREFACE[..9].to_vec(),
        PREFACE.to_vec(),
        [PREFACE, &frame(SETTINGS, 0, 0, b""), &unfinished[..12]].concat(),
        [PREFACE, &frame(SETTINGS, 0, 0, b""), &frame(HEADERS, 0, 1, GET)].concat(),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(&bytes).await.unwrap();
        assert!(closed(&mut stream).await < Duration::from_secs(10), "{bytes:?}");
    }
    // Idle after a request.
    let mut stream = connect(&server).await;
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, GET)).await.unwrap();
    let mut seen = Vec::new();
    while let Some((kind, ..)) =
        timeout(Duration::from_secs(10), receive(&mut stream)).await.expect("it is closed")
    {
        seen.push(kind);
    }
    assert!(seen.contains(&HEADERS) && seen.contains(&GO_AWAY), "{seen:?}");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_without_http2_say_so() {
    let options = ListenerOptions { http2: false, ..ListenerOptions::default() };
    let server = Server::new(Limits::default(), vec![options]).await;
    let mut stream = connect(&server).await;
    assert_eq!(receive(&mut stream).await.unwrap().0, SETTINGS);
    let (kind, _, _, payload) = receive(&mut stream).await.unwrap();
    assert_eq!((kind, payload[4..].to_vec()), (GO_AWAY, HTTP_1_1_REQUIRED.to_be_bytes().to_vec()));
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_http2_clients_pass_the_guard() {
    let server = strict(Limits::default()).await;
    let mut stream = connect(&server).await;
    let (mut answered, mut acknowledged) = (0, 0);
    for number in 0..300 {
        let id = stream_id(number);
        let mut frames = frame(HEADERS, END_STREAM | END_HEADERS, id, GET);
        if number % 10 == 0 {
            frames.extend(frame(PING, 0, 0, &[0; 8]));
            frames.extend(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]));
        }
        stream.write_all(&frames).await.unwrap();
        while answered <= number {
            let (kind, flags, _, payload) =
                timeout(Duration::from_secs(10), receive(&mut stream)).await.unwrap().unwrap();
            assert_ne!(kind, GO_AWAY, "{payload:?}");
            answered += u32::from(kind == DATA && flags & END_STREAM != 0);
            acknowledged += u32::from(kind == PING);
        }
    }
    assert!(acknowledged >= 29, "{acknowledged}");
    server.close().await;
}
