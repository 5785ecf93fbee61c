//! Defines the keys of palisade-webhook.yaml, before validation.
//!
//! Absent and null mean the same everywhere. The keys of the LAPI client, of logs and of metrics in the same file are
//! read by `palisade_bouncer`.

mod http;
mod mirror;
mod program;
mod replace;

use std::collections::BTreeMap;
use std::path::PathBuf;

use palisade_client::Secret;
use palisade_go_compat::GoDuration;
use serde::Deserialize;

pub use self::http::{BasicFile, HmacFile, TlsFile};
pub use self::mirror::{CertificateFile, ListFile, MirrorFile};
pub use self::program::{ProgramFile, ProgramModeFile};
pub use self::replace::{AwsWafFile, CloudflareFile, IpSetFile, ReplaceFile};
use super::Initial;
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
