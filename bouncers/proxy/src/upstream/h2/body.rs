//! The body of a response on a connection with HTTP/2.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::StreamSlot;
use super::sender::{BodySender, SendError};
use crate::upstream::body::BodyError;
use crate::upstream::error::BoxError;
use crate::upstream::server::InFlight;
use crate::upstream::timer::LazyTimer;

/// A body that is read as the client takes it, and sends what is left of the request meanwhile.
#[derive(Debug)]
pub(crate) struct H2Body<B> {
    stream: RecvStream,
    sender: Option<BodySender<B>>,
    /// `Content-Length`; the `h2` crate sees to it that the data agrees.
    left: Option<u64>,
    data_ended: bool,
    idle: Duration,
    timer: LazyTimer,
    waiting_since: Option<Instant>,
    /// `None` when the body has ended.
    active: Option<(StreamSlot, InFlight)>,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> H2Body<B> {
    pub(crate) fn new(
        stream: RecvStream,
        sender: Option<BodySender<B>>,
        left: Option<u64>,
        idle: Duration,
        timer: LazyTimer,
        active: (StreamSlot, InFlight),
    ) -> Self {
        let active = Some(active);
        Self { stream, sender, left, data_ended: false, idle, timer, waiting_since: None, active }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.active.is_none() || self.stream.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.active.is_none() {
            return Poll::Ready(None);
        }
        let result = ready!(self.poll(cx));
        let ended = !matches!(&result, Ok(Some(frame)) if frame.is_data()) || self.stream.is_end_stream();
        if ended {
            if let (Some((_, in_flight)), Err(error)) = (&self.active, &result)
                && !matches!(error, BodyError::Client(_))
            {
                in_flight.server().metrics().cut_responses.inc();
            }
            self.active = None;
            self.sender = None;
        }
        Poll::Ready(result.transpose())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        if let Some(sender) = &mut self.sender {
            match sender.poll_send(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(()) | Err(SendError::Stopped)) => self.sender = None,
                Poll::Ready(Err(SendError::Client(error))) => {
                    return Poll::Ready(Err(BodyError::Client(error)));
                }
            }
        }
        while !self.data_ended {
            match self.stream.poll_data(cx) {
                Poll::Pending => return self.poll_timeout(cx),
                Poll::Ready(None) => self.data_ended = true,
                // The upstream has sent the whole response and wants no more of the request (RFC 9113, section 8.1).
                Poll::Ready(Some(Err(error)))
                    if error.reason() == Some(h2::Reason::NO_ERROR)
                        && error.is_reset()
                        && self.left.unwrap_or(0) == 0 =>
                {
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(BodyError::Http2(error))),
                Poll::Ready(Some(Ok(data))) => {
                    self.waiting_since = None;
                    // The client takes it now, so the upstream may send as much again.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if data.is_empty() {
                        continue;
                    }
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Ok(Some(Frame::data(data))));
                }
            }
        }
        match self.stream.poll_trailers(cx) {
            Poll::Pending => self.poll_timeout(cx),
            Poll::Ready(Ok(trailers)) => Poll::Ready(Ok(trailers.map(Frame::trailers))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(BodyError::Http2(error))),
        }
    }

    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        let mut start = *self.waiting_since.get_or_insert_with(Instant::now);
        if let Some(sender) = &self.sender {
            if !sender.is_blocked_by_upstream() {
                // The upstream may wait for the client, whose body has its own deadlines.
                self.waiting_since = None;
                return Poll::Pending;
            }
            start = start.max(sender.last_write);
        }
        self.timer.poll(cx, start + self.idle).map(|()| Err(BodyError::Idle))
    }
}
