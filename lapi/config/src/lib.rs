//! CrowdSec's `config.yaml` and credentials file, as the LAPI and its admin CLI read them.
//!
//! Files are read with their `.local` companion and with environment variables expanded. All of CrowdSec's keys are
//! accepted; any other key is an error. All errors are reported at once, with their lines.
//!
//! ```
//! use std::path::Path;
//! use palisade_lapi_config::Config;
//!
//! let text = "api: {server: {listen_uri: 127.0.0.1:8080, profiles_path: /etc/crowdsec/profiles.yaml}}\n\
//!             db_config: {type: sqlite, db_path: /var/lib/crowdsec/data/crowdsec.db}\n";
//! let config = Config::from_text(Path::new("config.yaml"), text)?;
//! assert_eq!(config.server.expect("there is an api.server block").listen_uri.as_deref(), Some("127.0.0.1:8080"));
//! # Ok::<(), palisade_lapi_config::ConfigError>(())
//! ```

mod common;
mod config;
mod credentials;
mod database;
mod file;
mod inactive;
mod nets;
mod paths;
mod server;
mod tls;
mod written;

#[cfg(test)]
mod tests;

pub use common::Output;
pub use config::{Config, ConfigPaths, Plugins};
pub use credentials::{CREDENTIALS_KEYS, Credentials, CredentialsError};
pub use database::DbConfig;
pub use file::CONFIG_KEYS;
pub use inactive::InactiveFileError;
pub use palisade_daemon::ConfigError;
pub use server::{AutoRegistration, Metrics, MetricsLevel, OnlineClient, ServerConfig};
pub use tls::TlsConfig;
