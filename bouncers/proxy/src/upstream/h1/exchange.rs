//! One request and the head of its response on a connection with HTTP/1.1.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::UPGRADE;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::connection::READ_SIZE;
use super::head::{Head, HeadScanner};
use super::writer::SendError;
use super::{Connection, MAX_INTERIM, RequestWriter};
use crate::config::TimeoutsConfig;
use crate::upstream::error::{BadAnswer, BoxError, ErrorKind};
use crate::upstream::exchange::{CONTINUE_TIMEOUT, Failure};
use crate::upstream::retry::Progress;

/// A response's head, and what is needed for the rest.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    pub(crate) head: Head,
    pub(crate) connection: Box<Connection>,
    /// Sends the rest of the request; `None` when it was sent.
    pub(crate) writer: Option<RequestWriter<B>>,
}

/// One request on its way to a response's head.
pub(crate) struct Exchange<'a, B> {
    pub(crate) connection: Box<Connection>,
    pub(crate) writer: RequestWriter<B>,
    pub(crate) timeouts: TimeoutsConfig,
    pub(crate) to_head: bool,
    pub(crate) upgrade: Option<HeaderValue>,
    /// The request's fields. Their memory is used for the response's: once a response was received, the request is not
    /// sent again.
    headers: &'a mut HeaderMap,
    scanner: HeadScanner,
    interim: u8,
    received: bool,
    sent_all: bool,
    write_error: Option<io::Error>,
    /// When the current wait began: for `100 Continue`, for the upstream to take bytes, or for the head.
    waiting_since: Option<Instant>,
    /// [`Connection::writes`] when the wait began.
    writes: u64,
}

type Failed = (ErrorKind, Option<BoxError>, bool);

impl<'a, B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Exchange<'a, B> {
    pub(crate) fn new(
        connection: Box<Connection>,
        writer: RequestWriter<B>,
        timeouts: TimeoutsConfig,
        to_head: bool,
        upgrade: Option<HeaderValue>,
        headers: &'a mut HeaderMap,
    ) -> Self {
        Self {
            connection,
            writer,
            timeouts,
            to_head,
            upgrade,
            headers,
            scanner: HeadScanner::default(),
            interim: 0,
            received: false,
            sent_all: false,
            write_error: None,
            waiting_since: None,
            writes: 0,
        }
    }

    /// Runs until the response's head.
    pub(crate) async fn run(mut self) -> Result<Answer<B>, Failure<B>> {
        match std::future::poll_fn(|cx| self.poll(cx)).await {
            Ok(head) => {
                let writer = (!self.sent_all).then_some(self.writer);
                Ok(Answer { head, connection: self.connection, writer })
            }
            Err((kind, source, died)) => {
                let progress =
                    Progress { sent: self.writer.sent, received: self.received, died, refused: false };
                let stale = self.connection.reused && died && !self.received;
                let counts = kind.counts_against_upstream() && !stale;
                Err(Failure { kind, source, progress, stale, counts, body: self.writer.into_body() })
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failed>> {
        loop {
            self.poll_send(cx)?;
            let held = self.writer.held;
            if let Some(head) = self.poll_receive(cx)? {
                return Poll::Ready(Ok(head));
            }
            // An interim response may have released the body.
            if held == self.writer.held && !self.poll_timeouts(cx)? {
                return Poll::Pending;
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Failed> {
        if self.sent_all || self.write_error.is_some() {
            return Ok(());
        }
        match self.writer.poll_send(cx, &mut self.connection) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                self.sent_all = true;
                self.waiting_since = None;
            }
            Poll::Ready(Err(SendError::Client(error))) => {
                return Err((ErrorKind::ClientBody, Some(error), false));
            }
            // The upstream may have answered before it stopped reading.
            Poll::Ready(Err(SendError::Io(error))) => self.write_error = Some(error),
        }
        Ok(())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Result<Option<Head>, Failed> {
        loop {
            if !self.connection.read.is_empty() {
                if !self.writer.sent {
                    return Err((ErrorKind::BadAnswer(BadAnswer::BeforeRequest), None, true));
                }
                match self.scanner.take_head(&mut self.connection.read, self.to_head, self.headers) {
                    Err(reason) => return Err(bad(reason)),
                    Ok(Some(head)) => {
                        if let Some(head) = self.accept(head)? {
                            return Ok(Some(head));
                        }
                        continue;
                    }
                    Ok(None) => {}
                }
            }
            match self.connection.poll_read(cx, READ_SIZE) {
                Poll::Pending => return Ok(None),
                Poll::Ready(Ok(0)) => return Err(self.closed(None)),
                Poll::Ready(Err(error)) => return Err(self.closed(Some(error))),
                Poll::Ready(Ok(_)) => self.received = true,
            }
        }
    }

    /// The final head; `None` for an interim one. Of those, 103 is not relayed either: what it hints at would reach the
    /// client before the response passed any check.
    fn accept(&mut self, head: Head) -> Result<Option<Head>, Failed> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let protocols = (self.upgrade.as_ref(), head.headers.get(UPGRADE));
            let (Some(wanted), Some(given)) = protocols else {
                return Err(bad(BadAnswer::UnrequestedSwitch));
            };
            if !wanted.as_bytes().eq_ignore_ascii_case(given.as_bytes()) {
                return Err(bad(BadAnswer::UnrequestedSwitch));
            }
            return Ok(Some(head));
        }
        if !head.status.is_informational() {
            return Ok(Some(head));
        }
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(bad(BadAnswer::TooManyInterim));
        }
        if head.status == StatusCode::CONTINUE {
            (self.writer.held, self.waiting_since) = (false, None);
        }
        *self.headers = head.headers;
        Ok(None)
    }

    fn closed(&mut self, error: Option<io::Error>) -> Failed {
        let error = self.write_error.take().or(error);
        (ErrorKind::Closed, error.map(Into::into), true)
    }

    /// Whether a timeout changed what there is to do.
    fn poll_timeouts(&mut self, cx: &mut Context<'_>) -> Result<bool, Failed> {
        let blocked = self.writer.is_blocked_by_upstream(&self.connection);
        let (start, limit, kind) = if self.sent_all || self.write_error.is_some() {
            let start = *self.waiting_since.get_or_insert_with(Instant::now);
            (start, self.timeouts.head, Some(ErrorKind::HeadTimeout))
        } else if blocked {
            if self.writes != self.connection.writes {
                (self.writes, self.waiting_since) = (self.connection.writes, None);
            }
            let start = *self.waiting_since.get_or_insert_with(Instant::now);
            (start, self.timeouts.idle, Some(ErrorKind::SendTimeout))
        } else if self.writer.held {
            (*self.waiting_since.get_or_insert_with(Instant::now), CONTINUE_TIMEOUT, None)
        } else {
            // It is the client's turn, whose body has its own deadlines.
            self.waiting_since = None;
            return Ok(false);
        };
        if self.connection.timer.poll(cx, start + limit).is_pending() {
            return Ok(false);
        }
        match kind {
            Some(kind) => Err((kind, None, false)),
            None => {
                (self.writer.held, self.waiting_since) = (false, None);
                Ok(true)
            }
        }
    }
}

fn bad(reason: BadAnswer) -> Failed {
    (ErrorKind::BadAnswer(reason), None, false)
}
