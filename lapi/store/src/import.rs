//! Distinguishes running imports from interrupted ones: an import holds a lock that ends with its process.

use std::fs::{File, TryLockError};
use std::time::Duration;

use palisade_model::{Change, Commit};
use palisade_wire::UnixMillis;
use sqlx::postgres::PgConnection;

use crate::alerts::remove_matching;
use crate::engine::{DatabaseLocation, Readers, fault, lock_beside, with_timeout};
use crate::{Store, StoreError};

/// The id of the advisory lock on a PostgreSQL server: "PALIMPRT".
const LOCK: i64 = i64::from_be_bytes(*b"PALIMPRT");
/// Client-side timeout of taking the lock; the server's is shorter.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Held during an import; released on drop or with the process.
#[derive(Debug)]
pub(crate) enum ImportLock {
    /// A lock on a file beside the database.
    File { _held: File },
    /// An advisory lock of this connection.
    Server { _held: Box<PgConnection> },
}

impl Store {
    /// Takes the lock, shared among imports.
    pub(crate) async fn lock_for_import(&self) -> Result<ImportLock, StoreError> {
        let doing = "lock the database for an import";
        match (&self.readers, &*self.location) {
            (Readers::Postgres(pool), location) => {
                let connection = pool.acquire().await.map_err(|error| fault(&error, location, doing))?;
                // Detached from the pool, because the lock belongs to the connection.
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
                // Blocks only for the moment in which another process removes remains.
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

    /// Removes the remains of interrupted imports, unless an import is running; the next call does it then.
    pub(crate) async fn remove_leftovers(
        &self,
        now: UnixMillis,
    ) -> Result<Vec<(Commit, Vec<Change>)>, StoreError> {
        let doing = "remove the remains of an interrupted import";
        let mut session = self.snapshot(doing).await?;
        let sql = session.sql("SELECT id FROM alerts WHERE staged LIMIT 1");
        // Cheap, by a partial index, because retention does this every minute.
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
        // After the lock was dropped, which must also happen on failure.
        let removed = removed?;
        tracing::warn!(
            alerts = removed.count,
            "removed the remains of an interrupted import; import it again"
        );
        Ok(removed.commits)
    }

    /// `None` while an import is running.
    async fn lock_against_imports(&self) -> Result<Option<ImportLock>, StoreError> {
        let doing = "remove the remains of an interrupted import";
        match (&self.readers, &*self.location) {
            (Readers::Postgres(pool), location) => {
                let failed = |error: sqlx::Error| fault(&error, location, doing);
                // Detached: returned to the pool, the connection would keep the lock.
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
                    // An import holds it shared.
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
