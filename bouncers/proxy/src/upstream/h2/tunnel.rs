//! A stream with HTTP/2 as a stream of bytes (RFC 8441).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::StreamSlot;

/// Both halves of a stream.
#[derive(Debug)]
pub(crate) struct H2Tunnel {
    send: SendStream<Bytes>,
    receive: RecvStream,
    received: Bytes,
    _slot: StreamSlot,
}

impl H2Tunnel {
    pub(crate) fn new(send: SendStream<Bytes>, receive: RecvStream, slot: StreamSlot) -> Self {
        Self { send, receive, received: Bytes::new(), _slot: slot }
    }
}

fn closed() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncRead for H2Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.received.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(data) => self.received = data.map_err(io::Error::other)?,
            }
        }
        let length = self.received.len().min(buf.remaining());
        buf.put_slice(&self.received[..length]);
        self.received.advance(length);
        // What was taken makes room for as much again.
        let _ = self.receive.flow_control().release_capacity(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(buf.len());
        let Some(capacity) = ready!(self.send.poll_capacity(cx)) else { return Poll::Ready(Err(closed())) };
        let length = capacity.map_err(io::Error::other)?.min(buf.len());
        self.send.send_data(Bytes::copy_from_slice(&buf[..length]), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An upstream that has reset the stream needs no end.
        let _ = self.send.send_data(Bytes::new(), true);
        Poll::Ready(Ok(()))
    }
}
