//! Defines what can go wrong with a store, for its caller and for the operator.

use std::io;
use std::path::PathBuf;

use redb::{DatabaseError, StorageError};

use super::codec::Malformed;

/// A store cannot be opened, read or written.
///
/// After any of these the store is as before the call or, if the call was a commit, as after it; never in between. The
/// next call opens the file anew, so it is enough to try again later. What is known of the store's content must be read
/// again then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no space for more.
    #[error("cannot write {}: {cause}; deliveries to this endpoint wait until there is space on its file system", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system reported.
        cause: io::Error,
    },
    /// Reading or writing failed otherwise.
    #[error("cannot use {}: {cause}; deliveries to this endpoint wait, and the file is opened again", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system reported.
        cause: io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use by another process; stop the other palisade-webhook or give this one another state directory", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It was damaged and has been set aside. The store is new and empty now.
    #[error("{} is damaged ({reason}); a new one was begun, and everything is sent to its endpoint again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// Whether it goes away with space on the file system.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// Why an operation on an open file failed.
#[derive(Debug)]
pub(super) enum Problem {
    /// The file cannot be read or written now.
    Io(io::Error),
    /// Its content is wrong.
    Damaged(String),
    /// Another process has it.
    Locked,
}

impl Problem {
    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged(reason.into())
    }

    /// For the caller. A damaged file has been set aside by then.
    pub(super) fn at(self, path: PathBuf) -> StoreError {
        match self {
            Self::Io(cause) if is_full(&cause) => StoreError::Full { path, cause },
            Self::Io(cause) => StoreError::Io { path, cause },
            Self::Locked => StoreError::Locked { path },
            Self::Damaged(reason) => StoreError::Damaged { path, reason },
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // So redb reports a file that is none of its own, and one that is too short.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::damaged(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

impl From<Malformed> for Problem {
    fn from(_: Malformed) -> Self {
        Self::damaged("a record cannot be read")
    }
}

impl From<redb::Error> for Problem {
    fn from(error: redb::Error) -> Self {
        use redb::Error as E;
        match error {
            E::Io(error) => error.into(),
            E::DatabaseAlreadyOpen | E::LockProtocolMismatch => Self::Locked,
            E::Corrupted(_)
            | E::UpgradeRequired(_)
            | E::RepairAborted
            | E::TableTypeMismatch { .. }
            | E::TableIsMultimap(_)
            | E::TypeDefinitionChanged { .. }
            | E::TableDoesNotExist(_) => Self::damaged(error.to_string()),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

macro_rules! through_redb_error {
    ($($error:ty),*) => {
        $(impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}

through_redb_error!(
    StorageError,
    DatabaseError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError,
    redb::CompactionError
);
