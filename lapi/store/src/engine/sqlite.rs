//! Opens a SQLite file: verifies the owner, configures it, migrates the schema.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqlitePool};

use super::fault::{DatabaseLocation, fault};
use super::session::{Link, Session};
use super::writer::Writer;
use super::{Opened, Readers, SqliteReaders, access};
use crate::config::MAX_SQLITE_READERS;
use crate::{DbConfig, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
/// The table of applied migrations; its name distinguishes our files from those of other sqlx programs.
pub(crate) const MIGRATIONS_TABLE: &str = "palisade_migrations";
/// "PALI", which the first migration sets as `application_id`.
const APPLICATION: i64 = 1_346_456_649;
/// `busy_timeout`: the admin CLI's writes are short and those of retention bounded; the stock server waits as long.
const BUSY: Duration = Duration::from_secs(100);
/// Files up to this size are checked completely when opened, which takes a fraction of a second.
const CHECKED_WHOLE: u64 = 64 << 20;
/// Rows a connection reads ahead: about two megabytes.
pub(super) const ROWS_AHEAD: usize = 2048;

pub(super) async fn open(config: &DbConfig, path: &Path, wal: Option<bool>) -> Result<Opened, StoreError> {
    let location = Arc::new(DatabaseLocation::File(path.to_owned()));
    let file = Arc::new(DatabaseFile { path: path.to_owned(), wal, max_open: config.max_open, location });
    let (first, pool) = match file.open().await {
        Ok((first, pool)) => (Some(file.session(first)), pool),
        // The disk is full, or read-only: what is there can be served.
        Err(error) if error.is_temporary() => match file.open_read_only().await {
            Ok(pool) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the database can only be read; writes are refused until it can be written"
                );
                (None, pool)
            }
            Err(_) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let (location, readers) = (Arc::clone(&file.location), SqliteReaders::new(path, pool));
    let writable = Arc::new(tokio::sync::Mutex::new(first.is_some()));
    let current = readers.clone();
    let connect = Box::new(move || {
        let (file, readers, writable) = (Arc::clone(&file), readers.clone(), Arc::clone(&writable));
        Box::pin(async move {
            let mut writable = writable.lock().await;
            if !*writable {
                let first = file.reopen(&readers).await?;
                *writable = true;
                return Ok(file.session(first));
            }
            let connection = file.options().connect().await.map_err(|error| file.fault(&error))?;
            Ok(file.session(connection))
        }) as _
    });
    let checked = current.clone();
    let check = Box::new(move || checked.check());
    let writer = Writer::start(first, connect, check, Arc::clone(&location));
    Ok(Opened { location, readers: Readers::Sqlite(current), writer })
}

/// A database file, and how it is opened.
struct DatabaseFile {
    path: PathBuf,
    wal: Option<bool>,
    max_open: u32,
    location: Arc<DatabaseLocation>,
}

const OPENING: &str = "open the database";
/// Fails on a database that is open for reading alone, where `BEGIN IMMEDIATE` is as good as `BEGIN`.
const PROBE: &str = "BEGIN IMMEDIATE; UPDATE head SET roster = roster WHERE one = 1; ROLLBACK";

impl DatabaseFile {
    fn fault(&self, error: &sqlx::Error) -> StoreError {
        fault(error, &self.location, OPENING)
    }

    fn session(&self, connection: SqliteConnection) -> Session {
        Session::new(Link::SqliteWrite(connection), Arc::clone(&self.location), OPENING)
    }

    fn plain(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(&self.path).busy_timeout(BUSY).disable_statement_logging()
    }

    fn options(&self) -> SqliteConnectOptions {
        let wal = self.wal.unwrap_or_else(|| !on_network(&self.path));
        self.plain()
            .journal_mode(if wal { SqliteJournalMode::Wal } else { SqliteJournalMode::Delete })
            // In WAL mode the usual NORMAL can lose the last commits in a power failure, and what was acknowledged must
            // not be lost.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // Truncate the WAL after a large import.
            .pragma("journal_size_limit", "67108864")
            .statement_cache_capacity(200)
            // SQLite runs in its own thread and hands rows over in batches; large ones are faster.
            .row_buffer_size(ROWS_AHEAD)
    }

    fn pool(&self) -> SqlitePoolOptions {
        SqlitePoolOptions::new()
            .max_connections(self.max_open.clamp(1, MAX_SQLITE_READERS))
            .acquire_timeout(BUSY)
            .test_before_acquire(false)
            // Never all of them: the last connection removes the write-ahead log.
            .idle_timeout(None)
            .max_lifetime(None)
    }

    /// Opens it for writing: a connection for the writer, and readers.
    async fn open(&self) -> Result<(SqliteConnection, SqlitePool), StoreError> {
        let failed = |error: sqlx::Error| self.fault(&error);
        prepare_file(&self.path)?;
        // After the file exists, because the lock file takes its owner.
        let turn = lock_for_opening(&self.path).await;
        // No pragmas here: the settings of another program's file must not be changed.
        let mut looking = self.plain().connect().await.map_err(failed)?;
        check_owner(&mut looking, &self.path, &self.location).await?;
        looking.close().await.map_err(failed)?;

        let mut first = self.options().connect().await.map_err(failed)?;
        migrate(&mut first, &self.location).await?;
        // SQLite opens a file that it cannot write for reading, without a word.
        sqlx::raw_sql(PROBE).execute(&mut first).await.map_err(failed)?;
        // Readers cannot write even by mistake: all writes go through the writer, which numbers them.
        let pool =
            self.pool().connect_with(self.options().pragma("query_only", "on")).await.map_err(failed)?;
        // Only now, as opening the pool's first connection sets the journal mode once more.
        drop(turn);
        Ok((first, pool))
    }

    /// Opens it for reading alone, where nothing can be written beside it. Fails unless the schema is up to date.
    async fn open_read_only(&self) -> Result<SqlitePool, StoreError> {
        let options = self.plain().read_only(true).row_buffer_size(ROWS_AHEAD);
        match self.read_only_pool(options.clone()).await {
            // The index of the write-ahead log cannot be made. Without a log everything is in the file.
            Err(_) if std::fs::metadata(beside(&self.path, "-wal")).map_or(0, |found| found.len()) == 0 => {
                self.read_only_pool(options.immutable(true)).await
            }
            done => done,
        }
    }

    async fn read_only_pool(&self, options: SqliteConnectOptions) -> Result<SqlitePool, StoreError> {
        let failed = |error: sqlx::Error| self.fault(&error);
        let mut looking = options.connect().await.map_err(failed)?;
        check_owner(&mut looking, &self.path, &self.location).await?;
        let found: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT COALESCE(MAX(version), 0) FROM {MIGRATIONS_TABLE} WHERE success"
        )))
        .fetch_one(&mut looking)
        .await
        .map_err(failed)?;
        looking.close().await.map_err(failed)?;
        if found != newest(&MIGRATIONS) {
            let reason = "its schema has to be brought up to date, and it cannot be written".to_owned();
            return Err(StoreError::Unavailable {
                doing: OPENING,
                database: self.location.to_string(),
                reason,
            });
        }
        self.pool().connect_with(options).await.map_err(failed)
    }

    /// Opens a database for writing that could only be read so far.
    async fn reopen(&self, readers: &SqliteReaders) -> Result<SqliteConnection, StoreError> {
        let unavailable = |reason: &str| StoreError::Unavailable {
            doing: OPENING,
            database: self.location.to_string(),
            reason: reason.to_owned(),
        };
        if rustix::fs::statvfs(&self.path)
            .is_ok_and(|system| system.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
        {
            return Err(unavailable("its file system is read-only"));
        }
        readers.check().map_err(|lost| unavailable(&lost.reason))?;
        // The connections of a process share the index of the write-ahead log, and these have it read-only.
        readers.pool().close().await;
        match self.open().await {
            Ok((first, pool)) => {
                readers.replace(&self.path, pool);
                Ok(first)
            }
            Err(error) => {
                if let Ok(pool) = self.open_read_only().await {
                    readers.replace(&self.path, pool);
                }
                Err(error)
            }
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Finds what [`open`] would refuse, without effect on the file.
pub(crate) async fn check(path: &Path) -> Result<(), StoreError> {
    if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return check_folder(path);
    }
    check_file(path)?;
    let beside = |suffix: &str| {
        std::fs::metadata(format!("{}{suffix}", path.display())).map_or(0, |found| found.len())
    };
    let state = || std::fs::metadata(path).ok().map(|found| (found.len(), found.mtime(), found.mtime_nsec()));
    let (before, is_settled) = (state(), beside("-wal") == 0 && beside("-journal") == 0);
    let location = DatabaseLocation::File(path.to_owned());
    // Reads the file alone: no locks, no files beside it.
    let options = SqliteConnectOptions::new().filename(path).immutable(true).read_only(true);
    let look = async {
        let mut connection = options.disable_statement_logging().connect().await?;
        let verdict = check_content(&mut connection, path, &location).await;
        connection.close().await?;
        Ok(verdict)
    };
    let verdict = look.await.unwrap_or_else(|error| Err(fault(&error, &location, "open the database")));
    match verdict {
        // Does not depend on what is not in the file yet.
        Err(StoreError::Foreign { .. }) => verdict,
        // Another process is writing, or its last writes are beside the file.
        _ if !is_settled || state() != before => Ok(()),
        _ => verdict,
    }
}

/// Everything that is found by reading.
async fn check_content(
    connection: &mut SqliteConnection,
    path: &Path,
    location: &DatabaseLocation,
) -> Result<(), StoreError> {
    check_owner(connection, path, location).await?;
    let failed = |error: sqlx::Error| fault(&error, location, "open the database");
    let has_migrations: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_master WHERE name = $1")
        .bind(MIGRATIONS_TABLE)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if has_migrations == 0 {
        return Ok(());
    }
    let found: Option<i64> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT MAX(version) FROM {MIGRATIONS_TABLE}")))
            .fetch_one(connection)
            .await
            .map_err(failed)?;
    let known = newest(&MIGRATIONS);
    match found {
        Some(found) if found > known => {
            Err(StoreError::Newer { database: location.to_string(), found, known })
        }
        _ => Ok(()),
    }
}

/// Whether a file can be made there.
fn check_folder(path: &Path) -> Result<(), StoreError> {
    let config = |reason: String| StoreError::Config { database: path.display().to_string(), reason };
    let folder = path.parent().unwrap_or(Path::new("/"));
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(config(missing_folder(folder))),
        Err(error) => return Err(config(access::refused(&error, folder))),
        Ok(found) if !found.is_dir() => {
            return Err(config(access::refused(&ErrorKind::NotADirectory.into(), folder)));
        }
        Ok(_) => {}
    }
    access::check_folder(folder).map_err(|error| config(access::refused(&error, folder)))
}

fn missing_folder(folder: &Path) -> String {
    format!("the folder {} does not exist; make it, or change db_config.db_path", folder.display())
}

/// Creates a missing file readable by owner and group only, and rejects paths that cannot be a database.
fn prepare_file(path: &Path) -> Result<(), StoreError> {
    let config = |reason: String| StoreError::Config { database: path.display().to_string(), reason };
    // The stock server's mode. SQLite would create the file readable by everyone.
    match OpenOptions::new().write(true).create_new(true).mode(0o640).open(path) {
        Ok(file) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            // The admin command often runs as root before the first start of the server, which should not.
            if let Ok(folder) = std::fs::metadata(folder.unwrap_or(Path::new("."))) {
                give_to_owner_of(&folder, &file);
            }
            // The umask may have removed the group's permission.
            file.set_permissions(std::fs::Permissions::from_mode(0o640))
                .map_err(|error| config(format!("cannot set its mode: {error}")))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            check_file(path)?;
            restrict(path);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(config(missing_folder(path.parent().unwrap_or(Path::new("/")))))
        }
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            Err(StoreError::Full { doing: "open the database", database: path.display().to_string() })
        }
        Err(error) => Err(config(access::refused(&error, path.parent().unwrap_or(Path::new("/"))))),
    }
}

