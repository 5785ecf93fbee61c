//! Defines the proxy's configuration, checked and ready to serve.
//!
//! [`Config`] is the validated configuration, [`ConfigFile`] the file as written, and the checks between the two are
//! pure: nothing here reads a file, opens a socket or resolves a name.

mod check;
pub mod file;
pub mod remediation;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use palisade_net::PrefixSet;

pub use self::file::{ConfigFile, PROXY_KEYS};
pub use self::remediation::{
    CaptchaConfig, CaptchaProvider, DecisionMode, FailurePolicy, Fallback, GeoFiles, LiveConfig, PagesConfig,
    RemediationPolicy, Scopes, StartPolicy, ThrottleConfig,
};

/// Everything the proxy is configured with. Each value is valid, and consistent with the others: every route names a
/// pool that exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where connections are accepted; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// Peers whose forwarded headers are used.
    pub client_address: ClientAddressConfig,
    /// The pools of upstreams, by the names that routes use.
    pub pools: Vec<Arc<PoolConfig>>,
    /// The routes, in the order of the file. The longest matching path prefix of the most specific host wins, not the
    /// first one.
    pub routes: Vec<Arc<RouteConfig>>,
    /// Captcha provider and proof; `None` when none is configured: then captcha decisions fall back.
    pub captcha: Option<Arc<CaptchaConfig>>,
    /// Pages of responses to remediated requests.
    pub pages: PagesConfig,
    /// Country and AS databases.
    pub geo: GeoFiles,
    /// Queries of the LAPI for single addresses, for routes in live mode.
    pub live: LiveConfig,
    /// Certificates by ACME; `None` when no listener uses it.
    pub acme: Option<AcmeConfig>,
    /// Limits on connections, heads and bodies.
    pub limits: LimitsConfig,
    /// The access log; `None` when it is off.
    pub access_log: Option<AccessLogConfig>,
    /// Add the remediation and the decision's origin and scenario to responses, for debugging.
    pub debug_headers: bool,
}

/// Where connections are accepted, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerConfig {
    /// The socket.
    pub address: ListenAddress,
    /// TLS; `None` for plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Whether HTTP/2 is offered: by ALPN with TLS, by prior knowledge without.
    pub http2: bool,
    /// Peers that must begin with a PROXY protocol header, version 1 or 2. From all others it is never read.
    pub proxy_protocol_from: PrefixSet,
    /// Close connections from banned addresses before TLS. Peers in `proxy_protocol_from` and trusted proxies are never
    /// refused.
    pub refuse_at_accept: bool,
    /// Answer every request with a redirect to `https`, except ACME challenges.
    pub redirect_to_https: bool,
}

/// The socket of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `HOST:PORT` as written.
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
    /// A socket passed by the service manager under this name (`FileDescriptorName=`).
    Inherited(String),
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates; the one whose names cover the requested server name is used, the first one without a name.
    pub certificates: Vec<CertificateFiles>,
    /// Names for which certificates are obtained by ACME.
    pub acme_names: Vec<String>,
    /// Authorities of client certificates, PEM; `None` when none are requested.
    pub client_ca: Option<PathBuf>,
    /// Whether TLS 1.2 is accepted beside 1.3.
    pub tls12: bool,
}

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
    /// A DER-encoded OCSP response, which another program keeps current; `None` for none.
    pub ocsp: Option<PathBuf>,
}

/// Certificates by ACME (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The directory URL.
    pub directory: String,
    /// `mailto:` contact of the account; empty for none.
    pub email: String,
    /// Where account and certificates are kept.
    pub storage: PathBuf,
    /// Authorities trusted for the directory besides the system's, PEM.
    pub ca: Option<PathBuf>,
    /// How names are proven.
    pub challenge: AcmeChallenge,
    /// Names of all listeners, without repeats.
    pub names: Vec<String>,
}

/// How a name is proven to the ACME server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum AcmeChallenge {
    /// A file under `/.well-known/acme-challenge/` on port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate in a TLS handshake on port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// How the client's address is determined.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientAddressConfig {
    /// Peers whose header is believed.
    pub trusted_proxies: PrefixSet,
    /// The header, and how it is read.
    pub source: AddressSource,
    /// Instead of a list: the n-th entry from the right is the client, 1 being the last one.
    pub trusted_hops: Option<u8>,
}

/// The one header that client addresses are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressSource {
    /// `X-Forwarded-For`, or a header of the same form.
    List(HeaderName),
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// A header with one address, such as `CF-Connecting-IP`.
    Single(HeaderName),
}

