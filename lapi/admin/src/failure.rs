//! Why a command failed, and how the error is printed.

use palisade_client::{BuildError, MachineError};
use palisade_go_compat::{quote, with_causes};
use palisade_lapi_config::{ConfigError, CredentialsError};
use palisade_store::StoreError;

use crate::output::one_line;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Printed with the command's path in front: `Error: cscli bouncers add: …`.
    Command(String),
    /// The same, preceded by the command's help.
    Usage(String),
    /// Printed unchanged: the configuration does not load, or there is no such command.
    Bare(String),
    /// As one of the others, with what to do, which `cscli` does not print.
    Advised { text: String, advice: String, form: Form },
}

/// How `cscli` prints a failure that `palisade` prints with advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As [`Failure::Command`].
    Command,
    /// As [`Failure::Usage`].
    Usage,
    /// As [`Failure::Bare`], preceded by the command's help.
    Unknown,
}

impl Failure {
    /// A failed command, and what to do.
    pub(crate) fn advised(text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Advised { text: text.into(), advice: advice.into(), form: Form::Command }
    }

    /// The same failure, prefixed with the attempted action.
    pub(crate) fn doing(self, what: &str) -> Self {
        match self {
            Self::Command(text) => Self::Command(format!("{what}: {text}")),
            Self::Usage(text) => Self::Usage(format!("{what}: {text}")),
            Self::Bare(text) => Self::Bare(format!("{what}: {text}")),
            Self::Advised { text, advice, form } => {
                Self::Advised { text: format!("{what}: {text}"), advice, form }
            }
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(text) | Self::Usage(text) | Self::Bare(text) | Self::Advised { text, .. } => {
                f.write_str(text)
            }
        }
    }
}

/// Adds the attempted action in a `map_err`.
pub(crate) fn while_doing<E: Into<Failure>>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| error.into().doing(what)
}

/// The configuration's own text, as `cscli` shows it.
impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let text = error.to_string();
        let short = text.strip_prefix("unable to read config file: ").unwrap_or(&text);
        Self::Bare(short.to_owned())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Command(error.to_string())
    }
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        Self::Command(error.to_string())
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Url { setting, url, reason } => Self::advised(
                format!("parse {}: {reason}", quote(&url)),
                format!("correct {setting}; it should look like http://127.0.0.1:8080/"),
            ),
            other => Self::Command(other.to_string()),
        }
    }
}

/// With the causes of a failed connection, which are the most specific.
impl From<MachineError> for Failure {
    fn from(error: MachineError) -> Self {
        // A text of the LAPI must not look like further lines of output.
        let text = one_line(&with_causes(&error)).into_owned();
        match error.advice() {
            Some(advice) => Self::advised(text, advice),
            None => Self::Command(text),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Command(error.to_string())
    }
}
