//! What a driver's error means to the caller.

use std::fmt;
use std::path::PathBuf;

use sqlx::Error;

use crate::StoreError;

/// Which database, for messages.
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

/// Sorts an error of the driver. The driver knows no passwords in its texts.
pub(crate) fn fault(error: &Error, location: &DatabaseLocation, doing: &'static str) -> StoreError {
    let database = location.to_string();
    let unavailable = |reason: String| StoreError::Unavailable { doing, database: database.clone(), reason };
    match error {
        Error::Database(told) => match (location, told.code().as_deref().map(str::to_owned)) {
            (DatabaseLocation::File(path), Some(code)) => {
                let code: i64 = code.parse().unwrap_or(0);
                let told = told.message().to_owned();
                match code & 0xff {
                    // FULL; of IOERR a write or a sync that failed, which is a full disk more often than a broken one.
                    13 => StoreError::Full { doing, database },
                    10 if matches!(code >> 8, 3 | 4 | 6) => {
                        unavailable(format!("{told}; is the disk full or failing?"))
                    }
                    11 | 26 => StoreError::Damaged { path: path.clone(), reason: told },
                    5 | 6 => unavailable(format!("another program keeps it locked: {told}")),
                    8 | 10 | 14 | 23 => unavailable(told),
                    _ => StoreError::Failed { doing, database, reason: told },
                }
            }
            (DatabaseLocation::Server(_), Some(code)) => {
                let told = told.message().to_owned();
                match code.as_str() {
                    "53100" => StoreError::Full { doing, database },
                    // Connection, not enough resources, operator, cancelled by a timeout, authentication, no such
                    // database, read-only (a standby), lock not available, deadlock.
                    code if ["08", "53", "57", "28", "3D"].iter().any(|class| code.starts_with(class)) => {
                        unavailable(told)
                    }
                    "25006" | "55P03" | "40P01" | "40001" => unavailable(told),
                    _ => StoreError::Failed { doing, database, reason: format!("{told} ({code})") },
                }
            }
            (_, None) => StoreError::Failed { doing, database, reason: told.message().to_owned() },
        },
        Error::Io(_) | Error::Tls(_) | Error::WorkerCrashed | Error::PoolClosed => {
            unavailable(error.to_string())
        }
        Error::PoolTimedOut => unavailable("no connection in time".to_owned()),
        // What a connection that broke in the middle of an answer leaves.
        Error::Protocol(told) => unavailable(told.clone()),
        other => StoreError::Failed { doing, database, reason: other.to_string() },
    }
}

/// Whether the session that had this error must not be used again.
pub(super) fn breaks_session(error: &Error) -> bool {
    match error {
        Error::Database(told) => {
            told.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P"))
        }
        Error::RowNotFound | Error::ColumnDecode { .. } | Error::Decode(_) | Error::Encode(_) => false,
        _ => true,
    }
}
