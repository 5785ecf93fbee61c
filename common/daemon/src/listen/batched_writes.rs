//! Collects what hyper writes to an HTTP/2 connection, so that the frames of several responses leave in one system call.
//!
//! hyper's HTTP/2 writes and flushes every DATA frame alone. Here a flush only wakes the connection's task, which tokio
//! then polls after all tasks that are ready; the first thing hyper does when polled is to read, and that sends what was
//! collected.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are collected before hyper has to wait for the client.
const BATCH: usize = 64 * 1024;
/// Memory that a connection keeps while nothing is to be sent.
const KEPT: usize = 4 * 1024;

/// A stream whose small writes are sent together.
pub(super) struct BatchedWrites<S> {
    inner: S,
    collected: Vec<u8>,
    /// How much of `collected` was sent.
    sent: usize,
    /// Whether the task was woken to send.
    is_due: bool,
}

impl<S: AsyncWrite + Unpin> BatchedWrites<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, collected: Vec::new(), sent: 0, is_due: false }
    }

    /// Sends what was collected.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.collected.len() {
            let rest = &self.collected[self.sent..];
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        self.sent = 0;
        self.collected.clear();
        self.collected.shrink_to(KEPT);
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        self.is_due = false;
        Poll::Ready(Ok(()))
    }

    /// Makes room; the number of bytes that may be collected now.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.collected.len() >= BATCH {
            ready!(self.poll_send(context))?;
        }
        Poll::Ready(Ok(BATCH - self.collected.len()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for BatchedWrites<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_due
            && let Poll::Ready(Err(error)) = self.poll_send(context)
        {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BatchedWrites<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_room(context))?;
        let before = self.collected.len();
        for slice in slices {
            let left = room - (self.collected.len() - before);
            self.collected.extend_from_slice(&slice[..slice.len().min(left)]);
        }
        Poll::Ready(Ok(self.collected.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.collected.is_empty() {
            return Pin::new(&mut self.inner).poll_flush(context);
        }
        if !self.is_due {
            self.is_due = true;
            // A task that wakes itself goes to the end of the queue.
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes at most `room` bytes in all, and counts its writes.
    #[derive(Default)]
    struct Socket {
        taken: Vec<u8>,
        writes: usize,
        room: usize,
    }

    impl AsyncRead for Socket {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.room - self.taken.len());
            if taken == 0 {
                return Poll::Pending;
            }
            self.writes += 1;
            self.taken.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn with_room(room: usize) -> (BatchedWrites<Socket>, Arc<Counter>) {
        (BatchedWrites::new(Socket { room, ..Socket::default() }), Arc::default())
    }

    #[test]
    fn frames_that_are_flushed_one_by_one_leave_together_at_the_next_read() {
        let (mut io, wakes) = with_room(usize::MAX);
        let waker = Waker::from(wakes.clone());
        let mut context = Context::from_waker(&waker);
        for frame in [b"one", b"two"] {
            assert!(matches!(Pin::new(&mut io).poll_write(&mut context, frame), Poll::Ready(Ok(3))));
            assert!(Pin::new(&mut io).poll_flush(&mut context).is_ready());
        }
        assert_eq!((io.inner.writes, wakes.0.load(Ordering::Relaxed)), (0, 1));
        let mut buffer = [0; 8];
        assert!(Pin::new(&mut io).poll_read(&mut context, &mut ReadBuf::new(&mut buffer)).is_pending());
        assert_eq!((&*io.inner.taken, io.inner.writes), (&b"onetwo"[..], 1));
    }

    #[test]
    fn a_client_that_does_not_read_is_waited_for_and_loses_nothing() {
        let (mut io, wakes) = with_room(10);
        let waker = Waker::from(wakes);
        let mut context = Context::from_waker(&waker);
        let body = vec![7; BATCH + 5];
        let first = Pin::new(&mut io).poll_write(&mut context, &body);
        assert!(matches!(first, Poll::Ready(Ok(BATCH))));
        assert!(Pin::new(&mut io).poll_write(&mut context, &body[BATCH..]).is_pending());
        io.inner.room = usize::MAX;
        let second = Pin::new(&mut io).poll_write(&mut context, &body[BATCH..]);
        assert!(matches!(second, Poll::Ready(Ok(5))));
        assert!(Pin::new(&mut io).poll_shutdown(&mut context).is_ready());
        assert_eq!(io.inner.taken, body);
    }
}
