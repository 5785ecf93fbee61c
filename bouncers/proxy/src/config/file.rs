//! Defines the keys of the configuration file, before validation.
//!
//! Absent and null mean the same everywhere. The keys of the LAPI client, of logs and of metrics in the same file are
//! read by `palisade_bouncer`.

use std::path::PathBuf;

use palisade_client::Secret;
use palisade_go_compat::GoDuration;
use serde::Deserialize;

use super::{
    AccessLogFormat, AcmeChallenge, Balance, DecisionMode, FailurePolicy, Fallback, ProxyProtocolVersion,
    StartPolicy, UpstreamProtocol,
};

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

/// An entry of `listen`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ListenFile {
    /// `HOST:PORT` (an empty host for all addresses), `unix:/PATH`, or `systemd:NAME` for a socket of the service
    /// manager (`FileDescriptorName=`). Required.
    ///
    /// - example: `":80"`
    pub address: Option<String>,
    /// TLS; plain HTTP without.
    pub tls: Option<TlsFile>,
    /// Offer HTTP/2: by ALPN with TLS, by prior knowledge without.
    ///
    /// - default: `true`
    /// - example: `false`
    pub http2: Option<bool>,
    /// Peers that must begin with a PROXY protocol header, version 1 or 2. From all others it is never read.
    ///
    /// - default: `[]`
    /// - example: `[10.0.0.0/8]`
    pub proxy_protocol_from: Option<Vec<String>>,
    /// Close connections of addresses that are banned on every route before anything is read; no page is sent.
    ///
    /// - default: `false`
    /// - example: `true`
    pub refuse_at_accept: Option<bool>,
    /// Redirect everything to `https`, except challenges of ACME. Not with `tls`.
    ///
    /// - default: `false`
    /// - example: `true`
    pub redirect_to_https: Option<bool>,
}

/// The `tls` block of a listener.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TlsFile {
    /// Certificates from files. The one whose names cover the requested name is presented, the first one without a
    /// name.
    pub certificates: Option<Vec<CertificateFile>>,
    /// Host names whose certificates are obtained by ACME; no wildcards.
    ///
    /// - default: none
    /// - example: `[shop.example.org]`
    pub acme: Option<Vec<String>>,
    /// Authorities of client certificates (PEM); with it a client certificate is required.
    ///
    /// - default: none
    /// - example: `/etc/ssl/clients.pem`
    pub client_ca: Option<PathBuf>,
    /// Accept TLS 1.2 beside TLS 1.3.
    ///
    /// - default: `true`
    /// - example: `false`
    pub tls12: Option<bool>,
}

/// A certificate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CertificateFile {
    /// The chain (PEM). Required.
    ///
    /// - example: `/etc/ssl/shop.pem`
    pub certificate: Option<PathBuf>,
    /// The key (PEM). Required.
    ///
    /// - example: `/etc/ssl/shop.key`
    pub key: Option<PathBuf>,
    /// A current OCSP response (DER), which another program fetches; it is stapled.
    ///
    /// - default: none
    /// - example: `/etc/ssl/shop.ocsp`
    pub ocsp: Option<PathBuf>,
}

/// The form of the header with the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressForm {
    /// Each proxy appends an address.
    List,
    /// One address.
    Single,
}

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

