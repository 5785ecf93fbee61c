//! A stream that records reads and blocked writes for the connection reaper.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::connection_reaper::ConnectionActivity;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Buffer size for the first read: enough for the head of an ordinary request.
const FIRST_READ: usize = 1024;

pub(super) struct ObservedIo<S> {
    inner: S,
    activity: Arc<ConnectionActivity>,
    /// Read while detecting the protocol, and not yet consumed.
    buffered: Vec<u8>,
}

impl<S> ObservedIo<S> {
    pub(super) fn new(inner: S, activity: Arc<ConnectionActivity>) -> Self {
        Self { inner, activity, buffered: Vec::new() }
    }

    /// Whether the client uses HTTP/2, known once enough bytes have arrived. The bytes read are replayed in one
    /// piece: hyper then needs one buffer for the request instead of two.
    pub(super) async fn detect_http2(&mut self) -> io::Result<bool>
    where
        S: AsyncRead + Unpin,
    {
        let mut buffered = Vec::with_capacity(FIRST_READ);
        // The first byte that differs decides, so an HTTP/1.1 request is not delayed until as many bytes as the
        // preface have come.
        while buffered.len() < PREFACE.len() && PREFACE.starts_with(&buffered) {
            if self.read_buf(&mut buffered).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let http2 = buffered.starts_with(PREFACE);
        self.buffered = buffered;
        Ok(http2)
    }

    fn observe_write<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        // Errors count as accepted too: the connection ends by them.
        self.activity.write_polled(poll.is_ready());
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ObservedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.buffered.is_empty() {
            let length = self.buffered.len().min(buffer.remaining());
            buffer.put_slice(&self.buffered[..length]);
            self.buffered.drain(..length);
            if self.buffered.is_empty() {
                // Frees its memory, of which a parked connection would otherwise keep 1 KiB.
                self.buffered = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_received();
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ObservedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.observe_write(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.observe_write(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(context);
        self.observe_write(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(context);
        self.observe_write(poll)
    }
}
