//! The two databases behind one face: statements with `$1`, sessions that run them, one writer, many readers.

mod bulk;
mod fault;
mod lead;
mod notifications;
mod postgres;
mod session;
mod sql;
mod sqlite;
mod tx;
mod writer;

pub(crate) use bulk::{Column, insert};
pub(crate) use fault::{DatabaseLocation, fault};
pub use lead::Leadership;
pub use notifications::{Listener, Notice};
pub(crate) use session::{Session, SqlRow, with_timeout};
pub(crate) use sql::{Kind, Sql, Value, json};
pub(crate) use sqlite::lock_beside;
pub(crate) use tx::Tx;
pub(crate) use writer::Writer;

use std::sync::Arc;

use sqlx::{PgPool, SqlitePool};

use crate::{DbConfig, Engine, StoreError};

/// Where reading sessions come from.
#[derive(Debug, Clone)]
pub(crate) enum Readers {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// What an opened database consists of.
pub(crate) struct Opened {
    pub(crate) location: Arc<DatabaseLocation>,
    pub(crate) readers: Readers,
    pub(crate) writer: Writer,
}

/// Opens either kind: checks whose it is, brings the schema up to date, starts the writer.
pub(crate) async fn open(config: &DbConfig) -> Result<Opened, StoreError> {
    match &config.engine {
        Engine::Sqlite { path, wal } => sqlite::open(config, path, *wal).await,
        Engine::Postgres(server) => postgres::open(config, server).await,
    }
}

impl Readers {
    /// A session that sees one state of the database as long as it lives, and changes nothing.
    pub(crate) async fn snapshot(
        &self,
        location: &Arc<DatabaseLocation>,
        doing: &'static str,
    ) -> Result<Session, StoreError> {
        let begun = match self {
            Self::Sqlite(pool) => pool.begin().await.map(session::Link::SqliteRead),
            Self::Postgres(pool) => {
                let begun = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
                // The way to a connection has an end of its own; this is for the beginning.
                with_timeout(postgres::CONNECT + session::STATEMENT_TIMEOUT, begun)
                    .await
                    .map(session::Link::PostgresRead)
            }
        };
        let link = begun.map_err(|error| fault(&error, location, doing))?;
        Ok(Session::new(link, Arc::clone(location), doing))
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            // Waits for connections in use, which a server that hangs does not give back.
            Self::Postgres(pool) => {
                tokio::time::timeout(postgres::CONNECT, pool.close()).await.ok();
            }
        }
    }
}
