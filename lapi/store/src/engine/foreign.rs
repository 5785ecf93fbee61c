//! Reads databases of other programs. Nothing is written to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::fault::{DatabaseLocation, fault};
use super::postgres;
use super::session::{Link, Session};
use crate::{PostgresServer, StoreError};

const DOING: &str = "read CrowdSec's database";

/// Opens a private copy of a SQLite file. `original` is the path for messages. Opening it applies its write-ahead log,
/// or rolls back what its journal says.
///
/// # Errors
///
/// When it is no database, or damaged.
pub(crate) async fn open_copy(copy: &Path, original: &Path) -> Result<Session, StoreError> {
    let location = Arc::new(DatabaseLocation::File(original.to_owned()));
    let failed = |error: sqlx::Error| fault(&error, &location, DOING);
    let options = SqliteConnectOptions::new()
        .filename(copy)
        .row_buffer_size(super::sqlite::ROWS_AHEAD)
        // The copy is thrown away.
        .synchronous(sqlx::sqlite::SqliteSynchronous::Off)
        .disable_statement_logging();
    let mut connection = options.connect().await.map_err(failed)?;
    check_whole(&mut connection, original, &location).await?;
    Ok(Session::new(Link::SqliteWrite(connection), location, DOING))
}

async fn check_whole(
    connection: &mut SqliteConnection,
    path: &Path,
    location: &DatabaseLocation,
) -> Result<(), StoreError> {
    let verdict = sqlx::query_scalar::<_, String>("PRAGMA quick_check(1)").fetch_one(connection).await;
    match verdict.map_err(|error| fault(&error, location, DOING))? {
        verdict if verdict == "ok" => Ok(()),
        verdict => Err(StoreError::Damaged { path: path.to_owned(), reason: verdict }),
    }
}

/// Opens a SQLite file where it is. It must have no write-ahead log and no writer: neither would be noticed.
///
/// # Errors
///
/// When it is no database, or damaged.
pub(crate) async fn open_in_place(path: &Path) -> Result<Session, StoreError> {
    let location = Arc::new(DatabaseLocation::File(path.to_owned()));
    let options = SqliteConnectOptions::new().filename(path).immutable(true).read_only(true);
    let connection = options.disable_statement_logging().connect().await;
    let mut connection = connection.map_err(|error| fault(&error, &location, DOING))?;
    check_whole(&mut connection, path, &location).await?;
    Ok(Session::new(Link::SqliteWrite(connection), location, DOING))
}

/// A read-only transaction with one snapshot on a server, in the role's default schema.
///
/// # Errors
///
/// When the server does not answer or refuses.
pub(crate) async fn open_server(server: &PostgresServer) -> Result<Session, StoreError> {
    let location = Arc::new(DatabaseLocation::Server(server.to_string()));
    // Its statements read whole tables.
    let options = postgres::options(server)?
        .options([("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")]);
    let mut connection = postgres::connect(&options, &location).await?;
    let begun =
        sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await;
    begun.map_err(|error| fault(&error, &location, DOING))?;
    Ok(Session::new(Link::PostgresSnapshot(connection), location, DOING))
}

/// The columns of each table.
pub(crate) async fn schema(session: &mut Session) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
    let sql = match session.kind() {
        super::Kind::Sqlite => session.sql(
            "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table'",
        ),
        super::Kind::Postgres => session.sql(
            "SELECT table_name::text, column_name::text FROM information_schema.columns \
             WHERE table_schema = current_schema()",
        ),
    };
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (table, column) in session.read(sql, |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?))).await?
    {
        tables.entry(table).or_default().insert(column);
    }
    Ok(tables)
}

/// Other sessions on the server's database that are not ours, as far as the role may see them.
pub(crate) async fn other_sessions(session: &mut Session) -> Result<i64, StoreError> {
    let sql = session.sql(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
         AND backend_type = 'client backend' AND COALESCE(application_name, '') NOT LIKE 'palisade%'",
    );
    Ok(session.first(sql, |row| row.get(0)).await?.unwrap_or(0))
}
