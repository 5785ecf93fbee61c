//! Checks an upstream at intervals.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use http::header::USER_AGENT;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::{HealthCheckConfig, UpstreamProtocol};
use crate::upstream::connect::Offer;
use crate::upstream::error::BoxError;
use crate::upstream::h1::HeadScanner;
use crate::upstream::h2::{self, RequestHead};
use crate::upstream::server::Server;
use crate::upstream::transport::Transport;

/// `User-Agent` of checks.
const CHECK_AGENT: &str = "palisade-proxy (health check)";

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("no response in time")]
    Timeout,
    #[error("{0}")]
    Connect(BoxError),
    #[error("the response has status {0}")]
    Status(StatusCode),
    #[error("the connection ended before the response")]
    Closed,
    #[error("the configured host is not an authority")]
    Host,
    #[error("{0}")]
    BadAnswer(crate::upstream::BadAnswer),
}

/// Checks `server` until dropped. It counts as up until checks say otherwise.
pub(crate) async fn run_checks(check: HealthCheckConfig, protocol: UpstreamProtocol, server: Arc<Server>) {
    let mut streak = Streak { up: true, opposite: 0 };
    // Upstreams of a pool are not checked all at the same instant.
    tokio::time::sleep(check.interval.mul_f64(fastrand::f64() * 0.1)).await;
    loop {
        let result = match tokio::time::timeout(check.timeout, check_once(&check, protocol, &server)).await {
            Ok(result) => result,
            Err(_) => Err(CheckError::Timeout.into()),
        };
        if let Some(up) = streak.record(result.is_ok(), &check) {
            server.set_checked(up, result.as_ref().err());
        }
        tokio::time::sleep(jittered(check.interval)).await;
    }
}

/// The interval, a tenth more or less.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + fastrand::f64() * 0.2)
}

/// Consecutive results that contradict the state.
#[derive(Debug)]
struct Streak {
    up: bool,
    opposite: u32,
}

impl Streak {
    /// The new state, if this result changes it.
    fn record(&mut self, success: bool, check: &HealthCheckConfig) -> Option<bool> {
        if success == self.up {
            self.opposite = 0;
            return None;
        }
        self.opposite += 1;
        let threshold = if success { check.healthy_after } else { check.unhealthy_after };
        if self.opposite < threshold {
            return None;
        }
        *self = Self { up: success, opposite: 0 };
        Some(success)
    }
}

async fn check_once(
    check: &HealthCheckConfig,
    protocol: UpstreamProtocol,
    server: &Server,
) -> Result<(), BoxError> {
    let connected = server.target.connect(None, Offer::Configured, check.timeout).await;
    let transport = connected.map_err(|error| match error.source {
        Some(source) => CheckError::Connect(source),
        None => CheckError::Timeout,
    })?;
    let Some(path) = &check.path else { return Ok(()) };
    let host = check.host.as_deref();
    let speaks_http2 =
        transport.is_http2() || (protocol == UpstreamProtocol::Http2 && !server.target.is_tls());
    let status = if speaks_http2 {
        get_h2(transport, path, host, server).await?
    } else {
        get_h1(transport, path, host, server).await?
    };
    let (from, to) = check.status;
    if (from..=to).contains(&status.as_u16()) { Ok(()) } else { Err(CheckError::Status(status).into()) }
}

async fn get_h1(
    mut transport: Transport,
    path: &str,
    host: Option<&str>,
    server: &Server,
) -> Result<StatusCode, BoxError> {
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: ").into_bytes();
    request.extend_from_slice(host.map_or(server.host.as_bytes(), str::as_bytes));
    request.extend_from_slice(b"\r\nuser-agent: ");
    request.extend_from_slice(CHECK_AGENT.as_bytes());
    request.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
    transport.write_all(&request).await?;
    transport.flush().await?;
    let (mut read, mut scanner) = (BytesMut::new(), HeadScanner::default());
    loop {
        if transport.read_buf(&mut read).await? == 0 {
            return Err(CheckError::Closed.into());
        }
        match scanner.take_head(&mut read, false, &mut HeaderMap::new()).map_err(CheckError::BadAnswer)? {
            Some(head) if !head.status.is_informational() => return Ok(head.status),
            _ => {}
        }
    }
}

async fn get_h2(
    transport: Transport,
    path: &str,
    host: Option<&str>,
    server: &Server,
) -> Result<StatusCode, BoxError> {
    let host = host.map_or(Ok(server.host.clone()), HeaderValue::from_str)?;
    let head = RequestHead {
        method: &Method::GET,
        target: &PathAndQuery::try_from(path)?,
        host: &host,
        tls: server.target.is_tls(),
        length: None,
        upgrade: None,
    };
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(CHECK_AGENT));
    let request = h2::request(head, headers).ok_or(CheckError::Host)?;
    let (mut send, connection) = ::h2::client::handshake(transport).await?;
    let (response, _) = send.send_request(request, true)?;
    let mut connection = std::pin::pin!(connection);
    let mut response = std::pin::pin!(response);
    // The connection is driven here: a check needs no task of its own.
    let response = std::future::poll_fn(|cx| {
        if let Poll::Ready(response) = response.as_mut().poll(cx) {
            return Poll::Ready(response.map_err(BoxError::from));
        }
        connection
            .as_mut()
            .poll(cx)
            .map(|ended| Err(ended.map_or_else(Into::into, |()| CheckError::Closed.into())))
    });
    Ok(response.await?.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_apply_to_consecutive_results() {
        let check = HealthCheckConfig {
            path: None,
            host: None,
            status: (200, 399),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
        };
        let mut streak = Streak { up: true, opposite: 0 };
        let results = [false, false, true, false, false, false, true, false, true, true];
        let changes: Vec<_> = results.iter().map(|&success| streak.record(success, &check)).collect();
        let mut expected = [None; 10];
        (expected[5], expected[9]) = (Some(false), Some(true));
        assert_eq!(changes, expected);
    }
}
