//! `config.yaml` as written: CrowdSec's names, everything optional, nothing checked.

use std::path::PathBuf;

use palisade_daemon::metrics::Port;
use serde::Deserialize;

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
