//! Defines the keys of palisade-webhook.yaml, before validation.
//!
//! Absent and null mean the same everywhere. The keys of the LAPI client, of logs and of metrics in the same file are
//! read by `palisade_bouncer`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use palisade_client::Secret;
use palisade_go_compat::GoDuration;
use serde::Deserialize;

use super::{HmacAlgorithm, HmacEncoding, Initial, ListFormat, LongIpv6};
use crate::event::Grouping;

/// Keys that this file reads. Keys inside list entries are known by the path of the list.
pub const WEBHOOK_KEYS: &[&str] = &[
    "present_as",
    "endpoints.name",
    "endpoints.events",
    "endpoints.filter.scopes",
    "endpoints.filter.types",
    "endpoints.filter.origins",
    "endpoints.filter.scenarios",
    "endpoints.filter.not_scenarios",
    "endpoints.filter.expression",
    "endpoints.initial",
    "endpoints.snapshot_interval",
    "endpoints.batch.events",
    "endpoints.batch.size",
    "endpoints.batch.wait",
    "endpoints.parallel",
    "endpoints.hold_repeats",
    "endpoints.replay_at_start",
    "endpoints.keep_history",
    "endpoints.history.max_age",
    "endpoints.history.max_size",
    "endpoints.retry.first",
    "endpoints.retry.max",
    "endpoints.retry.breaker_failures",
    "endpoints.retry.max_retry_after",
    "endpoints.retry.refused",
    "endpoints.max_dead_letters",
    "endpoints.url",
    "endpoints.url_file",
    "endpoints.method",
    "endpoints.headers.*",
    "endpoints.header_files.*",
    "endpoints.template",
    "endpoints.template_file",
    "endpoints.body",
    "endpoints.content_type",
    "endpoints.options.*",
    "endpoints.signing_secrets",
    "endpoints.signing_secret_files",
    "endpoints.hmac.header",
    "endpoints.hmac.algorithm",
    "endpoints.hmac.prefix",
    "endpoints.hmac.encoding",
    "endpoints.hmac.secret",
    "endpoints.hmac.secret_file",
    "endpoints.bearer",
    "endpoints.bearer_file",
    "endpoints.basic.user",
    "endpoints.basic.password",
    "endpoints.basic.password_file",
    "endpoints.tls.ca",
    "endpoints.tls.certificate",
    "endpoints.tls.key",
    "endpoints.tls.insecure_skip_verify",
    "endpoints.allow_addresses",
    "endpoints.connect_timeout",
    "endpoints.timeout",
    "endpoints.program.path",
    "endpoints.program.arguments",
    "endpoints.program.mode",
    "endpoints.program.timeout",
    "endpoints.program.max_starts",
    "endpoints.program.restart_wait",
    "endpoints.program.stop_timeout",
    "endpoints.program.inherit_environment",
    "endpoints.replace.interval",
    "endpoints.replace.max_entries",
    "endpoints.replace.aggregate",
    "endpoints.replace.cloudflare.account",
    "endpoints.replace.cloudflare.list",
    "endpoints.replace.cloudflare.long_ipv6",
    "endpoints.replace.aws_waf.region",
    "endpoints.replace.aws_waf.cloudfront",
    "endpoints.replace.aws_waf.ipv4.name",
    "endpoints.replace.aws_waf.ipv4.id",
    "endpoints.replace.aws_waf.ipv6.name",
    "endpoints.replace.aws_waf.ipv6.id",
    "endpoints.replace.aws_waf.access_key_id",
    "endpoints.replace.aws_waf.secret_access_key",
    "endpoints.replace.aws_waf.secret_access_key_file",
    "endpoints.replace.aws_waf.session_token",
    "endpoints.replace.aws_waf.session_token_file",
    "mirror.listen",
    "mirror.tls.certificate",
    "mirror.tls.key",
    "mirror.lists.path",
    "mirror.lists.format",
    "mirror.lists.user",
    "mirror.lists.password",
    "mirror.lists.password_file",
    "mirror.lists.allow_from",
    "mirror.lists.filter.scopes",
    "mirror.lists.filter.types",
    "mirror.lists.filter.origins",
    "mirror.lists.filter.scenarios",
    "mirror.lists.filter.not_scenarios",
    "mirror.lists.filter.expression",
    "mirror.lists.aggregate",
    "mirror.metrics_path",
    "mirror.access_log",
    "mirror.empty_is_not_found",
];

