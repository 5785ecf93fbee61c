//! A plain or TLS connection that counts the bytes written to it, and limits those read while a head is awaited.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The number of bytes that were written to the connections of a client: requests, without TLS around them. A request
/// that left it unchanged cannot have been processed.
#[derive(Debug, Clone, Default)]
pub(super) struct Written(Arc<AtomicU64>);

impl Written {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many bytes may be read from one connection before reading pauses; any number by default.
///
/// hyper limits each head but not their number, and goes on for as long as bytes are there. A receiver that sends interim
/// responses without end would so keep a thread busy, which no timeout interrupts.
#[derive(Debug, Clone)]
pub(super) struct ReadLimit(Arc<AtomicU64>);

impl Default for ReadLimit {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl ReadLimit {
    /// Limits what is read from now on. The last read may exceed it, by at most hyper's buffer.
    pub(super) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Lifts the limit. The connection must be polled afterwards: nothing wakes it.
    pub(super) fn lift(&self) {
        self.set(u64::MAX);
    }

    /// Whether reading pauses.
    pub(super) fn is_reached(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn count(&self, bytes: usize) {
        let left = self.0.load(Ordering::Relaxed);
        if left != u64::MAX {
            self.set(left.saturating_sub(bytes as u64));
        }
    }
}

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

#[derive(Debug)]
pub(super) struct Transport {
    pub(super) stream: Stream,
    pub(super) written: Written,
    pub(super) read_limit: ReadLimit,
}

/// Calls a method of whichever stream there is.
macro_rules! of_stream {
    ($transport:expr, $method:ident $(, $argument:expr)*) => {
        match &mut $transport.stream {
            Stream::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Tls(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl Transport {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.written.0.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_limit.is_reached() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let result = of_stream!(self, poll_read, cx, buffer);
        self.read_limit.count(buffer.filled().len() - before);
        result
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = of_stream!(self, poll_write, cx, data);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = of_stream!(self, poll_write_vectored, cx, data);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_stream!(self, poll_flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_stream!(self, poll_shutdown, cx)
    }
}
