//! Reading a configuration file, from path to [`Config`].

use std::path::Path;

use palisade_bouncer::settings::LAPI_KEYS;
use palisade_daemon::{
    ConfigError, Document, Problem, Problems,
    logs::{LOG_KEYS, LogConfig, LogKeys},
    metrics::PROMETHEUS_KEYS,
};

use super::{
    Config,
    check::Note,
    file::{ConfigFile, FIREWALL_KEYS},
};

/// Name of the log file, the stock bouncer's, so that log collectors find it.
const LOG_FILE: &str = "crowdsec-firewall-bouncer.log";

/// A configuration file, read and checked.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What to enforce.
    pub config: Config,
    /// How to log.
    pub logs: LogConfig,
    /// What the operator should hear once logging is set up.
    pub notes: Vec<Note>,
    /// The file itself, for the concerns that read their own keys.
    pub document: Document,
}

/// What the command line adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `-v`: log at debug level at least.
    pub verbose: bool,
    /// `--strict`: refuse unknown keys.
    pub strict: bool,
}

/// Reads and checks the file at `path` with its `.local`. Touches nothing else.
pub fn load(path: &Path, overrides: Overrides) -> Result<Loaded, ConfigError> {
    check(Document::load(path)?, overrides)
}

/// Checks a document that was read already.
pub fn check(document: Document, overrides: Overrides) -> Result<Loaded, ConfigError> {
    let mut wrong = Problems::new();
    let file: Option<ConfigFile> = document.parse_into(&mut wrong);
    let logs: Option<LogKeys> = document.parse_into(&mut wrong);
    let strict = overrides.strict || file.as_ref().is_some_and(|file| file.strict == Some(true));
    let mut notes = unknown(&document, strict, &mut wrong);
    let logs = logs.map(|keys| {
        let mut problems = Problems::new();
        let logs = keys.check(LOG_FILE, overrides.verbose, &mut problems);
        wrong.extend(problems);
        logs
    });
    let config = match file.map(ConfigFile::check) {
        Some(Ok((config, more))) => {
            notes.extend(more);
            Some(config)
        }
        Some(Err(problems)) => {
            wrong.extend(problems);
            None
        }
        None => None,
    };
    match (config, logs) {
        (Some(config), Some(logs)) if wrong.is_empty() => Ok(Loaded { config, logs, notes, document }),
        _ => Err(ConfigError::Invalid(document.locate(wrong))),
    }
}

/// Unknown keys: problems when `strict`, else notes.
fn unknown(document: &Document, strict: bool, wrong: &mut Problems) -> Vec<Note> {
    let known = [FIREWALL_KEYS, LAPI_KEYS, LOG_KEYS, PROMETHEUS_KEYS].concat();
    let mut notes = Vec::new();
    for unknown in document.unknown_keys(&known) {
        if strict {
            let text = match unknown.suggestion {
                Some(suggestion) => format!("unknown key; did you mean `{suggestion}`?"),
                None => "unknown key; remove it".to_owned(),
            };
            wrong.push(Problem { key: unknown.key, text, place: Some(unknown.place), value: None });
        } else {
            notes.push(Note::warn(unknown.to_string()));
        }
    }
    notes
}
