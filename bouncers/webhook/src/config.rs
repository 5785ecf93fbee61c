//! Defines the configuration of the webhook bouncer, checked and ready to use.
//!
//! Nothing here opens a socket or starts a program. Secrets are read from their files when the configuration is checked.

mod check;
pub mod file;
pub mod stock_custom;
pub mod stock_mirror;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use palisade_client::Secret;
use palisade_net::PrefixSet;
use url::Url;

pub use self::check::{Files, MAX_ENDPOINTS, read_text};
pub use self::file::{ConfigFile, WEBHOOK_KEYS};
use crate::event::Grouping;

/// Everything the program is configured with.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where events are delivered: HTTP endpoints, programs, and receivers of whole lists. Names are unique.
    pub endpoints: Vec<Arc<EndpointConfig>>,
    /// Lists served over HTTP; `None` when there are none.
    pub mirror: Option<Arc<MirrorConfig>>,
    /// The type half of the User-Agent; `palisade-webhook` by default.
    pub present_as: String,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointConfig {
    /// Its name: letters, digits, `-` and `_`, at most 64. Also that of its store.
    pub name: String,
    /// Which decisions on a value are separate entries.
    pub grouping: Grouping,
    /// Which decisions it takes.
    pub filter: FilterConfig,
    /// What a new endpoint is sent of the decisions that are in force already.
    pub initial: Initial,
    /// Time between two full snapshots; `None` for none but those that are asked for.
    pub snapshot_interval: Option<Duration>,
    /// How events are put together.
    pub batch: BatchConfig,
    /// How many messages may be under way at once, 1 to 64.
    pub parallel: usize,
    /// Within this time after a delivery, other ends, origins and scenarios of what the receiver holds already are held
    /// back and sent as one; zero for none. What begins or is lifted is sent at once.
    pub hold_repeats: Duration,
    /// Send everything again when the program starts: the receiver may have lost its state meanwhile.
    pub replay_at_start: bool,
    /// Keep every event until it is delivered; `None` to send only the difference to the current state.
    pub history: Option<HistoryConfig>,
    /// When failed deliveries are repeated.
    pub retry: RetryConfig,
    /// How many dead letters are kept; the oldest go first.
    pub max_dead_letters: usize,
    /// Where events go.
    pub receiver: Receiver,
}

/// Which decisions an endpoint takes. Empty lists take all. Compared without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterConfig {
    /// Scopes, such as `Ip`.
    pub scopes: Vec<String>,
    /// Remediations, such as `ban`.
    pub types: Vec<String>,
    /// Origins, such as `cscli`, or `lists:<name>`.
    pub origins: Vec<String>,
    /// Scenarios that contain one of these texts.
    pub scenarios: Vec<String>,
    /// No scenario that contains one of these texts.
    pub not_scenarios: Vec<String>,
    /// A condition in the language of CrowdSec's profiles over `Decision`, such as `Decision.Origin == "cscli"`.
    pub expression: Option<String>,
}

/// What a new endpoint is sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Initial {
    /// A snapshot of all decisions in force.
    Snapshot,
    /// Nothing: only what changes from then on.
    Skip,
}

/// How events are put together into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchConfig {
    /// Most events in a message, 1 to 1000 (10,000 for programs).
    pub events: usize,
    /// Longest body in bytes; a message that renders longer is split.
    pub bytes: usize,
    /// How long a message that is not full waits for more events; zero to send at once.
    pub wait: Duration,
}

/// How long events are kept with `keep_history`. What exceeds either bound is dropped, oldest first, counted and logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryConfig {
    /// Oldest event kept.
    pub max_age: Duration,
    /// Most bytes kept.
    pub max_bytes: u64,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(3 * 86_400), max_bytes: 256 << 20 }
    }
}

/// When failed deliveries are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConfig {
    /// The wait after the first failure; doubled with each further one, with full jitter.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Failures in a row after which the circuit opens: one message at a time probes the receiver.
    pub breaker_failures: u32,
    /// The longest `Retry-After` that is honoured.
    pub max_retry_after: Duration,
    /// The wait between attempts while the receiver refuses the sender.
    pub refused: Duration,
}

