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
    /// The type shown by `cscli bouncers list`; `palisade-webhook` by default.
    pub present_as: Option<String>,
    /// Where events are delivered.
    pub endpoints: Option<Vec<EndpointFile>>,
    /// Lists served over HTTP.
    pub mirror: Option<MirrorFile>,
}

/// An entry of `endpoints`; one of `url`, `program` and `replace` determines its kind.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointFile {
    /// Its name, also that of its store.
    pub name: Option<String>,
    /// What an event is about: `value` (default), `remediation` or `decision`.
    pub events: Option<Grouping>,
    /// Which decisions; all by default.
    pub filter: Option<FilterFile>,
    /// `snapshot` or `skip`; the template has the default.
    pub initial: Option<Initial>,
    /// Time between full snapshots; none by default.
    pub snapshot_interval: Option<GoDuration>,
    /// How events are put together.
    pub batch: Option<BatchFile>,
    /// Messages under way at once; 4 by default.
    pub parallel: Option<usize>,
    /// Hold back repeats on a value, such as a longer ban of what is banned, for so long; not by default.
    pub hold_repeats: Option<GoDuration>,
    /// Send everything again at each start; on by default for programs only.
    pub replay_at_start: Option<bool>,
    /// Deliver every event and not only the difference to the current state; off by default.
    pub keep_history: Option<bool>,
    /// Bounds of what `keep_history` keeps.
    pub history: Option<HistoryFile>,
    /// When failed deliveries are repeated.
    pub retry: Option<RetryFile>,
    /// Dead letters kept; 1000 by default.
    pub max_dead_letters: Option<usize>,
    /// Where messages are sent.
    pub url: Option<String>,
    /// A file or systemd credential that holds the URL, where it is a secret itself, as that of a chat's webhook.
    pub url_file: Option<PathBuf>,
    /// `POST` by default.
    pub method: Option<String>,
    /// Further headers.
    pub headers: Option<BTreeMap<String, Secret>>,
    /// Further headers, whose values are read from files.
    pub header_files: Option<BTreeMap<String, PathBuf>>,
    /// A ready template; `json` by default.
    pub template: Option<String>,
    /// A template of one's own, in a file.
    pub template_file: Option<PathBuf>,
    /// A template of one's own.
    pub body: Option<String>,
    /// The content type; by default the template's.
    pub content_type: Option<String>,
    /// Values that templates read.
    pub options: Option<BTreeMap<String, String>>,
    /// Secrets of Standard Webhooks, `whsec_…` or `whsk_…`; each signs.
    pub signing_secrets: Option<Vec<Secret>>,
    /// Files or systemd credentials that hold such secrets.
    pub signing_secret_files: Option<Vec<PathBuf>>,
    /// An HMAC in a header of its own.
    pub hmac: Option<HmacFile>,
    /// A token for `Authorization: Bearer`.
    pub bearer: Option<Secret>,
    /// A file or systemd credential that holds it.
    pub bearer_file: Option<PathBuf>,
    /// Name and password for `Authorization: Basic`.
    pub basic: Option<BasicFile>,
    /// TLS.
    pub tls: Option<TlsFile>,
    /// Addresses that are not public and may be connected to all the same.
    pub allow_addresses: Option<Vec<String>>,
    /// 5s by default.
    pub connect_timeout: Option<GoDuration>,
    /// 15s by default.
    pub timeout: Option<GoDuration>,
    /// A program instead of a URL.
    pub program: Option<ProgramFile>,
    /// The receiver takes its whole list instead of changes.
    pub replace: Option<ReplaceFile>,
}

/// A `filter` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FilterFile {
    /// Scopes, such as `Ip`.
    pub scopes: Option<Vec<String>>,
    /// Remediations, such as `ban`.
    pub types: Option<Vec<String>>,
    /// Origins, such as `cscli` or `lists:NAME`.
    pub origins: Option<Vec<String>>,
    /// Scenarios that contain one of these texts.
    pub scenarios: Option<Vec<String>>,
    /// No scenario that contains one of these texts.
    pub not_scenarios: Option<Vec<String>>,
    /// A condition over `Decision`.
    pub expression: Option<String>,
}

/// The `batch` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BatchFile {
    /// Most events in a message; the template has the default, 100 for `json`.
    pub events: Option<usize>,
    /// Longest body; 1MB by default.
    pub size: Option<String>,
    /// How long a message waits for more events; not at all by default.
    pub wait: Option<GoDuration>,
}

/// The `history` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HistoryFile {
    /// 72h by default.
    pub max_age: Option<GoDuration>,
    /// 256MB by default.
    pub max_size: Option<String>,
}

