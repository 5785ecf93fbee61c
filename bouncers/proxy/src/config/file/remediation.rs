//! The keys of what a decision does to a request: bans, captchas, throttling, pages.

use std::path::PathBuf;

use palisade_client::Secret;
use palisade_go_compat::GoDuration;
use serde::Deserialize;

use super::super::{DecisionMode, FailurePolicy, Fallback, StartPolicy};

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
    /// The service that verifies solutions.
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
