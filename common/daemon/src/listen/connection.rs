//! Serves the HTTP requests of one connection until it is closed by the client, by the reaper or at shutdown.

use std::{
    error::Error,
    pin::{Pin, pin},
    sync::Arc,
};

use http_body_util::{Either, Full};
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::{Body, Bytes, Incoming},
    header::{CONNECTION, HeaderValue},
    rt::{Read, Write, bounds::Http2ServerConnExec},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::{
    activity::{CloseSignal, ConnectionActivity},
    batched_writes::BatchedWrites,
    connection_reaper::ConnectionReaper,
    connections::{Shared, given_up},
    frame_io::GuardedFrames,
    limits::{MAX_DECODED_HEAD, MAX_HEAD},
    observed_io::ObservedIo,
    open_connection::OpenConnection,
    options::{ListenerOptions, StrictHttp},
    peer::{ConnectionInfo, Peer},
    received_body::{ReceivedBody, UnreadBody, keep_stream},
    refusal,
    sent_body::{InFlight, Instrumented},
    service::HttpService,
    strict_io::{MALFORMED_BODY, Report, SLOW_BODY, StrictReader},
};

/// Maximum number of concurrent requests on an HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// Bytes of bodies that an HTTP/2 client may send before a handler reads them: of one request, and of all together.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// Streams that a client may make a strict listener reset, by frames that break the protocol.
const MAX_CAUSED_RESETS: usize = 200;
/// Bytes of a response that are held for an HTTP/2 client which does not read, on a strict listener.
const SEND_BUFFER: usize = 64 * 1024;
/// Space in hyper's buffer beside the head of a request, so that the scanner finds a head too large before hyper does.
const BESIDE_HEAD: usize = 8 * 1024;
/// SETTINGS, and GOAWAY with HTTP_1_1_REQUIRED.
const HTTP1_REQUIRED: &[u8] =
    &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13];

/// How the requests of a connection are served.
pub(super) struct Serve<H> {
    pub(super) service: H,
    pub(super) shared: Arc<Shared>,
    pub(super) options: Arc<ListenerOptions>,
    pub(super) stop: CancellationToken,
}

/// What the requests of a connection share.
struct Requests<H> {
    service: H,
    peer: Peer,
    activity: Arc<ConnectionActivity>,
    reaper: Arc<ConnectionReaper>,
    /// On a strict listener.
    strict: Option<(StrictHttp, Report)>,
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
    let Serve { service, shared, options, stop } = serve;
    let activity = open.activity().clone();
    let peer = peer.with(ConnectionInfo { connection: Arc::downgrade(&open), ..info });
    let strict = options.strict.map(|limits| {
        let report = Report { metrics: shared.metrics.clone(), options: options.clone(), peer: peer.clone() };
        (limits, report)
    });
    let mut stream = ObservedIo::new(stream, activity.clone());
    // Detected by its preface, because clients also use HTTP/2 without TLS, and ALPN is not always sent.
    let http2 = tokio::select! {
        detected = stream.detect_http2() => detected,
        // No request has begun.
        _ = activity.close_signal() => return,
        () = given_up(&stop) => return,
    };
    let mut max_head = MAX_HEAD;
    match (&http2, &strict) {
        (Ok(false), Some((limits, report))) => {
            stream.scan_requests(StrictReader::new(*limits, report.clone()));
            // The scanner has the limit.
            max_head = limits.head_bytes + BESIDE_HEAD;
        }
        (Ok(true), Some((_, report))) => {
            activity.speaks_http2();
            stream.guard_frames(GuardedFrames::new(report.clone()));
        }
        _ => {}
    }
    let is_strict = strict.is_some();
    let requests = Arc::new(Requests {
        service,
        peer,
        activity: activity.clone(),
        reaper: open.reaper().clone(),
        strict,
    });
    let answering = service_fn(move |request: Request<Incoming>| answer(request, requests.clone()));
    // The reaper enforces the header timeout, because it can tell a slow request from an idle connection. Protocol
    // errors of a client are not logged.
    match http2 {
        Ok(false) => {
            let mut builder = http1::Builder::new();
            // With hyper's own timeout each connection would have a timer. Its limit of lines is `MAX_HEADER_LINES`; to set
            // it would move the parser's table to the heap.
            builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(max_head);
            let connection = builder.serve_connection(TokioIo::new(stream), answering).with_upgrades();
            drive(connection, &activity, &stop).await;
        }
        Ok(true) if !options.http2 => {
            // Best effort: the client would otherwise only see the end of the connection.
            let _ = stream.write_all(HTTP1_REQUIRED).await;
        }
        Ok(true) => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(MAX_DECODED_HEAD);
            if is_strict {
                builder.max_local_error_reset_streams(Some(MAX_CAUSED_RESETS)).max_send_buf_size(SEND_BUFFER);
            }
            if options.connect_protocol {
                builder.enable_connect_protocol();
            }
            // Boxed, as it is large and rare: tasks of HTTP/1.1 connections do not reserve its space.
            let stream = TokioIo::new(BatchedWrites::new(stream));
            Box::pin(drive(builder.serve_connection(stream, answering), &activity, &stop)).await;
        }
        Err(_) => {}
    }
}