/// The `retry` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RetryFile {
    /// 1s by default.
    pub first: Option<GoDuration>,
    /// 1h by default, 30s for programs.
    pub max: Option<GoDuration>,
    /// 5 by default.
    pub breaker_failures: Option<u32>,
    /// 6h by default.
    pub max_retry_after: Option<GoDuration>,
    /// 5m by default.
    pub refused: Option<GoDuration>,
}

/// The `hmac` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HmacFile {
    /// `X-Hub-Signature-256` by default.
    pub header: Option<String>,
    /// `sha256` by default.
    pub algorithm: Option<HmacAlgorithm>,
    /// Text before the signature; by default `sha256=` and its like.
    pub prefix: Option<String>,
    /// `hex` by default.
    pub encoding: Option<HmacEncoding>,
    /// The key.
    pub secret: Option<Secret>,
    /// A file or systemd credential that holds it.
    pub secret_file: Option<PathBuf>,
}

/// The `basic` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BasicFile {
    /// The name.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// A file or systemd credential that holds it.
    pub password_file: Option<PathBuf>,
}

/// A `tls` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TlsFile {
    /// Trusted authorities, PEM; the system's by default.
    pub ca: Option<PathBuf>,
    /// A certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Accept any certificate; off by default.
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
    /// The program.
    pub path: Option<PathBuf>,
    /// Arguments, with `mode: stdin`.
    pub arguments: Option<Vec<String>>,
    /// `stdin` by default.
    pub mode: Option<ProgramModeFile>,
    /// With `mode: arguments`: how long a process may run; 60s by default.
    pub timeout: Option<GoDuration>,
    /// With `mode: stdin`: how often it is started in all; any number by default.
    pub max_starts: Option<u32>,
    /// The wait before it is started again; 2s by default.
    pub restart_wait: Option<GoDuration>,
    /// How long it may take to end; 5s by default.
    pub stop_timeout: Option<GoDuration>,
    /// Pass on the whole environment; on by default.
    pub inherit_environment: Option<bool>,
}

/// The `replace` block. Without a service, the list is sent to `url`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReplaceFile {
    /// Least time between two updates; 30s by default.
    pub interval: Option<GoDuration>,
    /// Most entries; 10000 by default.
    pub max_entries: Option<usize>,
    /// Merge addresses and ranges; off by default.
    pub aggregate: Option<bool>,
    /// A list at Cloudflare.
    pub cloudflare: Option<CloudflareFile>,
    /// IP sets of AWS WAF.
    pub aws_waf: Option<AwsWafFile>,
}

/// The `cloudflare` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CloudflareFile {
    /// The account's id.
    pub account: Option<String>,
    /// The list's id.
    pub list: Option<String>,
    /// What becomes of IPv6 prefixes longer than /64: `skip` (default), `send` or `widen`.
    pub long_ipv6: Option<LongIpv6>,
}

/// The `aws_waf` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AwsWafFile {
    /// The region.
    pub region: Option<String>,
    /// The sets are CloudFront's; off by default.
    pub cloudfront: Option<bool>,
    /// The set of IPv4 addresses.
    pub ipv4: Option<IpSetFile>,
    /// The set of IPv6 addresses.
    pub ipv6: Option<IpSetFile>,
    /// The access key.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<Secret>,
    /// A file or systemd credential that holds it.
    pub secret_access_key_file: Option<PathBuf>,
    /// A session token.
    pub session_token: Option<Secret>,
    /// A file or systemd credential that holds it.
    pub session_token_file: Option<PathBuf>,
}

/// An IP set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IpSetFile {
    /// Its name.
    pub name: Option<String>,
    /// Its id.
    pub id: Option<String>,
}

/// The `mirror` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MirrorFile {
    /// `127.0.0.1:41412` by default.
    pub listen: Option<String>,
    /// Certificate and key; plain HTTP without.
    pub tls: Option<TlsFile>,
    /// The lists.
    pub lists: Option<Vec<ListFile>>,
    /// Where Prometheus metrics are served; nowhere by default.
    pub metrics_path: Option<String>,
    /// A file for the access log; none by default.
    pub access_log: Option<PathBuf>,
    /// Answer 404 when a list is empty; off by default.
    pub empty_is_not_found: Option<bool>,
}

/// An entry of `mirror.lists`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ListFile {
    /// Its path.
    pub path: Option<String>,
    /// `plain_text` by default.
    pub format: Option<ListFormat>,
    /// Required name.
    pub user: Option<String>,
    /// Required password.
    pub password: Option<Secret>,
    /// A file or systemd credential that holds it.
    pub password_file: Option<PathBuf>,
    /// Addresses that may read it.
    pub allow_from: Option<Vec<String>>,
    /// Which decisions; all by default.
    pub filter: Option<FilterFile>,
    /// Merge addresses and ranges; off by default.
    pub aggregate: Option<bool>,
}