/// The file as written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ConfigFile {
    /// The type that the LAPI lists; letters, digits and hyphens.
    ///
    /// - default: `palisade-webhook`
    /// - example: `palisade-siem`
    pub present_as: Option<String>,
    /// Where events are delivered; at most 100. This or `mirror` is required. An entry has one of `url` (or
    /// `url_file`), `program` and `replace`.
    pub endpoints: Option<Vec<EndpointFile>>,
    /// Lists served over HTTP.
    pub mirror: Option<MirrorFile>,
}

/// An entry of `endpoints`; one of `url`, `program` and `replace` determines its kind.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointFile {
    /// Its name, also that of its store: letters, digits, `-` and `_`, at most 64; unique, whatever the letter
    /// case. Required.
    ///
    /// - example: `soar`
    pub name: Option<String>,
    /// What an event is about.
    ///
    /// - default: `value`; for programs `remediation`
    /// - example: `decision`
    pub events: Option<Grouping>,
    /// Which decisions are taken; all that is given must hold. What a filter does not take hides nothing.
    pub filter: Option<FilterFile>,
    /// What a new endpoint is sent of the decisions that are in force.
    ///
    /// - default: the template's; `snapshot` for `json`
    /// - example: `skip`
    pub initial: Option<Initial>,
    /// Time between full snapshots.
    ///
    /// - default: none
    /// - at least: `1m`
    /// - example: `24h`
    pub snapshot_interval: Option<GoDuration>,
    /// How events are put together into messages.
    pub batch: Option<BatchFile>,
    /// Messages under way at once.
    ///
    /// - default: 4; for programs 1
    /// - at least: `1`
    /// - at most: `64`
    /// - example: `8`
    pub parallel: Option<usize>,
    /// For so long after a delivery, hold back other ends, origins and scenarios of what the receiver holds
    /// already, and send them as one. What begins or is lifted is sent at once.
    ///
    /// - default: `0s`
    /// - example: `10m`
    pub hold_repeats: Option<GoDuration>,
    /// Send everything again at each start.
    ///
    /// - default: `false`; for programs `true`
    /// - example: `true`
    pub replay_at_start: Option<bool>,
    /// Deliver every event and not only the difference to the current state.
    ///
    /// - default: `false`
    /// - example: `true`
    pub keep_history: Option<bool>,
    /// Bounds of what `keep_history` keeps. What exceeds either is dropped, oldest first, counted and logged.
    ///
    /// - with: `keep_history: true`
    pub history: Option<HistoryFile>,
    /// When failed deliveries are repeated.
    pub retry: Option<RetryFile>,
    /// Rejected events that are kept; the oldest go first.
    ///
    /// - default: `1000`
    /// - at least: `1`
    /// - at most: `100000`
    /// - example: `100`
    pub max_dead_letters: Option<usize>,
    /// Where messages are sent: `http://` or `https://`, without name, password and fragment.
    ///
    /// - example: `https://soar.example.org/hook`
    pub url: Option<String>,
    /// A file or systemd credential that holds the URL, where it is a secret itself, as that of a chat's webhook.
    ///
    /// - example: `/etc/crowdsec/webhook/url`
    pub url_file: Option<PathBuf>,
    /// The method; any but `CONNECT`, `HEAD` and `TRACE`.
    ///
    /// - default: the template's, mostly `POST`; with `replace` `PUT`
    /// - example: `PUT`
    pub method: Option<String>,
    /// Further headers, name to value.
    ///
    /// - example: `{X-Team: security}`
    pub headers: Option<BTreeMap<String, Secret>>,
    /// Further headers, name to a file or systemd credential that holds the value.
    ///
    /// - example: `{X-Token: /etc/crowdsec/webhook/token}`
    pub header_files: Option<BTreeMap<String, PathBuf>>,
    /// A [ready template](../webhook-templates.md).
    ///
    /// - default: `json`
    /// - example: `slack`
    pub template: Option<String>,
    /// A template of your own, in a file of at most 256 KB.
    ///
    /// - example: `/etc/crowdsec/webhook/body.j2`
    pub template_file: Option<PathBuf>,
    /// A template of your own.
    ///
    /// - example: `'{"count": {{ events|length }}}'`
    pub body: Option<String>,
    /// The content type.
    ///
    /// - default: the template's; `application/json` for your own
    /// - example: `application/json`
    pub content_type: Option<String>,
    /// Values that the template reads, name to text.
    ///
    /// - example: `{batch: always}`
    pub options: Option<BTreeMap<String, String>>,
    /// Secrets of Standard Webhooks, `whsec_…` or `whsk_…`; each of them signs.
    ///
    /// - default: `[]`
    /// - example: `[whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=]`
    pub signing_secrets: Option<Vec<Secret>>,
    /// Files or systemd credentials that hold such secrets.
    ///
    /// - value: list of paths
    /// - default: `[]`
    /// - example: `[/etc/crowdsec/webhook/signing]`
    pub signing_secret_files: Option<Vec<PathBuf>>,
    /// An HMAC over the body in a header of its own.
    pub hmac: Option<HmacFile>,
    /// A token for `Authorization: Bearer`.
    ///
    /// - example: `TOKEN`
    pub bearer: Option<Secret>,
    /// A file or systemd credential that holds it.
    ///
    /// - example: `/etc/crowdsec/webhook/token`
    pub bearer_file: Option<PathBuf>,
    /// Name and password for `Authorization: Basic`.
    pub basic: Option<BasicFile>,
    /// TLS towards the receiver.
    pub tls: Option<TlsFile>,
    /// Addresses and prefixes that are not public and may be connected to all the same.
    ///
    /// - default: `[]`
    /// - example: `[10.0.0.0/8]`
    pub allow_addresses: Option<Vec<String>>,
    /// How long resolution, connection and TLS may take together.
    ///
    /// - default: `5s`
    /// - at least: `10ms`
    /// - example: `2s`
    pub connect_timeout: Option<GoDuration>,
    /// How long a whole exchange may take.
    ///
    /// - default: `15s`
    /// - at least: `10ms`
    /// - example: `30s`
    pub timeout: Option<GoDuration>,
    /// A program instead of a URL. What it gets is in [programs](../webhook-programs.md).
    pub program: Option<ProgramFile>,
    /// The receiver takes its whole list instead of changes. Without a service, the list is sent to `url`.
    pub replace: Option<ReplaceFile>,
}

