//! Which database, and how it is reached: `db_config` of the configuration file.

use std::fmt;
use std::path::PathBuf;

/// The database to open.
#[derive(Debug, Clone)]
pub struct DbConfig {
    /// Which one.
    pub engine: Engine,
    /// How many connections may be open at once (`max_open_conns`, 100 when absent). SQLite needs few and takes no
    /// more than nine.
    pub max_open: u32,
    /// How many rows one statement inserts (`decision_bulk_size`, 1000 when absent, 2000 at most).
    pub bulk: usize,
}

impl DbConfig {
    /// `max_open_conns` when the file does not say.
    pub const DEFAULT_MAX_OPEN: u32 = 100;
    /// `decision_bulk_size` when the file does not say.
    pub const DEFAULT_BULK: usize = 1000;

    /// A SQLite file with everything else as stock.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self {
            engine: Engine::Sqlite { path: path.into(), wal: None },
            max_open: Self::DEFAULT_MAX_OPEN,
            bulk: Self::DEFAULT_BULK,
        }
    }

    /// A PostgreSQL server with everything else as stock.
    pub fn postgres(server: PostgresServer) -> Self {
        Self { engine: Engine::Postgres(server), max_open: Self::DEFAULT_MAX_OPEN, bulk: Self::DEFAULT_BULK }
    }
}

/// The kind of database.
#[derive(Debug, Clone)]
pub enum Engine {
    /// A file of our own, made when it is missing.
    Sqlite {
        /// Where it is (`db_path`).
        path: PathBuf,
        /// `use_wal`; when absent, on unless the file lies on a network file system.
        wal: Option<bool>,
    },
    /// A server.
    Postgres(PostgresServer),
}

/// A PostgreSQL server and what it wants to see. Its `Debug` does not show the password.
#[derive(Clone, Default)]
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
    /// Whether to encrypt, and what to check.
    pub sslmode: SslMode,
    /// Authority that signed the server's certificate (`ssl_ca_cert`).
    pub ca: Option<PathBuf>,
    /// Our certificate (`ssl_client_cert`).
    pub cert: Option<PathBuf>,
    /// Its key (`ssl_client_key`).
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

/// `sslmode`, with the names of libpq.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never encrypt.
    Disable,
    /// Encrypt only when the server insists.
    Allow,
    /// Encrypt when the server can.
    #[default]
    Prefer,
    /// Encrypt, check nothing.
    Require,
    /// Encrypt, and check who signed the certificate.
    VerifyCa,
    /// Encrypt, and check signature and name.
    VerifyFull,
}

impl std::str::FromStr for SslMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" | "" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            other => {
                return Err(format!(
                    "unknown sslmode '{other}'; use disable, allow, prefer, require, verify-ca or verify-full"
                ));
            }
        })
    }
}
