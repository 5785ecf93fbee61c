//! Errors of the store, classified by what the caller can do about them.

use std::path::PathBuf;

/// Why an operation failed. Never contains a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The machine, bouncer, allowlist, … does not exist.
    #[error("{kind} '{name}' does not exist")]
    NotFound {
        /// What was looked up: `machine`, `bouncer`, `allowlist`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The name is taken.
    #[error("{kind} '{name}' already exists")]
    Exists {
        /// What has the name: `machine`, `bouncer`, `allowlist`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The database does not answer, or not in time. The next call tries again.
    #[error(
        "cannot {doing}: the database {database} is not available ({reason}); it is tried again at the next call"
    )]
    Unavailable {
        /// What was attempted.
        doing: &'static str,
        /// Which database.
        database: String,
        /// The reason given by the operating system, the driver or the server.
        reason: String,
    },
    /// No space left for the database. Nothing was changed.
    #[error(
        "cannot {doing}: no space left for the database {database}; free some, nothing else needs to be done"
    )]
    Full {
        /// What was attempted.
        doing: &'static str,
        /// Which database.
        database: String,
    },
    /// The file is corrupt.
    #[error(
        "the database {path} is damaged ({reason}); put a backup in its place, or move it away together with its \
         -wal and -shm files and start anew: machines and bouncers must then be registered again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file or the database on the server belongs to another program.
    #[error("the database {database} belongs to {owner}; set {setting} to one that is ours alone")]
    Foreign {
        /// Which database.
        database: String,
        /// The program it seems to belong to.
        owner: &'static str,
        /// The setting that names it: `db_config.db_path` or `db_config.db_name`.
        setting: &'static str,
    },
    /// A database of CrowdSec cannot be taken over, or one of ours not be moved. Nothing was changed.
    #[error("the database {source_name} {reason}")]
    Import {
        /// The database.
        source_name: String,
        /// The predicate of the sentence, with the next step.
        reason: String,
    },
    /// A newer version of this program has migrated it.
    #[error(
        "the database {database} was written by a newer version (its schema is {found}, this program knows \
         {known}); install that version again, or start with another database"
    )]
    Newer {
        /// Which database.
        database: String,
        /// Its schema version.
        found: i64,
        /// The highest schema version known.
        known: i64,
    },
    /// A setting cannot be used.
    #[error("cannot open the database {database}: {reason}")]
    Config {
        /// Which database.
        database: String,
        /// What to change.
        reason: String,
    },
    /// Any other failure: a bug, or a database modified by another program.
    #[error("cannot {doing} in the database {database}: {reason}")]
    Failed {
        /// What was attempted.
        doing: &'static str,
        /// Which database.
        database: String,
        /// The driver's text.
        reason: String,
    },
}

impl StoreError {
    /// Whether a retry may succeed without any change of request or configuration: 503 rather than 500.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full { .. })
    }
}
