//! Telling an import that goes on from one whose process died: who imports holds a lock that ends with the process.

use std::fs::{File, TryLockError};
use std::time::Duration;

use palisade_active::{Change, Commit};
use palisade_wire::UnixMillis;
use sqlx::postgres::PgConnection;

use crate::alerts::remove_matching;
use crate::engine::{DatabaseLocation, Readers, fault, lock_beside, with_timeout};
use crate::{Store, StoreError};

/// The number of our lock on a PostgreSQL server: "PALIMPRT".
const LOCK: i64 = i64::from_be_bytes(*b"PALIMPRT");
/// How long a server may take for it; what it allows for waiting is shorter.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Held while an import goes on; given back when dropped, or when the process ends.
#[derive(Debug)]
pub(crate) enum ImportLock {
    /// A lock on a file beside the database.
    File { _held: File },
    /// An advisory lock of this connection.
    Server { _held: Box<PgConnection> },
}

impl Store {
    /// Several imports may go on at once.
    pub(crate) async fn lock_for_import(&self) -> Result<ImportLock, StoreError> {
        let doing = "lock the database for an import";
        match (&self.readers, &*self.location) {
            (Readers::Postgres(pool), location) => {
                let connection = pool.acquire().await.map_err(|error| fault(&error, location, doing))?;
                // Out of the pool: the lock goes with the connection.
                let mut connection = connection.detach();
                let lock =
                    sqlx::query("SELECT pg_advisory_lock_shared($1)").bind(LOCK).execute(&mut connection);
                with_timeout(LOCK_TIMEOUT, lock).await.map_err(|error| fault(&error, location, doing))?;
                Ok(ImportLock::Server { _held: Box::new(connection) })
            }
            (Readers::Sqlite(_), DatabaseLocation::File(path)) => {
                let unavailable = |reason: String| StoreError::Unavailable {
                    doing,
                    database: self.location.to_string(),
                    reason,
                };
                let file =
                    lock_beside(path, "-import.lock").map_err(|error| unavailable(error.to_string()))?;
                // It is held against us for a moment only, by somebody who removes leftovers.
                let locked = tokio::task::spawn_blocking(move || file.lock_shared().map(|()| file)).await;
                match locked {
                    Ok(Ok(file)) => Ok(ImportLock::File { _held: file }),
                    Ok(Err(error)) => Err(unavailable(error.to_string())),
                    Err(error) => Err(unavailable(error.to_string())),
                }
            }
            (Readers::Sqlite(_), DatabaseLocation::Server(_)) => unreachable!("a SQLite database is a file"),
        }
    }

    /// Removes what imports left whose process died, unless one goes on now: then the next call does it.
    pub(crate) async fn remove_leftovers(
        &self,
        now: UnixMillis,
    ) -> Result<Vec<(Commit, Vec<Change>)>, StoreError> {
        let doing = "remove what an interrupted import left";
        let mut session = self.snapshot(doing).await?;
        let sql = session.sql("SELECT id FROM alerts WHERE staged LIMIT 1");
        let any: Option<i64> = session.first(sql, |row| row.get(0)).await?;
        drop(session);
        if any.is_none() {
            return Ok(Vec::new());
        }
        let Some(lock) = self.lock_against_imports().await? else { return Ok(Vec::new()) };
        let removed = remove_matching(self, now, doing, |sql| {
            sql.push("a.staged");
        })
        .await;
        drop(lock);
        let removed = removed?;
        tracing::warn!(alerts = removed.count, "removed what an interrupted import left; import it again");
        Ok(removed.commits)
    }

    /// `None` while an import goes on.
    async fn lock_against_imports(&self) -> Result<Option<ImportLock>, StoreError> {
        let doing = "remove what an interrupted import left";
        match (&self.readers, &*self.location) {
            (Readers::Postgres(pool), location) => {
                let failed = |error: sqlx::Error| fault(&error, location, doing);
                let mut connection = pool.acquire().await.map_err(failed)?.detach();
                let lock = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                    .bind(LOCK)
                    .fetch_one(&mut connection);
                let mine: bool = with_timeout(LOCK_TIMEOUT, lock).await.map_err(failed)?;
                Ok(mine.then(|| ImportLock::Server { _held: Box::new(connection) }))
            }
            (Readers::Sqlite(_), DatabaseLocation::File(path)) => {
                let locked = lock_beside(path, "-import.lock").map(|file| (file.try_lock(), file));
                match locked {
                    Ok((Ok(()), file)) => Ok(Some(ImportLock::File { _held: file })),
                    Ok((Err(TryLockError::WouldBlock), _)) => Ok(None),
                    Ok((Err(TryLockError::Error(error)), _)) | Err(error) => Err(StoreError::Unavailable {
                        doing,
                        database: self.location.to_string(),
                        reason: error.to_string(),
                    }),
                }
            }
            (Readers::Sqlite(_), DatabaseLocation::Server(_)) => unreachable!("a SQLite database is a file"),
        }
    }
}