/// A pool of upstreams.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolConfig {
    /// The name in routes, metrics and the access log.
    pub name: String,
    /// The upstreams; at least one.
    pub servers: Vec<ServerConfig>,
    /// How one is chosen.
    pub balance: Balance,
    /// Active health checks; `None` for passive ones only.
    pub health_check: Option<HealthCheckConfig>,
    /// Consecutive failures after which an upstream is not used for a while; 0 disables passive checks.
    pub max_failures: u32,
    /// How long it is not used; doubled with each further failure, up to 10 times this.
    pub failure_pause: Duration,
    /// Timeouts of requests.
    pub timeouts: TimeoutsConfig,
    /// Idle connections kept for each upstream.
    pub keep_alive: usize,
    /// How long an idle connection is kept.
    pub keep_alive_idle: Duration,
    /// The protocol of connections.
    pub protocol: UpstreamProtocol,
    /// TLS to upstreams with `https` URLs.
    pub tls: UpstreamTls,
    /// Announce the client's address in a PROXY protocol header; each connection then serves one client only.
    pub send_proxy_protocol: Option<ProxyProtocolVersion>,
    /// Send `Forwarded` (RFC 7239) beside the `X-Forwarded-` fields.
    pub send_forwarded: bool,
    /// Further attempts at another upstream when a request may be repeated.
    pub retries: u8,
    /// What the upstream receives as `Host`.
    pub host: HostHeader,
}

/// An upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// As written, for logs and metrics.
    pub url: String,
    /// Whether connections use TLS.
    pub tls: bool,
    /// Where it is.
    pub address: UpstreamAddress,
    /// Its share of requests, at least 1.
    pub weight: u16,
}

/// The address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    /// A host name or address, and a port.
    Tcp {
        /// Without brackets.
        host: String,
        /// 80 or 443 by default.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// How an upstream is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastConnections,
    /// The same for one client address, as long as it is up (rendezvous hashing).
    ClientAddress,
}

/// Active health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheckConfig {
    /// The path of a GET request, or `None` to only connect.
    pub path: Option<String>,
    /// `Host` of the request; `None` for the upstream's own.
    pub host: Option<String>,
    /// Accepted statuses, both included.
    pub status: (u16, u16),
    /// Between two checks; a tenth is added or subtracted at random.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// Successes in a row after which an upstream is up.
    pub healthy_after: u32,
    /// Failures in a row after which it is down.
    pub unhealthy_after: u32,
}

/// Timeouts of requests to upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutsConfig {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// From the end of the request to the head of the response.
    pub head: Duration,
    /// Without a byte of the body, in either direction.
    pub idle: Duration,
    /// Without a byte through a tunnel, in both directions.
    pub tunnel_idle: Duration,
}

/// The protocol of connections to upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN with TLS, by prior knowledge without.
    Http2,
    /// What TLS negotiates; HTTP/1.1 without TLS.
    Auto,
}

/// TLS to upstreams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Trusted authorities, PEM; the system's when `None`.
    pub ca: Option<PathBuf>,
    /// The name to ask for and verify; the URL's host when `None`.
    pub server_name: Option<String>,
    /// The client's certificate and key, PEM.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocolVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// What an upstream receives as `Host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// The client's.
    Preserve,
    /// The URL's.
    Upstream,
    /// A fixed one.
    Fixed(HeaderValue),
}

/// A route: which requests, to which pool, under which policy.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// The name in metrics, the access log and `explain`; unique.
    pub name: String,
    /// Lower-case host names, `*.example.org` for any name below; empty for any host.
    pub hosts: Vec<String>,
    /// Normalised path prefix that ends at a segment boundary; `/` for any path.
    pub path_prefix: String,
    /// Methods; empty for any.
    pub methods: Vec<http::Method>,
    /// The pool; its index in [`Config::pools`].
    pub pool: usize,
    /// What decisions do to requests.
    pub remediation: Arc<RemediationPolicy>,
    /// The largest body of a request, in bytes; `None` for any.
    pub max_body: Option<u64>,
}

/// Limits on connections, heads and bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsConfig {
    /// All connections; `None` derives it from the limit on open files.
    pub connections: Option<usize>,
    /// Connections of one address (IPv6: /64), trusted proxies excepted.
    pub connections_per_address: usize,
    /// Bytes of a request head.
    pub head_bytes: usize,
    /// Bytes of a request target.
    pub target_bytes: usize,
    /// For the head of a request.
    pub head_timeout: Duration,
    /// Without a byte of a request body.
    pub body_idle: Duration,
    /// Bytes a second that a request body must have on average, after [`LimitsConfig::body_grace`].
    pub body_rate: u64,
    /// See [`LimitsConfig::body_rate`].
    pub body_grace: Duration,
    /// Between two requests of a connection.
    pub keep_alive: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For requests in flight when the program stops.
    pub drain: Duration,
    /// How long a client may not read while a response is to be written.
    pub write_stalled: Duration,
}

/// The access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// The file; `None` for standard output.
    pub file: Option<PathBuf>,
    /// The format of lines.
    pub format: AccessLogFormat,
}

/// The format of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// One JSON object for each request.
    Json,
    /// nginx's combined format; remediated requests are written to no other field, so they are left out.
    Combined,
}

/// The address of the peer of a connection, as far as it has one.
pub type PeerAddress = Option<SocketAddr>;

#[cfg(test)]
mod tests;
