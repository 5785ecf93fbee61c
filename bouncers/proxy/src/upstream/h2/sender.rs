//! Sends the body of a request as fast as the client delivers it and the upstream's window allows.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use http_body::Body;
use tokio::time::Instant;

use crate::upstream::error::BoxError;
use crate::upstream::h1::{LengthMismatch, may_trail};
use crate::upstream::retry::{Replay, RequestBody};

/// Why a body was not sent to its end.
#[derive(Debug)]
pub(crate) enum SendError {
    Client(BoxError),
    /// The upstream takes no more of it. Its response may be on the way.
    Stopped,
}

/// Sends one body.
#[derive(Debug)]
pub(crate) struct BodySender<B> {
    stream: SendStream<Bytes>,
    body: RequestBody<B>,
    /// Announced and not sent yet.
    left: Option<u64>,
    data: Bytes,
    /// Nothing follows `data`.
    ended: bool,
    replay: Replay,
    /// The body waits for `100 Continue`.
    pub(crate) held: bool,
    /// Nothing more is sent; kept for what it remembers of the body.
    pub(crate) finished: bool,
    /// When the upstream last took data.
    pub(crate) last_write: Instant,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> BodySender<B> {
    pub(crate) fn new(
        stream: SendStream<Bytes>,
        body: RequestBody<B>,
        left: Option<u64>,
        held: bool,
    ) -> Self {
        let (data, ended, replay, last_write) = (Bytes::new(), false, Replay::Untouched, Instant::now());
        Self { stream, body, left, data, ended, replay, held, finished: false, last_write }
    }

    /// Whether the upstream has to take data before anything else can be done.
    pub(crate) fn is_blocked_by_upstream(&self) -> bool {
        !self.data.is_empty()
    }

    /// The body for another attempt, unless too much of it was used.
    pub(crate) fn into_body(self) -> Option<RequestBody<B>> {
        self.replay.into_body(self.body)
    }

    /// Ready when the whole body was handed to the connection.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.finished {
            return Poll::Pending;
        }
        loop {
            if !self.data.is_empty() {
                ready!(self.poll_data(cx))?;
            } else if self.ended {
                return Poll::Ready(Ok(()));
            } else if self.held {
                return self.poll_stopped(cx);
            } else {
                match self.poll_body(cx) {
                    Poll::Ready(result) => result?,
                    Poll::Pending => return self.poll_stopped(cx),
                }
            }
        }
    }

    /// While the client is slow, the upstream may lose interest.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.stream.poll_reset(cx).map(|_| Err(SendError::Stopped))
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.stream.reserve_capacity(self.data.len());
        let Some(Ok(capacity)) = ready!(self.stream.poll_capacity(cx)) else {
            return Poll::Ready(Err(SendError::Stopped));
        };
        let piece = self.data.split_to(capacity.min(self.data.len()));
        let is_last = self.ended && self.data.is_empty();
        self.last_write = Instant::now();
        Poll::Ready(self.stream.send_data(piece, is_last).map_err(|_| SendError::Stopped))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let stream = match &mut self.body {
            RequestBody::Empty => return Poll::Ready(self.end(None)),
            RequestBody::Replay(bytes) => {
                let bytes = std::mem::take(bytes);
                return Poll::Ready(self.push(bytes, true));
            }
            RequestBody::Stream(stream) => stream,
        };
        let frame = ready!(Pin::new(&mut **stream).poll_frame(cx));
        let ended = stream.is_end_stream();
        Poll::Ready(match frame {
            None => self.end(None),
            Some(Err(error)) => Err(self.fail(error.into())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.push(data, ended),
                Err(frame) => self.end(frame.into_trailers().ok()),
            },
        })
    }

    /// The upstream must not take what it has for the whole.
    fn fail(&mut self, error: BoxError) -> SendError {
        self.stream.send_reset(h2::Reason::CANCEL);
        SendError::Client(error)
    }

    fn push(&mut self, data: Bytes, ended: bool) -> Result<(), SendError> {
        if let Some(left) = self.left {
            let Some(left) = left.checked_sub(data.len() as u64).filter(|&left| !ended || left == 0) else {
                return Err(self.fail(LengthMismatch.into()));
            };
            self.left = Some(left);
        }
        if data.is_empty() {
            return if ended { self.end(None) } else { Ok(()) };
        }
        self.replay.record(&data);
        self.data = data;
        if ended {
            self.ended = true;
            self.body = RequestBody::Empty;
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), SendError> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(self.fail(LengthMismatch.into()));
        }
        (self.ended, self.body) = (true, RequestBody::Empty);
        let result = match trailers {
            None => self.stream.send_data(Bytes::new(), true),
            Some(trailers) => {
                self.replay = Replay::Lost;
                let fields = trailers.iter().filter(|(name, _)| may_trail(name));
                let fields = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
                self.stream.send_trailers(fields)
            }
        };
        result.map_err(|_| SendError::Stopped)
    }
}
