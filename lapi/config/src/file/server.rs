//! The block `api.server`.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Server {
    /// Whether the LAPI is run.
    ///
    /// - default: `true`
    /// - example: `false`
    pub enable: Option<bool>,
    /// Address and port; `0.0.0.0:8080` for all interfaces, over IPv4 and IPv6. This or `listen_socket` is
    /// required.
    ///
    /// - example: `127.0.0.1:8080`
    pub listen_uri: Option<String>,
    /// A unix socket, besides or instead. Its clients count as on this host.
    ///
    /// - default: none
    /// - example: `/run/palisade-lapi/lapi.sock`
    pub listen_socket: Option<PathBuf>,
    /// The mode of its file, in octal. Palisade's own.
    ///
    /// - default: `"0660"`
    /// - example: `"0600"`
    pub listen_socket_mode: Option<String>,
    /// The group of its file. Palisade's own.
    ///
    /// - default: the daemon's
    /// - example: `crowdsec`
    pub listen_socket_group: Option<String>,
    /// Each start adds the bouncers of the variables `BOUNCER_KEY_name` and files `/run/secrets/bouncer_key_name`, and the
    /// machine `AGENT_USERNAME` with `AGENT_PASSWORD`. For containers. Palisade's own.
    ///
    /// - default: `false`
    /// - example: `true`
    pub accounts_from_environment: Option<bool>,
    /// The file with the [profiles](profiles.md). Required where the LAPI runs.
    ///
    /// - example: `/etc/crowdsec/profiles.yaml`
    pub profiles_path: Option<PathBuf>,
    /// Options of the console; without effect yet, checked.
    ///
    /// - default: `/etc/crowdsec/console.yaml`
    /// - example: `/etc/crowdsec/console.yaml`
    pub console_path: Option<PathBuf>,
    /// The level of the access log; `warning` switches it off.
    ///
    /// - words: `panic`, `fatal`, `error`, `warn`, `warning`, `info`, `debug`, `trace`
    /// - default: that of `common`
    /// - example: `warning`
    pub log_level: Option<String>,
    /// Without effect yet.
    ///
    /// - words: `panic`, `fatal`, `error`, `warn`, `warning`, `info`, `debug`, `trace`
    /// - default: none
    /// - example: `info`
    pub papi_log_level: Option<String>,
    /// Believe `X-Forwarded-For` of `trusted_proxies`. Without `trusted_proxies` only a proxy on this host is
    /// believed.
    ///
    /// - default: `false`
    /// - example: `true`
    pub use_forwarded_for_headers: Option<bool>,
    /// Proxies whose `X-Forwarded-For` is believed.
    ///
    /// - default: `[]`
    /// - example: `[10.0.0.5]`
    pub trusted_proxies: Option<Vec<String>>,
    /// From where alerts may be deleted, besides this host.
    ///
    /// - default: `[]`
    /// - example: `[10.0.0.0/8]`
    pub trusted_ips: Option<Vec<String>>,
    /// Refuse registrations from other hosts.
    ///
    /// - default: `false`
    /// - example: `true`
    pub disable_remote_lapi_registration: Option<bool>,
    /// Machines that show the token and come from one of the ranges are validated at once.
    pub auto_registration: Option<AutoRegistration>,
    /// Deprecated; without effect yet, checked.
    ///
    /// - default: none
    /// - example: `/etc/crowdsec/capi-whitelists.yaml`
    pub capi_whitelists_path: Option<PathBuf>,
    /// The Central API. Without effect yet: nothing is sent or pulled.
    pub online_client: Option<OnlineClient>,
    /// Without effect yet.
    ///
    /// - default: `false`
    /// - example: `true`
    pub disable_usage_metrics_export: Option<bool>,
    /// HTTPS, and certificates instead of keys and passwords.
    pub tls: Option<Tls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AutoRegistration {
    /// Whether it is on.
    ///
    /// - default: `false`
    /// - example: `true`
    pub enabled: Option<bool>,
    /// The token; at least 32 characters, such as `openssl rand -hex 24` prints. Required with `enabled`.
    ///
    /// - example: `0123456789abcdef0123456789abcdef`
    pub token: Option<String>,
    /// Networks that machines may come from. Required with `enabled`.
    ///
    /// - example: `[10.0.0.0/8]`
    pub allowed_ranges: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OnlineClient {
    /// The credentials.
    ///
    /// - example: `/etc/crowdsec/online_api_credentials.yaml`
    pub credentials_path: Option<PathBuf>,
    /// Whether signals are sent.
    ///
    /// - default: `true`
    /// - example: `false`
    pub sharing: Option<bool>,
    /// What is pulled.
    pub pull: Option<Pull>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pull {
    /// The community's list.
    ///
    /// - default: `true`
    /// - example: `false`
    pub community: Option<bool>,
    /// Lists that are subscribed to.
    ///
    /// - default: `true`
    /// - example: `false`
    pub blocklists: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tls {
    /// The certificate (PEM).
    ///
    /// - example: `/etc/crowdsec/tls/lapi.pem`
    pub cert_file: Option<PathBuf>,
    /// Its key (PEM).
    ///
    /// - example: `/etc/crowdsec/tls/lapi-key.pem`
    pub key_file: Option<PathBuf>,
    /// Authorities of clients' certificates (PEM).
    ///
    /// - default: none
    /// - example: `/etc/crowdsec/tls/ca.pem`
    pub ca_cert_path: Option<PathBuf>,
    /// Which client certificate is asked for.
    ///
    /// - words: `NoClientCert`, `RequestClientCert`, `RequireAnyClientCert`, `VerifyClientCertIfGiven`,
    ///   `RequireAndVerifyClientCert`
    /// - default: `VerifyClientCertIfGiven`
    /// - example: `VerifyClientCertIfGiven`
    pub client_verification: Option<String>,
    /// Accepted without effect: a server does not need it.
    ///
    /// - default: none
    /// - example: `lapi.example.org`
    pub server_name: Option<String>,
    /// Organisational units of machines' certificates.
    ///
    /// - default: `[]`
    /// - example: `[agent-ou]`
    pub agents_allowed_ou: Option<Vec<String>>,
    /// Organisational units of bouncers' certificates.
    ///
    /// - default: `[]`
    /// - example: `[bouncer-ou]`
    pub bouncers_allowed_ou: Option<Vec<String>>,
    /// Revocation lists (PEM).
    ///
    /// - default: none
    /// - example: `/etc/crowdsec/tls/crl.pem`
    pub crl_path: Option<PathBuf>,
    /// How long the result of a revocation check is kept.
    ///
    /// - value: duration
    /// - default: `1h`
    /// - example: `10m`
    pub cache_expiration: Option<String>,
}