/// A `filter` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FilterFile {
    /// Scopes, as a whole, whatever the letter case.
    ///
    /// - default: `[]`
    /// - example: `[Ip, Range]`
    pub scopes: Option<Vec<String>>,
    /// Remediations, as a whole.
    ///
    /// - default: `[]`
    /// - example: `[ban]`
    pub types: Option<Vec<String>>,
    /// Origins, as a whole; `lists:NAME` is one list.
    ///
    /// - default: `[]`
    /// - example: `[crowdsec, "lists:firehol"]`
    pub origins: Option<Vec<String>>,
    /// Texts, one of which the scenario contains.
    ///
    /// - default: `[]`
    /// - example: `[ssh, http]`
    pub scenarios: Option<Vec<String>>,
    /// Texts, none of which the scenario contains.
    ///
    /// - default: `[]`
    /// - example: `[test]`
    pub not_scenarios: Option<Vec<String>>,
    /// A condition over `Decision`, in the language of CrowdSec's profiles; at most 16 KB.
    ///
    /// - example: `Decision.Origin == "cscli"`
    pub expression: Option<String>,
}

/// The `batch` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BatchFile {
    /// Most events in a message; at most what the template's service takes.
    ///
    /// - default: the template's, 100 for `json`; for programs 1000, with `mode: stdin` 4000
    /// - at least: `1`
    /// - at most: `1000`
    /// - example: `500`
    pub events: Option<usize>,
    /// Longest body; a longer one is sent as two messages.
    ///
    /// - value: size
    /// - default: `1MB`
    /// - at least: `1KB`
    /// - at most: `16MB`
    /// - example: `256KB`
    pub size: Option<String>,
    /// How long a message that is not full waits for more events, at most 1 hour.
    ///
    /// - default: the template's; none for `json`
    /// - at most: `1h`
    /// - example: `5s`
    pub wait: Option<GoDuration>,
}

