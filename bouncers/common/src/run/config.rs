//! Represents a bouncer's loaded configuration. Pure.

use palisade_daemon::Document;
use palisade_daemon::logs::LogConfig;
use palisade_daemon::metrics::Listen;
use tracing::{debug, info, warn};

/// A message about the configuration file that does not prevent the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The level it is logged at.
    pub level: NoteLevel,
    /// One line, the stock bouncer's where it has one.
    pub text: String,
}

/// The level of a [`Note`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteLevel {
    /// A key without effect that needs no change.
    Debug,
    /// A consequence of the file.
    Info,
    /// A key has no effect, or another than in the stock bouncer.
    Warn,
}

impl Note {
    /// A note at debug level.
    pub fn debug(text: impl Into<String>) -> Self {
        Self { level: NoteLevel::Debug, text: text.into() }
    }

    /// A note at info level.
    pub fn info(text: impl Into<String>) -> Self {
        Self { level: NoteLevel::Info, text: text.into() }
    }

    /// A note at warn level.
    pub fn warn(text: impl Into<String>) -> Self {
        Self { level: NoteLevel::Warn, text: text.into() }
    }

    pub(super) fn log(&self) {
        match self.level {
            NoteLevel::Debug => debug!("{}", self.text),
            NoteLevel::Info => info!("{}", self.text),
            NoteLevel::Warn => warn!("{}", self.text),
        }
    }
}

/// A loaded and checked configuration file.
#[derive(Debug, Clone)]
pub struct Loaded<C> {
    /// The bouncer's own configuration.
    pub config: C,
    /// How to log.
    pub logs: LogConfig,
    /// Where `/metrics` is served; `None` when it is off.
    pub prometheus: Option<Listen>,
    /// Messages for the operator, to be logged once logging is set up.
    pub notes: Vec<Note>,
    /// The file, from which the LAPI's settings are read.
    pub document: Document,
}

/// What the command line adds to the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `-v`: log at debug level at least.
    pub verbose: bool,
    /// `-trace`: log everything.
    pub trace: bool,
    /// `--strict`: refuse unknown keys.
    pub strict: bool,
}

/// A configuration without problems.
#[derive(Debug, Clone)]
pub struct Checked<C> {
    /// The configuration.
    pub config: C,
    /// Messages for the operator.
    pub notes: Vec<Note>,
}
