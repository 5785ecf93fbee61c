//! A stream that records reads and blocked writes for the connection reaper, replaces the HTTP/1.1 parser's own
//! responses, and closes without destroying the last one.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{activity::ConnectionActivity, frame_io::GuardedFrames, refusal, strict_io::StrictReader};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Buffer size for the first read: enough for the head of an ordinary request.
const FIRST_READ: usize = 1024;
/// How long, and how many bytes, are read of a client that is still sending when its connection is closed: the system
/// would answer further bytes with a reset, which destroys a response that has not been read.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

pub(super) struct ObservedIo<S> {
    inner: S,
    activity: Arc<ConnectionActivity>,
    /// Read while detecting the protocol, and not yet consumed.
    buffered: Vec<u8>,
    http2: bool,
    watch: Watch,
    /// A response of the listener itself that is to be written.
    own: Vec<u8>,
    linger: Option<Linger>,
}

/// What a strict listener has between the socket and hyper.
enum Watch {
    /// Also as soon as a tunnel begins.
    Nothing,
    Requests(Box<StrictReader>),
    Frames(Box<GuardedFrames>),
}

/// The rest of a client's bytes, after the last response.
struct Linger {
    timer: Pin<Box<Sleep>>,
    left: usize,
}

impl<S> ObservedIo<S> {
    pub(super) fn new(inner: S, activity: Arc<ConnectionActivity>) -> Self {
        Self {
            inner,
            activity,
            buffered: Vec::new(),
            http2: false,
            watch: Watch::Nothing,
            own: Vec::new(),
            linger: None,
        }
    }

    /// Lets hyper parse only requests with one reading.
    pub(super) fn scan_requests(&mut self, reader: StrictReader) {
        self.watch = Watch::Requests(Box::new(reader));
    }

    /// Bounds the frames of an HTTP/2 client.
    pub(super) fn guard_frames(&mut self, frames: GuardedFrames) {
        self.watch = Watch::Frames(Box::new(frames));
    }

    /// Whether the connection was ended here: hyper's further frames are not sent.
    fn is_over(&self) -> bool {
        matches!(&self.watch, Watch::Frames(frames) if frames.is_over())
    }

    /// Bytes were sent.
    fn sent<'a>(&mut self, slices: impl Iterator<Item = &'a [u8]>, written: &Poll<io::Result<usize>>) {
        let (Watch::Frames(frames), Poll::Ready(Ok(written))) = (&mut self.watch, written) else { return };
        let mut left = *written;
        for slice in slices {
            let taken = left.min(slice.len());
            frames.sent(&slice[..taken]);
            left -= taken;
        }
    }

    /// Whether the client uses HTTP/2, known once enough bytes have arrived. The bytes read are replayed in one
    /// piece: hyper then needs one buffer for the request instead of two.
    pub(super) async fn detect_http2(&mut self) -> io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
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
        self.http2 = http2;
        Ok(http2)
    }

    /// Whether these bytes are the parser's response to a head that it cannot parse; a response of ours is then written
    /// in its place. The parser has no other way to set the body.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        if self.http2 || self.activity.is_answering() || self.activity.is_tunnel() {
            return false;
        }
        let Some(status) = refusal::parser_status(bytes) else { return false };
        self.own = match &self.watch {
            Watch::Nothing | Watch::Frames(_) => refusal::in_json(status),
            Watch::Requests(strict) => {
                let (status, refusal) = strict.verdict(status, self.activity.served());
                strict.report.refused(status, refusal);
                refusal::in_text(status, refusal.reason)
            }
        };
        self.activity.leave_unread();
        true
    }

    fn observe_write<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        // Errors count as accepted too: the connection ends by them.
        self.activity.write_polled(poll.is_ready());
        poll
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ObservedIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match &mut this.watch {
            Watch::Nothing => return this.poll_read_any(context, buffer),
            // The service has answered that a tunnel begins: what follows is no request.
            Watch::Requests(_) if this.activity.is_tunnel() => {
                this.watch = Watch::Nothing;
                return this.poll_read_any(context, buffer);
            }
            Watch::Requests(strict) => {
                if strict.is_stopped(buffer) {
                    return Poll::Ready(Ok(()));
                }
            }
            Watch::Frames(frames) if frames.is_over() => return this.poll_end(context),
            Watch::Frames(_) => {}
        }
        let poll = this.poll_read_any(context, buffer);
        if buffer.filled().len() > before {
            this.watch_read(buffer, before);
        }
        if this.is_over() { this.poll_end(context) } else { poll }
    }
}

impl<S> ObservedIo<S> {
    /// Looks at what was read beyond the first `before` bytes of the buffer.
    fn watch_read(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        match &mut self.watch {
            Watch::Nothing => {}
            Watch::Requests(strict) => strict.check(buffer, before, &self.activity),
            Watch::Frames(frames) => {
                let activity = &self.activity;
                match frames.received(&buffer.filled()[before..], || activity.now()) {
                    None => activity.within_frame(frames.is_within_frame()),
                    Some(last) => {
                        self.own = last;
                        activity.leave_unread();
                        buffer.set_filled(before);
                    }
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> ObservedIo<S> {
    fn poll_read_any(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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

impl<S: AsyncRead + AsyncWrite + Unpin> ObservedIo<S> {
    fn poll_write_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own.is_empty() {
            let poll = Pin::new(&mut self.inner).poll_write(context, &self.own);
            let written = ready!(self.observe_write(poll))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.own.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the connection with a last frame, whatever hyper would still send; then it is at its end for hyper, too.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut *self).poll_flush(context))?;
        Pin::new(self).poll_shutdown(context)
    }

    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            timer: Box::pin(tokio::time::sleep(LINGER)),
            left: LINGER_BYTES,
        });
        if linger.timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; 4096];
        while linger.left > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    linger.left = linger.left.saturating_sub(buffer.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ObservedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(bytes) || self.is_over() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let poll = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.sent(std::iter::once(bytes), &poll);
        self.observe_write(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.first().is_some_and(|first| self.replaces(first)) || self.is_over() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let poll = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.sent(slices.iter().map(|slice| &**slice), &poll);
        self.observe_write(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_own(context))?;
        let poll = Pin::new(&mut self.inner).poll_flush(context);
        if matches!(poll, Poll::Ready(Ok(()))) {
            self.activity.flushed();
        }
        self.observe_write(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(self.poll_write_own(context))?;
            let poll = Pin::new(&mut self.inner).poll_shutdown(context);
            ready!(self.observe_write(poll))?;
        }
        if self.activity.is_unread() {
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}