/// The `history` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HistoryFile {
    /// The oldest event that is kept.
    ///
    /// - default: `72h`
    /// - at least: `1s`
    /// - example: `168h`
    pub max_age: Option<GoDuration>,
    /// Most bytes that are kept.
    ///
    /// - value: size
    /// - default: `256MB`
    /// - at least: `1MB`
    /// - at most: `1024GB`
    /// - example: `1GB`
    pub max_size: Option<String>,
}

/// The `retry` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RetryFile {
    /// The wait after the first failure, doubled with each further one.
    ///
    /// - default: `1s`
    /// - at least: `10ms`
    /// - example: `2s`
    pub first: Option<GoDuration>,
    /// The longest wait.
    ///
    /// - default: `1h`; for programs `30s`
    /// - at least: `10ms`
    /// - example: `10m`
    pub max: Option<GoDuration>,
    /// Failures in a row after which one message at a time is tried.
    ///
    /// - default: `5`
    /// - at least: `1`
    /// - at most: `1000`
    /// - example: `3`
    pub breaker_failures: Option<u32>,
    /// The longest `Retry-After` that is honoured.
    ///
    /// - default: `6h`
    /// - at least: `10ms`
    /// - example: `1h`
    pub max_retry_after: Option<GoDuration>,
    /// The wait between attempts while the receiver refuses this sender.
    ///
    /// - default: `5m`
    /// - at least: `10ms`
    /// - example: `1m`
    pub refused: Option<GoDuration>,
}

/// The `hmac` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HmacFile {
    /// The header.
    ///
    /// - default: `X-Hub-Signature-256`
    /// - example: `X-Signature`
    pub header: Option<String>,
    /// The digest.
    ///
    /// - default: `sha256`
    /// - example: `sha512`
    pub algorithm: Option<HmacAlgorithm>,
    /// Text before the signature.
    ///
    /// - default: the algorithm and `=`, such as `sha256=`
    /// - example: `""`
    pub prefix: Option<String>,
    /// How the signature is written.
    ///
    /// - default: `hex`
    /// - example: `base64`
    pub encoding: Option<HmacEncoding>,
    /// The key. This or `secret_file` is required.
    ///
    /// - example: `SECRET`
    pub secret: Option<Secret>,
    /// A file or systemd credential that holds it.
    ///
    /// - example: `/etc/crowdsec/webhook/hmac`
    pub secret_file: Option<PathBuf>,
}

/// The `basic` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BasicFile {
    /// The name, without a colon. Required.
    ///
    /// - example: `palisade`
    pub user: Option<String>,
    /// The password. This or `password_file` is required.
    ///
    /// - example: `PASSWORD`
    pub password: Option<Secret>,
    /// A file or systemd credential that holds it.
    ///
    /// - example: `/etc/crowdsec/webhook/password`
    pub password_file: Option<PathBuf>,
}