fn check_file(path: &Path) -> Result<(), StoreError> {
    let config = |reason: String| StoreError::Config { database: path.display().to_string(), reason };
    let found = std::fs::metadata(path).map_err(|error| config(error.to_string()))?;
    if !found.is_file() {
        return Err(config("it is not a file; change db_config.db_path".to_owned()));
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    read.map_err(|error| config(access::refused(&error, path)))?;
    access::check(path).map_err(config)?;
    // An empty file is a new database, for example after a power failure just after it was created.
    if !head.is_empty() && head != *b"SQLite format 3\0" {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            reason: "it does not begin as a SQLite file does".to_owned(),
        });
    }
    Ok(())
}

/// Takes the file from others: it contains hashes of keys and passwords.
fn restrict(path: &Path) {
    let Ok(found) = std::fs::metadata(path) else { return };
    let mode = found.permissions().mode();
    if mode & 0o007 != 0 {
        // Fails, harmlessly, when another user owns the file.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o770)).ok();
    }
}

/// Whether the file is on a network file system, where WAL's shared memory does not work.
fn on_network(path: &Path) -> bool {
    // NFS, SMB, CIFS, SMB2, 9P, Coda, AFS, Ceph: from linux/magic.h and the file systems' sources.
    const NETWORK: [u64; 8] =
        [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x7375_7245, 0x5346_414f, 0x00c3_6400];
    rustix::fs::statfs(path).is_ok_and(|system| {
        // The type of `f_type` depends on the architecture; the magic numbers have 32 bits.
        #[expect(clippy::cast_sign_loss, reason = "a bit pattern, not a quantity")]
        let kind = system.f_type as u64 & 0xffff_ffff;
        NETWORK.contains(&kind)
    })
}

