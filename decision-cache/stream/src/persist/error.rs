//! Errors of persisted decisions.

use std::io;
use std::path::PathBuf;

/// A state file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PersistError {
    /// An operation of the file system failed.
    #[error("cannot {doing} the remembered decisions at {}", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// Not a state file, or of another version.
    #[error("{} is not a file of remembered decisions this version can read; it is left unused and will be replaced", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// Checksum or structure is invalid.
    #[error("{} is damaged; it is left unused and will be replaced", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The decisions are from another LAPI.
    #[error("{} holds decisions of another LAPI ({theirs}); it is left unused and will be replaced", path.display())]
    OtherLapi {
        /// Which file.
        path: PathBuf,
        /// The identity in the file.
        theirs: String,
    },
}
