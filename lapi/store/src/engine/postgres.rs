//! Opens a database on a PostgreSQL server.

use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::fault::{DatabaseLocation, fault};
use super::session::{Link, Session, with_timeout};
use super::sqlite::{MIGRATIONS_TABLE, clone, newest, refused_migration};
use super::writer::Writer;
use super::{Opened, Readers};
use crate::{DbConfig, PostgresServer, SslMode, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");
/// The schema of our tables: a stock program on the same database sees and migrates those of its own only.
pub(super) const SCHEMA: &str = "palisade_lapi";
/// The tables that versions without a schema of their own made.
const TABLES: [&str; 13] = [
    "palisade_migrations",
    "head",
    "machines",
    "bouncers",
    "bouncer_instances",
    "alerts",
    "decisions",
    "tombstones",
    "allowlists",
    "allowlist_items",
    "usage_metrics",
    "config_items",
    "lineages",
];
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
    ensure_schema(server).await?;
    let options = options(server)?.options([("search_path", SCHEMA)]);
    let writing = options.clone().options([("statement_timeout", WRITE_MILLIS)]);
    let mut first = connect(&writing, &location).await?;
    let mut migrations = clone(&MIGRATIONS);
    migrations.dangerous_set_table_name(MIGRATIONS_TABLE);
    let migrated = migrations.run_direct(None, &mut first, false).await;
    if let Err(error) = migrated.map_err(|error| refused_migration(error, &MIGRATIONS, &location)) {
        // A standby, or a database that is set to read-only: what is there can be served.
        if !error.is_temporary() || !is_current_and_read_only(&mut first).await {
            return Err(error);
        }
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the database can only be read; writes are refused until it can be written"
        );
    }

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
    let writer = Writer::start(Some(first), connect, Box::new(|| Ok(())), Arc::clone(&location));
    Ok(Opened { location, readers: Readers::Postgres(pool), writer })
}

/// Checks the settings and the files they name.
pub(super) fn check(server: &PostgresServer) -> Result<(), StoreError> {
    options(server).map(drop)
}

pub(super) fn options(server: &PostgresServer) -> Result<PgConnectOptions, StoreError> {
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

/// Whether the schema is up to date and nothing can be written.
async fn is_current_and_read_only(connection: &mut PgConnection) -> bool {
    let found = sqlx::query_as::<_, (i64, String)>(sqlx::AssertSqlSafe(format!(
        "SELECT COALESCE(MAX(version), 0), current_setting('transaction_read_only') FROM {MIGRATIONS_TABLE} WHERE success"
    )));
    let found = with_timeout(CONNECT, found.fetch_one(connection)).await;
    found.is_ok_and(|(version, read_only)| version == newest(&MIGRATIONS) && read_only == "on")
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

/// Whether our schema exists and has tables.
pub(crate) async fn own_schema_exists(server: &PostgresServer) -> Result<bool, StoreError> {
    let location = DatabaseLocation::Server(server.to_string());
    let mut connection = connect(&options(server)?, &location).await?;
    let found = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = $1)")
        .bind(SCHEMA)
        .fetch_one(&mut connection)
        .await;
    found.map_err(|error| fault(&error, &location, "open the database"))
}

/// Creates our schema if it is missing.
async fn ensure_schema(server: &PostgresServer) -> Result<(), StoreError> {
    if server.user == SCHEMA {
        // A schema with the name of the role comes first in the role's default path, in which the stock programs look.
        return Err(StoreError::Config {
            database: server.to_string(),
            reason: format!(
                "db_config.user must not be {SCHEMA}, which is the name of our schema; use another role"
            ),
        });
    }
    let location = DatabaseLocation::Server(server.to_string());
    let mut connection = connect(&options(server)?, &location).await?;
    let found: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
        .bind(SCHEMA)
        .fetch_one(&mut connection)
        .await
        .map_err(|error| fault(&error, &location, "open the database"))?;
    if found {
        return Ok(());
    }
    // `IF NOT EXISTS`, because another LAPI may start at the same time. Not sent when the schema is there: it needs the
    // privilege even then.
    let made = sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA}")))
        .execute(&mut connection)
        .await;
    match made {
        Ok(_) => Ok(()),
        // Both have seen that it is missing: unique_violation, duplicate_schema.
        Err(error) if has_code(&error, &["23505", "42P06"]) => Ok(()),
        Err(error) if has_code(&error, &["42501"]) => Err(StoreError::Config {
            database: server.to_string(),
            reason: format!(
                "{error}; as a superuser, run in this database: CREATE SCHEMA {SCHEMA} AUTHORIZATION \"{}\"",
                server.user
            ),
        }),
        Err(error) => Err(fault(&error, &location, "create the schema")),
    }
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| codes.contains(&&*code))
}

/// Moves the tables of an earlier version from the role's default schema to ours, in one transaction.
pub(crate) async fn move_schema(server: &PostgresServer) -> Result<(), StoreError> {
    ensure_schema(server).await?;
    let location = DatabaseLocation::Server(server.to_string());
    let doing = "move the tables to a schema of their own";
    let failed = |error: sqlx::Error| fault(&error, &location, doing);
    let mut connection = connect(&options(server)?, &location).await?;
    let mut moving = connection.begin().await.map_err(failed)?;
    for table in TABLES {
        let sql = format!("ALTER TABLE IF EXISTS {table} SET SCHEMA {SCHEMA}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *moving).await.map_err(failed)?;
    }
    moving.commit().await.map_err(failed)
}
