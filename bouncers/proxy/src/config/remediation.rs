//! Defines what decisions do to requests.

use std::path::PathBuf;
use std::time::Duration;

use palisade_client::Secret;
use palisade_net::PrefixSet;

/// What decisions do to the requests of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct RemediationPolicy {
    /// Where decisions come from.
    pub mode: DecisionMode,
    /// Scopes that are looked at.
    pub scopes: Scopes,
    /// Origins that count; empty for all. `lists:NAME` names one list.
    pub origins: Vec<String>,
    /// Clients that no decision applies to.
    pub exempt: PrefixSet,
    /// Log and count what would be done, and let the request through.
    pub log_only: bool,
    /// What applies to a decision whose type is none of ban, captcha and throttle, or is a captcha that cannot be shown.
    pub fallback: Fallback,
    /// What applies when decisions are older than `max_staleness`, or a live query fails.
    pub on_failure: FailurePolicy,
    /// How old the last response of the LAPI may be; `None` for any age.
    pub max_staleness: Option<Duration>,
    /// What applies before the first decisions are known.
    pub on_start: StartPolicy,
    /// Status of a ban; 403 by default.
    pub ban_status: http::StatusCode,
    /// Close the connection instead of sending a ban page.
    pub ban_closes: bool,
    /// Let a captcha through when its provider cannot be asked. Off by default.
    pub captcha_open_on_failure: bool,
    /// The limit for throttled clients.
    pub throttle: ThrottleConfig,
}

/// Where the decisions of a route come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionMode {
    /// The cache, which follows the LAPI.
    Stream,
    /// A query for each address, whose result is kept for a moment.
    Live,
    /// None.
    Off,
}

/// The scopes a route looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    /// `Ip`.
    pub ip: bool,
    /// `Range`.
    pub range: bool,
    /// `Country`.
    pub country: bool,
    /// `AS`.
    pub autonomous_system: bool,
}

/// What applies to a decision of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// As a ban.
    Ban,
    /// As a captcha.
    Captcha,
    /// As a throttle.
    Throttle,
    /// Not at all.
    Ignore,
}

/// What applies when the LAPI is away for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailurePolicy {
    /// The decisions known so far.
    Keep,
    /// None: all requests pass.
    Open,
    /// All requests are answered with 503.
    Closed,
}

/// What applies before the first decisions are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartPolicy {
    /// Connections are accepted once decisions are known.
    Wait,
    /// All requests pass.
    Open,
    /// All requests are answered with 503.
    Closed,
}

/// The limit for throttled clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// Requests in [`ThrottleConfig::period`], at least 1.
    pub requests: u32,
    /// The period.
    pub period: Duration,
    /// Requests that may come at once, at least 1.
    pub burst: u32,
}

/// Queries for single addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveConfig {
    /// For one query; 200 ms by default.
    pub timeout: Duration,
    /// How long a decision is used without another query.
    pub hit_ttl: Duration,
    /// How long an address without decisions passes without another query.
    pub miss_ttl: Duration,
    /// Addresses remembered at most.
    pub entries: usize,
    /// Failures in a row after which no query is sent for a while.
    pub breaker_failures: u32,
    /// For how long.
    pub breaker_pause: Duration,
}

/// Country and AS databases in MaxMind's format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeoFiles {
    /// With `country.iso_code`.
    pub country: Option<PathBuf>,
    /// With `autonomous_system_number`.
    pub asn: Option<PathBuf>,
}

/// Captcha: the provider, and what a solved one is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptchaConfig {
    /// The provider of tasks and of their verification.
    pub provider: CaptchaProvider,
    /// How long a proof is valid.
    pub proof_ttl: Duration,
    /// Keys that sign proofs, the current one first. Empty: made at the start and kept in the state directory.
    pub signing_keys: Vec<Secret>,
    /// For one call of the provider.
    pub timeout: Duration,
    /// Prefix lengths that a proof is bound to, IPv4 and IPv6.
    pub bound_prefix: (u8, u8),
    /// Status of the captcha page; 200 by default.
    pub status: http::StatusCode,
}

/// The provider of tasks and of their verification.
#[derive(Debug, Clone, PartialEq)]
pub enum CaptchaProvider {
    /// A task computed by the browser and checked here; no third party.
    ProofOfWork {
        /// Leading zero bits of the hash: each one doubles the work.
        difficulty: u8,
    },
    /// hCaptcha, reCAPTCHA, Turnstile or one of the same form.
    Service {
        /// `hcaptcha`, `recaptcha`, `turnstile` or `custom`, for logs.
        name: String,
        /// The widget's script.
        script_url: String,
        /// The widget's CSS class.
        widget_class: String,
        /// The form field of the response.
        response_field: String,
        /// Where a response is verified.
        verify_url: String,
        /// Public.
        site_key: String,
        /// Private.
        secret_key: Secret,
        /// Authorities trusted for `verify_url` besides the system's, PEM.
        ca: Option<PathBuf>,
        /// Whether the client's address is sent with the response.
        send_address: bool,
    },
}

/// Pages of responses to remediated requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PagesConfig {
    /// A folder with templates that replace the built-in ones of the same names.
    pub directory: Option<PathBuf>,
    /// Shown on pages, such as a mail address or URL; empty for none.
    pub contact: String,
    /// The language when the visitor's is not available.
    pub default_language: Option<String>,
}
