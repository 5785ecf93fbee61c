//! Defines the keys of the configuration file, before validation.
//!
//! Absent and null mean the same everywhere. The keys of the LAPI client, of logs and of metrics in the same file are
//! read by `palisade_bouncer`.

mod listen;
mod remediation;
mod upstreams;

use std::path::PathBuf;

use palisade_go_compat::GoDuration;
use serde::Deserialize;

pub use self::listen::{AcmeFile, AddressForm, CertificateFile, ListenFile, TlsFile};
pub use self::remediation::{
    BanAction, BoundPrefixFile, CaptchaFile, CaptchaOnFailure, DecisionsFile, PagesFile, ProviderName,
    ThrottleFile,
};
pub use self::upstreams::{HealthCheckFile, ServerFile, UpstreamFile, UpstreamTlsFile};
use super::AccessLogFormat;

/// Keys that this file reads. Keys inside list entries are known by the path of the list.
pub const PROXY_KEYS: &[&str] = &[
    "listen.address",
    "listen.tls.certificates.certificate",
    "listen.tls.certificates.key",
    "listen.tls.certificates.ocsp",
    "listen.tls.acme",
    "listen.tls.client_ca",
    "listen.tls.tls12",
    "listen.http2",
    "listen.proxy_protocol_from",
    "listen.refuse_at_accept",
    "listen.redirect_to_https",
    "trusted_proxies",
    "client_address_header",
    "client_address_form",
    "trusted_hops",
    "upstreams.name",
    "upstreams.servers.url",
    "upstreams.servers.weight",
    "upstreams.balance",
    "upstreams.health_check.path",
    "upstreams.health_check.host",
    "upstreams.health_check.status",
    "upstreams.health_check.interval",
    "upstreams.health_check.timeout",
    "upstreams.health_check.healthy_after",
    "upstreams.health_check.unhealthy_after",
    "upstreams.max_failures",
    "upstreams.failure_pause",
    "upstreams.connect_timeout",
    "upstreams.head_timeout",
    "upstreams.idle_timeout",
    "upstreams.tunnel_idle_timeout",
    "upstreams.keep_alive",
    "upstreams.keep_alive_idle",
    "upstreams.protocol",
    "upstreams.tls.ca",
    "upstreams.tls.server_name",
    "upstreams.tls.certificate",
    "upstreams.tls.key",
    "upstreams.tls.insecure_skip_verify",
    "upstreams.proxy_protocol",
    "upstreams.forwarded",
    "upstreams.retries",
    "upstreams.host",
    "routes.name",
    "routes.hosts",
    "routes.path_prefix",
    "routes.methods",
    "routes.upstream",
    "routes.max_body",
    "routes.decisions.mode",
    "routes.decisions.scopes",
    "routes.decisions.origins",
    "routes.decisions.exempt",
    "routes.decisions.log_only",
    "routes.decisions.fallback",
    "routes.decisions.on_failure",
    "routes.decisions.max_staleness",
    "routes.decisions.on_start",
    "routes.decisions.ban_status",
    "routes.decisions.ban_action",
    "routes.decisions.captcha_on_failure",
    "routes.decisions.throttle.requests",
    "routes.decisions.throttle.period",
    "routes.decisions.throttle.burst",
    "decisions.mode",
    "decisions.scopes",
    "decisions.origins",
    "decisions.exempt",
    "decisions.log_only",
    "decisions.fallback",
    "decisions.on_failure",
    "decisions.max_staleness",
    "decisions.on_start",
    "decisions.ban_status",
    "decisions.ban_action",
    "decisions.captcha_on_failure",
    "decisions.throttle.requests",
    "decisions.throttle.period",
    "decisions.throttle.burst",
    "captcha.provider",
    "captcha.difficulty",
    "captcha.site_key",
    "captcha.secret_key",
    "captcha.secret_key_file",
    "captcha.script_url",
    "captcha.widget_class",
    "captcha.response_field",
    "captcha.verify_url",
    "captcha.ca",
    "captcha.send_address",
    "captcha.proof_ttl",
    "captcha.signing_keys",
    "captcha.timeout",
    "captcha.bound_prefix.ipv4",
    "captcha.bound_prefix.ipv6",
    "captcha.status",
    "pages.directory",
    "pages.contact",
    "pages.language",
    "geo.country",
    "geo.asn",
    "live.timeout",
    "live.hit_ttl",
    "live.miss_ttl",
    "live.entries",
    "live.breaker_failures",
    "live.breaker_pause",
    "acme.directory",
    "acme.email",
    "acme.storage",
    "acme.ca",
    "acme.challenge",
    "limits.connections",
    "limits.connections_per_address",
    "limits.head_bytes",
    "limits.target_bytes",
    "limits.head_timeout",
    "limits.body_idle",
    "limits.body_rate",
    "limits.body_grace",
    "limits.keep_alive",
    "limits.handshake",
    "limits.drain",
    "limits.write_stalled",
    "access_log.file",
    "access_log.format",
    "debug_headers",
];

