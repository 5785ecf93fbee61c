//! Sends a request: head, then the client's body as fast as both sides allow.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};
use http::HeaderMap;
use http_body::Body;

use super::Connection;
use super::chunked::may_trail;
use super::encode::BodyFraming;
use crate::upstream::error::BoxError;
use crate::upstream::retry::{Replay, RequestBody};

/// Frames up to this size are copied behind the head, so that a small request is one write.
const COPY_LIMIT: usize = 8 * 1024;
/// The body is polled while less than this waits to be written.
const BUFFER_LIMIT: usize = 16 * 1024;

/// Why a request could not be sent.
#[derive(Debug)]
pub(crate) enum SendError {
    Client(BoxError),
    Io(io::Error),
}

/// The client's body does not have the length that it announced.
#[derive(Debug, thiserror::Error)]
#[error("the request's body does not have the announced length")]
pub(crate) struct LengthMismatch;

/// What follows the data that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    None,
    EndOfChunk,
    EndOfBody,
}

/// Sends one request.
#[derive(Debug)]
pub(crate) struct RequestWriter<B> {
    body: RequestBody<B>,
    framing: BodyFraming,
    /// Data too large to be copied; follows the connection's buffer.
    data: Bytes,
    tail: Tail,
    replay: Replay,
    /// The body waits for `100 Continue`.
    pub(crate) held: bool,
    /// Whether any byte was written.
    pub(crate) sent: bool,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> RequestWriter<B> {
    /// The head is in the connection's buffer already.
    pub(crate) fn new(body: RequestBody<B>, framing: BodyFraming, held: bool) -> Self {
        let held = held && !matches!(body, RequestBody::Empty);
        Self {
            body,
            framing,
            data: Bytes::new(),
            tail: Tail::None,
            replay: Replay::Untouched,
            held,
            sent: false,
        }
    }

    /// Whether the upstream has to take bytes before anything else can be done.
    pub(crate) fn is_blocked_by_upstream(&self, connection: &Connection) -> bool {
        !connection.write.is_empty() || !self.data.is_empty()
    }

    /// The body for another attempt, unless too much of it was used.
    pub(crate) fn into_body(self) -> Option<RequestBody<B>> {
        self.replay.into_body(self.body)
    }

    /// Ready when the whole request was handed to the socket.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Poll<Result<(), SendError>> {
        loop {
            while self.takes_body(connection) {
                if self.poll_body(cx, connection)?.is_pending() {
                    break;
                }
            }
            if connection.write.is_empty() && self.data.is_empty() {
                ready!(connection.poll_flush(cx)).map_err(SendError::Io)?;
                return if matches!(self.body, RequestBody::Empty) {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }
            ready!(connection.poll_write(cx, &mut self.data)).map_err(SendError::Io)?;
            self.sent = true;
            if self.data.is_empty() {
                match std::mem::replace(&mut self.tail, Tail::None) {
                    Tail::None => {}
                    Tail::EndOfChunk => connection.write.put_slice(b"\r\n"),
                    Tail::EndOfBody => connection.write.put_slice(b"\r\n0\r\n\r\n"),
                }
            }
        }
    }

    fn takes_body(&self, connection: &Connection) -> bool {
        !self.held
            && self.data.is_empty()
            && !matches!(self.body, RequestBody::Empty)
            && connection.write.len() < BUFFER_LIMIT
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Poll<Result<(), SendError>> {
        let stream = match &mut self.body {
            RequestBody::Empty => return Poll::Ready(Ok(())),
            RequestBody::Replay(bytes) => {
                let bytes = std::mem::take(bytes);
                return Poll::Ready(self.push(bytes, true, connection));
            }
            RequestBody::Stream(stream) => stream,
        };
        let frame = ready!(Pin::new(&mut **stream).poll_frame(cx));
        let ended = stream.is_end_stream();
        Poll::Ready(match frame {
            None => self.end(None, connection),
            Some(Err(error)) => Err(SendError::Client(error.into())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.push(data, ended, connection),
                Err(frame) => self.end(frame.into_trailers().ok(), connection),
            },
        })
    }

    fn push(&mut self, data: Bytes, ended: bool, connection: &mut Connection) -> Result<(), SendError> {
        if !data.is_empty() {
            self.replay.record(&data);
            let chunked = self.put_chunk_size(data.len(), connection)?;
            if data.len() > COPY_LIMIT {
                self.data = data;
                self.tail = if chunked { Tail::EndOfChunk } else { Tail::None };
            } else {
                connection.write.extend_from_slice(&data);
                if chunked {
                    connection.write.extend_from_slice(b"\r\n");
                }
            }
        }
        if ended { self.end(None, connection) } else { Ok(()) }
    }

    fn put_chunk_size(&mut self, length: usize, connection: &mut Connection) -> Result<bool, SendError> {
        match &mut self.framing {
            BodyFraming::None => Err(SendError::Client(LengthMismatch.into())),
            BodyFraming::Length(left) => {
                *left = left
                    .checked_sub(length as u64)
                    .ok_or_else(|| SendError::Client(LengthMismatch.into()))?;
                Ok(false)
            }
            BodyFraming::Chunked => {
                connection.write.extend_from_slice(format!("{length:x}\r\n").as_bytes());
                Ok(true)
            }
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>, connection: &mut Connection) -> Result<(), SendError> {
        self.body = RequestBody::Empty;
        match self.framing {
            BodyFraming::None | BodyFraming::Length(0) => Ok(()),
            // Bytes that were announced and are missing must not be taken from the next request.
            BodyFraming::Length(_) => Err(SendError::Client(LengthMismatch.into())),
            BodyFraming::Chunked if self.tail == Tail::EndOfChunk => {
                self.tail = Tail::EndOfBody;
                Ok(())
            }
            BodyFraming::Chunked => {
                connection.write.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().flatten().filter(|(name, _)| may_trail(name)) {
                    self.replay = Replay::Lost;
                    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                        connection.write.extend_from_slice(part);
                    }
                }
                connection.write.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }
}
