//! Loads a configuration file: the keys of all bouncers, and through [`Bouncer::read_config`] those of one. Reads files
//! and sets up logging; opens no socket.

use std::path::Path;

use palisade_daemon::logs::{LOG_KEYS, LogKeys, LogLevel, LogTarget, Logs};
use palisade_daemon::metrics::{PROMETHEUS_KEYS, PrometheusKeys};
use palisade_daemon::{ConfigError, Document, Problem, Problems};
use serde::Deserialize;
use tracing::{info, warn};

use super::bouncer::Bouncer;
use super::config::{Checked, Loaded, Note, Overrides};
use crate::settings::LAPI_KEYS;

/// The keys of all bouncers that have no reader of their own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CommonKeys {
    /// Refuse unknown keys, as the flag `-strict` does, instead of warning of them. Palisade's own.
    ///
    /// - default: `false`
    /// - example: `true`
    strict: Option<bool>,
    /// Metrics for Prometheus, without authentication.
    prometheus: Option<PrometheusKeys>,
}

/// Loads and checks the file at `path` with its `.local`.
///
/// # Errors
/// All problems at once, with file and line.
pub(super) fn load<B: Bouncer>(path: &Path, overrides: Overrides) -> Result<Loaded<B::Config>, ConfigError> {
    check::<B>(Document::load(path)?, overrides)
}

/// Checks a document.
///
/// # Errors
/// All problems at once, with file and line.
pub fn check<B: Bouncer>(document: Document, overrides: Overrides) -> Result<Loaded<B::Config>, ConfigError> {
    let document = B::translate(document);
    // Each reader reports to one list, so that the operator sees all problems at once.
    let mut problems = Problems::new();
    let common: Option<CommonKeys> = document.parse_into(&mut problems);
    let logs: Option<LogKeys> = document.parse_into(&mut problems);
    let CommonKeys { strict, prometheus } = common.unwrap_or_default();
    let mut notes = unknown_keys::<B>(&document, overrides.strict || strict == Some(true), &mut problems);
    let log_file = format!("{}.log", B::stock_name(&document));
    let logs = logs.map(|keys| keys.check(&log_file, overrides.verbose, &mut problems));
    let prometheus = prometheus.and_then(|keys| keys.check(&mut problems));
    match (B::read_config(&document, &mut problems), logs) {
        (Some(Checked { config, notes: more }), Some(mut logs)) if problems.is_empty() => {
            if overrides.trace {
                logs.level = LogLevel::Trace;
            }
            notes.extend(more);
            Ok(Loaded { config, logs, prometheus, notes, document })
        }
        _ => Err(ConfigError::Invalid(document.locate(problems))),
    }
}

/// The keys that the program `B` reads or knows.
pub(super) fn known_keys<B: Bouncer>() -> Vec<&'static str> {
    [B::INFO.keys, LAPI_KEYS, LOG_KEYS, PROMETHEUS_KEYS, &["strict"]].concat()
}

/// Unknown keys: problems when `strict`, else notes.
fn unknown_keys<B: Bouncer>(document: &Document, strict: bool, problems: &mut Problems) -> Vec<Note> {
    let mut notes = Vec::new();
    for unknown in document.unknown_keys(&known_keys::<B>()) {
        if strict {
            let text = match unknown.suggestion {
                Some(suggestion) => format!("unknown key; did you mean `{suggestion}`?"),
                None => "unknown key; remove it".to_owned(),
            };
            problems.push(Problem { key: unknown.key, text, place: Some(unknown.place), value: None });
        } else {
            notes.push(Note::warn(unknown.to_string()));
        }
    }
    notes
}

/// Which messages about the configuration are logged, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Messages {
    /// All, to the configured log.
    AsConfigured,
    /// All, to standard error: a test leaves no traces.
    Stderr,
    /// Errors only, to standard error: a command prints its answer.
    ErrorsOnly,
}

/// Loads the file, sets up logging, and logs the messages about the file.
pub(super) fn start<B: Bouncer>(
    path: &Path,
    overrides: Overrides,
    logs: &Logs,
    messages: Messages,
) -> anyhow::Result<Loaded<B::Config>> {
    let mut loaded = load::<B>(path, overrides)?;
    // A test or a command run as root must not create the log file, which the daemon could then not write.
    if messages != Messages::AsConfigured {
        loaded.logs.target = LogTarget::Stderr;
    }
    if messages == Messages::ErrorsOnly && !overrides.verbose && !overrides.trace {
        // Beside a command's answer only what went wrong.
        loaded.logs.level = loaded.logs.level.min(LogLevel::Warn);
    }
    if let Err(error) = logs.configure(&loaded.logs) {
        // Enforcing matters more than the place of the log; the service manager keeps standard error.
        loaded.logs.target = LogTarget::Stderr;
        logs.configure(&loaded.logs)?;
        warn!(error = &error as &dyn std::error::Error, "logging to standard error instead of a file");
    }
    if messages != Messages::ErrorsOnly {
        log_messages(&loaded);
    }
    if messages == Messages::AsConfigured {
        let (info, stock_name) = (B::INFO, B::stock_name(&loaded.document));
        // The stock bouncer's message, with its name, which log parsers look for.
        info!("Starting {stock_name} {} ({})", info.version, info.program.name);
        B::announce(&loaded.config);
    }
    Ok(loaded)
}

/// Logs the messages about the file.
pub(super) fn log_messages<C>(loaded: &Loaded<C>) {
    loaded.document.announce();
    loaded.notes.iter().for_each(Note::log);
}