/// The `tls` block of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TlsFile {
    /// Authorities that are trusted instead of the system's (PEM).
    ///
    /// - default: the system's authorities
    /// - example: `/etc/crowdsec/tls/ca.pem`
    pub ca: Option<PathBuf>,
    /// A certificate (PEM); with `key`.
    ///
    /// - example: `/etc/crowdsec/tls/webhook.pem`
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    ///
    /// - example: `/etc/crowdsec/tls/webhook-key.pem`
    pub key: Option<PathBuf>,
    /// Accept any certificate.
    ///
    /// - default: `false`
    /// - example: `true`
    pub insecure_skip_verify: Option<bool>,
}

/// How events are passed to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramModeFile {
    /// A process for each event.
    Arguments,
    /// One process that reads lines.
    Stdin,
}

/// The `program` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ProgramFile {
    /// The program, by its absolute path. Required.
    ///
    /// - example: `/usr/local/bin/ban`
    pub path: Option<PathBuf>,
    /// Arguments of the program.
    ///
    /// - default: `[]`
    /// - with: `mode: stdin`
    /// - example: `[--fast]`
    pub arguments: Option<Vec<String>>,
    /// How events are passed to it.
    ///
    /// - default: `stdin`
    /// - example: `arguments`
    pub mode: Option<ProgramModeFile>,
    /// How long a process may run.
    ///
    /// - default: `60s`
    /// - at least: `10ms`
    /// - with: `mode: arguments`
    /// - example: `30s`
    pub timeout: Option<GoDuration>,
    /// How often it is started in all.
    ///
    /// - default: any number
    /// - at least: `1`
    /// - with: `mode: stdin`
    /// - example: `3`
    pub max_starts: Option<u32>,
    /// The wait before it is started again.
    ///
    /// - default: `2s`
    /// - at least: `10ms`
    /// - with: `mode: stdin`
    /// - example: `10s`
    pub restart_wait: Option<GoDuration>,
    /// How long it may take to end after its input was closed.
    ///
    /// - default: `5s`
    /// - at least: `10ms`
    /// - at most: `15s`
    /// - with: `mode: stdin`
    /// - example: `10s`
    pub stop_timeout: Option<GoDuration>,
    /// Pass on the whole environment; otherwise only `PATH`, `HOME` and `LANG`.
    ///
    /// - default: `true`
    /// - example: `false`
    pub inherit_environment: Option<bool>,
}

/// The `replace` block. Without a service, the list is sent to `url`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReplaceFile {
    /// Least time between two updates.
    ///
    /// - default: `30s`
    /// - at least: `1s`
    /// - example: `5m`
    pub interval: Option<GoDuration>,
    /// Most entries; those that end last are kept.
    ///
    /// - default: `10000`
    /// - at least: `1`
    /// - at most: `1000000`
    /// - example: `1000`
    pub max_entries: Option<usize>,
    /// Merge addresses and ranges into as few ranges as possible, without covering more.
    ///
    /// - default: `false`
    /// - example: `true`
    pub aggregate: Option<bool>,
    /// A list at Cloudflare; needs `bearer` or `bearer_file`.
    pub cloudflare: Option<CloudflareFile>,
    /// IP sets of AWS WAF (v2).
    pub aws_waf: Option<AwsWafFile>,
}

/// The `cloudflare` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CloudflareFile {
    /// The account's id. Required.
    ///
    /// - example: `0123456789abcdef`
    pub account: Option<String>,
    /// The list's id. Required.
    ///
    /// - example: `fedcba9876543210`
    pub list: Option<String>,
    /// What becomes of IPv6 prefixes that are longer than /64, such as single addresses.
    ///
    /// - default: `skip`
    /// - example: `widen`
    pub long_ipv6: Option<LongIpv6>,
}