/// Where events go.
#[derive(Debug, Clone, PartialEq)]
pub enum Receiver {
    /// An HTTP endpoint.
    Http(Arc<HttpConfig>),
    /// A program.
    Program(Arc<ProgramConfig>),
    /// A receiver of whole lists.
    Replace(Arc<ReplaceConfig>),
}

/// An HTTP endpoint.
#[derive(Clone, PartialEq)]
pub struct HttpConfig {
    /// Where messages are sent: `http` or `https`, no user information.
    pub url: Url,
    /// `POST` by default.
    pub method: Method,
    /// Fixed headers; values may be secret.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What the body is made from.
    pub body: BodyConfig,
    /// Signatures and credentials.
    pub auth: AuthConfig,
    /// TLS towards the receiver.
    pub tls: ClientTlsConfig,
    /// Addresses that are not public and may be connected to all the same.
    pub allowed_addresses: PrefixSet,
    /// Timeout of connecting, with TLS.
    pub connect_timeout: Duration,
    /// Timeout of a whole exchange.
    pub timeout: Duration,
}

/// URL and header values may hold secrets, so they are not shown.
impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        f.debug_struct("HttpConfig").field("host", &host).field("body", &self.body).finish_non_exhaustive()
    }
}

/// What a body is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyConfig {
    /// The template.
    pub template: TemplateSource,
    /// The content type; `None` for the template's own.
    pub content_type: Option<String>,
    /// Values for the template's variable `options`, such as the name of an index.
    pub options: std::collections::BTreeMap<String, String>,
}

/// Where a template is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSource {
    /// A ready one, by name, such as `slack`. Known to exist.
    Ready(String),
    /// Written by the operator.
    Custom {
        /// The file or key it was written in, for errors.
        origin: String,
        /// The template.
        text: String,
    },
}

/// How messages are signed, and the credentials sent with them. Each part is independent of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// Standard Webhooks: `whsec_…` (HMAC-SHA256) and `whsk_…` (ed25519) secrets. Each signs.
    pub signing_secrets: Vec<Secret>,
    /// An HMAC in a header of its own.
    pub hmac: Option<HmacConfig>,
    /// `Authorization: Bearer …`.
    pub bearer: Option<Secret>,
    /// `Authorization: Basic …`.
    pub basic: Option<(String, Secret)>,
}

/// An HMAC over the body in a header of its own, as GitHub's `X-Hub-Signature-256`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HmacConfig {
    /// The header.
    pub header: HeaderName,
    /// The digest.
    pub algorithm: HmacAlgorithm,
    /// Text before the signature, such as `sha256=`.
    pub prefix: String,
    /// How the signature is written.
    pub encoding: HmacEncoding,
    /// The key, used as it is.
    pub secret: Secret,
}

/// The digest of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HmacAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// How an HMAC is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HmacEncoding {
    /// Lower-case hexadecimal digits.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// TLS towards a receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTlsConfig {
    /// Authorities trusted instead of the system's, PEM.
    pub ca: Option<PathBuf>,
    /// Client certificate and key, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Accept any server certificate.
    pub insecure_skip_verify: bool,
}

/// A program that events are passed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramConfig {
    /// The program.
    pub path: PathBuf,
    /// Its arguments, in stdin mode.
    pub arguments: Vec<String>,
    /// How events are passed to it.
    pub mode: ProgramMode,
    /// The environment it gets is cleared but for `PATH`, `HOME`, `LANG` when `false`.
    pub inherit_environment: bool,
}

/// How events are passed to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramMode {
    /// A process for each event: `add|del VALUE SECONDS SCENARIO JSON`.
    Arguments {
        /// How long one may run.
        timeout: Duration,
    },
    /// One process that reads a line of JSON for each event.
    StandardInput {
        /// How often it may be started in all; `None` for any number.
        max_starts: Option<u32>,
        /// The wait before it is started again.
        restart_wait: Duration,
        /// How long it may take to end after its input was closed.
        stop_timeout: Duration,
    },
}

