//! The checked `config.yaml`.

use std::path::{Path, PathBuf};

use palisade_daemon::{
    ConfigError, Document, Problem, Problems,
    logs::{LogConfig, LogLevel},
};

use crate::{
    common::{self, Output},
    database::{self, DbConfig},
    file::{self, CONFIG_KEYS, File},
    inactive,
    paths::absolute,
    server::{self, Metrics, ServerConfig},
};

/// The whole configuration, checked. Loading it reads only the file and its `.local`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// The `.local` file, if there was one.
    pub local: Option<PathBuf>,
    /// The files that hold secrets: this one and its `.local`, if one is written there, and those they name.
    pub secret_files: Vec<PathBuf>,
    /// `common`: where log lines go.
    pub logs: LogConfig,
    /// Where a line for each request of the API goes; none below level info.
    pub access_log: LogConfig,
    /// Whether `common.log_format` requests JSON lines, which are not supported yet.
    pub json_logs: bool,
    /// `config_paths`.
    pub paths: ConfigPaths,
    /// `cscli.output`.
    pub output: Output,
    /// `cscli.color`: `yes`, `no` or `auto`.
    pub color: Option<String>,
    /// `cscli.prometheus_uri`: where the admin CLI reads metrics.
    pub prometheus_uri: Option<String>,
    /// `plugin_config`; absent where the block is.
    pub plugins: Option<Plugins>,
    /// `db_config`; absent on hosts that only connect to a remote LAPI.
    pub database: Option<DbConfig>,
    /// `api.client`: the credentials file of this host's machine.
    pub credentials_path: Option<PathBuf>,
    /// `api.client.insecure_skip_verify`.
    pub insecure_skip_verify: bool,
    /// `api.client.unregister_on_exit`.
    pub unregister_on_exit: bool,
    /// `api.server`; absent where there is no LAPI.
    pub server: Option<ServerConfig>,
    /// `prometheus`, when enabled.
    pub prometheus: Option<Metrics>,
    /// Warnings, to be logged once logging is set up.
    pub warnings: Vec<String>,
    /// The merged document before expansion of environment variables, for `config show-yaml`.
    pub merged_text: String,
}

/// The block `config_paths`. Absent entries stay absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigPaths {
    /// `config_dir`
    pub config_dir: Option<PathBuf>,
    /// `data_dir`
    pub data_dir: Option<PathBuf>,
    /// `simulation_path`
    pub simulation_path: Option<PathBuf>,
    /// `hub_dir`
    pub hub_dir: Option<PathBuf>,
    /// `index_path`
    pub index_path: Option<PathBuf>,
    /// `notification_dir`
    pub notification_dir: Option<PathBuf>,
    /// `plugin_dir`
    pub plugin_dir: Option<PathBuf>,
    /// `pattern_dir`
    pub pattern_dir: Option<PathBuf>,
}

/// The block `plugin_config`: user and group of notification plugins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plugins {
    /// User.
    pub user: Option<String>,
    /// Group.
    pub group: Option<String>,
}

impl Config {
    /// Replaces the levels of the file by one given on the command line.
    pub fn set_log_level(&mut self, level: LogLevel) {
        self.logs.level = level;
        self.access_log.level = level;
    }

    /// Reads `path` and its `.local`, with environment variables expanded.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, is not YAML, or has an unknown key or an invalid value. All problems are reported,
    /// each with its line.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::from_document(&Document::load(path)?)
    }

    /// The same from a text, without `.local` and without environment.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn from_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::from_document(&Document::from_text(path, text, None, &|_| None)?)
    }

    fn from_document(document: &Document) -> Result<Self, ConfigError> {
        let mut wrong = unknown(document, CONFIG_KEYS);
        let written: File = document.parse_into(&mut wrong).unwrap_or_default();
        let mut found = Problems::new();
        let config = Self::check(document, written, &mut found);
        // Checks know keys only; lines are looked up in the document at the end.
        wrong.extend(document.locate(found));
        Ok(wrong.or(config)?)
    }

    fn check(document: &Document, written: File, wrong: &mut Problems) -> Self {
        let common = written.common.unwrap_or_default();
        let json_logs = common.log_format.as_deref() == Some("json");
        let paths = written.config_paths.unwrap_or_default();
        let cscli = written.cscli.unwrap_or_default();
        let api = written.api.unwrap_or_default();
        let client = api.client.unwrap_or_default();
        let mut warnings = Vec::new();
        if json_logs {
            warnings.push("common.log_format: json is not written yet; log lines are text".to_owned());
        }
        // These keys of the other kind of client are known, so they are no error.
        for (role, useless) in [("bouncers", "login_password"), ("agents", "api_key")] {
            let key = format!("db_config.flush.{role}_autodelete.{useless}");
            if document.has(&key) {
                warnings.push(format!("{key} has no effect: {role} do not authenticate that way"));
            }
        }
        warnings.extend(inactive::blocks(document));
        if let Some(block) = api.cti {
            inactive::check_cti(block, wrong);
        }
        let server = api.server.map(|block| server::check(block, &mut warnings, wrong));
        let prometheus = written.prometheus.and_then(|block| server::check_metrics(block, wrong));
        if let (Some(server), Some(metrics)) = (&server, &prometheus)
            && server.enable
        {
            server::check_ports(server, metrics, wrong);
        }
        let logs = common::check_logs(common, wrong);
        Self {
            path: document.path().to_owned(),
            local: document.local_path().map(Path::to_owned),
            secret_files: document.secret_files(),
            access_log: common::access_log(&logs, server.as_ref().and_then(|server| server.log_level)),
            logs,
            json_logs,
            paths: check_paths(paths),
            output: common::check_output(cscli.output.as_deref(), wrong),
            color: cscli.color,
            prometheus_uri: cscli.prometheus_uri.filter(|uri| !uri.is_empty()),
            plugins: written.plugin_config.map(|block| Plugins { user: block.user, group: block.group }),
            database: written.db_config.and_then(|block| database::check(block, wrong)),
            credentials_path: absolute(client.credentials_path),
            insecure_skip_verify: client.insecure_skip_verify.unwrap_or(false),
            unregister_on_exit: client.unregister_on_exit.unwrap_or(false),
            server,
            prometheus,
            warnings,
            merged_text: document.merged_text().to_owned(),
        }
    }
}

fn check_paths(written: file::ConfigPaths) -> ConfigPaths {
    ConfigPaths {
        config_dir: absolute(written.config_dir),
        data_dir: absolute(written.data_dir),
        simulation_path: absolute(written.simulation_path),
        hub_dir: absolute(written.hub_dir),
        index_path: absolute(written.index_path),
        notification_dir: absolute(written.notification_dir),
        plugin_dir: absolute(written.plugin_dir),
        pattern_dir: absolute(written.pattern_dir),
    }
}

/// Unknown keys, as problems.
pub(crate) fn unknown(document: &Document, known: &[&str]) -> Problems {
    let mut wrong = Problems::new();
    for key in document.unknown_keys(known) {
        let hint = match &key.suggestion {
            Some(near) => format!("; did you mean `{near}`?"),
            None => String::new(),
        };
        wrong.push(Problem {
            text: format!("unknown key `{}`{hint}", key.key),
            key: String::new(),
            place: Some(key.place),
            value: None,
        });
    }
    wrong
}
