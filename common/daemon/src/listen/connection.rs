//! Serves the HTTP requests of one connection until it is closed by the client, by the reaper or at shutdown.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use hyper::{
    Request, Response, Version,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::{
    connection_reaper::{CloseSignal, ConnectionActivity, RegisteredConnection},
    observed_io::ObservedIo,
    peer::Peer,
    service::HttpService,
};

/// Maximum size of a request's head, in bytes.
// Go's default is 1 MiB. Stock clients send a token and a query, usually of some hundred bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Maximum number of concurrent requests on an HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// Serves requests until the client closes the connection, the reaper closes it, or `stop` fires and the requests in
/// flight are answered.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static, H: HttpService>(
    stream: S,
    peer: Peer,
    service: H,
    entry: RegisteredConnection,
    stop: CancellationToken,
) {
    let activity = entry.activity.clone();
    let answering = service_fn({
        let activity = activity.clone();
        move |request: Request<Incoming>| answer(request, peer.clone(), service.clone(), activity.clone())
    });
    let mut stream = ObservedIo::new(stream, activity.clone());
    // Detected by its preface, because clients also use HTTP/2 without TLS, and ALPN is not always sent.
    let http2 = tokio::select! {
        detected = stream.detect_http2() => detected,
        // No request has begun.
        _ = activity.close_signal() => return,
        () = stop.cancelled() => return,
    };
    // The reaper enforces the header timeout, because it can tell a slow request from an idle connection. Protocol
    // errors of a client are not logged.
    match http2 {
        Ok(false) => {
            let mut builder = http1::Builder::new();
            // With hyper's own timeout each connection would have a timer.
            builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(MAX_HEAD);
            drive(builder.serve_connection(TokioIo::new(stream), answering), &activity, &stop).await;
        }
        Ok(true) => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
            // Boxed, as it is large and rare: tasks of HTTP/1.1 connections do not reserve its space.
            Box::pin(drive(builder.serve_connection(TokioIo::new(stream), answering), &activity, &stop))
                .await;
        }
        Err(_) => {}
    }
}

/// Drives a connection to its end, or until it is signalled to close.
async fn drive(connection: impl GracefulConnection, activity: &ConnectionActivity, stop: &CancellationToken) {
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        signal = activity.close_signal() => if signal == CloseSignal::Immediate { return },
        () = stop.cancelled() => {}
    }
    // Answers what has begun and accepts no further request. If the client does not take the answer, the reaper or
    // the drain timeout ends it.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = activity.immediate_close() => {}
    }
}

async fn answer<H: HttpService>(
    mut request: Request<Incoming>,
    peer: Peer,
    service: H,
    activity: Arc<ConnectionActivity>,
) -> Result<Response<Instrumented<H::Body>>, Infallible> {
    activity.begin(request.version() == Version::HTTP_2);
    // Moved into the body: the request lasts until the response has been sent, or dropped with the connection.
    let in_flight = InFlight(activity);
    request.extensions_mut().insert(peer);
    let response = service.respond(request).await;
    Ok(response.map(|body| Instrumented { body, _in_flight: in_flight }))
}

/// A request whose response is not complete.
struct InFlight(Arc<ConnectionActivity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A response body that keeps its request in flight until it is dropped.
struct Instrumented<B> {
    body: B,
    _in_flight: InFlight,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Instrumented<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
