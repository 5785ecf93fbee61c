//! Relays bytes between a client and an upstream that switched protocols.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::h1::Connection;
use super::h2::H2Tunnel;
use super::metrics::OpenConnection;
use super::server::InFlight;
use super::timer::LazyTimer;
use super::transport::Transport;

/// Bytes that are kept for a side that does not take them.
const BUFFER_SIZE: usize = 16 * 1024;

/// The upstream's side of a tunnel.
#[derive(Debug)]
pub struct UpstreamTunnel {
    io: Io,
    _in_flight: InFlight,
}

#[derive(Debug)]
enum Io {
    /// What was received together with the response's head comes first.
    H1(Transport, Bytes, #[expect(dead_code, reason = "counts the connection as open")] OpenConnection),
    H2(H2Tunnel),
}

impl UpstreamTunnel {
    pub(crate) fn h1(connection: Connection, in_flight: InFlight) -> Self {
        let (transport, received, open) = connection.into_parts();
        Self { io: Io::H1(transport, received, open), _in_flight: in_flight }
    }

    pub(crate) fn h2(stream: H2Tunnel, in_flight: InFlight) -> Self {
        Self { io: Io::H2(stream), _in_flight: in_flight }
    }
}

impl AsyncRead for UpstreamTunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::H1(transport, received, _) if received.is_empty() => Pin::new(transport).poll_read(cx, buf),
            Io::H2(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::H1(_, received, _) => {
                let length = received.len().min(buf.remaining());
                buf.put_slice(&received[..length]);
                received.advance(length);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for UpstreamTunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::H1(transport, ..) => Pin::new(transport).poll_write(cx, buf),
            Io::H2(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::H1(transport, ..) => Pin::new(transport).poll_flush(cx),
            Io::H2(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::H1(transport, ..) => Pin::new(transport).poll_shutdown(cx),
            Io::H2(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Why a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelEnd {
    /// Both sides ended their streams.
    Finished,
    /// No byte in either direction for the idle timeout.
    Idle,
    /// The caller's `closed` was ready.
    Closed,
    /// A side failed.
    Failed(io::ErrorKind),
}

/// What went through a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelReport {
    /// Why it ended.
    pub end: TunnelEnd,
    /// Bytes from the client to the upstream.
    pub to_upstream: u64,
    /// Bytes from the upstream to the client.
    pub to_client: u64,
}

/// Relays until both sides have ended, nothing moved for `idle`, or `closed` is ready.
///
/// Each direction has one buffer: a side that does not read stops the other from sending. The end of one direction is
/// passed on, and the other one goes on.
pub async fn run(
    client: impl AsyncRead + AsyncWrite,
    upstream: impl AsyncRead + AsyncWrite,
    idle: Duration,
    closed: impl Future<Output = ()>,
) -> TunnelReport {
    let (mut client, mut upstream, mut closed) = (pin!(client), pin!(upstream), pin!(closed));
    let (mut to_upstream, mut to_client) = (Direction::new(), Direction::new());
    let mut timer = LazyTimer::default();
    let mut last_progress = Instant::now();
    let end = std::future::poll_fn(|cx| {
        if closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(TunnelEnd::Closed);
        }
        let before = to_upstream.bytes + to_client.bytes;
        let up = to_upstream.poll(cx, client.as_mut(), upstream.as_mut());
        let down = to_client.poll(cx, upstream.as_mut(), client.as_mut());
        match (up, down) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => {
                return Poll::Ready(TunnelEnd::Failed(error.kind()));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(TunnelEnd::Finished),
            _ => {}
        }
        if to_upstream.bytes + to_client.bytes != before {
            last_progress = Instant::now();
        }
        timer.poll(cx, last_progress + idle).map(|()| TunnelEnd::Idle)
    })
    .await;
    TunnelReport { end, to_upstream: to_upstream.bytes, to_client: to_client.bytes }
}

/// One direction of a tunnel.
struct Direction {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    source_ended: bool,
    unflushed: bool,
    shut_down: bool,
    /// Written so far.
    bytes: u64,
}

impl Direction {
    fn new() -> Self {
        let buffer = vec![0; BUFFER_SIZE].into_boxed_slice();
        Self { buffer, start: 0, end: 0, source_ended: false, unflushed: false, shut_down: false, bytes: 0 }
    }

    /// Ready when the source has ended and the sink was told so.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut source: Pin<&mut impl AsyncRead>,
        mut sink: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        // A busy direction must not keep the other one, the timer and `closed` from being looked at.
        for _ in 0..16 {
            if self.start == self.end && !self.source_ended {
                let mut buffer = ReadBuf::new(&mut self.buffer);
                match source.as_mut().poll_read(cx, &mut buffer) {
                    Poll::Pending => {
                        if self.unflushed {
                            ready!(sink.as_mut().poll_flush(cx))?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                    Poll::Ready(result) => result?,
                }
                (self.start, self.end) = (0, buffer.filled().len());
                self.source_ended = self.end == 0;
            }
            while self.start < self.end {
                let written = ready!(sink.as_mut().poll_write(cx, &self.buffer[self.start..self.end]))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.start += written;
                self.bytes += written as u64;
                self.unflushed = true;
            }
            if self.source_ended {
                if !self.shut_down {
                    ready!(sink.as_mut().poll_shutdown(cx))?;
                    self.shut_down = true;
                }
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
