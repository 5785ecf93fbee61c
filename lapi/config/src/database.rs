//! Checks `db_config`: the database, and retention.

use std::{fmt, path::PathBuf, time::Duration};

use palisade_daemon::{Problems, metrics::Port};
use palisade_wire::GoDuration;

use crate::{common::level, file, paths::absolute};

/// The default of `max_open_conns`.
const MAX_OPEN: u32 = 100;
/// Default and maximum of `decision_bulk_size`.
const BULK: (usize, usize) = (1000, 2000);
/// The default of `metrics_max_age`.
const METRICS_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The accepted values of `sslmode`.
const SSL_MODES: [&str; 7] = ["", "disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// The block `db_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DbConfig {
    /// Which engine.
    pub kind: DbKind,
    /// Most connections at once.
    pub max_open_conns: u32,
    /// Decisions per statement.
    pub decision_bulk_size: usize,
    /// Retention; without the block nothing is deleted.
    pub flush: Option<Flush>,
}

/// Which engine, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub enum DbKind {
    /// A file.
    Sqlite {
        /// Its path.
        path: PathBuf,
        /// Write-ahead log; by default it depends on the file system.
        use_wal: Option<bool>,
    },
    /// A PostgreSQL server.
    Postgres {
        /// Host name, address, or the folder of its socket (starts with `/`).
        host: String,
        /// TCP port.
        port: u16,
        /// User.
        user: String,
        /// Password; empty when there is none.
        password: String,
        /// Database.
        db_name: String,
        /// libpq's `sslmode`: `disable`, `prefer`, `require`, `verify-ca`, `verify-full`; empty when not set.
        sslmode: String,
        /// The certificate authority of the server.
        ssl_ca_cert: Option<PathBuf>,
        /// The client certificate.
        ssl_client_cert: Option<PathBuf>,
        /// Its key.
        ssl_client_key: Option<PathBuf>,
    },
}

/// Omits the password.
impl fmt::Debug for DbKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path, use_wal } => {
                f.debug_struct("Sqlite").field("path", path).field("use_wal", use_wal).finish()
            }
            Self::Postgres { host, port, user, db_name, sslmode, .. } => f
                .debug_struct("Postgres")
                .field("host", host)
                .field("port", port)
                .field("user", user)
                .field("password", &"[redacted]")
                .field("db_name", db_name)
                .field("sslmode", sslmode)
                .finish_non_exhaustive(),
        }
    }
}

/// The block `flush`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flush {
    /// The number of alerts to keep.
    pub max_items: Option<u64>,
    /// The maximum age of alerts.
    pub max_age: Option<Duration>,
    /// The maximum age of usage metrics.
    pub metrics_max_age: Duration,
    /// When inactive bouncers are deleted.
    pub bouncers_autodelete: AutoDelete,
    /// When inactive machines are deleted.
    pub agents_autodelete: AutoDelete,
}

/// How long inactive clients are kept, by type of authentication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AutoDelete {
    /// With a certificate.
    pub cert: Option<Duration>,
    /// With a key (bouncers) or a password (machines).
    pub secret: Option<Duration>,
}

/// Checks the block.
pub(crate) fn check(written: file::Db, wrong: &mut Problems) -> Option<DbConfig> {
    let _ = level("db_config.log_level", written.log_level.as_deref(), wrong);
    let max_open_conns = match written.max_open_conns {
        None | Some(0) => MAX_OPEN,
        Some(count) => u32::try_from(count).unwrap_or_else(|_| {
            wrong.add("db_config.max_open_conns", "expected a number from 1 up");
            MAX_OPEN
        }),
    };
    let decision_bulk_size = match written.decision_bulk_size {
        None | Some(0) => BULK.0,
        Some(count) => match usize::try_from(count) {
            Ok(count) => count.min(BULK.1),
            Err(_) => {
                wrong.add("db_config.decision_bulk_size", "expected a number from 1 to 2000");
                BULK.0
            }
        },
    };
    let flush = written.flush.map(|block| check_flush(block, wrong));
    let text = |value: Option<String>| value.unwrap_or_default();
    let sslmode = text(written.sslmode);
    if !SSL_MODES.contains(&sslmode.as_str()) {
        wrong.add("db_config.sslmode", "expected disable, allow, prefer, require, verify-ca or verify-full");
    }
    let kind = match written.kind.as_deref() {
        Some("sqlite") => match absolute(written.db_path) {
            Some(path) => DbKind::Sqlite { path, use_wal: written.use_wal },
            None => {
                wrong.add("db_config.db_path", "missing; the file SQLite keeps everything in");
                return None;
            }
        },
        Some("postgres" | "postgresql" | "pgx") => DbKind::Postgres {
            host: written
                .host
                .filter(|host| !host.is_empty())
                // As in the stock server: the directory of the server's socket.
                .or_else(|| absolute(written.db_path).map(|path| path.display().to_string()))
                .unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: match &written.port {
                None | Some(Port::Number(0)) => 5432,
                Some(Port::Number(port)) => *port,
                Some(Port::Text(word)) if word.is_empty() => 5432,
                Some(Port::Text(word)) => word.parse().unwrap_or_else(|_| {
                    wrong.add("db_config.port", "expected a port number from 1 to 65535");
                    5432
                }),
            },
            user: text(written.user),
            password: text(written.password),
            db_name: text(written.db_name),
            sslmode,
            ssl_ca_cert: absolute(written.ssl_ca_cert),
            ssl_client_cert: absolute(written.ssl_client_cert),
            ssl_client_key: absolute(written.ssl_client_key),
        },
        Some("mysql") => {
            wrong.add("db_config.type", "MySQL is not supported; use sqlite or postgresql");
            return None;
        }
        None | Some("") => {
            wrong.add("db_config.type", "unknown database type ''; use sqlite or postgresql");
            return None;
        }
        Some(other) => {
            wrong.add("db_config.type", format!("unknown database type '{other}'; use sqlite or postgresql"));
            return None;
        }
    };
    Some(DbConfig { kind, max_open_conns, decision_bulk_size, flush })
}

fn check_flush(written: file::Flush, wrong: &mut Problems) -> Flush {
    let max_items = match written.max_items {
        None => None,
        Some(count) if count > 0 => u64::try_from(count).ok(),
        Some(_) => {
            wrong.add("db_config.flush.max_items", "max_items can't be zero or negative");
            None
        }
    };
    let mut period = |key: &str, text: Option<String>| -> Option<Duration> {
        let text = text.filter(|text| !text.is_empty())?;
        match text.parse::<GoDuration>() {
            Ok(period) if period.to_std().is_some() => period.to_std(),
            Ok(_) => {
                wrong.add(format!("db_config.flush.{key}"), "must not be negative");
                None
            }
            Err(cause) => {
                wrong.add(format!("db_config.flush.{key}"), cause.to_string());
                None
            }
        }
    };
    let max_age = period("max_age", written.max_age);
    let metrics_max_age = period("metrics_max_age", written.metrics_max_age).unwrap_or(METRICS_MAX_AGE);
    let bouncers = written.bouncers_autodelete.unwrap_or_default();
    let agents = written.agents_autodelete.unwrap_or_default();
    Flush {
        max_items,
        max_age,
        metrics_max_age,
        bouncers_autodelete: AutoDelete {
            cert: period("bouncers_autodelete.cert", bouncers.cert),
            secret: period("bouncers_autodelete.api_key", bouncers.api_key),
        },
        agents_autodelete: AutoDelete {
            cert: period("agents_autodelete.cert", agents.cert),
            secret: period("agents_autodelete.login_password", agents.login_password),
        },
    }
}
