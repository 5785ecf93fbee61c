//! A database session: runs statements, with timeouts against a server that does not answer.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Decode, Error, Row as _, Transaction, Type};

use super::fault::{DatabaseLocation, breaks_session, fault};
use super::sql::{Kind, Sql, bind_postgres, bind_sqlite};
use crate::StoreError;

/// Client-side timeout of a reading statement. The server's own limit is shorter, so this one only applies when the
/// server is unreachable.
const READING: Duration = Duration::from_secs(20);
/// Client-side timeout of a writing statement: all queued writes wait behind it.
const WRITING: Duration = Duration::from_secs(10);
/// Client-side timeout of a statement that reads whole tables of another program, without indexes of ours.
const SCANNING: Duration = Duration::from_secs(600);
/// Timeout of trivial statements such as `BEGIN`.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) enum Link {
    SqliteRead(Transaction<'static, Sqlite>),
    PostgresRead(Transaction<'static, Postgres>),
    SqliteWrite(SqliteConnection),
    PostgresWrite(PgConnection),
    /// A read-only transaction in another program's schema; ends with its connection.
    PostgresSnapshot(PgConnection),
}

/// A connection with the operation it is used for, and whether it is still usable.
#[derive(Debug)]
pub(crate) struct Session {
    link: Link,
    location: Arc<DatabaseLocation>,
    doing: &'static str,
    broken: bool,
}

pub(crate) enum SqlRow {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl SqlRow {
    /// The value of a column, by index.
    pub(crate) fn get<T: FromColumn>(&self, column: usize) -> Result<T, Error> {
        T::from_column(self, column)
    }

    fn value<T>(&self, column: usize) -> Result<T, Error>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            // SQLite keeps a value of any type in a column. One that another program has written is converted by
            // SQLite, so that it does not make a whole list fail.
            Self::Sqlite(row) => row.try_get(column).or_else(|_| row.try_get_unchecked(column)),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}

/// A type that columns have.
pub(crate) trait FromColumn: Sized {
    fn from_column(row: &SqlRow, column: usize) -> Result<Self, Error>;
}

macro_rules! from_column {
    ($($kind:ty),*) => { $(
        impl FromColumn for $kind {
            fn from_column(row: &SqlRow, column: usize) -> Result<Self, Error> {
                row.value(column)
            }
        }
    )* };
}

from_column!(i64, Option<i64>, bool, f64, Option<f64>, Vec<u8>, Option<Vec<u8>>, Option<String>);

impl FromColumn for String {
    fn from_column(row: &SqlRow, column: usize) -> Result<Self, Error> {
        let bytes = |_| row.value::<Vec<u8>>(column).map(|bytes| Self::from_utf8_lossy(&bytes).into_owned());
        row.value(column).or_else(bytes)
    }
}

impl Session {
    pub(super) fn new(link: Link, location: Arc<DatabaseLocation>, doing: &'static str) -> Self {
        Self { link, location, doing, broken: false }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.link {
            Link::SqliteRead(_) | Link::SqliteWrite(_) => Kind::Sqlite,
            Link::PostgresRead(_) | Link::PostgresWrite(_) | Link::PostgresSnapshot(_) => Kind::Postgres,
        }
    }

    /// A statement in this session's dialect.
    pub(crate) fn sql(&self, text: &str) -> Sql {
        Sql::new(self.kind(), text)
    }

    /// Runs a statement; returns the number of affected rows.
    pub(crate) async fn run(&mut self, sql: Sql) -> Result<u64, StoreError> {
        // The text is assembled from constants. Values are always bound, so it is safe in the sense of
        // `AssertSqlSafe`.
        let (text, values) = sql.into_parts();
        let timeout = self.timeout();
        let done = match self.connection() {
            Connection::Sqlite(connection) => {
                let query = values.into_iter().fold(sqlx::query(AssertSqlSafe(text)), bind_sqlite);
                // No timeout on SQLite: its busy timeout bounds the wait, and a statement that runs in a thread
                // cannot be abandoned.
                query.execute(connection).await.map(|done| done.rows_affected())
            }
            Connection::Postgres(connection) => {
                let query = values.into_iter().fold(sqlx::query(AssertSqlSafe(text)), bind_postgres);
                with_timeout(timeout, query.execute(connection)).await.map(|done| done.rows_affected())
            }
        };
        done.map_err(|error| self.failed(&error))
    }

    /// All rows of a result, each converted as it arrives: rows of a driver take several times the memory.
    pub(crate) async fn read<T: Send>(
        &mut self,
        sql: Sql,
        mut read: impl FnMut(&SqlRow) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, StoreError> {
        let (text, values) = sql.into_parts();
        let timeout = self.timeout();
        let mut all = Vec::new();
        let done = match self.connection() {
            Connection::Sqlite(connection) => {
                let query = values.into_iter().fold(sqlx::query(AssertSqlSafe(text)), bind_sqlite);
                let mut rows = query.fetch(connection);
                let read_all = async {
                    while let Some(row) = poll_fn(|context| rows.as_mut().poll_next(context)).await {
                        all.push(read(&SqlRow::Sqlite(row?))?);
                    }
                    Ok(())
                };
                read_all.await
            }
            Connection::Postgres(connection) => {
                let query = values.into_iter().fold(sqlx::query(AssertSqlSafe(text)), bind_postgres);
                let mut rows = query.fetch(connection);
                let read_all = async {
                    while let Some(row) = poll_fn(|context| rows.as_mut().poll_next(context)).await {
                        all.push(read(&SqlRow::Postgres(row?))?);
                    }
                    Ok(())
                };
                with_timeout(timeout, read_all).await
            }
        };
        done.map(|()| all).map_err(|error| self.failed(&error))
    }

    /// The first row of a result, converted.
    pub(crate) async fn first<T: Send>(
        &mut self,
        sql: Sql,
        read: impl FnMut(&SqlRow) -> Result<T, Error> + Send,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.read(sql, read).await?.into_iter().next())
    }

    /// Runs statements without parameters, separated by semicolons, in one round trip.
    pub(super) async fn raw(&mut self, text: &'static str) -> Result<(), StoreError> {
        self.raw_within(self.timeout(), text).await
    }

    /// The same with an explicit timeout; not needed on SQLite.
    pub(super) async fn raw_within(
        &mut self,
        timeout: Duration,
        text: &'static str,
    ) -> Result<(), StoreError> {
        let done = match self.connection() {
            Connection::Sqlite(connection) => sqlx::raw_sql(text).execute(connection).await.map(|_| ()),
            Connection::Postgres(connection) => {
                with_timeout(timeout, sqlx::raw_sql(text).execute(connection)).await.map(|_| ())
            }
        };
        done.map_err(|error| self.failed(&error))
    }

    pub(super) fn set_doing(&mut self, doing: &'static str) {
        self.doing = doing;
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(crate) async fn close(self) {
        // A connection that does not close within a moment is dropped.
        let farewell = async {
            match self.link {
                Link::SqliteWrite(connection) => sqlx::Connection::close(connection).await.ok(),
                Link::PostgresWrite(connection) | Link::PostgresSnapshot(connection) => {
                    sqlx::Connection::close(connection).await.ok()
                }
                // Dropping them rolls back and returns the connection to the pool.
                Link::SqliteRead(_) | Link::PostgresRead(_) => None,
            }
        };
        tokio::time::timeout(Duration::from_secs(5), farewell).await.ok();
    }

    fn timeout(&self) -> Duration {
        match self.link {
            Link::SqliteRead(_) | Link::PostgresRead(_) => READING,
            Link::SqliteWrite(_) | Link::PostgresWrite(_) => WRITING,
            Link::PostgresSnapshot(_) => SCANNING,
        }
    }

    fn connection(&mut self) -> Connection<'_> {
        match &mut self.link {
            Link::SqliteRead(transaction) => Connection::Sqlite(transaction),
            Link::PostgresRead(transaction) => Connection::Postgres(transaction),
            Link::SqliteWrite(connection) => Connection::Sqlite(connection),
            Link::PostgresWrite(connection) | Link::PostgresSnapshot(connection) => {
                Connection::Postgres(connection)
            }
        }
    }

    /// The error for inconsistent contents of the database.
    pub(crate) fn fails(&self, reason: &str) -> StoreError {
        StoreError::Failed {
            doing: self.doing,
            database: self.location.to_string(),
            reason: reason.to_owned(),
        }
    }

    /// The error for a database that another program has changed.
    pub(crate) fn is_changed(&self) -> StoreError {
        StoreError::Unavailable {
            doing: self.doing,
            database: self.location.to_string(),
            reason: "its table head is empty: another program has changed it; restore it from a backup, or start with an \
                     empty one"
                .to_owned(),
        }
    }

    /// The error for jobs whose transaction was lost because another job's statement broke the connection.
    pub(super) fn breaks(&self) -> StoreError {
        StoreError::Unavailable {
            doing: self.doing,
            database: self.location.to_string(),
            reason: "the connection broke".to_owned(),
        }
    }

    fn failed(&mut self, error: &Error) -> StoreError {
        // Never reset: once its state is unknown, a session is not used for another transaction.
        self.broken |= breaks_session(error);
        fault(error, &self.location, self.doing)
    }
}

enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

pub(crate) async fn with_timeout<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
        let text = format!("no answer within {} s", timeout.as_secs());
        Err(Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
    })
}
