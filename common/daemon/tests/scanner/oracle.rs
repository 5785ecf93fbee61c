//! Holds the scanner of strict listeners against hyper: both see the same requests with the same bodies in whatever the
//! scanner lets pass, and hyper refuses what follows a violation. Used by a test and by a fuzz target.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Version, header};
use hyper_util::rt::TokioIo;
use palisade_daemon::listen::StrictHttp;
use palisade_daemon::listen::strict::{RequestScanner, UNPARSABLE};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Scans these bytes in pieces of one size, and has hyper serve what is passed.
///
/// # Panics
///
/// When they differ.
pub(crate) fn check(size: usize, bytes: &[u8]) {
    let limits = StrictHttp { head_bytes: 2048, target_bytes: 512 };
    let mut scanner = RequestScanner::new(limits);
    let (mut passed, mut stop) = (Vec::new(), None);
    for piece in bytes.chunks(size.max(1)) {
        match scanner.scan(piece) {
            Ok(()) => passed.extend_from_slice(piece),
            Err(found) => {
                passed.extend_from_slice(&piece[..found.at]);
                stop = Some(found);
                break;
            }
        }
    }
    let heads = scanner.heads();
    assert_lines(&passed);
    if stop.is_some() {
        passed.extend_from_slice(UNPARSABLE);
    }
    let served = serve(passed.clone());
    let text = || String::from_utf8_lossy(&passed).into_owned();
    // hyper may refuse more, and stops after a request with `Connection: close`.
    assert!(served.requests.len() <= heads as usize, "{heads} heads, {served:?}: {:?}", text());
    if let Some(stop) = stop {
        assert!(served.requests.len() as u32 <= stop.request, "{stop:?} {served:?}: {:?}", text());
        if let Some(last) = served.requests.get(stop.request as usize - 1) {
            assert!(stop.in_body && last.body.is_none(), "{stop:?} {served:?}: {:?}", text());
        }
    } else if scanner.is_between_requests() && !served.refused && !served.closed {
        assert_eq!(served.requests.len(), heads as usize, "{served:?}: {:?}", text());
        assert!(served.requests.iter().all(|request| request.body.is_some()), "{served:?}: {:?}", text());
    }
    for request in &served.requests {
        assert!(request.hosts == 1 || (request.old && request.hosts == 0), "{request:?}: {:?}", text());
        assert!(request.framings <= 1, "{request:?}: {:?}", text());
    }
}

/// Outside of bodies, of which nothing is known here, a line feed stands behind a carriage return: so at least the first
/// head has no other.
fn assert_lines(passed: &[u8]) {
    let head =
        passed.windows(4).position(|four| four == b"\r\n\r\n").map_or(passed, |end| &passed[..end + 4]);
    let bare =
        head.iter().enumerate().find(|(at, byte)| **byte == b'\n' && (*at == 0 || head[*at - 1] != b'\r'));
    assert_eq!(bare, None, "{:?}", String::from_utf8_lossy(passed));
}

#[derive(Debug)]
struct Seen {
    /// `None` if it is malformed or ends early.
    body: Option<usize>,
    hosts: usize,
    /// Lines of Content-Length and Transfer-Encoding.
    framings: usize,
    old: bool,
}

#[derive(Debug)]
struct Served {
    requests: Vec<Seen>,
    /// Whether hyper has refused a head.
    refused: bool,
    /// Whether a request asked for the end of the connection.
    closed: bool,
}

/// What hyper makes of these bytes.
fn serve(bytes: Vec<u8>) -> Served {
    let requests = Arc::new(Mutex::new((Vec::new(), false)));
    let written = Arc::new(Mutex::new(Vec::new()));
    let io = Script { bytes, at: 0, written: written.clone() };
    let seen = requests.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let headers = request.headers();
            let count = |name| headers.get_all(name).iter().count();
            let one = Seen {
                body: None,
                hosts: count(header::HOST),
                framings: count(header::CONTENT_LENGTH) + count(header::TRANSFER_ENCODING),
                old: request.version() == Version::HTTP_10,
            };
            let ends =
                one.old || headers.contains_key(header::CONNECTION) || headers.contains_key(header::UPGRADE);
            let connects = request.method() == "CONNECT";
            let position = {
                let mut seen = seen.lock().unwrap();
                seen.1 |= ends || connects;
                seen.0.push(one);
                seen.0.len() - 1
            };
            let body = request.into_body().collect().await.ok().map(|body| body.to_bytes().len());
            seen.lock().unwrap().0[position].body = body;
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut builder = http1::Builder::new();
    builder.max_buf_size(16 * 1024);
    runtime.block_on(async {
        tokio::select! {
            biased;
            _ = builder.serve_connection(TokioIo::new(io), service) => {}
            () = settle() => {}
        }
    });
    let answers = String::from_utf8_lossy(&written.lock().unwrap()).into_owned();
    let (requests, closed) = std::mem::take(&mut *requests.lock().unwrap());
    Served { requests, refused: answers.contains("HTTP/1.1 4"), closed }
}

/// Long enough for hyper to do what it can with the bytes that are there.
async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

/// A client that sends these bytes and then waits: hyper would drop a request at the end of the connection.
struct Script {
    bytes: Vec<u8>,
    at: usize,
    written: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at == self.bytes.len() {
            return Poll::Pending;
        }
        let taken = buffer.remaining().min(self.bytes.len() - self.at);
        buffer.put_slice(&self.bytes[self.at..self.at + taken]);
        self.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.lock().unwrap().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
