//! A stream that notes when the client talks and when it listens.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::warden::Notes;

/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for what comes first: all of an ordinary request's head.
const FIRST: usize = 1024;

/// The stream.
pub(super) struct Paced<S> {
    inner: S,
    notes: Arc<Notes>,
    /// Heard already, and yet to be read.
    heard: Vec<u8>,
}

impl<S> Paced<S> {
    pub(super) fn new(inner: S, notes: Arc<Notes>) -> Self {
        Self { inner, notes, heard: Vec::new() }
    }

    /// Whether the client speaks HTTP/2, once it has said enough to tell. What it said is still to be read, in one
    /// piece: then a request takes one buffer of hyper's, where a first few bytes by themselves would make it two.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool>
    where
        S: AsyncRead + Unpin,
    {
        let mut heard = Vec::with_capacity(FIRST);
        while heard.len() < PREFACE.len() && PREFACE.starts_with(&heard) {
            if self.read_buf(&mut heard).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let http2 = heard.starts_with(PREFACE);
        self.heard = heard;
        Ok(http2)
    }

    fn told<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.notes.told(poll.is_ready());
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.heard.is_empty() {
            let length = self.heard.len().min(buffer.remaining());
            buffer.put_slice(&self.heard[..length]);
            self.heard.drain(..length);
            if self.heard.is_empty() {
                self.heard = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.notes.heard();
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.told(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.told(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(context);
        self.told(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(context);
        self.told(poll)
    }
}
