//! `config.yaml` as written: CrowdSec's names, everything optional, nothing checked.

mod database;
mod server;

use std::path::PathBuf;

use palisade_daemon::metrics::Port;
use serde::Deserialize;

pub(crate) use self::database::{Db, Flush};
pub(crate) use self::server::{AutoRegistration, Server, Tls};

/// All keys of CrowdSec's `config.yaml`, used here or not, and ours. Any other key is an error.
pub const CONFIG_KEYS: &[&str] = &[
    "common.daemonize",
    "common.pid_dir",
    "common.log_media",
    "common.log_dir",
    "common.log_level",
    "common.log_format",
    "common.working_dir",
    "common.compress_logs",
    "common.log_max_size",
    "common.log_max_age",
    "common.log_max_files",
    "common.force_color_logs",
    "config_paths.config_dir",
    "config_paths.data_dir",
    "config_paths.simulation_path",
    "config_paths.hub_dir",
    "config_paths.index_path",
    "config_paths.notification_dir",
    "config_paths.plugin_dir",
    "config_paths.pattern_dir",
    "crowdsec_service.enable",
    "crowdsec_service.acquisition_path",
    "crowdsec_service.acquisition_dir",
    "crowdsec_service.console_context_path",
    "crowdsec_service.console_context_value_length",
    "crowdsec_service.parser_routines",
    "crowdsec_service.buckets_routines",
    "crowdsec_service.output_routines",
    "crowdsec_service.simulation_config.*",
    "crowdsec_service.bucket_state_file",
    "crowdsec_service.bucket_state_dump_dir",
    "crowdsec_service.bucketstate_file",
    "crowdsec_service.state_input_file",
    "crowdsec_service.state_output_dir",
    "crowdsec_service.buckets_gc_enabled",
    "crowdsec_service.context_to_send.*",
    "cscli.output",
    "cscli.color",
    "cscli.hub_branch",
    "cscli.hub_url_template",
    "cscli.__hub_url_template__",
    "cscli.hub_with_content",
    "cscli.simulation_config.*",
    "cscli.db_config.*",
    "cscli.prometheus_uri",
    "plugin_config.user",
    "plugin_config.group",
    "prometheus.enabled",
    "prometheus.level",
    "prometheus.listen_addr",
    "prometheus.listen_port",
    "db_config.type",
    "db_config.db_path",
    "db_config.use_wal",
    "db_config.user",
    "db_config.password",
    "db_config.db_name",
    "db_config.host",
    "db_config.port",
    "db_config.sslmode",
    "db_config.ssl_ca_cert",
    "db_config.ssl_client_cert",
    "db_config.ssl_client_key",
    "db_config.max_open_conns",
    "db_config.decision_bulk_size",
    "db_config.log_level",
    "db_config.flush.max_items",
    "db_config.flush.max_age",
    "db_config.flush.metrics_max_age",
    "db_config.flush.bouncers_autodelete.cert",
    "db_config.flush.bouncers_autodelete.api_key",
    "db_config.flush.bouncers_autodelete.login_password",
    "db_config.flush.agents_autodelete.cert",
    "db_config.flush.agents_autodelete.api_key",
    "db_config.flush.agents_autodelete.login_password",
    "api.client.credentials_path",
    "api.client.insecure_skip_verify",
    "api.client.unregister_on_exit",
    "api.cti.key",
    "api.cti.cache_timeout",
    "api.cti.cache_size",
    "api.cti.enabled",
    "api.cti.log_level",
    "api.server.enable",
    "api.server.listen_uri",
    "api.server.listen_socket",
    // Ours.
    "api.server.listen_socket_mode",
    "api.server.listen_socket_group",
    "api.server.accounts_from_environment",
    "api.server.profiles_path",
    "api.server.console_path",
    "api.server.log_level",
    "api.server.papi_log_level",
    "api.server.use_forwarded_for_headers",
    "api.server.trusted_proxies",
    "api.server.trusted_ips",
    "api.server.disable_remote_lapi_registration",
    "api.server.auto_registration.enabled",
    "api.server.auto_registration.token",
    "api.server.auto_registration.allowed_ranges",
    "api.server.capi_whitelists_path",
    "api.server.online_client.credentials_path",
    "api.server.online_client.sharing",
    "api.server.online_client.pull.community",
    "api.server.online_client.pull.blocklists",
    "api.server.disable_usage_metrics_export",
    "api.server.tls.cert_file",
    "api.server.tls.key_file",
    "api.server.tls.ca_cert_path",
    "api.server.tls.client_verification",
    "api.server.tls.server_name",
    "api.server.tls.agents_allowed_ou",
    "api.server.tls.bouncers_allowed_ou",
    "api.server.tls.crl_path",
    "api.server.tls.cache_expiration",
];