/// Rejects another program's file before anything is written to it.
async fn check_owner(
    connection: &mut SqliteConnection,
    path: &Path,
    location: &DatabaseLocation,
) -> Result<(), StoreError> {
    let doing = "open the database";
    let failed = |error: sqlx::Error| fault(&error, location, doing);
    let application: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(failed)?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    // A process killed between the first two steps leaves a file with this table only.
    // True for an empty file as well.
    let new = tables.iter().all(|table| table == MIGRATIONS_TABLE);
    if application != APPLICATION && !new {
        let stock = has("alerts") && has("machines") && has("bouncers") && has("decisions");
        return Err(StoreError::Foreign {
            database: path.display().to_string(),
            owner: if stock {
                "CrowdSec (its LAPI goes on working with it; machines and bouncers are to be registered anew here)"
            } else {
                "another program"
            },
            setting: "db_config.db_path",
        });
    }
    let size = std::fs::metadata(path).map_or(0, |found| found.len());
    // A damaged file is reported now, and not by a write that fails later.
    if size <= CHECKED_WHOLE {
        let verdict: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await.map_err(failed)?;
        if verdict != "ok" {
            return Err(StoreError::Damaged { path: path.to_owned(), reason: verdict });
        }
    }
    Ok(())
}

/// Moves the write-ahead log of a database of ours into its file.
pub(crate) async fn settle_log(path: &Path) -> Result<(), StoreError> {
    let location = DatabaseLocation::File(path.to_owned());
    let failed = |error: sqlx::Error| fault(&error, &location, "settle the write-ahead log");
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).disable_statement_logging();
    let mut connection = options.connect().await.map_err(failed)?;
    let (busy, _, _): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    if busy != 0 {
        return Err(StoreError::Unavailable {
            doing: "settle the write-ahead log",
            database: path.display().to_string(),
            reason: "another program has it open".to_owned(),
        });
    }
    Ok(())
}

