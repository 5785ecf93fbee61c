//! Configuration of the store: `db_config` of the configuration file.

use std::fmt;
use std::path::PathBuf;

use crate::CrowdSecDatabase;

/// Each reader has a thread; more do not read faster.
pub(crate) const MAX_SQLITE_READERS: u32 = 8;
/// The database and its write-ahead log.
const SQLITE_FILES_PER_CONNECTION: u64 = 2;
/// Connections without which a server cannot be used: a reader, the writer, the listener, the leader.
const MIN_OPEN: u32 = 4;

/// The database to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DbConfig {
    /// SQLite or PostgreSQL.
    pub engine: Engine,
    /// The database that `db_config` names: CrowdSec's, or one that an earlier version of this program made there. It is
    /// taken over at the first start.
    pub crowdsec: Option<CrowdSecDatabase>,
    /// Maximum number of open connections (`max_open_conns`, 100 by default). SQLite uses nine at most.
    pub max_open: u32,
    /// Rows per insert statement (`decision_bulk_size`, 1000 by default, at most 2000).
    pub bulk: usize,
}

impl DbConfig {
    /// Default of `max_open_conns`.
    pub const DEFAULT_MAX_OPEN: u32 = 100;
    /// Default of `decision_bulk_size`.
    pub const DEFAULT_BULK: usize = 1000;
    /// Maximum of `decision_bulk_size`.
    pub const MAX_BULK: usize = 2000;

    /// The same with no more connections than these open files allow.
    pub fn within(&self, open_files: u64) -> Self {
        let most = match &self.engine {
            Engine::Sqlite { .. } => open_files / SQLITE_FILES_PER_CONNECTION,
            Engine::Postgres(_) => open_files,
        };
        let most = u32::try_from(most).unwrap_or(u32::MAX).max(MIN_OPEN);
        Self { max_open: self.max_open.min(most), ..self.clone() }
    }

    /// The number of files or sockets that an open database takes at most.
    pub fn open_files(&self) -> u64 {
        match &self.engine {
            Engine::Sqlite { .. } => {
                // The writer's besides, the shared memory, locks and journals.
                (u64::from(self.max_open.min(MAX_SQLITE_READERS)) + 1) * SQLITE_FILES_PER_CONNECTION + 3
            }
            Engine::Postgres(_) => u64::from(self.max_open.max(MIN_OPEN)),
        }
    }

    /// A SQLite file with default settings.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self {
            engine: Engine::Sqlite { path: path.into(), wal: None },
            crowdsec: None,
            max_open: Self::DEFAULT_MAX_OPEN,
            bulk: Self::DEFAULT_BULK,
        }
    }

    /// A PostgreSQL server with default settings.
    pub fn postgres(server: PostgresServer) -> Self {
        Self {
            engine: Engine::Postgres(server),
            crowdsec: None,
            max_open: Self::DEFAULT_MAX_OPEN,
            bulk: Self::DEFAULT_BULK,
        }
    }
}

/// The database engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// A file, created if missing.
    Sqlite {
        /// Its path (`db_path`).
        path: PathBuf,
        /// `use_wal`; by default on, unless the file is on a network file system.
        wal: Option<bool>,
    },
    /// A PostgreSQL server.
    Postgres(PostgresServer),
}

/// Connection parameters of a PostgreSQL server. Its `Debug` omits the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PostgresServer {
    /// Host name or address; `127.0.0.1` when empty and there is no socket.
    pub host: String,
    /// Port; 5432 when 0.
    pub port: u16,
    /// User name.
    pub user: String,
    /// Password; none when empty.
    pub password: String,
    /// The database's name (`db_name`).
    pub name: String,
    /// Encryption and verification, as configured.
    pub sslmode: Option<SslMode>,
    /// Certificate authority of the server (`ssl_ca_cert`).
    pub ca: Option<PathBuf>,
    /// Client certificate (`ssl_client_cert`).
    pub cert: Option<PathBuf>,
    /// Key of the client certificate (`ssl_client_key`).
    pub key: Option<PathBuf>,
    /// Folder of the server's unix socket (`db_path`), instead of host and port.
    pub socket: Option<PathBuf>,
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresServer").field("at", &self.to_string()).finish_non_exhaustive()
    }
}

/// `palisade at db.example:5432`, for messages.
impl fmt::Display for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(folder) => write!(f, "{} at {}", self.name, folder.display()),
            None => write!(f, "{} at {}:{}", self.name, self.host_or_default(), self.port_or_default()),
        }
    }
}

impl PostgresServer {
    pub(crate) fn host_or_default(&self) -> &str {
        if self.host.is_empty() { "127.0.0.1" } else { &self.host }
    }

    pub(crate) fn port_or_default(&self) -> u16 {
        if self.port == 0 { 5432 } else { self.port }
    }
}

/// `sslmode`, with libpq's names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never encrypt.
    Disable,
    /// Encrypt only if the server requires it.
    Allow,
    /// Encrypt if the server supports it.
    #[default]
    Prefer,
    /// Encrypt without verification.
    Require,
    /// Encrypt and verify the certificate's signature.
    VerifyCa,
    /// Encrypt and verify signature and host name.
    VerifyFull,
}

impl SslMode {
    const NAMES: [(&'static str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    /// The mode of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, mode)| mode)
    }

    /// The name of the mode.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_open_files_mean_few_connections() {
        let sqlite = DbConfig::sqlite("/var/lib/lapi.db");
        assert_eq!((sqlite.open_files(), sqlite.within(256).open_files()), (21, 21));
        assert_eq!(sqlite.within(8).open_files(), 13);
        let server = DbConfig::postgres(PostgresServer::default());
        assert_eq!((server.open_files(), server.within(256).open_files()), (100, 100));
        assert_eq!((server.within(16).max_open, server.within(1).max_open), (16, 4));
    }
}
