//! The body of a response, streamed from an upstream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::error::BoxError;
use super::h1::H1Body;
use super::h2::H2Body;

/// Why a body ended early. The client's connection must then be aborted: a clean end would make a cut response look
/// complete.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection ended before the body.
    #[error("the upstream closed the connection within the response's body")]
    Truncated,
    /// Invalid chunks.
    #[error("the chunks of the response's body are malformed")]
    Malformed,
    /// No byte for `timeouts.idle`.
    #[error("the upstream sent nothing of the response's body in time")]
    Idle,
    /// The connection failed.
    #[error("the connection to the upstream failed within the response's body")]
    Io(#[source] io::Error),
    /// The stream or its connection failed.
    #[error("the upstream ended the response's body with an error")]
    Http2(#[source] h2::Error),
    /// The client's request body failed while the response was under way.
    #[error("the request's body could not be read")]
    Client(#[source] BoxError),
}

/// The body of a response. Nothing is read ahead of the client, except what arrived together with the head.
///
/// `B` is the client's body: an upstream may respond before it has the whole request, and then polling this sends the
/// rest.
#[derive(Debug)]
pub struct UpstreamBody<B>(Inner<B>);

#[derive(Debug)]
enum Inner<B> {
    Empty,
    Whole(Bytes),
    /// In boxes: most responses are small, and those pass through many hands.
    H1(Box<H1Body<B>>),
    H2(Box<H2Body<B>>),
}

impl<B> UpstreamBody<B> {
    pub(crate) fn empty() -> Self {
        Self(Inner::Empty)
    }

    /// A body that arrived with the head.
    pub(crate) fn whole(data: Bytes) -> Self {
        Self(Inner::Whole(data))
    }

    pub(crate) fn h2(body: H2Body<B>) -> Self {
        Self(Inner::H2(Box::new(body)))
    }

    pub(crate) fn h1(body: H1Body<B>) -> Self {
        Self(Inner::H1(Box::new(body)))
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for UpstreamBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Inner::Empty => Poll::Ready(None),
            Inner::Whole(data) => {
                let data = std::mem::take(data);
                self.0 = Inner::Empty;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Inner::H1(body) => body.poll_frame(cx),
            Inner::H2(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Empty => true,
            Inner::Whole(_) => false,
            Inner::H1(body) => body.is_end_stream(),
            Inner::H2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Inner::H1(body) => body.size_hint(),
            Inner::H2(body) => body.size_hint(),
        }
    }
}
