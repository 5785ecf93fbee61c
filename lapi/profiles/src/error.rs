//! Errors in profiles, and errors of their evaluation.

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
    /// Neither file has a document.
    #[error("{}: zero profiles loaded for LAPI; write at least one", path.display())]
    Empty {
        /// The main file.
        path: PathBuf,
    },
    /// A file has an error.
    #[error("{}:{line}:{column}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1; 0 when the error concerns the whole file.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// A filter failed in a profile whose `on_error` does not handle it. The request is refused with this text, which is
/// the stock server's up to the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("while running expression {filter}: {reason}")]
pub struct EvaluationError {
    /// The profile's name.
    pub profile: String,
    /// The expression.
    pub filter: String,
    /// Why it failed.
    pub reason: String,
}
