//! Checks `common` (the log) and `cscli.output`.

use palisade_daemon::{
    Problems,
    logs::{LogConfig, LogLevel, LogTarget, Rotation},
};

use crate::file;

/// Name of the log file in `log_dir`.
const LOG_FILE: &str = "palisade-lapi.log";
/// Name of the access log in `log_dir`: the stock server's, which log shippers know.
const ACCESS_FILE: &str = "crowdsec_api.log";

/// Output format of the admin CLI.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Output {
    /// Tables for people.
    #[default]
    Human,
    /// JSON.
    Json,
    /// CSV, or the bare value.
    Raw,
}

impl Output {
    /// Parses the value of `cscli.output` and `-o`.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "human" => Self::Human,
            "json" => Self::Json,
            "raw" => Self::Raw,
            _ => return None,
        })
    }
}

/// Parses the level of the key; `None` when it is absent or invalid.
pub(crate) fn level(key: &str, word: Option<&str>, wrong: &mut Problems) -> Option<LogLevel> {
    // An empty value is a missing one, as in Go.
    let word = word.filter(|word| !word.is_empty())?;
    let known = match word.to_ascii_lowercase().as_str() {
        "panic" => LogLevel::Panic,
        "fatal" => LogLevel::Fatal,
        "error" => LogLevel::Error,
        "warn" | "warning" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => {
            wrong.add(
                key,
                format!("not a valid logrus Level: {word:?}; use error, warning, info, debug or trace"),
            );
            return None;
        }
    };
    Some(known)
}

/// Checks `common`.
pub(crate) fn check_logs(written: file::Common, wrong: &mut Problems) -> LogConfig {
    let level = level("common.log_level", written.log_level.as_deref(), wrong).unwrap_or(LogLevel::Info);
    match written.log_format.as_deref() {
        // JSON lines are not supported yet; a stock file that requests them must still be accepted.
        None | Some("" | "text" | "json") => {}
        Some(_) => wrong.add("common.log_format", "expected text or json"),
    }
    // Zero means the default, as in the stock program.
    let or = |value: Option<u64>, default| value.filter(|value| *value > 0).unwrap_or(default);
    let rotation = Rotation {
        max_bytes: or(written.log_max_size, 500).saturating_mul(1024 * 1024),
        max_files: or(written.log_max_files, 3),
        max_age_days: or(written.log_max_age, 28),
        compress: written.compress_logs.unwrap_or(true),
    };
    let target = match written.log_media.as_deref() {
        // Standard error goes to the journal.
        None | Some("" | "stdout" | "syslog") => LogTarget::Stderr,
        Some("file") => {
            let dir = written.log_dir.filter(|dir| !dir.as_os_str().is_empty());
            LogTarget::File { path: dir.unwrap_or_else(|| "/var/log/".into()).join(LOG_FILE), rotation }
        }
        Some(other) => {
            wrong.add("common.log_media", format!("unknown log mode '{other}'; use stdout, file or syslog"));
            LogTarget::Stderr
        }
    };
    LogConfig { level, target, media_key: "common.log_media" }
}

/// The access log of the API: a file of its own beside the program's, at the level of `api.server.log_level` or else at the
/// program's.
pub(crate) fn access_log(logs: &LogConfig, level: Option<LogLevel>) -> LogConfig {
    let target = match &logs.target {
        LogTarget::File { path, rotation } => {
            LogTarget::File { path: path.with_file_name(ACCESS_FILE), rotation: *rotation }
        }
        LogTarget::Stderr => LogTarget::Stderr,
    };
    LogConfig { level: level.unwrap_or(logs.level), target, media_key: logs.media_key }
}

/// Checks `cscli.output`.
pub(crate) fn check_output(written: Option<&str>, wrong: &mut Problems) -> Output {
    match written {
        None | Some("") => Output::Human,
        Some(word) => Output::parse(word).unwrap_or_else(|| {
            wrong.add("cscli.output", format!("output format '{word}' unknown: must be human, json or raw"));
            Output::Human
        }),
    }
}
