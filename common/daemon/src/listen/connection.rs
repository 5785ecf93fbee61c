//! Serves the HTTP requests of one connection until it is closed by the client, by the reaper or at shutdown.

use std::{
    convert::Infallible,
    error::Error,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use http_body_util::{Either, Full};
use hyper::{
    Request, Response, Version,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    rt::{Read, Write, bounds::Http2ServerConnExec},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OwnedSemaphorePermit,
};
use tokio_util::sync::CancellationToken;

use super::{
    activity::{CloseSignal, ConnectionActivity},
    connection_reaper::ConnectionReaper,
    limits::{MAX_DECODED_HEAD, MAX_HEAD},
    observed_io::ObservedIo,
    open_connection::OpenConnection,
    options::ListenerOptions,
    peer::{ConnectionInfo, Peer},
    received_body::{ReceivedBody, keep_stream},
    refusal,
    service::HttpService,
};

/// Maximum number of concurrent requests on an HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// Bytes of bodies that an HTTP/2 client may send before a handler reads them: of one request, and of all together.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// How the requests of a connection are served.
pub(super) struct Serve<H> {
    pub(super) service: H,
    pub(super) options: Arc<ListenerOptions>,
    pub(super) stop: CancellationToken,
}

/// Serves requests until the client closes the connection, the reaper closes it, or `stop` fires and the requests in
/// flight are answered.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static, H: HttpService>(
    stream: S,
    peer: Peer,
    info: ConnectionInfo,
    open: Arc<OpenConnection>,
    serve: Serve<H>,
) {
    let Serve { service, options, stop } = serve;
    let activity = open.activity().clone();
    let peer = peer.with(ConnectionInfo { connection: Arc::downgrade(&open), ..info });
    let answering = service_fn({
        let (activity, reaper) = (activity.clone(), open.reaper().clone());
        move |request: Request<Incoming>| {
            answer(request, peer.clone(), service.clone(), activity.clone(), reaper.clone())
        }
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
            // With hyper's own timeout each connection would have a timer. Its limit of lines is `MAX_HEADER_LINES`; to set
            // it would move the parser's table to the heap.
            builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(MAX_HEAD);
            let connection = builder.serve_connection(TokioIo::new(stream), answering).with_upgrades();
            drive(connection, &activity, &stop).await;
        }
        Ok(true) => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(MAX_DECODED_HEAD);
            if options.connect_protocol {
                builder.enable_connect_protocol();
            }
            // Boxed, as it is large and rare: tasks of HTTP/1.1 connections do not reserve its space.
            Box::pin(drive(builder.serve_connection(TokioIo::new(stream), answering), &activity, &stop))
                .await;
        }
        Err(_) => {}
    }
}

/// Drives a connection to its end, or until it is signalled to close.
async fn drive(connection: impl Graceful, activity: &ConnectionActivity, stop: &CancellationToken) {
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        signal = activity.close_signal() => if signal == CloseSignal::Immediate { return },
        () = stop.cancelled() => {}
    }
    // Answers what has begun and accepts no further request. If the client does not take the answer, the reaper or
    // the drain timeout ends it.
    connection.as_mut().shut_down();
    tokio::select! {
        _ = connection => {}
        () = activity.immediate_close() => {}
    }
}

/// A connection that can be told to accept no further request.
trait Graceful: Future {
    fn shut_down(self: Pin<&mut Self>);
}

impl<I, B, S> Graceful for http1::UpgradeableConnection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    I: Read + Write + Unpin + Send + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, B, S> Graceful for http2::Connection<I, S, TokioExecutor>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    I: Read + Write + Unpin + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    TokioExecutor: Http2ServerConnExec<S::Future, B>,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

async fn answer<H: HttpService>(
    request: Request<Incoming>,
    peer: Peer,
    service: H,
    activity: Arc<ConnectionActivity>,
    reaper: Arc<ConnectionReaper>,
) -> Result<Response<Instrumented<AnyBody<H>>>, Infallible> {
    let http2 = request.version() == Version::HTTP_2;
    activity.begin(http2);
    let (mut request, unread) = ReceivedBody::wrap(request, &activity);
    // Moved into the body: the request lasts until the response has been sent, or dropped with the connection.
    let mut in_flight = InFlight { activity, permit: None };
    let mut refusal = refusal::refuse(&request);
    if http2 && in_flight.activity.has_others() {
        in_flight.permit = Box::pin(reaper.request_permit(&in_flight.activity)).await;
        if in_flight.permit.is_none() {
            refusal = Some(refusal::busy());
        }
    }
    let response = match refusal {
        Some(refusal) => {
            drop(request);
            refusal.map(Either::Right)
        }
        None => {
            request.extensions_mut().insert(peer);
            service.respond(request).await.map(Either::Left)
        }
    };
    match unread.discard().await {
        Some(rest) if http2 => keep_stream(rest, &reaper.kept_streams),
        Some(_) => in_flight.activity.leave_unread(),
        None => {}
    }
    Ok(response.map(|body| Instrumented { body, _in_flight: in_flight }))
}

/// The body of a handler's response, or of the listener's own.
type AnyBody<H> = Either<<H as HttpService>::Body, Full<Bytes>>;

/// A request whose response is not complete.
struct InFlight {
    activity: Arc<ConnectionActivity>,
    /// Of a further request on an HTTP/2 connection: they count like connections.
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.end();
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
