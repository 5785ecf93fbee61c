//! Why a file of profiles cannot be used, and why an alert cannot be evaluated.

use std::{io, path::PathBuf};

/// Why `profiles.yaml` or its `.local` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfilesError {
    /// A file cannot be read.
    #[error("cannot read the profiles in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// No document in either file.
    #[error("{}: zero profiles loaded for LAPI; write at least one", path.display())]
    Empty {
        /// The main file.
        path: PathBuf,
    },
    /// Something in a file is not right.
    #[error("{}:{line}:{column}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1; 0 when it is about the file as a whole.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// A filter failed in a profile whose `on_error` lets it fail. The whole request is refused with this text, which is
/// the stock server's up to the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("while running expression {filter}: {reason}")]
pub struct EvaluationError {
    /// The profile's name.
    pub profile: String,
    /// The expression as written.
    pub filter: String,
    /// Why it failed.
    pub reason: String,
}
