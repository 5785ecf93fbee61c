//! The store itself, and the one row that says how far it has come.

use palisade_active::Commit;
use uuid::Uuid;

use crate::{DbConfig, StoreError};

/// How far the database has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Made with the database: tells another database from this one.
    pub database: Uuid,
    /// The last commit that touched decisions.
    pub commit: Commit,
    /// Grows with every change of machines, bouncers and allowlists that others must see.
    pub roster: i64,
}

/// An open database. Cheap to clone; all clones share the connections.
#[derive(Debug, Clone)]
pub struct Store {}

impl Store {
    /// Opens the database, makes it when it is missing, brings its schema up to date, and removes what an
    /// interrupted import left.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, belongs to another program or a newer version, or is damaged.
    pub async fn open(config: &DbConfig) -> Result<Self, StoreError> {
        let _ = config;
        todo!()
    }

    /// Waits for the writes under way and closes all connections. Later calls fail.
    pub async fn close(&self) {
        todo!()
    }

    /// How far it has come. Cheap: one row.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn head(&self) -> Result<Head, StoreError> {
        todo!()
    }
}