/// A `decisions` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DecisionsFile {
    /// Where the decisions are from.
    ///
    /// - default: `stream`
    /// - example: `live`
    pub mode: Option<DecisionMode>,
    /// The scopes that count: `ip`, `range`, and with a database `country` and `as`.
    ///
    /// - default: `ip` and `range`, with databases `country` and `as` too
    /// - example: `[ip, range]`
    pub scopes: Option<Vec<String>>,
    /// Only decisions of these origins count; `lists:NAME` is one list.
    ///
    /// - default: `[]`
    /// - example: `[crowdsec, cscli]`
    pub origins: Option<Vec<String>>,
    /// Clients that no decision applies to.
    ///
    /// - default: `[]`
    /// - example: `[10.0.0.0/8]`
    pub exempt: Option<Vec<String>>,
    /// Log and count what would be done, and forward everything.
    ///
    /// - default: `false`
    /// - example: `true`
    pub log_only: Option<bool>,
    /// What an unknown type, and a captcha when none can be shown, is treated as.
    ///
    /// - default: `ban`
    /// - example: `captcha`
    pub fallback: Option<Fallback>,
    /// What applies when the LAPI has not answered for `max_staleness`.
    ///
    /// - default: `keep`
    /// - with: `max_staleness: 10m`
    /// - example: `closed`
    pub on_failure: Option<FailurePolicy>,
    /// The age of the LAPI's last answer from which on `on_failure` applies.
    ///
    /// - default: any age is accepted
    /// - at least: `1s`
    /// - example: `10m`
    pub max_staleness: Option<GoDuration>,
    /// What applies before the first decisions are known.
    ///
    /// - default: `wait`
    /// - example: `open`
    pub on_start: Option<StartPolicy>,
    /// The status of a ban's page, from 400 to 599.
    ///
    /// - default: `403`
    /// - at least: `400`
    /// - at most: `599`
    /// - example: `429`
    pub ban_status: Option<u16>,
    /// How a banned client is answered.
    ///
    /// - default: `page`
    /// - example: `close`
    pub ban_action: Option<BanAction>,
    /// What applies while a captcha's provider cannot be asked.
    ///
    /// - default: `closed`
    /// - example: `open`
    pub captcha_on_failure: Option<CaptchaOnFailure>,
    /// The limit of a throttled client (IPv6: of a /64).
    pub throttle: Option<ThrottleFile>,
}

/// How a banned client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanAction {
    /// With a page.
    Page,
    /// With the end of the connection.
    Close,
}

/// What holds while a captcha's provider cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptchaOnFailure {
    /// Requests pass.
    Open,
    /// Requests are refused.
    Closed,
}

/// The `throttle` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ThrottleFile {
    /// Requests in a period.
    ///
    /// - default: `10`
    /// - at least: `1`
    /// - at most: `1000000`
    /// - example: `60`
    pub requests: Option<u32>,
    /// The period.
    ///
    /// - default: `1m`
    /// - at least: `100ms`
    /// - example: `10s`
    pub period: Option<GoDuration>,
    /// Requests at once.
    ///
    /// - default: `5`
    /// - at least: `1`
    /// - at most: `1000000`
    /// - example: `10`
    pub burst: Option<u32>,
}