/// A receiver that is sent its whole list whenever something changed.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplaceConfig {
    /// Which service.
    pub service: ReplaceService,
    /// Least time between two updates.
    pub interval: Duration,
    /// Most entries sent; those that end last are kept.
    pub max_entries: usize,
    /// Merge addresses and ranges into as few ranges as possible, without covering more.
    pub aggregate: bool,
}

/// A service that takes whole lists.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplaceService {
    /// Any HTTP endpoint: `PUT` of a body made from a template over all entries.
    Http(Arc<HttpConfig>),
    /// A Cloudflare list of addresses.
    Cloudflare {
        /// The account.
        account: String,
        /// The list.
        list: String,
        /// What becomes of IPv6 prefixes that are longer than /64; `skip` by default.
        long_ipv6: LongIpv6,
        /// The endpoint: bearer token, TLS, allowed addresses; its URL is that of the API.
        http: Arc<HttpConfig>,
    },
    /// An AWS WAF (v2) IP set, one for each family.
    AwsWaf(Arc<AwsWafConfig>),
}

impl ReplaceService {
    /// How it is reached.
    pub fn http(&self) -> &Arc<HttpConfig> {
        match self {
            Self::Http(http) | Self::Cloudflare { http, .. } => http,
            Self::AwsWaf(config) => &config.http,
        }
    }
}

/// What becomes of IPv6 prefixes longer than /64 in a Cloudflare list, such as single addresses. Cloudflare documents
/// /12 to /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LongIpv6 {
    /// They are left out and counted.
    #[default]
    Skip,
    /// They are sent as they are: for accounts whose lists take up to /128.
    Send,
    /// Their /64 is sent, which blocks more than was decided.
    Widen,
}

/// An AWS WAF (v2) IP set.
#[derive(Debug, Clone, PartialEq)]
pub struct AwsWafConfig {
    /// The region, such as `eu-west-1`; `us-east-1` for CloudFront.
    pub region: String,
    /// Whether the sets are CloudFront's and not regional.
    pub cloudfront: bool,
    /// Name and id of the set of IPv4 addresses.
    pub ipv4: Option<(String, String)>,
    /// Name and id of the set of IPv6 addresses.
    pub ipv6: Option<(String, String)>,
    /// The access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret,
    /// A session token.
    pub session_token: Option<Secret>,
    /// The endpoint: TLS, allowed addresses, timeouts; its URL is that of the API.
    pub http: Arc<HttpConfig>,
}

/// Lists served over HTTP, as crowdsec-blocklist-mirror does.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorConfig {
    /// `HOST:PORT` as written; resolved when the program starts.
    pub listen: String,
    /// Certificate and key, PEM; `None` for plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The lists. Paths are unique.
    pub lists: Vec<ListConfig>,
    /// Where its Prometheus metrics are served by the same listener; `None` for nowhere.
    pub metrics_path: Option<String>,
    /// The access log in Apache's combined form; `None` when it is off.
    pub access_log: Option<PathBuf>,
    /// Whether an empty list is answered with 404 and `no decisions available`, as the stock mirror does.
    pub empty_is_not_found: bool,
}

/// One list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListConfig {
    /// Its path, beginning with `/`.
    pub path: String,
    /// How it is written.
    pub format: ListFormat,
    /// Access to it.
    pub access: ListAccess,
    /// Which decisions are on it.
    pub filter: FilterConfig,
    /// Merge addresses and ranges into as few ranges as possible.
    pub aggregate: bool,
}

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListFormat {
    /// A value on each line.
    PlainText,
    /// A RouterOS script.
    Mikrotik,
    /// F5's IP intelligence feed.
    F5,
    /// Juniper's security intelligence feed.
    Juniper,
}

/// Access to a list.
#[derive(Debug, Clone, PartialEq)]
pub enum ListAccess {
    /// Not restricted.
    Open,
    /// Name and password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// Peers with these addresses.
    Addresses(Box<PrefixSet>),
}

#[cfg(test)]
mod tests;
