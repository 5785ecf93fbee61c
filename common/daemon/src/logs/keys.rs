//! The logging keys of a configuration file.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::Problems;

/// The keys read here, for [`Document::unknown_keys`](crate::Document::unknown_keys).
pub const LOG_KEYS: &[&str] = &[
    "log_mode",
    "log_dir",
    "log_level",
    "log_max_size",
    "log_max_backups",
    "log_max_files",
    "log_max_age",
    "log_compression",
    "compress_logs",
];

/// The keys as written. CrowdSec's documentation and its programs disagree on two names; both are accepted, and the
/// documented one takes precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogKeys {
    /// Where the log goes: `stdout`, which means standard error and so the journal, or `file`. When the file cannot
    /// be opened, the daemon warns and logs to standard error.
    ///
    /// - words: `stdout`, `file`
    /// - default: `stdout`
    /// - example: `file`
    pub log_mode: Option<String>,
    /// The folder of the log file. The file has the name of the stock program that ours takes the place of, or else
    /// of ours.
    ///
    /// - default: `/var/log/`
    /// - with: `log_mode: file`
    /// - example: `/var/log/palisade/`
    pub log_dir: Option<PathBuf>,
    /// The lowest level that is written.
    ///
    /// - words: `panic`, `fatal`, `error`, `warn`, `warning`, `info`, `debug`, `trace`
    /// - default: `info`
    /// - example: `debug`
    pub log_level: Option<String>,
    /// Size in megabytes at which the file is rotated; 0 means the default.
    ///
    /// - default: `500`
    /// - with: `log_mode: file`
    /// - example: `100`
    pub log_max_size: Option<u64>,
    /// How many rotated files are kept; 0 means the default.
    ///
    /// - default: `3`
    /// - with: `log_mode: file`
    /// - example: `7`
    pub log_max_backups: Option<u64>,
    /// The same as `log_max_backups`, by the name that the stock programs read. `log_max_backups` takes precedence.
    ///
    /// - default: `3`
    /// - with: `log_mode: file`
    /// - example: `7`
    pub log_max_files: Option<u64>,
    /// For how many days rotated files are kept; 0 means the default.
    ///
    /// - default: `30`
    /// - with: `log_mode: file`
    /// - example: `7`
    pub log_max_age: Option<u64>,
    /// Whether rotated files are compressed.
    ///
    /// - default: `true`
    /// - with: `log_mode: file`
    /// - example: `false`
    pub log_compression: Option<bool>,
    /// The same as `log_compression`, by the name that the stock programs read. `log_compression` takes precedence.
    ///
    /// - default: `true`
    /// - with: `log_mode: file`
    /// - example: `false`
    pub compress_logs: Option<bool>,
}

/// Log levels, from least to most, with the stock names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Only panics.
    Panic,
    /// Also what ends the program.
    Fatal,
    /// Also errors.
    Error,
    /// Also warnings.
    Warn,
    /// Also changes of state; the default.
    Info,
    /// Also every step.
    Debug,
    /// Also the libraries.
    Trace,
}

impl LogLevel {
    fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "panic" => Self::Panic,
            "fatal" => Self::Fatal,
            "error" => Self::Error,
            "warn" | "warning" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return None,
        })
    }
}

/// Where log lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// A file, rotated.
    File {
        /// The file that is written.
        path: PathBuf,
        /// When it is rotated, and how long rotated files are kept.
        rotation: Rotation,
    },
}

/// When a log file is rotated, and how long rotated files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Maximum size of a file in bytes.
    pub max_bytes: u64,
    /// Rotated files to keep.
    pub max_files: u64,
    /// Days to keep rotated files.
    pub max_age_days: u64,
    /// Whether rotated files are compressed with gzip.
    pub compress: bool,
}

/// The logging configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The lowest level that is written.
    pub level: LogLevel,
    /// Where lines go.
    pub target: LogTarget,
    /// The key that chooses between standard error and a file, for messages.
    pub media_key: &'static str,
}

