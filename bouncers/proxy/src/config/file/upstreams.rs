//! The keys of upstreams and their servers.

use std::path::PathBuf;

use palisade_go_compat::GoDuration;
use serde::Deserialize;

use super::super::{Balance, ProxyProtocolVersion, UpstreamProtocol};

/// An entry of `upstreams`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UpstreamFile {
    /// The name that routes use. Required.
    ///
    /// - example: `app`
    pub name: Option<String>,
    /// The upstreams of the pool. Required.
    pub servers: Option<Vec<ServerFile>>,
    /// How an upstream is chosen.
    ///
    /// - default: `round_robin`
    /// - example: `least_connections`
    pub balance: Option<Balance>,
    /// Active health checks; none without this block.
    pub health_check: Option<HealthCheckFile>,
    /// Failures in a row after which an upstream is not used for a while; 0 for never.
    ///
    /// - default: `3`
    /// - example: `5`
    pub max_failures: Option<u32>,
    /// How long it is not used; doubled each time up to tenfold.
    ///
    /// - default: `10s`
    /// - at least: `10ms`
    /// - example: `30s`
    pub failure_pause: Option<GoDuration>,
    /// For opening a connection.
    ///
    /// - default: `5s`
    /// - at least: `10ms`
    /// - example: `2s`
    pub connect_timeout: Option<GoDuration>,
    /// From the request to the head of the response.
    ///
    /// - default: `60s`
    /// - at least: `10ms`
    /// - example: `30s`
    pub head_timeout: Option<GoDuration>,
    /// Without a byte of a body.
    ///
    /// - default: `60s`
    /// - at least: `10ms`
    /// - example: `30s`
    pub idle_timeout: Option<GoDuration>,
    /// Without a byte through a tunnel, such as a WebSocket.
    ///
    /// - default: `1h`
    /// - at least: `10ms`
    /// - example: `10m`
    pub tunnel_idle_timeout: Option<GoDuration>,
    /// Idle connections that are kept for each upstream.
    ///
    /// - default: `64`
    /// - at least: `0`
    /// - at most: `100000`
    /// - example: `256`
    pub keep_alive: Option<usize>,
    /// How long they are kept.
    ///
    /// - default: `60s`
    /// - at least: `10ms`
    /// - example: `30s`
    pub keep_alive_idle: Option<GoDuration>,
    /// The protocol of connections.
    ///
    /// - default: `auto`
    /// - example: `http2`
    pub protocol: Option<UpstreamProtocol>,
    /// TLS to upstreams with `https://`.
    pub tls: Option<UpstreamTlsFile>,
    /// Announce clients by the PROXY protocol; needs `protocol: http1` or none.
    ///
    /// - default: off
    /// - example: `v2`
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// Send `Forwarded` (RFC 7239) beside the `X-Forwarded-` fields.
    ///
    /// - default: `false`
    /// - example: `true`
    pub forwarded: Option<bool>,
    /// Further attempts for requests that may be repeated.
    ///
    /// - default: `1`
    /// - at least: `0`
    /// - at most: `10`
    /// - example: `2`
    pub retries: Option<u8>,
    /// The `Host` that the upstream receives: `preserve` (the client's), `upstream` (that of the URL), or the text
    /// to send.
    ///
    /// - default: `preserve`
    /// - example: `upstream`
    pub host: Option<String>,
}

/// An upstream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServerFile {
    /// `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`. Required.
    ///
    /// - example: `http://10.0.0.5:3000`
    pub url: Option<String>,
    /// Its share of requests.
    ///
    /// - default: `1`
    /// - at least: `1`
    /// - at most: `1000`
    /// - example: `2`
    pub weight: Option<u16>,
}

/// The `health_check` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HealthCheckFile {
    /// The path of a GET request; without it only a connection is opened.
    ///
    /// - default: none
    /// - example: `/health`
    pub path: Option<String>,
    /// The `Host` of the request.
    ///
    /// - default: the upstream's own
    /// - example: `app.internal`
    pub host: Option<String>,
    /// The statuses that count as healthy.
    ///
    /// - value: status or range
    /// - default: `200-399`
    /// - example: `200`
    pub status: Option<String>,
    /// Time between two checks.
    ///
    /// - default: `5s`
    /// - at least: `10ms`
    /// - example: `10s`
    pub interval: Option<GoDuration>,
    /// How long a check may take.
    ///
    /// - default: `2s`
    /// - at least: `10ms`
    /// - example: `1s`
    pub timeout: Option<GoDuration>,
    /// Successes in a row after which an upstream is used again.
    ///
    /// - default: `2`
    /// - at least: `1`
    /// - at most: `100`
    /// - example: `3`
    pub healthy_after: Option<u32>,
    /// Failures in a row after which it is not used.
    ///
    /// - default: `3`
    /// - at least: `1`
    /// - at most: `100`
    /// - example: `2`
    pub unhealthy_after: Option<u32>,
}

/// The `tls` block of upstreams.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UpstreamTlsFile {
    /// Trusted authorities (PEM).
    ///
    /// - default: the system's
    /// - example: `/etc/ssl/internal-ca.pem`
    pub ca: Option<PathBuf>,
    /// The name that is asked for and verified.
    ///
    /// - default: the URL's host
    /// - example: `app.internal`
    pub server_name: Option<String>,
    /// The certificate that the proxy shows (PEM); with `key`.
    ///
    /// - default: none
    /// - example: `/etc/ssl/proxy.pem`
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    ///
    /// - default: none
    /// - example: `/etc/ssl/proxy.key`
    pub key: Option<PathBuf>,
    /// Accept any certificate.
    ///
    /// - default: `false`
    /// - example: `true`
    pub insecure_skip_verify: Option<bool>,
}
