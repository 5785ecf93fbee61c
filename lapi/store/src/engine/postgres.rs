//! Opens a database on a PostgreSQL server.

use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};

use super::fault::{DatabaseLocation, fault};
use super::session::{Link, Session, with_timeout};
use super::sqlite::{MIGRATIONS_TABLE, clone, refused_migration};
use super::writer::Writer;
use super::{Opened, Readers};
use crate::{DbConfig, PostgresServer, SslMode, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");
/// Connection timeout. An unavailable server must be reported quickly.
pub(super) const CONNECT: Duration = Duration::from_secs(4);
/// Connections besides the pool's: the writer's, the listener's, the leader's.
const OTHERS: u32 = 3;
/// How long the liveness check of a pooled connection may take.
const ANSWER: Duration = Duration::from_secs(1);
/// `statement_timeout` of reading statements in milliseconds; shorter than the client-side timeout.
const READ_MILLIS: &str = "15000";
/// `statement_timeout` of writing statements.
const WRITE_MILLIS: &str = "8000";
/// `lock_timeout`: transactions of other writers are bounded.
const LOCK_MILLIS: &str = "6000";
/// `idle_in_transaction_session_timeout`: a suspended LAPI must not block the writes of others.
const SILENCE_MILLIS: &str = "15000";

pub(super) async fn open(config: &DbConfig, server: &PostgresServer) -> Result<Opened, StoreError> {
    let location = Arc::new(DatabaseLocation::Server(server.to_string()));
    let doing = "open the database";
    let options = options(server)?;
    let writing = options.clone().options([("statement_timeout", WRITE_MILLIS)]);
    let mut first = connect(&writing, &location).await?;
    // Before the migration, so that nothing is written into the database of another program.
    check_owner(&mut first, server, &location).await?;
    let mut migrations = clone(&MIGRATIONS);
    migrations.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrations
        .run_direct(None, &mut first, false)
        .await
        .map_err(|error| refused_migration(error, &MIGRATIONS, &location))?;

    let pool = PgPoolOptions::new()
        // `max_open_conns` is the limit of the whole process.
        .max_connections(config.max_open.saturating_sub(OTHERS).max(1))
        .acquire_timeout(CONNECT)
        // Slow acquisition is reported by the callers.
        .acquire_slow_threshold(CONNECT * 2)
        .idle_timeout(Duration::from_secs(300))
        // The liveness check below has a timeout, unlike sqlx's: a dead connection must neither use up the time for the
        // next one nor occupy a place in the pool.
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(async move { Ok(answers(connection).await.is_ok()) }))
        .after_release(|connection, _| Box::pin(async move { answers(connection).await.map(|()| true) }))
        // Lazily, because the writer's connection has just shown that the server can be reached.
        .connect_lazy_with(options);

    let first = Session::new(Link::PostgresWrite(first), Arc::clone(&location), doing);
    let again = Arc::clone(&location);
    let connect = Box::new(move || {
        let (options, location) = (writing.clone(), Arc::clone(&again));
        Box::pin(async move {
            let connection = connect(&options, &location).await?;
            Ok(Session::new(Link::PostgresWrite(connection), location, doing))
        }) as _
    });
    let writer = Writer::start(first, connect, Arc::clone(&location));
    Ok(Opened { location, readers: Readers::Postgres(pool), writer })
}

/// Checks the settings and the files they name.
pub(super) fn check(server: &PostgresServer) -> Result<(), StoreError> {
    options(server).map(drop)
}

fn options(server: &PostgresServer) -> Result<PgConnectOptions, StoreError> {
    let config = |reason: String| StoreError::Config { database: server.to_string(), reason };
    if server.name.is_empty() {
        return Err(config("db_config.db_name is empty".to_owned()));
    }
    for file in [&server.ca, &server.cert, &server.key].into_iter().flatten() {
        std::fs::File::open(file)
            .map_err(|error| config(format!("cannot read {}: {error}", file.display())))?;
    }
    // Only the configuration file counts, and not the ~/.pgpass of whichever user runs the program.
    let mut options = PgConnectOptions::new_without_pgpass()
        .database(&server.name)
        .port(server.port_or_default())
        .ssl_mode(match server.sslmode.unwrap_or_default() {
            SslMode::Disable => PgSslMode::Disable,
            SslMode::Allow => PgSslMode::Allow,
            SslMode::Prefer => PgSslMode::Prefer,
            SslMode::Require => PgSslMode::Require,
            SslMode::VerifyCa => PgSslMode::VerifyCa,
            SslMode::VerifyFull => PgSslMode::VerifyFull,
        })
        .application_name("palisade-lapi")
        .options([
            ("statement_timeout", READ_MILLIS),
            ("lock_timeout", LOCK_MILLIS),
            ("idle_in_transaction_session_timeout", SILENCE_MILLIS),
            // If this host loses power, the server releases its locks within half a minute.
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "25000"),
            ("client_min_messages", "warning"),
        ])
        // Statements are assembled from parts, but few combinations are used.
        .statement_cache_capacity(200)
        .disable_statement_logging();
    options = match &server.socket {
        Some(folder) => options.socket(folder),
        None => options.host(server.host_or_default()),
    };
    if !server.user.is_empty() {
        options = options.username(&server.user);
    }
    if !server.password.is_empty() {
        options = options.password(&server.password);
    }
    if let Some(ca) = &server.ca {
        options = options.ssl_root_cert(ca);
    }
    if let Some(cert) = &server.cert {
        options = options.ssl_client_cert(cert);
    }
    if let Some(key) = &server.key {
        options = options.ssl_client_key(key);
    }
    Ok(options)
}

async fn answers(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    with_timeout(ANSWER, connection.ping()).await
}

pub(super) async fn connect(
    options: &PgConnectOptions,
    location: &DatabaseLocation,
) -> Result<PgConnection, StoreError> {
    let doing = "connect";
    match tokio::time::timeout(CONNECT, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(fault(&error, location, doing)),
        Err(_) => Err(StoreError::Unavailable {
            doing,
            database: location.to_string(),
            reason: format!("no answer within {} s", CONNECT.as_secs()),
        }),
    }
}

/// Refuses a database that contains tables of another program with our names.
async fn check_owner(
    connection: &mut PgConnection,
    server: &PostgresServer,
    location: &DatabaseLocation,
) -> Result<(), StoreError> {
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")
            .fetch_all(connection)
            .await
            .map_err(|error| fault(&error, location, "open the database"))?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    let theirs = ["alerts", "machines", "bouncers", "decisions"].into_iter().filter(|name| has(name)).count();
    // All schemas of ours have `head`; the stock one has not.
    if theirs > 0 && !has("head") {
        return Err(StoreError::Foreign {
            database: server.to_string(),
            owner: if theirs == 4 { "CrowdSec" } else { "another program" },
            setting: "db_config.db_name",
        });
    }
    Ok(())
}
