//! Maps driver errors to [`StoreError`].

use std::fmt;
use std::path::PathBuf;

use sqlx::Error;

use crate::StoreError;

/// Where the database is, for messages.
#[derive(Debug, Clone)]
pub(crate) enum DatabaseLocation {
    File(PathBuf),
    Server(String),
}

impl fmt::Display for DatabaseLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(name) => f.write_str(name),
        }
    }
}

/// Classifies a driver error. Driver errors do not contain passwords.
pub(crate) fn fault(error: &Error, location: &DatabaseLocation, doing: &'static str) -> StoreError {
    let database = location.to_string();
    let unavailable = |reason: String| StoreError::Unavailable { doing, database: database.clone(), reason };
    match error {
        Error::Database(error) => match (location, error.code().as_deref().map(str::to_owned)) {
            (DatabaseLocation::File(path), Some(code)) => {
                let code: i64 = code.parse().unwrap_or(0);
                let error = error.message().to_owned();
                // The lower byte is the primary code, what is above it the detail.
                match code & 0xff {
                    // FULL, or IOERR of a write or sync, which is more often a full disk than a broken one.
                    13 => StoreError::Full { doing, database },
                    // IOERR_WRITE, IOERR_FSYNC, IOERR_TRUNCATE.
                    10 if matches!(code >> 8, 3 | 4 | 6) => {
                        unavailable(format!("{error}; is the disk full or failing?"))
                    }
                    // CORRUPT, NOTADB.
                    11 | 26 => StoreError::Damaged { path: path.clone(), reason: error },
                    // BUSY, LOCKED.
                    5 | 6 => unavailable(format!("another program keeps it locked: {error}")),
                    // READONLY, IOERR, CANTOPEN, AUTH: what an administrator can correct while the program runs.
                    8 | 10 | 14 | 23 => unavailable(error),
                    1 if error.starts_with("no such table") || error.starts_with("no such column") => {
                        unavailable(changed(&error))
                    }
                    _ => StoreError::Failed { doing, database, reason: error },
                }
            }
            (DatabaseLocation::Server(_), Some(code)) => {
                let error = error.message().to_owned();
                match code.as_str() {
                    "53100" => StoreError::Full { doing, database },
                    // Connection, insufficient resources, operator intervention, cancelled by a timeout,
                    // authentication, no such database, read-only (a standby), lock not available, deadlock.
                    code if ["08", "53", "57", "28", "3D"].iter().any(|class| code.starts_with(class)) => {
                        unavailable(error)
                    }
                    "42P01" | "42703" => unavailable(changed(&error)),
                    "25006" | "55P03" | "40P01" | "40001" => unavailable(error),
                    _ => StoreError::Failed { doing, database, reason: format!("{error} ({code})") },
                }
            }
            (_, None) => StoreError::Failed { doing, database, reason: error.message().to_owned() },
        },
        Error::Io(_) | Error::Tls(_) | Error::WorkerCrashed | Error::PoolClosed => {
            unavailable(error.to_string())
        }
        Error::PoolTimedOut => unavailable("no connection in time".to_owned()),
        // The connection broke in the middle of a response.
        Error::Protocol(error) => unavailable(error.clone()),
        other => StoreError::Failed { doing, database, reason: other.to_string() },
    }
}

fn changed(error: &str) -> String {
    format!("{error}: another program has changed it; restore it from a backup, or start with an empty one")
}

/// Whether a session must be discarded after this error.
pub(super) fn breaks_session(error: &Error) -> bool {
    match error {
        Error::Database(error) => {
            // Connection exceptions, and 57P: the server shuts down or has ended this session. Read-only (25006 of
            // PostgreSQL, 8 in SQLite's lower byte): a session does not notice when that ends.
            error.code().is_some_and(|code| {
                let is_read_only = match code.len() {
                    5 => code == "25006",
                    _ => code.parse::<i64>().is_ok_and(|code| code & 0xff == 8),
                };
                is_read_only || code.starts_with("08") || code.starts_with("57P")
            })
        }
        // The connection itself is in order. After any other error its state is unknown.
        Error::RowNotFound | Error::ColumnDecode { .. } | Error::Decode(_) | Error::Encode(_) => false,
        _ => true,
    }
}
