//! The connections that read a SQLite database, replaced when it becomes writable.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::SqlitePool;

use super::fault::DatabaseLocation;
use super::files::{DatabaseFiles, Lost};
use crate::StoreError;

/// A handle to the readers. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct SqliteReaders(Arc<RwLock<Current>>);

#[derive(Debug, Clone)]
struct Current {
    pool: SqlitePool,
    files: Arc<DatabaseFiles>,
}

impl SqliteReaders {
    /// Of a database whose connections are open.
    pub(super) fn new(path: &Path, pool: SqlitePool) -> Self {
        Self(Arc::new(RwLock::new(Current { pool, files: Arc::new(DatabaseFiles::of(path)) })))
    }

    pub(super) fn replace(&self, path: &Path, pool: SqlitePool) {
        let current = Current { pool, files: Arc::new(DatabaseFiles::of(path)) };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = current;
    }

    pub(super) fn pool(&self) -> SqlitePool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).pool.clone()
    }

    /// Whether the database is still where it was opened.
    pub(super) fn check(&self) -> Result<(), Lost> {
        let files = self.0.read().unwrap_or_else(PoisonError::into_inner).files.clone();
        files.check()
    }
}

/// The error for a database that is not where it was opened.
pub(super) fn lost(lost: Lost, location: &DatabaseLocation, doing: &'static str) -> StoreError {
    StoreError::Unavailable { doing, database: location.to_string(), reason: lost.reason }
}