/// The `aws_waf` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AwsWafFile {
    /// The region. Required, except with `cloudfront`, whose sets are in `us-east-1`.
    ///
    /// - example: `eu-west-1`
    pub region: Option<String>,
    /// The sets are CloudFront's.
    ///
    /// - default: `false`
    /// - example: `true`
    pub cloudfront: Option<bool>,
    /// The set of IPv4 addresses; this or `ipv6` is required.
    pub ipv4: Option<IpSetFile>,
    /// The set of IPv6 addresses.
    pub ipv6: Option<IpSetFile>,
    /// The access key. Required.
    ///
    /// - example: `AKIAEXAMPLE`
    pub access_key_id: Option<String>,
    /// Its secret. This or `secret_access_key_file` is required.
    ///
    /// - example: `SECRET`
    pub secret_access_key: Option<Secret>,
    /// A file or systemd credential that holds it.
    ///
    /// - example: `/etc/crowdsec/webhook/aws`
    pub secret_access_key_file: Option<PathBuf>,
    /// A session token.
    ///
    /// - example: `TOKEN`
    pub session_token: Option<Secret>,
    /// A file or systemd credential that holds it.
    ///
    /// - example: `/etc/crowdsec/webhook/session`
    pub session_token_file: Option<PathBuf>,
}

/// An IP set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IpSetFile {
    /// Its name. Required.
    ///
    /// - example: `palisade`
    pub name: Option<String>,
    /// Its id. Required.
    ///
    /// - example: `0123456789abcdef`
    pub id: Option<String>,
}

/// The `mirror` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MirrorFile {
    /// Where lists are served.
    ///
    /// - value: `HOST:PORT`
    /// - default: `127.0.0.1:41412`
    /// - example: `0.0.0.0:41412`
    pub listen: Option<String>,
    /// Certificate and key; plain HTTP without.
    pub tls: Option<CertificateFile>,
    /// The lists; at most 100, at least one.
    pub lists: Option<Vec<ListFile>>,
    /// Where Prometheus metrics are served by the same listener; a path that is not a list's.
    ///
    /// - default: nowhere
    /// - example: `/metrics`
    pub metrics_path: Option<String>,
    /// A file for the access log.
    ///
    /// - default: none
    /// - example: `/var/log/palisade-webhook/access.log`
    pub access_log: Option<PathBuf>,
    /// Answer 404 when a list is empty, as the stock mirror does.
    ///
    /// - default: `false`
    /// - example: `true`
    pub empty_is_not_found: Option<bool>,
}

/// The `tls` block of `mirror`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CertificateFile {
    /// The certificate (PEM). Required.
    ///
    /// - example: `/etc/crowdsec/tls/lists.pem`
    pub certificate: Option<PathBuf>,
    /// Its key (PEM). Required.
    ///
    /// - example: `/etc/crowdsec/tls/lists-key.pem`
    pub key: Option<PathBuf>,
}

/// An entry of `mirror.lists`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ListFile {
    /// Its path. Required, unique.
    ///
    /// - example: `/blocklist`
    pub path: Option<String>,
    /// How it is written.
    ///
    /// - default: `plain_text`
    /// - example: `mikrotik`
    pub format: Option<ListFormat>,
    /// The name that a client has to give; with `password`.
    ///
    /// - example: `router`
    pub user: Option<String>,
    /// The password that a client has to give.
    ///
    /// - example: `PASSWORD`
    pub password: Option<Secret>,
    /// A file or systemd credential that holds it.
    ///
    /// - example: `/etc/crowdsec/webhook/list`
    pub password_file: Option<PathBuf>,
    /// Addresses that may read it, instead of `user` and `password`.
    ///
    /// - default: all
    /// - example: `[192.0.2.0/24]`
    pub allow_from: Option<Vec<String>>,
    /// Which decisions are on it.
    pub filter: Option<FilterFile>,
    /// Merge addresses and ranges into as few ranges as possible.
    ///
    /// - default: `false`
    /// - example: `true`
    pub aggregate: Option<bool>,
}
