//! What goes wrong with a database, sorted by what the caller can do about it.

use std::path::PathBuf;

/// Why the store could not do it. Never contains a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such machine, bouncer, allowlist, ….
    #[error("{kind} '{name}' does not exist")]
    NotFound {
        /// What it would have been: `machine`, `bouncer`, `allowlist`.
        kind: &'static str,
        /// What it was called.
        name: String,
    },
    /// The name is taken.
    #[error("{kind} '{name}' already exists")]
    Exists {
        /// What it is: `machine`, `bouncer`, `allowlist`.
        kind: &'static str,
        /// What it is called.
        name: String,
    },
    /// The value cannot be stored.
    #[error("{0}")]
    Refused(String),
    /// The database does not answer, or not in time. It is asked again at the next call.
    #[error(
        "cannot {doing}: the database {database} is not available ({reason}); it is tried again at the next call"
    )]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// Which database.
        database: String,
        /// Why, in the words of the operating system, the driver or the server.
        reason: String,
    },
    /// No room left where the database lives. Nothing was changed.
    #[error(
        "cannot {doing}: no space left for the database {database}; free some, nothing else needs to be done"
    )]
    Full {
        /// What was tried.
        doing: &'static str,
        /// Which database.
        database: String,
    },
    /// The file is not sound.
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
    /// The file, or the database on the server, belongs to someone else.
    #[error("the database {database} belongs to {owner}; set {setting} to one that is ours alone")]
    Foreign {
        /// Which database.
        database: String,
        /// Whose it seems to be.
        owner: &'static str,
        /// Which setting names it: `db_config.db_path` or `db_config.db_name`.
        setting: &'static str,
    },
    /// A newer version of this program has written it.
    #[error(
        "the database {database} was written by a newer version (its schema is {found}, this program knows \
         {known}); install that version again, or start with another database"
    )]
    Newer {
        /// Which database.
        database: String,
        /// Its schema's number.
        found: i64,
        /// The highest we know.
        known: i64,
    },
    /// Something in the configuration cannot be used.
    #[error("cannot open the database {database}: {reason}")]
    Config {
        /// Which database.
        database: String,
        /// What to change.
        reason: String,
    },
    /// Anything else: a fault of ours, or a database changed by other hands.
    #[error("cannot {doing} in the database {database}: {reason}")]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// Which database.
        database: String,
        /// In the driver's words.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing anything but the database's surroundings:
    /// an answer of 503 rather than 500.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full { .. })
    }
}