/// Drives a connection to its end, or until it is signalled to close.
async fn drive(connection: impl Graceful, activity: &ConnectionActivity, stop: &CancellationToken) {
    let mut connection = pin!(connection);
    tokio::select! {
        // The connection first: hyper closes one that it has not read from when told to shut down, though a request may
        // have arrived.
        biased;
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
    requests: Arc<Requests<H>>,
) -> Result<Response<Instrumented<AnyBody<H>>>, EarlyTunnel> {
    let http2 = request.version() == Version::HTTP_2;
    let is_connect = request.method() == Method::CONNECT;
    let number = requests.activity.begin(http2);
    let (mut request, unread) = ReceivedBody::wrap(request, &requests.activity, requests.strict.is_some());
    // Moved into the body: the request lasts until the response has been sent, or dropped with the connection.
    let mut in_flight = InFlight { activity: requests.activity.clone(), permit: None, sending: None };
    let mut refusal = requests.refuse(&request);
    if http2 && in_flight.activity.has_others() {
        in_flight.permit = Box::pin(requests.reaper.request_permit(&in_flight.activity)).await;
        if in_flight.permit.is_none() {
            refusal = Some(refusal::busy());
        }
    }
    let mut response = match refusal {
        Some(refusal) => {
            drop(request);
            refusal.map(Either::Right)
        }
        None => {
            request.extensions_mut().insert(requests.peer.clone());
            requests.service.clone().respond(request).await.map(Either::Left)
        }
    };
    let status = response.status();
    if !http2 && (status == StatusCode::SWITCHING_PROTOCOLS || (is_connect && status.is_success())) {
        open_tunnel(&requests.activity).inspect_err(|_| requests.count("early_tunnel"))?;
    } else if let Some((_, report)) = &requests.strict
        && let Some(mut refusal) = refuse_body(&requests.activity, number, &unread, report)
    {
        if !http2 {
            refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response = refusal.map(Either::Right);
    }
    match unread.discard().await {
        Some(rest) if http2 => keep_stream(rest, &requests.reaper.kept_streams),
        Some(_) => in_flight.activity.leave_unread(),
        None => {}
    }
    if requests.strict.is_some() && !response.body().is_end_stream() {
        let activity = &requests.activity;
        in_flight.sending = Some(activity.progress.send(activity.now()));
    }
    Ok(response.map(|body| Instrumented { body, in_flight }))
}

impl<H> Requests<H> {
    fn count(&self, refusal: &'static str) {
        if let Some((_, report)) = &self.strict {
            report.metrics.refused(refusal);
        }
    }

    /// Why a request reaches no handler; `None` if it may.
    fn refuse<B>(&self, request: &Request<B>) -> Option<Response<Full<Bytes>>> {
        let Some((limits, report)) = &self.strict else { return refusal::refuse(request) };
        let violation = refusal::violates(request, limits)?;
        report.refused(violation.status(), violation.into());
        Some(refusal::strictly(violation.status(), violation.reason()))
    }
}

/// The response in place of a handler's, if the body of its request was refused since.
fn refuse_body(
    activity: &ConnectionActivity,
    number: u32,
    body: &UnreadBody,
    report: &Report,
) -> Option<Response<Full<Bytes>>> {
    let (status, refusal) = if activity.has_malformed_body(number) {
        (StatusCode::BAD_REQUEST, MALFORMED_BODY)
    } else if body.is_slow() {
        (StatusCode::REQUEST_TIMEOUT, SLOW_BODY)
    } else {
        return None;
    };
    // The service has the request in its access log.
    report.metrics.refused(refusal.name);
    activity.leave_unread();
    Some(refusal::strictly(status, refusal.reason))
}

/// A handler opens a tunnel: the bytes that follow are neither requests nor responses.
fn open_tunnel(activity: &ConnectionActivity) -> Result<(), EarlyTunnel> {
    if activity.is_malformed() {
        return Err(EarlyTunnel);
    }
    activity.tunnel_begins();
    Ok(())
}

/// Ends a connection: a response would make hyper pass it on to the tunnel, whatever its status.
#[derive(Debug, thiserror::Error)]
#[error("the client has sent the content of a tunnel before it was open")]
struct EarlyTunnel;

/// The body of a handler's response, or of the listener's own.
type AnyBody<H> = Either<<H as HttpService>::Body, Full<Bytes>>;
