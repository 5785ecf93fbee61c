//! The bodies of requests and responses.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use palisade_daemon::listen::ReceivedBody;

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
}

impl RequestBody {
    pub(crate) fn new(inner: ReceivedBody, limit: Option<u64>) -> Self {
        Self { inner, left: limit.unwrap_or(u64::MAX) }
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
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(BodyTooLarge.into()))),
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a response.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every response is an upstream's, and a box would cost it an allocation"
)]
pub(crate) enum ResponseBody {
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
        match &mut *self {
            Self::Page(page) => Pin::new(page).poll_frame(context).map_err(|never| match never {}),
            Self::Upstream { body, open } => {
                let frame = Pin::new(body).poll_frame(context);
                if frame.is_pending()
                    && let Some(open) = open
                    && open.poll_ended(context).is_ready()
                {
                    return Poll::Ready(Some(Err(ClientBanned.into())));
                }
                frame.map_err(Into::into)
            }
            Self::Abort => Poll::Ready(Some(Err("the connection is closed by policy".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(page) => page.is_end_stream(),
            Self::Upstream { body, .. } => body.is_end_stream(),
            Self::Abort => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(page) => page.size_hint(),
            Self::Upstream { body, .. } => body.size_hint(),
            Self::Abort => SizeHint::default(),
        }
    }
}
