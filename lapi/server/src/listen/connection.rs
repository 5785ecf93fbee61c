//! One connection, from its first byte to its last.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, body::Body, http::Version};
use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{
    pace::Paced,
    warden::{Entry, Notes, Order},
};
use crate::auth::Peer;

/// Largest head of a request, in bytes.
const LARGEST_HEAD: usize = 64 * 1024;
/// Requests at once on one HTTP/2 connection.
const MOST_STREAMS: u32 = 128;

/// Answers the requests of one connection until it ends, the warden cuts it, or `stop` fires and what is under way is
/// answered.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    peer: Peer,
    router: Router,
    entry: Entry,
    stop: CancellationToken,
) {
    let notes = entry.notes.clone();
    let service = service_fn({
        let notes = notes.clone();
        move |request: Request<Incoming>| answer(request, peer.clone(), router.clone(), notes.clone())
    });
    let mut stream = Paced::new(stream, notes.clone());
    let http2 = tokio::select! {
        told = stream.speaks_http2() => told,
        // Nothing has been asked yet.
        _ = notes.order() => return,
        () = stop.cancelled() => return,
    };
    // Headers have a deadline with the warden, who can tell a slow request from an idle connection. What goes wrong on
    // a connection is the client's affair.
    match http2 {
        Ok(false) => {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(LARGEST_HEAD);
            drive(builder.serve_connection(TokioIo::new(stream), service), &notes, &stop).await;
        }
        Ok(true) => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(MOST_STREAMS)
                .max_header_list_size(u32::try_from(LARGEST_HEAD).unwrap_or(u32::MAX));
            Box::pin(drive(builder.serve_connection(TokioIo::new(stream), service), &notes, &stop)).await;
        }
        Err(_) => {}
    }
}

/// Runs a connection to its end, or to where it is told to end.
async fn drive(connection: impl GracefulConnection, notes: &Notes, stop: &CancellationToken) {
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        order = notes.order() => if order == Order::Cut { return },
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = notes.cut() => {}
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: Peer,
    router: Router,
    notes: Arc<Notes>,
) -> Result<Response<Attended>, Infallible> {
    notes.begin(request.version() == Version::HTTP_2);
    let under_way = UnderWay(notes);
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    let response = router.oneshot(request).await?;
    Ok(response.map(|body| Attended { body, _under_way: under_way }))
}

/// A request that is not answered in full.
struct UnderWay(Arc<Notes>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of an answer; the request is under way until it is gone.
struct Attended {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Attended {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
