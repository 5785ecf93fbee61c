//! Abstracts over SQLite and PostgreSQL: statements with `$1` placeholders, sessions that run them, one writer, many
//! readers.

mod access;
mod bulk;
mod fault;
mod files;
pub(crate) mod foreign;
mod lead;
mod notifications;
mod postgres;
mod session;
mod sql;
mod sqlite;
mod sqlite_readers;
mod sync;
mod tx;
mod write_problem;
mod writer;

pub(crate) use bulk::{Column, insert};
pub(crate) use fault::{DatabaseLocation, fault};
pub use lead::Leadership;
pub use notifications::{Listener, Notice};
pub(crate) use postgres::{move_schema, own_schema_exists};
pub(crate) use session::{Session, SqlRow, with_timeout};
pub(crate) use sql::{Kind, Sql, Value, json};
pub(crate) use sqlite::{MIGRATIONS_TABLE, check as check_file_of_ours, lock_beside, settle_log};
pub(crate) use sqlite_readers::SqliteReaders;
pub use sync::SyncRequest;
pub(crate) use tx::Tx;
pub(crate) use writer::{Work, Writer};

use std::sync::Arc;

use sqlx::PgPool;

use crate::{DbConfig, Engine, Head, StoreError};

/// The source of reading sessions.
#[derive(Debug, Clone)]
pub(crate) enum Readers {
    Sqlite(SqliteReaders),
    Postgres(PgPool),
}

pub(crate) struct Opened {
    pub(crate) location: Arc<DatabaseLocation>,
    pub(crate) readers: Readers,
    pub(crate) writer: Writer,
}

/// Opens the database: verifies the owner, migrates the schema, starts the writer.
pub(crate) async fn open(config: &DbConfig) -> Result<Opened, StoreError> {
    match &config.engine {
        Engine::Sqlite { path, wal } => sqlite::open(config, path, *wal).await,
        Engine::Postgres(server) => postgres::open(config, server).await,
    }
}

/// Finds what [`open`] would refuse, as far as that is possible without a connection to a server and without effect on
/// a file.
pub(crate) async fn check(config: &DbConfig) -> Result<(), StoreError> {
    match &config.engine {
        Engine::Sqlite { path, .. } => sqlite::check(path).await,
        Engine::Postgres(server) => postgres::check(server),
    }
}

impl Readers {
    /// A read-only session that sees one consistent snapshot.
    pub(crate) async fn snapshot(
        &self,
        location: &Arc<DatabaseLocation>,
        doing: &'static str,
    ) -> Result<Session, StoreError> {
        let begun = match self {
            Self::Sqlite(readers) => {
                // Connections that are opened from here on would read another database.
                readers.check().map_err(|lost| sqlite_readers::lost(lost, location, doing))?;
                readers.pool().begin().await.map(session::Link::SqliteRead)
            }
            Self::Postgres(pool) => {
                // With the default level each statement would have a snapshot of its own, and `head` might be newer
                // than the rows.
                let begun = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
                // Acquiring a connection has its own timeout; this one bounds `BEGIN`.
                with_timeout(postgres::CONNECT + session::STATEMENT_TIMEOUT, begun)
                    .await
                    .map(session::Link::PostgresRead)
            }
        };
        let link = begun.map_err(|error| fault(&error, location, doing))?;
        Ok(Session::new(link, Arc::clone(location), doing))
    }

    /// Waits until the running LAPIs have applied what is in the database; false when one gave up.
    pub(crate) async fn sync(
        &self,
        location: &DatabaseLocation,
        head: &Head,
        writer: &Writer,
    ) -> Result<bool, StoreError> {
        let doing = "wait for the running LAPI";
        match (self, location) {
            (Self::Postgres(pool), _) => sync::wait_on_server(pool, head, writer.name())
                .await
                .map(|()| true)
                .map_err(|error| fault(&error, location, doing)),
            (Self::Sqlite(_), DatabaseLocation::File(path)) => {
                sync::wait_on_socket(path).await.map_err(|error| {
                    let database = location.to_string();
                    StoreError::Unavailable { doing, database, reason: error.to_string() }
                })
            }
            (Self::Sqlite(_), DatabaseLocation::Server(_)) => unreachable!("a SQLite database is a file"),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(readers) => readers.pool().close().await,
            // Closing waits for connections in use, which a hung server never returns.
            Self::Postgres(pool) => {
                tokio::time::timeout(postgres::CONNECT, pool.close()).await.ok();
            }
        }
    }
}
