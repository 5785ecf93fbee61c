//! Leader election among the processes on a database, by an advisory lock of the PostgreSQL server. The lock ends with
//! its connection, so a leader that dies is replaced.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;

use super::Readers;
use super::fault::DatabaseLocation;
use super::postgres::connect;
use super::session::{Link, STATEMENT_TIMEOUT, Session};
use crate::StoreError;

/// The id of the lock: "PALILEAD".
const LOCK: i64 = i64::from_be_bytes(*b"PALILEAD");
const DOING: &str = "determine the leader";

/// A candidate for leadership. Dropping it ends its leadership.
#[derive(Debug)]
pub struct Leadership {
    /// `None` on SQLite, where one process is always the leader.
    server: Option<(Arc<PgConnectOptions>, Arc<DatabaseLocation>)>,
    held: Option<Session>,
}

impl Leadership {
    pub(crate) fn new(readers: &Readers, location: &Arc<DatabaseLocation>) -> Self {
        let server = match readers {
            Readers::Sqlite(_) => None,
            Readers::Postgres(pool) => Some((pool.connect_options(), Arc::clone(location))),
        };
        Self { server, held: None }
    }

    /// Whether this process is the leader until the next call. Call it before each unit of work. Always true on SQLite.
    ///
    /// # Errors
    ///
    /// When the server does not answer; this process must then assume that it is not the leader.
    pub async fn hold(&mut self) -> Result<bool, StoreError> {
        let Some((options, location)) = &self.server else { return Ok(true) };
        // Taken out: if this future is dropped midway, the session and with it the lock goes, and leadership is not
        // assumed wrongly.
        if let Some(mut session) = self.held.take()
            && let Ok(held) = lock(&mut session).await
        {
            self.held = held.then_some(session);
            return Ok(held);
        }
        // Not the leader, or the connection and with it the lock is lost.
        let connection = connect(options, location).await?;
        let mut session = Session::new(Link::PostgresWrite(connection), Arc::clone(location), DOING);
        let held = lock(&mut session).await?;
        if held {
            self.held = Some(session);
        } else {
            // Not kept: another process is the leader, perhaps for weeks.
            session.close().await;
        }
        Ok(held)
    }

    /// Releases leadership.
    pub async fn resign(&mut self) {
        if let Some(session) = self.held.take() {
            session.close().await;
        }
    }
}

/// Takes the lock. The holder acquires it once more, which ends with the connection as well; so the result is also true
/// when a pooler has moved the session to another server connection that holds it.
async fn lock(session: &mut Session) -> Result<bool, StoreError> {
    let sql = session.sql("SELECT pg_try_advisory_lock($1)").bind(LOCK);
    // `pg_try_advisory_lock` never blocks.
    match tokio::time::timeout(STATEMENT_TIMEOUT, session.first(sql, |row| row.get::<bool>(0))).await {
        Ok(held) => held?.ok_or_else(|| session.fails("no answer to the question for a lock")),
        Err(_) => Err(session.breaks()),
    }
}
