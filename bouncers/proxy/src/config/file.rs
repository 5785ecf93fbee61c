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
    /// Where connections are accepted.
    pub listen: Option<Vec<ListenFile>>,
    /// Addresses and prefixes of proxies in front, whose forwarded headers are believed; none by default.
    pub trusted_proxies: Option<Vec<String>>,
    /// The header with the client's address; `X-Forwarded-For` by default.
    pub client_address_header: Option<String>,
    /// Whether that header has a list or one address; by default as usual for the header.
    pub client_address_form: Option<AddressForm>,
    /// Instead of `trusted_proxies`: the client is the n-th entry from the right.
    pub trusted_hops: Option<u8>,
    /// Pools of upstreams.
    pub upstreams: Option<Vec<UpstreamFile>>,
    /// Which requests go to which pool.
    pub routes: Option<Vec<RouteFile>>,
    /// What decisions do, on every route that does not say otherwise.
    pub decisions: Option<DecisionsFile>,
    /// Captcha; a proof of work by default.
    pub captcha: Option<CaptchaFile>,
    /// Pages of remediated requests.
    pub pages: Option<PagesFile>,
    /// Country and AS databases.
    pub geo: Option<GeoFile>,
    /// Live queries.
    pub live: Option<LiveFile>,
    /// Certificates by ACME.
    pub acme: Option<AcmeFile>,
    /// Limits.
    pub limits: Option<LimitsFile>,
    /// The access log; off by default.
    pub access_log: Option<AccessLogFile>,
    /// Show the decision in response headers; off by default.
    pub debug_headers: Option<bool>,
}

/// An entry of `listen`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ListenFile {
    /// `HOST:PORT`, `unix:/PATH`, or `systemd:NAME` for a socket of the service manager.
    pub address: Option<String>,
    /// TLS; plain HTTP without.
    pub tls: Option<TlsFile>,
    /// Offer HTTP/2; on by default.
    pub http2: Option<bool>,
    /// Peers that begin with a PROXY protocol header.
    pub proxy_protocol_from: Option<Vec<String>>,
    /// Close connections of banned addresses before TLS; off by default.
    pub refuse_at_accept: Option<bool>,
    /// Redirect everything to `https`; off by default.
    pub redirect_to_https: Option<bool>,
}

/// The `tls` block of a listener.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TlsFile {
    /// Certificates from files.
    pub certificates: Option<Vec<CertificateFile>>,
    /// Names for certificates by ACME.
    pub acme: Option<Vec<String>>,
    /// Authorities of client certificates; with it, a client certificate is required.
    pub client_ca: Option<PathBuf>,
    /// Accept TLS 1.2; on by default.
    pub tls12: Option<bool>,
}

/// A certificate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CertificateFile {
    /// The chain, PEM.
    pub certificate: Option<PathBuf>,
    /// The key, PEM.
    pub key: Option<PathBuf>,
    /// An OCSP response, DER.
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
    /// The name that routes use.
    pub name: Option<String>,
    /// The upstreams.
    pub servers: Option<Vec<ServerFile>>,
    /// `round_robin` by default.
    pub balance: Option<Balance>,
    /// Active health checks; off by default.
    pub health_check: Option<HealthCheckFile>,
    /// Failures in a row after which an upstream is not used for a while; 3 by default, 0 for never.
    pub max_failures: Option<u32>,
    /// How long it is not used; 10s by default.
    pub failure_pause: Option<GoDuration>,
    /// For a connection; 5s by default.
    pub connect_timeout: Option<GoDuration>,
    /// From the request to the head of the response; 60s by default.
    pub head_timeout: Option<GoDuration>,
    /// Without a byte of a body; 60s by default.
    pub idle_timeout: Option<GoDuration>,
    /// Without a byte through a tunnel; 1h by default.
    pub tunnel_idle_timeout: Option<GoDuration>,
    /// Idle connections for each upstream; 64 by default.
    pub keep_alive: Option<usize>,
    /// How long they are kept; 60s by default.
    pub keep_alive_idle: Option<GoDuration>,
    /// `auto` by default.
    pub protocol: Option<UpstreamProtocol>,
    /// TLS to upstreams.
    pub tls: Option<UpstreamTlsFile>,
    /// Announce clients by the PROXY protocol, `v1` or `v2`; off by default.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// Send `Forwarded` (RFC 7239) beside the `X-Forwarded-` fields; off by default.
    pub forwarded: Option<bool>,
    /// Further attempts; 1 by default.
    pub retries: Option<u8>,
    /// `preserve` (default), `upstream`, or the text to send.
    pub host: Option<String>,
}

/// An upstream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServerFile {
    /// `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`.
    pub url: Option<String>,
    /// Its share; 1 by default.
    pub weight: Option<u16>,
}

/// The `health_check` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HealthCheckFile {
    /// The path of a GET request; without, only a connection is opened.
    pub path: Option<String>,
    /// Its `Host`.
    pub host: Option<String>,
    /// `200-399` by default.
    pub status: Option<String>,
    /// 5s by default.
    pub interval: Option<GoDuration>,
    /// 2s by default.
    pub timeout: Option<GoDuration>,
    /// 2 by default.
    pub healthy_after: Option<u32>,
    /// 3 by default.
    pub unhealthy_after: Option<u32>,
}

/// The `tls` block of upstreams.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UpstreamTlsFile {
    /// Trusted authorities; the system's by default.
    pub ca: Option<PathBuf>,
    /// The name to verify; the URL's host by default.
    pub server_name: Option<String>,
    /// The client's certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Accept any certificate; off by default.
    pub insecure_skip_verify: Option<bool>,
}

