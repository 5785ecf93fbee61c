//! Checks `db_config`: the database, and retention.

use std::{path::PathBuf, time::Duration};

use palisade_daemon::{Problems, metrics::Port};
use palisade_go_compat::unset_variable;
use palisade_store::{
    Autodelete, CrowdSecDatabase, DbConfig as StoreConfig, Engine, PostgresServer, Retention, SslMode,
    own_file,
};
use palisade_wire::GoDuration;

use crate::{common::level, file, paths::absolute};

/// The default of `metrics_max_age`.
const METRICS_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The block `db_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DbConfig {
    /// The database.
    pub store: palisade_store::DbConfig,
    /// Retention; without the block `flush` nothing is deleted.
    pub flush: Option<Retention>,
}

/// Checks the block.
pub(crate) fn check(written: file::Db, wrong: &mut Problems) -> Option<DbConfig> {
    // Only checked: the store logs at the level of the server.
    let _ = level("db_config.log_level", written.log_level.as_deref(), wrong);
    let max_open = match written.max_open_conns {
        // Zero is the same as a missing key in Go, here and below.
        None | Some(0) => StoreConfig::DEFAULT_MAX_OPEN,
        Some(count) => u32::try_from(count).unwrap_or_else(|_| {
            wrong.add("db_config.max_open_conns", "expected a number from 1 up");
            StoreConfig::DEFAULT_MAX_OPEN
        }),
    };
    let bulk = match written.decision_bulk_size {
        None | Some(0) => StoreConfig::DEFAULT_BULK,
        Some(count) => match usize::try_from(count) {
            // Larger values are clamped and not refused, as in the stock server.
            Ok(count) => count.min(StoreConfig::MAX_BULK),
            Err(_) => {
                wrong.add("db_config.decision_bulk_size", "expected a number from 1 to 2000");
                StoreConfig::DEFAULT_BULK
            }
        },
    };
    let flush = written.flush.map(|block| check_flush(block, wrong));
    let text = |value: Option<String>| value.unwrap_or_default();
    let sslmode = written.sslmode.filter(|name| !name.is_empty()).and_then(|name| {
        let mode = SslMode::from_name(&name);
        if mode.is_none() {
            wrong.add(
                "db_config.sslmode",
                "expected disable, allow, prefer, require, verify-ca or verify-full",
            );
        }
        mode
    });
    let (engine, crowdsec) = match written.kind.as_deref() {
        Some("sqlite") => match absolute(written.db_path) {
            Some(path) => {
                (Engine::Sqlite { path: own_file(&path), wal: written.use_wal }, CrowdSecDatabase::File(path))
            }
            None => {
                wrong.add("db_config.db_path", "missing; the file SQLite keeps everything in");
                return None;
            }
        },
        Some("postgres" | "postgresql" | "pgx") => {
            // As in the stock server: without a host, the directory of the server's socket.
            let directory = absolute(written.db_path).map(|path| path.display().to_string());
            let host = written.host.filter(|host| !host.is_empty()).or(directory);
            let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
            if let Some(name) = unset_variable(&host) {
                wrong.add("db_config.host", format!("the environment variable {name} is not set"));
            }
            let server = PostgresServer {
                socket: host.starts_with('/').then(|| PathBuf::from(&host)),
                host,
                port: match &written.port {
                    None | Some(Port::Number(0)) => 5432,
                    Some(Port::Number(port)) => *port,
                    // Text, because an environment variable may supply it.
                    Some(Port::Text(word)) if word.is_empty() => 5432,
                    Some(Port::Text(word)) => word.parse().unwrap_or_else(|_| {
                        wrong.add("db_config.port", "expected a port number from 1 to 65535");
                        5432
                    }),
                },
                user: text(written.user),
                password: text(written.password),
                name: text(written.db_name),
                sslmode,
                ca: absolute(written.ssl_ca_cert),
                cert: absolute(written.ssl_client_cert),
                key: absolute(written.ssl_client_key),
            };
            (Engine::Postgres(server.clone()), CrowdSecDatabase::Server(server))
        }
        Some("mysql") => {
            wrong.add(
                "db_config.type",
                "MySQL is not supported, nor is MariaDB; use sqlite or postgresql. What can be taken along is in \
                 docs/moving-over.md",
            );
            return None;
        }
        None | Some("") => {
            wrong.add(
                "db_config.type",
                "unable to create database client: unknown database type ''; use sqlite or postgresql",
            );
            return None;
        }
        Some(other) => {
            wrong.add("db_config.type", format!("unable to create database client: unknown database type '{other}'; use sqlite or postgresql"));
            return None;
        }
    };
    Some(DbConfig { store: StoreConfig { engine, crowdsec: Some(crowdsec), max_open, bulk }, flush })
}

fn check_flush(written: file::Flush, wrong: &mut Problems) -> Retention {
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
            // Go durations have a sign.
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
    Retention {
        max_items,
        max_age,
        metrics_max_age: Some(metrics_max_age),
        bouncers: Autodelete {
            cert: period("bouncers_autodelete.cert", bouncers.cert),
            secret: period("bouncers_autodelete.api_key", bouncers.api_key),
        },
        machines: Autodelete {
            cert: period("agents_autodelete.cert", agents.cert),
            secret: period("agents_autodelete.login_password", agents.login_password),
        },
        ..Retention::default()
    }
}
