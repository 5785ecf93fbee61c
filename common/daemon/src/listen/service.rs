//! The interface of the service that answers a listener's requests.

use std::{convert::Infallible, error::Error};

use hyper::{
    Request, Response,
    body::{Body, Bytes},
};
use tower::{Service, ServiceExt as _};

use super::received_body::ReceivedBody;

/// Answers requests and cannot fail. Every such `tower` service is one, an axum router among them.
pub trait HttpService: Clone + Send + Sync + 'static {
    /// The body of a response.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static;

    /// The response to one request.
    fn respond(self, request: Request<ReceivedBody>) -> impl Future<Output = Response<Self::Body>> + Send;
}

impl<S, B> HttpService for S
where
    S: Service<Request<ReceivedBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    type Body = B;

    async fn respond(self, request: Request<ReceivedBody>) -> Response<B> {
        match self.oneshot(request).await {
            Ok(response) => response,
        }
    }
}
