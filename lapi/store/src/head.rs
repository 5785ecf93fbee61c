//! The store, and the row `head` with the database's position.

use std::sync::Arc;
use std::time::Duration;

use palisade_model::Commit;
use palisade_wire::UnixMillis;
use uuid::Uuid;

use crate::engine::{self, DatabaseLocation, Leadership, Listener, Readers, Session, Writer};
use crate::{DbConfig, StoreError, crowdsec};

/// Timeout of reading `head` on a server.
const HEAD: Duration = Duration::from_secs(5);

/// The position of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Generated with the database; identifies it.
    pub database: Uuid,
    /// The last commit that changed decisions.
    pub commit: Commit,
    /// Incremented by every change of machines, bouncers and allowlists that other processes must see.
    pub registry_version: i64,
}

/// An open database. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) location: Arc<DatabaseLocation>,
    pub(crate) readers: Readers,
    pub(crate) writer: Writer,
    pub(crate) bulk: usize,
}

impl Store {
    /// Opens the database, creates it if missing, migrates its schema, and removes the remains of an interrupted
    /// import.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, belongs to another program or a newer version, or is corrupt.
    pub async fn open(config: &DbConfig) -> Result<Self, StoreError> {
        let opened = engine::open(config).await?;
        let store = Self {
            location: opened.location,
            readers: opened.readers,
            writer: opened.writer,
            bulk: config.bulk,
        };
        match store.remove_leftovers(UnixMillis::now()).await {
            // Retention does it later.
            Err(error) if !error.is_temporary() => Err(error),
            _ => Ok(store),
        }
    }

    /// Finds what [`Self::open_or_take_over`] would refuse. Touches nothing: a server is not connected to, and a file that
    /// another process has open is not looked into.
    ///
    /// # Errors
    ///
    /// As [`Self::open_or_take_over`].
    pub async fn check(config: &DbConfig) -> Result<(), StoreError> {
        engine::check(config).await?;
        crowdsec::check(config).await
    }

    /// Waits for writes in progress and closes all connections. Later calls fail.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }

    /// The current position. Cheap: reads one row.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn head(&self) -> Result<Head, StoreError> {
        let doing = "read the database's position";
        let read = async {
            let mut session = self.snapshot(doing).await?;
            read_head(&mut session).await
        };
        if let Readers::Sqlite(_) = self.readers {
            return read.await;
        }
        // Callers wait for this to decide whether to continue from memory.
        tokio::time::timeout(HEAD, read).await.unwrap_or_else(|_| {
            Err(self.unavailable(doing, format!("no answer within {} s", HEAD.as_secs())))
        })
    }

    /// The error for an unavailable database, with the caller's own reason.
    pub fn unavailable(&self, doing: &'static str, reason: impl Into<String>) -> StoreError {
        StoreError::Unavailable { doing, database: self.location.to_string(), reason: reason.into() }
    }

    /// Why nothing can be written, if the last write failed for a reason that is not in what was written.
    pub fn write_problem(&self) -> Option<String> {
        self.writer.problem().text()
    }

    /// While nothing can be written, tries whether it can again.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub async fn retry_writing(&self) -> Result<(), StoreError> {
        if self.write_problem().is_none() {
            return Ok(());
        }
        self.writer
            .write("write to the database", |tx| {
                Box::pin(async move {
                    let sql = tx.session().sql("UPDATE head SET roster = roster WHERE one = 1");
                    tx.session().run(sql).await.map(drop)
                })
            })
            .await
    }

    /// Waits until every running LAPI on this database has applied what has been written so far, and has written back
    /// what its clients did; at most `timeout`, and not at all when none runs. Behind a pooler that swallows PostgreSQL's
    /// notifications LAPIs are not found, and follow by polling.
    ///
    /// # Errors
    ///
    /// When a LAPI has not confirmed in time, or cannot be asked. It follows by itself later.
    pub async fn sync_lapis(&self, timeout: Duration) -> Result<(), StoreError> {
        let doing = "wait for the running LAPI";
        let wait = async {
            let head = self.head().await?;
            self.readers.sync(&self.location, &head, &self.writer).await
        };
        match tokio::time::timeout(timeout, wait).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(self.unavailable(doing, "it gave up")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.unavailable(doing, format!("no answer within {} s", timeout.as_secs()))),
        }
    }

    /// A listener for commits of other processes and for their requests to catch up. On SQLite, for requests only.
    pub fn listen(&self) -> Listener {
        Listener::new(&self.readers, &self.location, &self.writer)
    }

    /// A candidate for leadership among the processes on this database.
    pub fn leadership(&self) -> Leadership {
        Leadership::new(&self.readers, &self.location)
    }

    /// A reading session with a consistent snapshot.
    pub(crate) async fn snapshot(&self, doing: &'static str) -> Result<Session, StoreError> {
        let begun = self.readers.snapshot(&self.location, doing).await;
        if let (Readers::Sqlite(_), Err(error)) = (&self.readers, &begun)
            && error.is_temporary()
        {
            // A file that cannot be read cannot be written either; nothing else may notice it for long.
            self.writer.problem().set(error);
        }
        begun
    }
}

pub(crate) async fn read_head(session: &mut Session) -> Result<Head, StoreError> {
    let sql = session.sql("SELECT database_id, commit_no, roster FROM head WHERE one = 1");
    let head = session
        .first(sql, |row| {
            let database: Vec<u8> = row.get(0)?;
            let commit: i64 = row.get(1)?;
            Ok(Head {
                // The column is written once, at the creation of the database.
                database: Uuid::from_slice(&database).unwrap_or_default(),
                commit: Commit(commit.unsigned_abs()),
                registry_version: row.get(2)?,
            })
        })
        .await?;
    head.ok_or_else(|| session.is_changed())
}
