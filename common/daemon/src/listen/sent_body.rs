//! The body of a response: keeps its request in flight, and records how the client takes it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::{activity::ConnectionActivity, progress::Sending};

/// A request whose response is not complete.
pub(super) struct InFlight {
    pub(super) activity: Arc<ConnectionActivity>,
    /// Of a further request on an HTTP/2 connection: they count like connections.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// On a strict listener.
    pub(super) sending: Option<Arc<Sending>>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.end();
    }
}

/// A response body that keeps its request in flight until it is dropped.
pub(super) struct Instrumented<B> {
    pub(super) body: B,
    pub(super) in_flight: InFlight,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Instrumented<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { body, in_flight } = self.get_mut();
        let Some(sending) = &in_flight.sending else { return Pin::new(body).poll_frame(context) };
        // hyper asks for the next part when there is room for it.
        sending.goes_on();
        let frame = ready!(Pin::new(body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            sending.handed_over(data.len() as u64, in_flight.activity.now());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