/// The file as written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ConfigFile {
    /// Where connections are accepted. Required.
    pub listen: Option<Vec<ListenFile>>,
    /// Addresses and prefixes of proxies in front, whose forwarded headers are believed. From all other peers
    /// forwarded headers are dropped.
    ///
    /// - default: `[]`
    /// - example: `[10.0.0.0/8]`
    pub trusted_proxies: Option<Vec<String>>,
    /// The one header that the client's address is read from: `X-Forwarded-For`, `Forwarded`, or one with a single
    /// address such as `CF-Connecting-IP`.
    ///
    /// - default: `X-Forwarded-For`
    /// - example: `CF-Connecting-IP`
    pub client_address_header: Option<String>,
    /// Whether that header has a list or one address.
    ///
    /// - default: as usual for the header
    /// - example: `single`
    pub client_address_form: Option<AddressForm>,
    /// Instead of naming proxies: the client is the n-th entry from the right.
    ///
    /// - default: none
    /// - at least: `1`
    /// - at most: `32`
    /// - example: `1`
    pub trusted_hops: Option<u8>,
    /// Pools of upstreams.
    pub upstreams: Option<Vec<UpstreamFile>>,
    /// Which requests go to which pool. The most specific host and the longest path prefix win, not the order.
    /// Required.
    pub routes: Option<Vec<RouteFile>>,
    /// What decisions do, on every route that does not say otherwise. More in [decisions](../proxy-decisions.md).
    pub decisions: Option<DecisionsFile>,
    /// How captchas are shown and verified. More in [pages and captchas](../proxy-pages.md#captcha).
    pub captcha: Option<CaptchaFile>,
    /// Pages of remediated requests. More in [pages and captchas](../proxy-pages.md).
    pub pages: Option<PagesFile>,
    /// Databases in MaxMind's format, for decisions on countries and autonomous systems.
    pub geo: Option<GeoFile>,
    /// Of routes with `mode: live`. More in [live mode](../proxy-decisions.md#live-mode).
    pub live: Option<LiveFile>,
    /// Certificates by ACME. More in [certificates](../proxy-tls.md).
    pub acme: Option<AcmeFile>,
    /// What a connection and a request may cost.
    pub limits: Option<LimitsFile>,
    /// The access log; there is none without this block. Its fields are in
    /// [decisions](../proxy-decisions.md#access-log).
    pub access_log: Option<AccessLogFile>,
    /// Show the decision (remediation, origin, scenario) in response headers.
    ///
    /// - default: `false`
    /// - example: `true`
    pub debug_headers: Option<bool>,
}

/// An entry of `routes`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RouteFile {
    /// The name in metrics, logs and `explain`.
    ///
    /// - default: made of host and path
    /// - example: `shop`
    pub name: Option<String>,
    /// Host names; `*.example.org` stands for any name below.
    ///
    /// - default: any
    /// - example: `[shop.example.org]`
    pub hosts: Option<Vec<String>>,
    /// The beginning of the path, up to the end of a segment.
    ///
    /// - default: `/`
    /// - example: `/api`
    pub path_prefix: Option<String>,
    /// Methods.
    ///
    /// - default: any
    /// - example: `[GET, HEAD]`
    pub methods: Option<Vec<String>>,
    /// The name of a pool, or a URL. Required.
    ///
    /// - example: `http://127.0.0.1:3000`
    pub upstream: Option<String>,
    /// The largest body of a request.
    ///
    /// - value: size
    /// - default: any
    /// - example: `10MB`
    pub max_body: Option<String>,
    /// What decisions do on this route.
    pub decisions: Option<DecisionsFile>,
}

