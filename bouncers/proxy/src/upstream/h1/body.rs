//! The body of a response on a connection with HTTP/1.1.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::chunked::{Chunked, Part};
use super::framing::{Framing, ResponseFraming};
use super::writer::SendError;
use super::{Connection, RequestWriter};
use crate::upstream::body::BodyError;
use crate::upstream::error::BoxError;
use crate::upstream::server::InFlight;

/// The most that is read at once.
const READ_SIZE: u64 = 64 * 1024;

#[derive(Debug)]
enum Decoder {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// A body that is read as the client takes it, and sends what is left of the request meanwhile.
#[derive(Debug)]
pub(crate) struct H1Body<B> {
    /// `None` when the body has ended.
    active: Option<Active<B>>,
}

/// A frame, and whether the body has ended with it.
type Step = (Option<Frame<Bytes>>, bool);

#[derive(Debug)]
struct Active<B> {
    connection: Box<Connection>,
    writer: Option<RequestWriter<B>>,
    decoder: Decoder,
    keep_alive: bool,
    idle: Duration,
    waiting_since: Option<Instant>,
    /// [`Connection::writes`] when the wait began.
    writes: u64,
    in_flight: InFlight,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> H1Body<B> {
    pub(crate) fn new(
        connection: Box<Connection>,
        writer: Option<RequestWriter<B>>,
        framing: ResponseFraming,
        idle: Duration,
        in_flight: InFlight,
    ) -> Self {
        let decoder = match framing.framing {
            Framing::Empty => Decoder::Length(0),
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunked(Chunked::new()),
            Framing::UntilClose => Decoder::UntilClose,
        };
        let keep_alive = framing.keep_alive;
        let active = Active {
            connection,
            writer,
            decoder,
            keep_alive,
            idle,
            waiting_since: None,
            writes: 0,
            in_flight,
        };
        let ended = matches!(active.decoder, Decoder::Length(0));
        let mut body = Self { active: Some(active) };
        if ended {
            body.finish();
        }
        body
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.active.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.active {
            None => SizeHint::with_exact(0),
            Some(Active { decoder: Decoder::Length(left), .. }) => SizeHint::with_exact(*left),
            Some(_) => SizeHint::default(),
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(active) = &mut self.active else { return Poll::Ready(None) };
        match ready!(active.poll(cx)) {
            Ok((part, ended)) => {
                if ended {
                    self.finish();
                }
                Poll::Ready(part.map(Ok))
            }
            Err(error) => {
                if !matches!(error, BodyError::Client(_)) {
                    active.in_flight.server().metrics().cut_responses.inc();
                }
                // The connection is closed: what follows on it belongs to no one.
                self.active = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    /// The connection serves the next request only when the exchange is complete on both sides and nothing followed.
    fn finish(&mut self) {
        let Some(active) = self.active.take() else { return };
        if active.keep_alive && active.writer.is_none() && active.connection.read.is_empty() {
            active.in_flight.server().park(active.connection, Instant::now());
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Active<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        self.poll_send(cx)?;
        loop {
            match self.take()? {
                Part::Data(data) => {
                    self.waiting_since = None;
                    let ended = match &mut self.decoder {
                        Decoder::Length(left) => *left == 0,
                        Decoder::Chunked(chunked) => chunked.take_end(&mut self.connection.read),
                        Decoder::UntilClose => false,
                    };
                    return Poll::Ready(Ok((Some(Frame::data(data)), ended)));
                }
                Part::Trailers(trailers) => return Poll::Ready(Ok((Some(Frame::trailers(trailers)), true))),
                Part::End => return Poll::Ready(Ok((None, true))),
                Part::Incomplete => {}
            }
            let size = match &self.decoder {
                // One byte of room more: a read that fills its buffer is followed by one that finds nothing.
                Decoder::Length(left) => (left + 1).min(READ_SIZE),
                _ => READ_SIZE / 2,
            };
            match self.connection.poll_read(cx, usize::try_from(size).unwrap_or(usize::MAX)) {
                Poll::Pending => {
                    ready!(self.poll_timeout(cx));
                    return Poll::Ready(Err(BodyError::Idle));
                }
                Poll::Ready(Ok(0)) if matches!(self.decoder, Decoder::UntilClose) => {
                    return Poll::Ready(Ok((None, true)));
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(BodyError::Truncated)),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Err(BodyError::Truncated));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(BodyError::Io(error))),
                Poll::Ready(Ok(_)) => {}
            }
        }
    }

    fn take(&mut self) -> Result<Part, BodyError> {
        let read = &mut self.connection.read;
        match &mut self.decoder {
            Decoder::Chunked(chunked) => chunked.take(read).map_err(|_| BodyError::Malformed),
            Decoder::Length(0) => Ok(Part::End),
            _ if read.is_empty() => Ok(Part::Incomplete),
            Decoder::Length(left) => {
                let length = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
                *left -= length as u64;
                Ok(Part::Data(read.split_to(length).freeze()))
            }
            Decoder::UntilClose => Ok(Part::Data(read.split().freeze())),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        match writer.poll_send(cx, &mut self.connection) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.writer = None,
            Poll::Ready(Err(SendError::Client(error))) => return Err(BodyError::Client(error)),
            Poll::Ready(Err(SendError::Io(_))) => {
                // An upstream may refuse the rest of a request and still send its response.
                self.writer = None;
                self.keep_alive = false;
            }
        }
        Ok(())
    }

    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(writer) = &self.writer {
            let has_progressed =
                std::mem::replace(&mut self.writes, self.connection.writes) != self.connection.writes;
            let is_blocked = writer.is_blocked_by_upstream(&self.connection);
            if has_progressed || !is_blocked {
                self.waiting_since = None;
            }
            if !is_blocked {
                // The upstream may wait for the client, whose body has its own deadlines.
                return Poll::Pending;
            }
        }
        let start = *self.waiting_since.get_or_insert_with(Instant::now);
        self.connection.timer.poll(cx, start + self.idle)
    }
}
