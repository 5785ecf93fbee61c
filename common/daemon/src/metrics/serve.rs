//! The HTTP listener of `/metrics`.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, info};

use super::{keys::Listen, registry::Metrics};
use crate::listen::{bind_host, check_host};

/// Timeout of a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum age of a connection; scrapers reconnect.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum number of open connections; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 32;

const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/metrics` until `stop` fires. An address that cannot be used is logged and otherwise ignored: a firewall
/// without metrics is better than none.
pub async fn serve(listen: Listen, metrics: Metrics, stop: CancellationToken) {
    match bind_host(&listen.addr, listen.port).await {
        Ok(listener) => {
            info!(addr = %listen.addr, port = listen.port, "serving metrics");
            accept(listener, metrics, stop).await;
        }
        Err(failure) => error!(
            error = &failure.cause as &dyn std::error::Error,
            addr = %listen.addr,
            port = listen.port,
            "cannot serve metrics; free the port, or set another prometheus.listen_port"
        ),
    }
}

/// Finds an address on which [`serve`] could not listen whatever else runs on this host.
///
/// # Errors
///
/// The system's reason.
pub async fn check(listen: &Listen) -> io::Result<()> {
    check_host(&listen.addr, listen.port).await.map_err(|failure| failure.cause)
}

async fn accept(listener: TcpListener, metrics: Metrics, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            // Before `accept`, so that scrapers beyond the limit wait in the kernel's queue.
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let Some((place, accepted)) = stop.run_until_cancelled(next).await else { break };
        match accepted {
            Ok((stream, _)) => {
                let (metrics, stop) = (metrics.clone(), stop.clone());
                connections.spawn(async move {
                    let _place = place;
                    // Here a limit per connection is enough, and simpler than the reaper of the LAPI's listener.
                    let _ = timeout(CONNECTION_TIMEOUT, connection(stream, metrics, stop)).await;
                });
            }
            Err(cause) => {
                // Out of file descriptors, or the client has disconnected: pause, to avoid a busy loop.
                debug!(error = &cause as &dyn std::error::Error, "cannot accept a connection for metrics");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, metrics: Metrics, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let metrics = metrics.clone();
        async move { Ok::<_, Infallible>(answer(&request, &metrics).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
    );
    // Protocol errors of a client are not logged.
    if stop.run_until_cancelled(connection.as_mut()).await.is_none() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(Duration::from_secs(1), connection).await;
    }
}

async fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "not found; metrics are at /metrics\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    metrics.refresh().await;
    let accepts = |kind: &str| {
        let mut values = request.headers().get_all(ACCEPT).iter();
        values.any(|value| value.to_str().is_ok_and(|text| text.contains(kind)))
    };
    // Prometheus asks for OpenMetrics first. Other scrapers may know the older format only.
    let (kind, text) = match accepts("application/openmetrics-text") {
        true => (OPENMETRICS, metrics.openmetrics()),
        false => (PLAIN, metrics.text()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use prometheus_client::metrics::gauge::Gauge;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn ask(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn serves_refreshed_metrics_and_nothing_else() {
        let metrics = Metrics::new();
        let scrapes: Gauge = Gauge::default();
        metrics.register(|registry| registry.register("scrapes", "Scrapes so far", scrapes.clone()));
        metrics.before_scrape(move || {
            let scrapes = scrapes.clone();
            async move {
                scrapes.inc();
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, metrics, stop.clone()));
        let idle = TcpStream::connect(addr).await.unwrap();

        let first = ask(addr, "GET /metrics HTTP/1.1").await;
        assert!(first.starts_with("HTTP/1.1 200 OK") && first.contains("\nscrapes 1\n"), "{first}");
        assert!(first.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{first}");
        let second =
            ask(addr, "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0").await;
        assert!(
            second.contains("content-type: application/openmetrics-text")
                && second.ends_with("scrapes 2\n# EOF\n")
        );
        assert!(ask(addr, "GET / HTTP/1.1").await.starts_with("HTTP/1.1 404"));
        assert!(ask(addr, "POST /metrics HTTP/1.1").await.starts_with("HTTP/1.1 405"));

        stop.cancel();
        tasks.close();
        timeout(Duration::from_secs(5), tasks.wait()).await.expect("ends although a client is idle");
        drop(idle);
    }

    #[tokio::test]
    async fn a_taken_port_is_not_fatal() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = Listen { addr: "127.0.0.1".into(), port: taken.local_addr().unwrap().port() };
        let done = serve(listen, Metrics::new(), CancellationToken::new());
        timeout(Duration::from_secs(5), done).await.expect("gives up at once");
    }
}