/// The `geo` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct GeoFile {
    /// A database of countries.
    ///
    /// - default: none
    /// - example: `/var/lib/GeoIP/GeoLite2-Country.mmdb`
    pub country: Option<PathBuf>,
    /// A database of autonomous systems.
    ///
    /// - default: none
    /// - example: `/var/lib/GeoIP/GeoLite2-ASN.mmdb`
    pub asn: Option<PathBuf>,
}

/// The `live` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LiveFile {
    /// For one query; then `on_failure` applies.
    ///
    /// - default: `200ms`
    /// - at least: `1ms`
    /// - example: `500ms`
    pub timeout: Option<GoDuration>,
    /// How long an answer with a decision is used.
    ///
    /// - default: `60s`
    /// - at least: `1ms`
    /// - example: `30s`
    pub hit_ttl: Option<GoDuration>,
    /// How long an answer without one is used: so long may a ban have no effect.
    ///
    /// - default: `10s`
    /// - at least: `1ms`
    /// - example: `5s`
    pub miss_ttl: Option<GoDuration>,
    /// Answers that are remembered at most.
    ///
    /// - default: `100000`
    /// - at least: `16`
    /// - at most: `10000000`
    /// - example: `10000`
    pub entries: Option<usize>,
    /// Failures in a row after which no query is sent for a while.
    ///
    /// - default: `5`
    /// - at least: `1`
    /// - at most: `1000`
    /// - example: `3`
    pub breaker_failures: Option<u32>,
    /// How long that is.
    ///
    /// - default: `5s`
    /// - at least: `10ms`
    /// - example: `10s`
    pub breaker_pause: Option<GoDuration>,
}

/// The `limits` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LimitsFile {
    /// All connections.
    ///
    /// - default: derived from the limit of open files
    /// - at least: `8`
    /// - at most: `500000`
    /// - example: `10000`
    pub connections: Option<usize>,
    /// Connections of one address (IPv6: /64), trusted proxies excepted.
    ///
    /// - default: `256`
    /// - example: `1000`
    pub connections_per_address: Option<usize>,
    /// Bytes of a request's head.
    ///
    /// - default: `32768`
    /// - example: `65536`
    pub head_bytes: Option<usize>,
    /// Bytes of a request's target.
    ///
    /// - default: `8192`
    /// - example: `4096`
    pub target_bytes: Option<usize>,
    /// For the head of a request.
    ///
    /// - default: `15s`
    /// - at least: `10ms`
    /// - example: `5s`
    pub head_timeout: Option<GoDuration>,
    /// Without a byte of a request's body.
    ///
    /// - default: `30s`
    /// - at least: `10ms`
    /// - example: `10s`
    pub body_idle: Option<GoDuration>,
    /// Bytes a second that a body must have on average after `body_grace`; 0 for any.
    ///
    /// - default: `500`
    /// - at least: `0`
    /// - at most: `1073741824`
    /// - example: `1000`
    pub body_rate: Option<u64>,
    /// When `body_rate` begins to count.
    ///
    /// - default: `10s`
    /// - at least: `10ms`
    /// - example: `5s`
    pub body_grace: Option<GoDuration>,
    /// How long a connection may be idle between requests.
    ///
    /// - default: `60s`
    /// - at least: `10ms`
    /// - example: `30s`
    pub keep_alive: Option<GoDuration>,
    /// For a TLS handshake.
    ///
    /// - default: `10s`
    /// - at least: `10ms`
    /// - example: `5s`
    pub handshake: Option<GoDuration>,
    /// For requests in flight when the program ends.
    ///
    /// - default: `20s`
    /// - example: `60s`
    pub drain: Option<GoDuration>,
    /// Without a byte of a response that the client takes.
    ///
    /// - default: `60s`
    /// - at least: `10ms`
    /// - example: `30s`
    pub write_stalled: Option<GoDuration>,
}

/// The `access_log` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AccessLogFile {
    /// The file.
    ///
    /// - default: standard output
    /// - example: `/var/log/palisade-proxy/access.log`
    pub file: Option<PathBuf>,
    /// The format.
    ///
    /// - default: `json`
    /// - example: `combined`
    pub format: Option<AccessLogFormat>,
}