/// Serialises opening among processes: changing the journal mode and creating tables must not run concurrently.
async fn lock_for_opening(path: &Path) -> Option<File> {
    let path = path.to_owned();
    let locked = tokio::task::spawn_blocking(move || {
        let file = lock_beside(&path, "-open.lock")?;
        file.lock().map(|()| file)
    });
    // Where no file lock is available, SQLite's own locks must suffice.
    locked.await.ok()?.ok()
}

async fn migrate(connection: &mut SqliteConnection, location: &DatabaseLocation) -> Result<(), StoreError> {
    let mut migrations = clone(&MIGRATIONS);
    migrations.dangerous_set_table_name(MIGRATIONS_TABLE);
    let done = migrations.run_direct(None, connection, false).await;
    done.map_err(|error| refused_migration(error, &MIGRATIONS, location))
}

/// Opens a lock file beside the database. It belongs to the database's owner even when root creates it: the admin CLI
/// often runs as root, the server should not.
pub(crate) fn lock_beside(path: &Path, suffix: &str) -> std::io::Result<File> {
    let lock = PathBuf::from(format!("{}{suffix}", path.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&lock)?;
    if let Ok(database) = std::fs::metadata(path) {
        give_to_owner_of(&database, &file);
    }
    Ok(file)
}

/// Gives a file the owner and group of another, or of its folder. Fails without root privileges; the file then has the
/// right owner already.
fn give_to_owner_of(other: &Metadata, file: &File) {
    if file.metadata().is_ok_and(|ours| (ours.uid(), ours.gid()) != (other.uid(), other.gid())) {
        std::os::unix::fs::fchown(file, Some(other.uid()), Some(other.gid())).ok();
    }
}

pub(super) fn clone(migrations: &Migrator) -> Migrator {
    // `Migrator` is not `Clone`, and the table's name can only be set on an owned one.
    Migrator::with_migrations(migrations.iter().cloned().collect())
}

/// The version of the newest migration.
pub(super) fn newest(migrations: &Migrator) -> i64 {
    migrations.iter().map(|migration| migration.version).max().unwrap_or(0)
}

pub(super) fn refused_migration(
    error: MigrateError,
    known: &Migrator,
    location: &DatabaseLocation,
) -> StoreError {
    let doing = "bring the schema up to date";
    let known = newest(known);
    match error {
        // The database has a migration that this program does not know.
        MigrateError::VersionMissing(found) if found > known => {
            StoreError::Newer { database: location.to_string(), found, known }
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            fault(&error, location, doing)
        }
        other => StoreError::Failed { doing, database: location.to_string(), reason: other.to_string() },
    }
}
