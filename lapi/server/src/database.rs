//! Converts `db_config` to the store's configuration.

use std::path::PathBuf;

use palisade_lapi_config::{DbConfig, DbKind};
use palisade_store::{Engine, PostgresServer};

/// # Errors
///
/// When `sslmode` is not a known value.
pub(crate) fn database(config: &DbConfig) -> Result<palisade_store::DbConfig, String> {
    let engine = match &config.kind {
        DbKind::Sqlite { path, use_wal } => Engine::Sqlite { path: path.clone(), wal: *use_wal },
        DbKind::Postgres {
            host,
            port,
            user,
            password,
            db_name,
            sslmode,
            ssl_ca_cert,
            ssl_client_cert,
            ssl_client_key,
        } => Engine::Postgres(PostgresServer {
            socket: host.starts_with('/').then(|| PathBuf::from(host)),
            host: host.clone(),
            port: *port,
            user: user.clone(),
            password: password.clone(),
            name: db_name.clone(),
            sslmode: sslmode.parse()?,
            ca: ssl_ca_cert.clone(),
            cert: ssl_client_cert.clone(),
            key: ssl_client_key.clone(),
        }),
    };
    Ok(palisade_store::DbConfig { engine, max_open: config.max_open_conns, bulk: config.decision_bulk_size })
}