/// The `captcha` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CaptchaFile {
    /// Who verifies solutions.
    ///
    /// - default: `proof_of_work`
    /// - example: `turnstile`
    pub provider: Option<ProviderName>,
    /// Zero bits of a proof of work; each doubles the work.
    ///
    /// - default: `20`
    /// - at least: `8`
    /// - at most: `28`
    /// - example: `18`
    pub difficulty: Option<u8>,
    /// The service's public key.
    ///
    /// - with: a service as `provider`
    /// - example: `SITE-KEY`
    pub site_key: Option<String>,
    /// The service's private key; this or `secret_key_file`.
    ///
    /// - with: a service as `provider`
    /// - example: `SECRET`
    pub secret_key: Option<Secret>,
    /// A file that holds the private key, or the name of a systemd credential.
    ///
    /// - with: a service as `provider`
    /// - example: `/etc/crowdsec/bouncers/captcha.key`
    pub secret_key_file: Option<PathBuf>,
    /// The widget's script.
    ///
    /// - default: the service's own
    /// - with: a service as `provider`
    /// - example: `https://captcha.example.org/widget.js`
    pub script_url: Option<String>,
    /// The widget's class.
    ///
    /// - default: the service's own
    /// - with: a service as `provider`
    /// - example: `widget`
    pub widget_class: Option<String>,
    /// The field of the form with the solution.
    ///
    /// - default: the service's own
    /// - with: a service as `provider`
    /// - example: `widget-response`
    pub response_field: Option<String>,
    /// Where a solution is verified.
    ///
    /// - default: the service's own
    /// - with: a service as `provider`
    /// - example: `https://captcha.example.org/verify`
    pub verify_url: Option<String>,
    /// Authorities for `verify_url` (PEM).
    ///
    /// - default: the system's
    /// - with: a service as `provider`
    /// - example: `/etc/ssl/captcha-ca.pem`
    pub ca: Option<PathBuf>,
    /// Send the client's address to the service.
    ///
    /// - default: `false`
    /// - with: a service as `provider`
    /// - example: `true`
    pub send_address: Option<bool>,
    /// How long a solved captcha counts.
    ///
    /// - default: `1h`
    /// - at least: `10s`
    /// - at most: `168h`
    /// - example: `30m`
    pub proof_ttl: Option<GoDuration>,
    /// Keys that sign proofs, the current one first, each of at least 32 characters; the same on all proxies of a
    /// name.
    ///
    /// - default: made at the start
    /// - example: `[0123456789abcdef0123456789abcdef]`
    pub signing_keys: Option<Vec<Secret>>,
    /// How long verification may take.
    ///
    /// - default: `5s`
    /// - at least: `10ms`
    /// - example: `2s`
    pub timeout: Option<GoDuration>,
    /// How much of the client's address a proof is bound to.
    pub bound_prefix: Option<BoundPrefixFile>,
    /// The status of the captcha's page: 200, or from 400 to 599.
    ///
    /// - default: `200`
    /// - example: `403`
    pub status: Option<u16>,
}

/// The `bound_prefix` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BoundPrefixFile {
    /// Prefix length of IPv4 addresses.
    ///
    /// - default: `32`
    /// - at least: `8`
    /// - at most: `32`
    /// - example: `24`
    pub ipv4: Option<u8>,
    /// Prefix length of IPv6 addresses.
    ///
    /// - default: `64`
    /// - at least: `16`
    /// - at most: `128`
    /// - example: `56`
    pub ipv6: Option<u8>,
}

/// The names of captcha providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderName {
    /// Ours.
    ProofOfWork,
    /// None: captcha decisions fall back.
    None,
    /// hCaptcha.
    Hcaptcha,
    /// reCAPTCHA v2.
    Recaptcha,
    /// Turnstile.
    Turnstile,
    /// One of the same form.
    Custom,
}

/// The `pages` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PagesFile {
    /// A folder with [templates](../proxy-pages.md#your-own-pages) that replace the built-in pages.
    ///
    /// - default: the built-in pages
    /// - example: `/etc/palisade/pages`
    pub directory: Option<PathBuf>,
    /// Shown on pages; a mail or web address becomes a link.
    ///
    /// - default: none
    /// - example: `help@example.org`
    pub contact: Option<String>,
    /// The language when none of the visitor's is available.
    ///
    /// - value: `en`, `de`, `fr`, `es` or `ja`
    /// - default: `en` (English)
    /// - example: `de`
    pub language: Option<String>,
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

/// The `acme` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AcmeFile {
    /// The directory's URL.
    ///
    /// - default: `https://acme-v02.api.letsencrypt.org/directory`
    /// - example: `https://acme.example.org/directory`
    pub directory: Option<String>,
    /// The account's contact.
    ///
    /// - default: none
    /// - example: `admin@example.org`
    pub email: Option<String>,
    /// The folder of account and certificates.
    ///
    /// - default: `acme` in the state directory
    /// - example: `/var/lib/palisade-proxy/acme`
    pub storage: Option<PathBuf>,
    /// Authorities for the directory (PEM).
    ///
    /// - default: the system's
    /// - example: `/etc/ssl/acme-ca.pem`
    pub ca: Option<PathBuf>,
    /// How a name is proven. `http-01` needs a listener without TLS on port 80.
    ///
    /// - default: `http-01`
    /// - example: `tls-alpn-01`
    pub challenge: Option<AcmeChallenge>,
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