impl LogKeys {
    /// Checks the keys. `file_name` is the fixed name of the log file; `verbose` is `-v`.
    pub fn check(self, file_name: &str, verbose: bool, wrong: &mut Problems) -> LogConfig {
        let mut level = LogLevel::Info;
        if let Some(word) = &self.log_level {
            match LogLevel::parse(word) {
                Some(known) => level = known,
                None => wrong.add(
                    "log_level",
                    "failed to setup logging: log_level should be one of panic, fatal, error, warn, info, debug, trace",
                ),
            }
        }
        if verbose {
            level = level.max(LogLevel::Debug);
        }
        // Zero means the default, as in the stock programs.
        let or = |value: Option<u64>, default| value.filter(|value| *value > 0).unwrap_or(default);
        let rotation = Rotation {
            max_bytes: or(self.log_max_size, 500).saturating_mul(1024 * 1024),
            max_files: or(self.log_max_backups.or(self.log_max_files), 3),
            max_age_days: or(self.log_max_age, 30),
            compress: self.log_compression.or(self.compress_logs).unwrap_or(true),
        };
        let target = match self.log_mode.as_deref() {
            None | Some("" | "stdout") => LogTarget::Stderr,
            Some("file") => {
                let dir = self.log_dir.filter(|dir| !dir.as_os_str().is_empty());
                let path = dir.unwrap_or_else(|| "/var/log/".into()).join(file_name);
                LogTarget::File { path, rotation }
            }
            Some(_) => {
                wrong
                    .add("log_mode", "failed to setup logging: log_mode should be either 'stdout' or 'file'");
                LogTarget::Stderr
            }
        };
        LogConfig { level, target, media_key: "log_mode" }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Document;

    fn check(text: &str, verbose: bool) -> Result<LogConfig, String> {
        let doc = Document::from_text(Path::new("x.yaml"), text, None, &|_| None).unwrap();
        let mut wrong = Problems::new();
        let config = doc.parse::<LogKeys>().unwrap().check("d.log", verbose, &mut wrong);
        wrong.or(config).map_err(|wrong| doc.locate(wrong).to_string())
    }

    fn rotation(text: &str) -> Rotation {
        match check(&format!("log_mode: file\n{text}"), false).unwrap().target {
            LogTarget::File { rotation, .. } => rotation,
            LogTarget::Stderr => panic!("no file"),
        }
    }

    #[test]
    fn defaults_are_those_of_the_stock_program() {
        assert_eq!(
            check("", false).unwrap(),
            LogConfig { level: LogLevel::Info, target: LogTarget::Stderr, media_key: "log_mode" }
        );
        let config = check("log_mode: file\n", false).unwrap();
        let rotation = Rotation { max_bytes: 500 << 20, max_files: 3, max_age_days: 30, compress: true };
        assert_eq!(config.target, LogTarget::File { path: "/var/log/d.log".into(), rotation });
    }

    #[test]
    fn both_spellings_are_read_and_the_documented_one_wins() {
        assert_eq!(rotation("log_max_backups: 7\n").max_files, 7);
        assert_eq!(rotation("log_max_files: 8\n").max_files, 8);
        assert_eq!(rotation("log_max_files: 8\nlog_max_backups: 7\n").max_files, 7);
        assert!(!rotation("log_compression: off\n").compress);
        assert!(!rotation("compress_logs: false\n").compress);
        assert!(rotation("compress_logs: false\nlog_compression: yes\n").compress);
        assert_eq!(rotation("log_max_size: 0\n").max_bytes, 500 << 20);
    }

    #[test]
    fn verbose_raises_to_debug_and_no_further() {
        for (text, level) in [
            ("", LogLevel::Debug),
            ("log_level: warning\n", LogLevel::Debug),
            ("log_level: TRACE\n", LogLevel::Trace),
        ] {
            assert_eq!(check(text, true).unwrap().level, level);
        }
    }

    #[test]
    fn wrong_words_are_refused() {
        let error = check("log_mode: syslog\nlog_level: loud\n", false).unwrap_err();
        assert!(
            error.contains(
                "log_mode should be either 'stdout' or 'file' (log_mode at x.yaml:1, now \"syslog\")"
            )
        );
        assert!(error.contains("log_level should be one of"));
    }
}
