//! A response body that is generated while it is sent, and reports when it was sent completely.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::HeaderValue;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The media type of a stream; the stock server sends no charset here.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Runs after the last chunk.
type AfterLast = Box<dyn FnOnce() + Send>;

/// Generates chunks on demand, so that memory stays bounded whatever the size of the table and the speed of the client.
/// When the body is dropped before its end, `after_last` does not run: the bouncer's cursor stays, and its next delta
/// repeats the changes.
pub(crate) struct StreamBody<I> {
    chunks: I,
    after_last: Option<AfterLast>,
}

impl<I> StreamBody<I> {
    /// `after_last` runs once, when the server polls for another chunk and there is none: all chunks before were taken.
    pub(crate) fn new(chunks: I, after_last: impl FnOnce() + Send + 'static) -> Self {
        Self { chunks, after_last: Some(Box::new(after_last)) }
    }
}

impl<I: Iterator<Item = Bytes> + Unpin> Body for StreamBody<I> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.after_last.is_none() {
            return Poll::Ready(None);
        }
        let next = self.chunks.next();
        if next.is_none()
            && let Some(after_last) = self.after_last.take()
        {
            after_last();
        }
        Poll::Ready(next.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        // Unknown, so that the response is sent with chunked encoding.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use http_body_util::BodyExt;

    use super::*;

    fn body(
        chunks: &'static [&'static str],
    ) -> (StreamBody<impl Iterator<Item = Bytes> + Unpin>, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let chunks = chunks.iter().map(|text| Bytes::from_static(text.as_bytes()));
        let after_last = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (StreamBody::new(chunks, after_last), count)
    }

    #[tokio::test]
    async fn only_a_body_read_to_its_end_counts_as_written() {
        let (whole, count) = body(&["a", "b"]);
        assert_eq!(whole.collect().await.unwrap().to_bytes(), "ab");
        assert_eq!(count.load(Ordering::Relaxed), 1);

        let (mut cut, count) = body(&["a", "b"]);
        assert_eq!(cut.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        assert_eq!(cut.frame().await.unwrap().unwrap().into_data().unwrap(), "b");
        drop(cut);
        assert_eq!(count.load(Ordering::Relaxed), 0, "the last chunk may not have left yet");

        let (mut asked_again, count) = body(&[]);
        assert!(asked_again.frame().await.is_none());
        assert!(asked_again.frame().await.is_none());
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
