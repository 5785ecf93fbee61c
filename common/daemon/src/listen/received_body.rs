//! The body of a request: records that it is being received, and keeps what a handler leaves unread.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::{
    Request, Version,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    header::EXPECT,
};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{activity::ConnectionActivity, progress::Receiving};

/// Bytes of an unread body that are read and discarded before the response: what most clients have sent already.
const DISCARDED_BYTES: usize = 256 * 1024;
/// The longest time for that.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an HTTP/2 stream is kept open after a response that came before the end of the request.
const KEPT_STREAM: Duration = Duration::from_secs(2);

/// The body of a request.
#[derive(Debug)]
pub struct ReceivedBody {
    /// `None` when there is no body.
    inner: Option<Incoming>,
    /// Present until the body is complete.
    receiving: Option<InProgress>,
    /// How fast it comes; on a strict listener.
    progress: Option<Arc<Receiving>>,
    unread: UnreadBody,
}

/// Why the body of a request cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The connection or the body's form.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// Too long without a byte, or too few bytes in all that time; the listener answers with 408.
    #[error("the client sends the body of the request too slowly")]
    Slow,
}

/// Where a body goes that a handler has not read to its end.
#[derive(Debug, Clone, Default)]
pub(super) struct UnreadBody {
    slot: Option<Arc<Mutex<Option<Incoming>>>>,
    progress: Option<Arc<Receiving>>,
}

#[derive(Debug)]
struct InProgress(Arc<ConnectionActivity>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.body_ends();
    }
}

impl ReceivedBody {
    /// Wraps the body of a request. On a strict listener it must come fast enough.
    pub(super) fn wrap(
        request: Request<Incoming>,
        activity: &Arc<ConnectionActivity>,
        strict: bool,
    ) -> (Request<Self>, UnreadBody) {
        // To read the body would be to ask for it with a "100 Continue".
        let held_back = request.version() < Version::HTTP_2 && request.headers().contains_key(EXPECT);
        let mut unread = UnreadBody::default();
        let request = request.map(|body| {
            if body.is_end_stream() {
                return Self { inner: None, receiving: None, progress: None, unread: UnreadBody::default() };
            }
            if !held_back {
                unread.slot = Some(Arc::default());
            }
            unread.progress = strict.then(|| activity.progress.receive());
            activity.body_begins();
            Self {
                inner: Some(body),
                receiving: Some(InProgress(activity.clone())),
                progress: unread.progress.clone(),
                unread: unread.clone(),
            }
        });
        (request, unread)
    }

    /// Leaves the rest to the listener.
    fn give_up(&mut self) {
        let rest = self.inner.take();
        if self.receiving.take().is_some()
            && let Some(slot) = &self.unread.slot
        {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = rest;
        }
    }

    /// Records how the client sends; `true` if it is too slow.
    fn observe(
        &self,
        poll: &Poll<Option<Result<Frame<Bytes>, hyper::Error>>>,
        context: &Context<'_>,
    ) -> bool {
        let (Some(progress), Some(InProgress(activity))) = (&self.progress, &self.receiving) else {
            return false;
        };
        match poll {
            Poll::Pending if progress.is_expired() => return true,
            Poll::Pending => progress.waits(activity.now(), context.waker()),
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                progress.received(bytes as u64, activity.now());
            }
            Poll::Ready(_) => progress.received(0, activity.now()),
        }
        // Set between the look at it and the registration of the waker.
        poll.is_pending() && progress.is_expired()
    }
}

impl Drop for ReceivedBody {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let poll = Pin::new(&mut *inner).poll_frame(context);
        if self.observe(&poll, context) {
            self.give_up();
            return Poll::Ready(Some(Err(BodyError::Slow)));
        }
        let Some(inner) = &self.inner else { return Poll::Ready(None) };
        let ended = match &poll {
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Ready(Some(Ok(_))) => inner.is_end_stream(),
            Poll::Pending => false,
        };
        if ended {
            self.receiving = None;
        }
        poll.map_err(BodyError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl UnreadBody {
    /// Whether the body came too slowly.
    pub(super) fn is_slow(&self) -> bool {
        self.progress.as_ref().is_some_and(|progress| progress.is_expired())
    }

    /// Reads and discards what the handler has left, within limits: a client that is still sending when its stream is
    /// reset or its connection closed may lose the response. Returns the rest, if there is one.
    pub(super) async fn discard(self) -> Option<Incoming> {
        let mut rest =
            self.slot.and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take())?;
        let read = async {
            let mut left = DISCARDED_BYTES;
            while let Some(frame) = rest.frame().await {
                let Ok(frame) = frame else { return true };
                let length = frame.data_ref().map_or(0, Bytes::len);
                let Some(less) = left.checked_sub(length) else { return false };
                left = less;
            }
            true
        };
        let ended = timeout(DISCARD_TIMEOUT, read).await.unwrap_or(false);
        (!ended).then_some(rest)
    }
}

/// Keeps the stream of a request open for a while after its response. To drop the rest resets the stream, and some clients
/// then forget the response that they have just received. The client's window is not opened further.
pub(super) fn keep_stream(rest: Incoming, tasks: &TaskTracker) {
    tasks.spawn(async move {
        tokio::time::sleep(KEPT_STREAM).await;
        drop(rest);
    });
}