/// An entry of `routes`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RouteFile {
    /// For metrics and logs; made of host and path by default.
    pub name: Option<String>,
    /// Host names; any by default.
    pub hosts: Option<Vec<String>>,
    /// `/` by default.
    pub path_prefix: Option<String>,
    /// Any by default.
    pub methods: Option<Vec<String>>,
    /// The name of a pool, or a URL.
    pub upstream: Option<String>,
    /// The largest body, such as `10MB`; any by default.
    pub max_body: Option<String>,
    /// What decisions do here.
    pub decisions: Option<DecisionsFile>,
}

/// A `decisions` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DecisionsFile {
    /// `stream` by default.
    pub mode: Option<DecisionMode>,
    /// `ip` and `range`, with databases also `country` and `as`, by default.
    pub scopes: Option<Vec<String>>,
    /// All by default.
    pub origins: Option<Vec<String>>,
    /// None by default.
    pub exempt: Option<Vec<String>>,
    /// Off by default.
    pub log_only: Option<bool>,
    /// `ban` by default.
    pub fallback: Option<Fallback>,
    /// `keep` by default.
    pub on_failure: Option<FailurePolicy>,
    /// Any age by default.
    pub max_staleness: Option<GoDuration>,
    /// `wait` by default.
    pub on_start: Option<StartPolicy>,
    /// 403 by default.
    pub ban_status: Option<u16>,
    /// `page` by default.
    pub ban_action: Option<BanAction>,
    /// `closed` by default.
    pub captcha_on_failure: Option<CaptchaOnFailure>,
    /// 10 requests in 1m, 5 at once, by default.
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
    pub requests: Option<u32>,
    /// The period.
    pub period: Option<GoDuration>,
    /// Requests at once.
    pub burst: Option<u32>,
}

/// The `captcha` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CaptchaFile {
    /// `proof_of_work` by default.
    pub provider: Option<ProviderName>,
    /// Zero bits of a proof of work; 20 by default.
    pub difficulty: Option<u8>,
    /// The provider's public key.
    pub site_key: Option<String>,
    /// The provider's private key.
    pub secret_key: Option<Secret>,
    /// A file with the private key, or the name of a systemd credential.
    pub secret_key_file: Option<PathBuf>,
    /// The widget's script; the provider's own by default.
    pub script_url: Option<String>,
    /// The widget's class; the provider's own by default.
    pub widget_class: Option<String>,
    /// The field of the response; the provider's own by default.
    pub response_field: Option<String>,
    /// Where a response is verified; the provider's own by default.
    pub verify_url: Option<String>,
    /// Authorities for `verify_url`.
    pub ca: Option<PathBuf>,
    /// Send the client's address to the provider; off by default.
    pub send_address: Option<bool>,
    /// 1h by default.
    pub proof_ttl: Option<GoDuration>,
    /// Keys for proofs; made at the start by default.
    pub signing_keys: Option<Vec<Secret>>,
    /// 5s by default.
    pub timeout: Option<GoDuration>,
    /// What a proof is bound to.
    pub bound_prefix: Option<BoundPrefixFile>,
    /// 200 by default.
    pub status: Option<u16>,
}

/// The `bound_prefix` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BoundPrefixFile {
    /// 32 by default.
    pub ipv4: Option<u8>,
    /// 64 by default.
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
    /// A folder with templates.
    pub directory: Option<PathBuf>,
    /// Shown on pages.
    pub contact: Option<String>,
    /// `en` by default.
    pub language: Option<String>,
}

/// The `geo` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct GeoFile {
    /// A country database.
    pub country: Option<PathBuf>,
    /// An AS database.
    pub asn: Option<PathBuf>,
}

/// The `live` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LiveFile {
    /// 200ms by default.
    pub timeout: Option<GoDuration>,
    /// 60s by default.
    pub hit_ttl: Option<GoDuration>,
    /// 10s by default.
    pub miss_ttl: Option<GoDuration>,
    /// 100 000 by default.
    pub entries: Option<usize>,
    /// 5 by default.
    pub breaker_failures: Option<u32>,
    /// 5s by default.
    pub breaker_pause: Option<GoDuration>,
}

/// The `acme` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AcmeFile {
    /// The directory URL; Let's Encrypt's by default.
    pub directory: Option<String>,
    /// The account's contact.
    pub email: Option<String>,
    /// `acme` in the state directory by default.
    pub storage: Option<PathBuf>,
    /// Authorities for the directory.
    pub ca: Option<PathBuf>,
    /// `http-01` by default.
    pub challenge: Option<AcmeChallenge>,
}

/// The `limits` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LimitsFile {
    /// Derived from the limit on open files by default.
    pub connections: Option<usize>,
    /// 256 by default.
    pub connections_per_address: Option<usize>,
    /// 32768 by default.
    pub head_bytes: Option<usize>,
    /// 8192 by default.
    pub target_bytes: Option<usize>,
    /// 15s by default.
    pub head_timeout: Option<GoDuration>,
    /// 30s by default.
    pub body_idle: Option<GoDuration>,
    /// 500 by default; 0 for none.
    pub body_rate: Option<u64>,
    /// 10s by default.
    pub body_grace: Option<GoDuration>,
    /// 60s by default.
    pub keep_alive: Option<GoDuration>,
    /// 10s by default.
    pub handshake: Option<GoDuration>,
    /// 20s by default.
    pub drain: Option<GoDuration>,
    /// 60s by default.
    pub write_stalled: Option<GoDuration>,
}

/// The `access_log` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AccessLogFile {
    /// Standard output by default.
    pub file: Option<PathBuf>,
    /// `json` by default.
    pub format: Option<AccessLogFormat>,
}
