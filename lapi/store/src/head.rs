//! The store itself, and the one row that says how far it has come.

use std::sync::Arc;
use std::time::Duration;

use palisade_active::Commit;
use palisade_wire::UnixMillis;
use uuid::Uuid;

use crate::engine::{self, DatabaseLocation, Leadership, Listener, Readers, Session, Writer};
use crate::{DbConfig, StoreError};

/// How long a server may take to say how far it has come.
const HEAD: Duration = Duration::from_secs(5);

/// How far the database has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Made with the database: tells another database from this one.
    pub database: Uuid,
    /// The last commit that touched decisions.
    pub commit: Commit,
    /// Grows with every change of machines, bouncers and allowlists that others must see.
    pub registry_version: i64,
}

/// An open database. Cheap to clone; all clones share the connections.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) location: Arc<DatabaseLocation>,
    pub(crate) readers: Readers,
    pub(crate) writer: Writer,
    pub(crate) bulk: usize,
}

impl Store {
    /// Opens the database, makes it when it is missing, brings its schema up to date, and removes what an
    /// interrupted import left.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, belongs to another program or a newer version, or is damaged.
    pub async fn open(config: &DbConfig) -> Result<Self, StoreError> {
        let opened = engine::open(config).await?;
        let store = Self {
            location: opened.location,
            readers: opened.readers,
            writer: opened.writer,
            bulk: config.bulk,
        };
        store.remove_leftovers(UnixMillis::now()).await?;
        Ok(store)
    }

    /// Waits for the writes under way and closes all connections. Later calls fail.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }

    /// How far it has come. Cheap: one row.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn head(&self) -> Result<Head, StoreError> {
        let doing = "read how far it has come";
        let read = async {
            let mut session = self.snapshot(doing).await?;
            read_head(&mut session).await
        };
        if let Readers::Sqlite(_) = self.readers {
            return read.await;
        }
        // Others wait for this answer: to go on from memory, or to be refused.
        tokio::time::timeout(HEAD, read).await.unwrap_or_else(|_| {
            Err(self.unavailable(doing, format!("no answer within {} s", HEAD.as_secs())))
        })
    }

    /// The error for a database that is not available, for the caller's own reason.
    pub fn unavailable(&self, doing: &'static str, reason: impl Into<String>) -> StoreError {
        StoreError::Unavailable { doing, database: self.location.to_string(), reason: reason.into() }
    }

    /// What hears what other processes write. `None` on SQLite, which tells nobody.
    pub fn listen(&self) -> Option<Listener> {
        Listener::new(&self.readers, &self.location, &self.writer)
    }

    /// The candidacy for work that one of all processes on this database does.
    pub fn leadership(&self) -> Leadership {
        Leadership::new(&self.readers, &self.location)
    }

    /// A session for reading that sees one state of everything.
    pub(crate) async fn snapshot(&self, doing: &'static str) -> Result<Session, StoreError> {
        self.readers.snapshot(&self.location, doing).await
    }
}

pub(crate) async fn read_head(session: &mut Session) -> Result<Head, StoreError> {
    let sql = session.sql("SELECT database_id, commit_no, roster FROM head WHERE one = 1");
    let head = session
        .first(sql, |row| {
            let database: Vec<u8> = row.get(0)?;
            let commit: i64 = row.get(1)?;
            Ok(Head {
                database: Uuid::from_slice(&database).unwrap_or_default(),
                commit: Commit(commit.unsigned_abs()),
                registry_version: row.get(2)?,
            })
        })
        .await?;
    head.ok_or_else(|| session.fails("its table head is empty: other hands have changed it"))
}
