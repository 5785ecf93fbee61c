//! The bodies of requests and responses.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use palisade_daemon::listen::ReceivedBody;

use super::record::Record;
use crate::headers::filter_trailers;
use crate::remediation::open_requests::OpenRequest;
use crate::upstream::UpstreamBody;

/// The error of a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body exceeds the route's limit.
#[derive(Debug, thiserror::Error)]
#[error("the request's body is larger than the route allows")]
pub(crate) struct BodyTooLarge;

/// The client of a response was banned while it was sent.
#[derive(Debug, thiserror::Error)]
#[error("the client was banned while the response was sent")]
struct ClientBanned;

/// The body of a request, cut off with an error at the route's limit.
#[derive(Debug)]
pub(crate) struct RequestBody {
    inner: ReceivedBody,
    /// Bytes that may still come.
    left: u64,
    received: Option<Arc<AtomicU64>>,
}

impl RequestBody {
    /// `received` counts its bytes.
    pub(crate) fn new(inner: ReceivedBody, limit: Option<u64>, received: Option<Arc<AtomicU64>>) -> Self {
        Self { inner, left: limit.unwrap_or(u64::MAX), received }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context));
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            if let Some(received) = &self.received {
                received.fetch_add(length, Ordering::Relaxed);
            }
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(BodyTooLarge.into()))),
            }
        }
        Poll::Ready(Some(Ok(without_unsound_trailers(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Data as it is, trailers without those that may not come at the end of a message.
fn without_unsound_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            filter_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// The body of a response, and the record that is completed when it ends.
pub(crate) struct ResponseBody {
    content: Content,
    record: Record,
}

impl ResponseBody {
    pub(crate) fn new(content: Content, record: Record) -> Self {
        Self { content, record }
    }
}

/// Where the body of a response comes from.
pub(crate) enum Content {
    /// A page.
    Page(Full<Bytes>),
    /// What an upstream sends, until its client is banned.
    Upstream {
        body: UpstreamBody<RequestBody>,
        /// `None` for tunnels, which end by themselves, and for clients without an address.
        open: Option<OpenRequest>,
    },
    /// An error before the first byte: ends the connection without a response.
    Abort,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match &mut self.content {
            Content::Page(page) => Pin::new(page).poll_frame(context).map_err(|never| match never {}),
            Content::Upstream { body, open } => {
                let frame = Pin::new(body).poll_frame(context);
                // Also while there is always more to send, as in a long download.
                if let Some(open) = open
                    && (frame.is_pending() || open.was_swept())
                    && open.poll_ended(context).is_ready()
                {
                    return Poll::Ready(Some(Err(ClientBanned.into())));
                }
                frame.map_ok(without_unsound_trailers).map_err(Into::into)
            }
            Content::Abort => Poll::Ready(Some(Err("the connection is closed by policy".into()))),
        };
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.record.sent(data.len());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Page(page) => page.is_end_stream(),
            Content::Upstream { body, .. } => body.is_end_stream(),
            Content::Abort => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Page(page) => page.size_hint(),
            Content::Upstream { body, .. } => body.size_hint(),
            Content::Abort => SizeHint::default(),
        }
    }
}