/// The whole file. Blocks that only other CrowdSec programs use are listed as known keys and not parsed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct File {
    /// The program's log.
    pub common: Option<Common>,
    /// Folders and files of CrowdSec. The LAPI needs only those of notifications, for its checks; the command
    /// `palisade` reads the others.
    pub config_paths: Option<ConfigPaths>,
    /// Defaults of the command `palisade`.
    pub cscli: Option<Cscli>,
    /// User and group of notification plugins. Without effect yet: no notification is sent.
    pub plugin_config: Option<PluginConfig>,
    /// The database, and what is kept how long. Required where the LAPI runs.
    pub db_config: Option<Db>,
    /// The LAPI, and the credentials for it.
    pub api: Option<Api>,
    /// Metrics for Prometheus, without authentication.
    pub prometheus: Option<Prometheus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Common {
    /// Where the log goes: `stdout`, which means standard error and so the journal (`syslog` is read as the same),
    /// or `file`.
    ///
    /// - words: `stdout`, `syslog`, `file`
    /// - default: `stdout`
    /// - example: `file`
    pub log_media: Option<String>,
    /// The folder of `palisade-lapi.log` and of the access log `crowdsec_api.log`. Where the unit's user
    /// cannot write there, lines go to standard error.
    ///
    /// - default: `/var/log/`
    /// - with: `log_media: file`
    /// - example: `/var/log/palisade-lapi/`
    pub log_dir: Option<PathBuf>,
    /// The lowest level that is written.
    ///
    /// - words: `panic`, `fatal`, `error`, `warn`, `warning`, `info`, `debug`, `trace`
    /// - default: `info`
    /// - example: `debug`
    pub log_level: Option<String>,
    /// Lines are text; `json` is accepted without effect, with a warning.
    ///
    /// - words: `text`, `json`
    /// - default: `text`
    /// - example: `text`
    pub log_format: Option<String>,
    /// Whether rotated files are compressed.
    ///
    /// - default: `true`
    /// - with: `log_media: file`
    /// - example: `false`
    pub compress_logs: Option<bool>,
    /// Size in megabytes at which a file is rotated; 0 means the default.
    ///
    /// - default: `500`
    /// - with: `log_media: file`
    /// - example: `100`
    pub log_max_size: Option<u64>,
    /// For how many days rotated files are kept; 0 means the default.
    ///
    /// - default: `28`
    /// - with: `log_media: file`
    /// - example: `7`
    pub log_max_age: Option<u64>,
    /// How many rotated files are kept; 0 means the default.
    ///
    /// - default: `3`
    /// - with: `log_media: file`
    /// - example: `10`
    pub log_max_files: Option<u64>,
    /// Accepted without effect: the daemon is run by the service manager.
    ///
    /// - default: none
    /// - example: `false`
    #[serde(rename = "daemonize")]
    pub _daemonize: Option<bool>,
    /// Accepted without effect.
    ///
    /// - default: none
    /// - example: `false`
    #[serde(rename = "force_color_logs")]
    pub _force_color_logs: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigPaths {
    /// The folder of the configuration.
    ///
    /// - example: `/etc/crowdsec/`
    pub config_dir: Option<PathBuf>,
    /// The folder of data.
    ///
    /// - example: `/var/lib/crowdsec/data/`
    pub data_dir: Option<PathBuf>,
    /// The file with scenarios that are simulated.
    ///
    /// - example: `/etc/crowdsec/simulation.yaml`
    pub simulation_path: Option<PathBuf>,
    /// The folder of the hub.
    ///
    /// - example: `/var/lib/crowdsec/hub/`
    pub hub_dir: Option<PathBuf>,
    /// The hub's index.
    ///
    /// - example: `/var/lib/crowdsec/hub/.index.json`
    pub index_path: Option<PathBuf>,
    /// The folder of notifications' configurations.
    ///
    /// - default: `notifications` in `config_dir`
    /// - example: `/etc/crowdsec/notifications/`
    pub notification_dir: Option<PathBuf>,
    /// The folder of notification plugins.
    ///
    /// - example: `/usr/lib/crowdsec/plugins/`
    pub plugin_dir: Option<PathBuf>,
    /// The folder of patterns.
    ///
    /// - example: `/etc/crowdsec/patterns/`
    pub pattern_dir: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cscli {
    /// The output of `palisade` without `-o`.
    ///
    /// - words: `human`, `json`, `raw`
    /// - default: `human`
    /// - example: `json`
    pub output: Option<String>,
    /// Whether `palisade` colours its output.
    ///
    /// - value: `yes`, `no` or `auto`
    /// - default: `auto`: on a terminal
    /// - example: `no`
    pub color: Option<String>,
    /// Where `palisade metrics` reads the LAPI's metrics.
    ///
    /// - default: the address of `prometheus`
    /// - example: `http://127.0.0.1:6060/metrics`
    pub prometheus_uri: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PluginConfig {
    /// The user.
    ///
    /// - example: `nobody`
    pub user: Option<String>,
    /// The group.
    ///
    /// - example: `nogroup`
    pub group: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Api {
    /// What the command `palisade`, and a log processor on this host, log in with.
    pub client: Option<Client>,
    /// The LAPI.
    pub server: Option<Server>,
    /// Without effect yet: `CrowdsecCTI` is not available in profiles. Its values are checked.
    pub cti: Option<Cti>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cti {
    /// The key.
    ///
    /// - example: `KEY`
    pub key: Option<String>,
    /// How long answers are kept.
    ///
    /// - value: duration
    /// - example: `60m`
    pub cache_timeout: Option<String>,
    /// The level.
    ///
    /// - words: `panic`, `fatal`, `error`, `warn`, `warning`, `info`, `debug`, `trace`
    /// - example: `info`
    pub log_level: Option<String>,
    /// How many answers are kept.
    ///
    /// - example: `50`
    #[serde(rename = "cache_size")]
    pub _cache_size: Option<i64>,
    /// Whether it is used.
    ///
    /// - example: `false`
    #[serde(rename = "enabled")]
    pub _enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Client {
    /// The file with the [credentials](credentials.md).
    ///
    /// - example: `/etc/crowdsec/local_api_credentials.yaml`
    pub credentials_path: Option<PathBuf>,
    /// Accept any certificate of the LAPI.
    ///
    /// - default: `false`
    /// - example: `false`
    pub insecure_skip_verify: Option<bool>,
    /// For the log processor: delete its machine when it ends.
    ///
    /// - default: `false`
    /// - example: `false`
    pub unregister_on_exit: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Prometheus {
    /// Serve metrics at `/metrics`.
    ///
    /// - default: `false`
    /// - example: `true`
    pub enabled: Option<bool>,
    /// The level of detail: `none` (of the process only), `aggregated` (no labels for machines, bouncers or
    /// scenarios), `full`.
    ///
    /// - words: `none`, `aggregated`, `full`
    /// - default: `full`
    /// - with: `enabled: true`
    /// - example: `aggregated`
    pub level: Option<String>,
    /// Address or host name.
    ///
    /// - default: `127.0.0.1`
    /// - with: `enabled: true`
    /// - example: `0.0.0.0`
    pub listen_addr: Option<String>,
    /// The port.
    ///
    /// - value: port, as number or text
    /// - default: `6060`
    /// - with: `enabled: true`
    /// - example: `6061`
    pub listen_port: Option<Port>,
}
