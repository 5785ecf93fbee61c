//! `config.yaml` as written: CrowdSec's names, everything optional, nothing checked.

use std::path::PathBuf;

use palisade_daemon::metrics::Port;
use serde::Deserialize;

/// All keys of CrowdSec's `config.yaml`, used here or not, and ours. Any other key is an error.
pub(crate) const CONFIG_KEYS: &[&str] = &[
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
    pub common: Option<Common>,
    pub config_paths: Option<ConfigPaths>,
    pub cscli: Option<Cscli>,
    pub plugin_config: Option<PluginConfig>,
    pub db_config: Option<Db>,
    pub api: Option<Api>,
    pub prometheus: Option<Prometheus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Common {
    pub log_media: Option<String>,
    pub log_dir: Option<PathBuf>,
    pub log_level: Option<String>,
    pub log_format: Option<String>,
    pub compress_logs: Option<bool>,
    pub log_max_size: Option<u64>,
    pub log_max_age: Option<u64>,
    pub log_max_files: Option<u64>,
    /// Accepted and ignored: daemons are run by the service manager.
    #[serde(rename = "daemonize")]
    pub _daemonize: Option<bool>,
    #[serde(rename = "force_color_logs")]
    pub _force_color_logs: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigPaths {
    pub config_dir: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub simulation_path: Option<PathBuf>,
    pub hub_dir: Option<PathBuf>,
    pub index_path: Option<PathBuf>,
    pub notification_dir: Option<PathBuf>,
    pub plugin_dir: Option<PathBuf>,
    pub pattern_dir: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cscli {
    pub output: Option<String>,
    pub color: Option<String>,
    pub prometheus_uri: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PluginConfig {
    pub user: Option<String>,
    pub group: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Db {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub db_path: Option<PathBuf>,
    pub use_wal: Option<bool>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub db_name: Option<String>,
    pub host: Option<String>,
    pub port: Option<Port>,
    pub sslmode: Option<String>,
    pub ssl_ca_cert: Option<PathBuf>,
    pub ssl_client_cert: Option<PathBuf>,
    pub ssl_client_key: Option<PathBuf>,
    pub max_open_conns: Option<i64>,
    pub decision_bulk_size: Option<i64>,
    pub log_level: Option<String>,
    pub flush: Option<Flush>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Flush {
    pub max_items: Option<i64>,
    pub max_age: Option<String>,
    pub metrics_max_age: Option<String>,
    pub bouncers_autodelete: Option<AutoDelete>,
    pub agents_autodelete: Option<AutoDelete>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AutoDelete {
    pub cert: Option<String>,
    pub api_key: Option<String>,
    pub login_password: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Api {
    pub client: Option<Client>,
    pub server: Option<Server>,
    pub cti: Option<Cti>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cti {
    pub key: Option<String>,
    pub cache_timeout: Option<String>,
    pub log_level: Option<String>,
    /// Only their types are checked.
    #[serde(rename = "cache_size")]
    pub _cache_size: Option<i64>,
    #[serde(rename = "enabled")]
    pub _enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Client {
    pub credentials_path: Option<PathBuf>,
    pub insecure_skip_verify: Option<bool>,
    pub unregister_on_exit: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Server {
    pub enable: Option<bool>,
    pub listen_uri: Option<String>,
    pub listen_socket: Option<PathBuf>,
    pub listen_socket_mode: Option<String>,
    pub listen_socket_group: Option<String>,
    pub profiles_path: Option<PathBuf>,
    pub console_path: Option<PathBuf>,
    pub log_level: Option<String>,
    pub papi_log_level: Option<String>,
    pub use_forwarded_for_headers: Option<bool>,
    pub trusted_proxies: Option<Vec<String>>,
    pub trusted_ips: Option<Vec<String>>,
    pub disable_remote_lapi_registration: Option<bool>,
    pub auto_registration: Option<AutoRegistration>,
    pub capi_whitelists_path: Option<PathBuf>,
    pub online_client: Option<OnlineClient>,
    pub disable_usage_metrics_export: Option<bool>,
    pub tls: Option<Tls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AutoRegistration {
    pub enabled: Option<bool>,
    pub token: Option<String>,
    pub allowed_ranges: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OnlineClient {
    pub credentials_path: Option<PathBuf>,
    pub sharing: Option<bool>,
    pub pull: Option<Pull>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pull {
    pub community: Option<bool>,
    pub blocklists: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tls {
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub ca_cert_path: Option<PathBuf>,
    pub client_verification: Option<String>,
    pub server_name: Option<String>,
    pub agents_allowed_ou: Option<Vec<String>>,
    pub bouncers_allowed_ou: Option<Vec<String>>,
    pub crl_path: Option<PathBuf>,
    pub cache_expiration: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Prometheus {
    pub enabled: Option<bool>,
    pub level: Option<String>,
    pub listen_addr: Option<String>,
    pub listen_port: Option<Port>,
}
