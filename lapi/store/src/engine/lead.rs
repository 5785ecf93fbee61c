//! Work that one of all processes on a database does: whoever holds an advisory lock of the server leads. The lock
//! goes with the connection, so a leader that dies makes way by itself.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;

use super::Readers;
use super::fault::DatabaseLocation;
use super::postgres::connect;
use super::session::{Link, STATEMENT_TIMEOUT, Session};
use crate::StoreError;

/// The number of the lock: "PALILEAD".
const LOCK: i64 = i64::from_be_bytes(*b"PALILEAD");
const DOING: &str = "see who does the work that one does for all";

/// The candidacy for that work. Leads no longer once it is dropped.
#[derive(Debug)]
pub struct Leadership {
    /// Absent on SQLite, where nobody else is.
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

    /// Whether this process leads from now until it is asked again. Ask before each round of the work. Always true on
    /// SQLite.
    ///
    /// # Errors
    ///
    /// When the server does not answer: then nobody can know, and this process does not lead.
    pub async fn hold(&mut self) -> Result<bool, StoreError> {
        let Some((options, location)) = &self.server else { return Ok(true) };
        if let Some(mut session) = self.held.take()
            && let Ok(held) = lock(&mut session).await
        {
            self.held = held.then_some(session);
            return Ok(held);
        }
        // Not leading, or the connection is gone, and the lock with it.
        let connection = connect(options, location).await?;
        let mut session = Session::new(Link::PostgresWrite(connection), Arc::clone(location), DOING);
        let held = lock(&mut session).await?;
        if held {
            self.held = Some(session);
        } else {
            session.close().await;
        }
        Ok(held)
    }

    /// Makes way at once for another process.
    pub async fn resign(&mut self) {
        if let Some(session) = self.held.take() {
            session.close().await;
        }
    }
}

/// Takes the lock. Who has it gets it once more, which the end of the connection undoes as well; so the answer is true
/// also where something between us and the server has put us on another of its connections.
async fn lock(session: &mut Session) -> Result<bool, StoreError> {
    let sql = session.sql("SELECT pg_try_advisory_lock($1)").bind(LOCK);
    // It never waits for anybody.
    match tokio::time::timeout(STATEMENT_TIMEOUT, session.first(sql, |row| row.get::<bool>(0))).await {
        Ok(held) => held?.ok_or_else(|| session.fails("no answer to the question for a lock")),
        Err(_) => Err(session.breaks()),
    }
}
