//! A connection with HTTP/1.1, between and during requests.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use crate::upstream::metrics::OpenConnection;
use crate::upstream::timer::LazyTimer;
use crate::upstream::transport::Transport;

/// How much is read at once while a head is expected.
pub(super) const READ_SIZE: usize = 8 * 1024;

/// The client and the local address that a PROXY protocol header announced.
pub(crate) type Announced = (SocketAddr, SocketAddr);

/// A connection with HTTP/1.1 to an upstream.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Transport,
    /// Received and not yet used.
    pub(crate) read: BytesMut,
    /// To be sent; before the data that [`Connection::poll_write`] is given.
    pub(crate) write: BytesMut,
    /// Whether bytes may be left in the transport.
    unflushed: bool,
    pub(crate) timer: LazyTimer,
    /// Writes so far: progress, without a look at the clock for each.
    pub(crate) writes: u64,
    pub(crate) idle_since: Instant,
    /// Whether a request was answered on it before.
    pub(crate) reused: bool,
    pub(crate) announced: Option<Announced>,
    _open: OpenConnection,
}

impl Connection {
    pub(crate) fn new(transport: Transport, announced: Option<Announced>, open: OpenConnection) -> Self {
        let now = Instant::now();
        Self {
            transport,
            read: BytesMut::new(),
            write: BytesMut::new(),
            unflushed: false,
            timer: LazyTimer::default(),
            writes: 0,
            idle_since: now,
            reused: false,
            announced,
            _open: open,
        }
    }

    /// Reads what has arrived, up to about `size` bytes; 0 is the end of the stream.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<io::Result<usize>> {
        self.read.reserve(size);
        pin!(self.transport.read_buf(&mut self.read)).poll(cx)
    }

    /// Writes once from the buffer and `data`, and removes what was written.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<()>> {
        let transport = Pin::new(&mut self.transport);
        let written = if data.is_empty() {
            ready!(transport.poll_write(cx, &self.write))?
        } else if self.write.is_empty() {
            ready!(transport.poll_write(cx, data))?
        } else {
            ready!(transport.poll_write_vectored(cx, &[IoSlice::new(&self.write), IoSlice::new(data)]))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let from_buffer = written.min(self.write.len());
        if from_buffer == self.write.len() {
            // Unlike advance(), this keeps the memory for the next head.
            self.write.clear();
        } else {
            self.write.advance(from_buffer);
        }
        data.advance(written - from_buffer);
        self.unflushed = self.transport.is_buffered();
        self.writes = self.writes.wrapping_add(1);
        Poll::Ready(Ok(()))
    }

    /// Hands to the socket what the transport keeps.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether an idle connection can carry a request: nothing arrived on it, not even its end.
    ///
    /// Without an event since the last read this is no system call.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.read.is_empty()
            && self.poll_read(&mut Context::from_waker(Waker::noop()), READ_SIZE).is_pending()
    }

    /// The stream, and what was read from it and belongs to the next protocol.
    pub(crate) fn into_parts(self) -> (Transport, Bytes, OpenConnection) {
        (self.transport, self.read.freeze(), self._open)
    }
}
