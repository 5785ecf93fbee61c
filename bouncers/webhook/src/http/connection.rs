//! One HTTP/1.1 connection and the exchanges on it, one at a time.
//!
//! The connection is driven by the future of the exchange itself and not by a task of its own: that saves two switches
//! between tasks for each message, and nothing is left over when a client is dropped.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::transport::{ReadLimit, Transport};

/// Longest head of a response, in bytes.
pub const MAX_RESPONSE_HEAD: usize = 64 * 1024;
/// Most bytes read before the head of the response is complete: itself and interim responses (1xx) together.
pub const MAX_RESPONSE_HEADS: usize = MAX_RESPONSE_HEAD + 16 * 1024;
/// Most headers of a response.
pub const MAX_RESPONSE_HEADERS: usize = 128;
/// A connection that was idle for this long is not used again: firewalls on the way forget it without a word, usually
/// after a minute or more.
const MAX_IDLE: Duration = Duration::from_secs(50);
/// How much earlier than the receiver's `Keep-Alive: timeout` a connection is given up, so that a request does not cross
/// its end.
const IDLE_MARGIN: Duration = Duration::from_secs(1);
/// How long the end of a connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) type HttpRequest = Request<Full<Bytes>>;

/// A response whose body was read as far as the limit allows.
pub(super) struct Exchanged {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
    pub(super) end: BodyEnd,
}

/// How the reading of a body ended.
pub(super) enum BodyEnd {
    Complete,
    /// At the limit; the rest is discarded with the connection.
    Limit,
    Failed(hyper::Error),
}

/// Why there is no response.
pub(super) enum ExchangeError {
    /// The connection was closed before it took the request, which is given back.
    Unsent(Box<HttpRequest>),
    Failed(hyper::Error),
    /// Interim responses without end.
    TooManyInterim,
}

type Driver = http1::Connection<TokioIo<Transport>, Full<Bytes>>;

pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    driver: Option<Driver>,
    read_limit: ReadLimit,
    idle_since: Instant,
    max_idle: Duration,
}

impl Connection {
    pub(super) async fn new(transport: Transport) -> hyper::Result<Self> {
        let mut builder = http1::Builder::new();
        builder.max_headers(MAX_RESPONSE_HEADERS).max_header_size(MAX_RESPONSE_HEAD);
        let read_limit = transport.read_limit.clone();
        let (sender, driver) = builder.handshake(TokioIo::new(transport)).await?;
        Ok(Self { sender, driver: Some(driver), read_limit, idle_since: Instant::now(), max_idle: MAX_IDLE })
    }

    /// Whether the receiver, as far as is known, still has the connection open.
    pub(super) async fn is_usable(&mut self) -> bool {
        if self.idle_since.elapsed() >= self.max_idle {
            return false;
        }
        // The end of the connection, if it has arrived, is read here.
        self.poll_driver().await;
        self.driver.is_some() && !self.sender.is_closed()
    }

    /// Sends a request and reads the response. If this is dropped midway, the connection must be dropped too.
    pub(super) async fn exchange(
        &mut self,
        request: HttpRequest,
        body_limit: impl FnOnce(&response::Parts) -> usize,
    ) -> Result<Exchanged, ExchangeError> {
        let Self { sender, driver, read_limit, .. } = self;
        if drive(driver, sender.ready()).await.is_err() {
            return Err(ExchangeError::Unsent(Box::new(request)));
        }
        read_limit.set(MAX_RESPONSE_HEADS as u64);
        let mut responded = pin!(sender.try_send_request(request));
        let head = poll_fn(|cx| match responded.as_mut().poll(cx) {
            Poll::Pending if read_limit.is_reached() => Poll::Ready(None),
            response => response.map(Some),
        });
        let response = drive(driver, head).await.ok_or(ExchangeError::TooManyInterim)?;
        read_limit.lift();
        let (head, body) =
            response.map(Response::into_parts).map_err(|mut error| match error.take_message() {
                Some(request) => ExchangeError::Unsent(Box::new(request)),
                None => ExchangeError::Failed(error.into_error()),
            })?;
        let limit = body_limit(&head);
        let (body, end) = read(driver, body, limit).await;
        if let Some(timeout) = announced_timeout(&head.headers) {
            self.max_idle = timeout.saturating_sub(IDLE_MARGIN).min(MAX_IDLE);
        }
        self.idle_since = Instant::now();
        // Closes the connection if the receiver wants that.
        self.poll_driver().await;
        Ok(Exchanged { head, body, end })
    }

    /// Ends in order: with TLS by a `close_notify` alert.
    pub(super) async fn close(self) {
        drop(self.sender);
        if let Some(driver) = self.driver {
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, driver).await;
        }
    }

    async fn poll_driver(&mut self) {
        poll_fn(|cx| {
            if let Some(driver) = &mut self.driver
                && Pin::new(driver).poll(cx).is_ready()
            {
                self.driver = None;
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Polls a future and the connection that makes it progress.
async fn drive<F: Future>(driver: &mut Option<Driver>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        let Some(connection) = driver else { return Poll::Pending };
        if Pin::new(connection).poll(cx).is_ready() {
            // What waits for a response sees an error when the connection is dropped, if it has not one already.
            *driver = None;
        }
        future.as_mut().poll(cx)
    })
    .await
}

async fn read(driver: &mut Option<Driver>, mut body: Incoming, limit: usize) -> (Bytes, BodyEnd) {
    // The usual body is one frame, which is not copied.
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let end = loop {
        let data = match drive(driver, body.frame()).await {
            None => break BodyEnd::Complete,
            Some(Err(error)) => break BodyEnd::Failed(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_) => continue, // Trailers.
            },
        };
        let have = first.len() + whole.len();
        if have + data.len() > limit {
            whole.extend_from_slice(&first);
            first.clear();
            whole.extend_from_slice(&data[..limit - have]);
            break BodyEnd::Limit;
        }
        if have == 0 {
            first = data;
        } else {
            whole.extend_from_slice(&first);
            first.clear();
            whole.extend_from_slice(&data);
        }
    };
    (if whole.is_empty() { first } else { whole.freeze() }, end)
}

/// The `timeout` of `Keep-Alive`, which nginx and Node.js send.
fn announced_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}
