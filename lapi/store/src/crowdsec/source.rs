//! A CrowdSec database opened for reading.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::columns::{As, list};
use super::copy::Copy;
use super::holder::holders;
use crate::engine::{Kind, Session, SqlRow, foreign};
use crate::{PostgresServer, StoreError};

/// Where a CrowdSec database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrowdSecDatabase {
    /// A SQLite file (`db_path`).
    File(PathBuf),
    /// A database on a PostgreSQL server, in the role's default schema.
    Server(PostgresServer),
}

impl std::fmt::Display for CrowdSecDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(server) => server.fmt(f),
        }
    }
}

/// What a database contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contents {
    /// No file, an empty one, or no table.
    Nothing,
    Ours,
    CrowdSec,
    Other,
}

/// The tables of 1.4.6; later versions have them too.
const CORE: [&str; 6] = ["machines", "bouncers", "alerts", "decisions", "events", "meta"];

/// The columns of each table that is read, in versions 1.4.6 to 1.7.8. Those with `?` are not in all of them.
const KNOWN: [(&str, &str); 10] = [
    (
        "machines",
        "id created_at updated_at last_push last_heartbeat machine_id password ip_address scenarios version \
         is_validated status? auth_type osname? osfamily? osversion? featureflags? hubstate? datasources?",
    ),
    (
        "bouncers",
        "id created_at updated_at name api_key revoked ip_address type version until? last_pull auth_type osname? \
         osfamily? osversion? featureflags? auto_created?",
    ),
    (
        "alerts",
        "id created_at updated_at scenario bucket_id message events_count started_at stopped_at source_ip \
         source_range source_as_number source_as_name source_country source_latitude source_longitude source_scope \
         source_value capacity leak_speed scenario_version scenario_hash simulated uuid? remediation? kind? \
         machine_alerts",
    ),
    (
        "decisions",
        "id created_at updated_at until scenario type start_ip end_ip start_suffix end_suffix ip_size scope value \
         origin simulated uuid? alert_decisions",
    ),
    ("events", "id created_at updated_at time serialized alert_events"),
    ("meta", "id created_at updated_at key value alert_metas"),
    ("allow_lists", "id created_at updated_at name from_console description allowlist_id"),
    (
        "allow_list_items",
        "id created_at updated_at expires_at comment value start_ip end_ip start_suffix end_suffix ip_size",
    ),
    ("allow_list_allowlist_items", "allow_list_id allow_list_item_id"),
    ("metrics", "id generated_type generated_by received_at pushed_at payload"),
];

/// An open CrowdSec database.
pub(super) struct Source {
    pub(super) session: Session,
    tables: BTreeMap<String, BTreeSet<String>>,
    name: String,
    /// Removed when the source is dropped.
    _copy: Option<Copy>,
}

impl Source {
    /// Opens a database. A file is copied to `scratch` first.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is in use by CrowdSec's LAPI, damaged, no database of CrowdSec, or of an unknown version.
    pub(super) async fn open(database: &CrowdSecDatabase, scratch: PathBuf) -> Result<Self, StoreError> {
        if let CrowdSecDatabase::File(path) = database {
            refuse_in_use(path)?;
        }
        let source = Self::read(database, scratch).await?;
        match source.contents() {
            Contents::CrowdSec => source.admit().await,
            Contents::Nothing => Err(source.no_tables(database)),
            Contents::Ours => Err(source.refused("is Palisade's own, and not CrowdSec's")),
            Contents::Other => Err(source.refused("is not CrowdSec's: its tables are others")),
        }
    }

    /// Opens a database, whatever it contains.
    async fn read(database: &CrowdSecDatabase, scratch: PathBuf) -> Result<Self, StoreError> {
        let (mut session, copy) = match database {
            CrowdSecDatabase::File(path) => {
                let copy = copy(path, scratch).await?;
                (foreign::open_copy(&copy.path(), path).await?, Some(copy))
            }
            CrowdSecDatabase::Server(server) => (foreign::open_server(server).await?, None),
        };
        let tables = foreign::schema(&mut session).await?;
        Ok(Self { session, tables, name: database.to_string(), _copy: copy })
    }

    /// Checks that a database of CrowdSec can be imported, and prepares its copy for that.
    async fn admit(mut self) -> Result<Self, StoreError> {
        self.check_version()?;
        match self.kind() {
            Kind::Sqlite => self.index().await?,
            Kind::Postgres => {
                // A server lists no program names, so a running LAPI cannot be distinguished from an operator's session.
                let sessions = foreign::other_sessions(&mut self.session).await?;
                if sessions > 0 {
                    warn!(
                        database = self.name,
                        sessions,
                        "others are connected to CrowdSec's database; a CrowdSec LAPI that still runs there has to be \
                         stopped, as what it writes from now on is not seen here"
                    );
                }
            }
        }
        Ok(self)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn kind(&self) -> Kind {
        self.session.kind()
    }

    pub(super) fn has(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    fn contents(&self) -> Contents {
        contents(&self.tables)
    }

    /// The expressions for columns of a table.
    pub(super) fn columns(&self, table: &str, wanted: &[(&str, As)]) -> String {
        let columns = self.tables.get(table);
        list(self.kind(), |name| columns.is_some_and(|columns| columns.contains(name)), wanted)
    }

    /// The rows with ids above `after`, in order and converted; at most `limit`.
    pub(super) async fn page<T: Send>(
        &mut self,
        table: &str,
        columns: &str,
        after: i64,
        limit: usize,
        read: impl FnMut(&SqlRow) -> Result<T, sqlx::Error> + Send,
    ) -> Result<Vec<T>, StoreError> {
        let text = format!("SELECT {columns} FROM {table} WHERE id > $1 ORDER BY id LIMIT {limit}");
        let sql = self.session.sql(&text).bind(after);
        self.session.read(sql, read).await
    }

    /// The highest id of a table.
    pub(super) async fn last_id(&mut self, table: &str) -> Result<i64, StoreError> {
        let sql = self.session.sql(&format!("SELECT CAST(COALESCE(MAX(id), 0) AS BIGINT) FROM {table}"));
        Ok(self.session.first(sql, |row| row.get(0)).await?.unwrap_or(0))
    }

    pub(super) async fn count(&mut self, table: &str) -> Result<u64, StoreError> {
        self.count_until(table, i64::MAX).await
    }

    /// Counts the rows with ids up to `last`.
    pub(super) async fn count_until(&mut self, table: &str, last: i64) -> Result<u64, StoreError> {
        let sql = self.session.sql(&format!("SELECT COUNT(*) FROM {table} WHERE id <= $1")).bind(last);
        let count: Option<i64> = self.session.first(sql, |row| row.get(0)).await?;
        Ok(count.unwrap_or(0).unsigned_abs())
    }

    /// 1.4.6 has no index on the links from events to alerts. This is the copy, so one can be made.
    async fn index(&mut self) -> Result<(), StoreError> {
        for (table, link) in [("events", "alert_events"), ("meta", "alert_metas")] {
            let text = format!("CREATE INDEX IF NOT EXISTS palisade_{table} ON {table} ({link}, id)");
            let sql = self.session.sql(&text);
            self.session.run(sql).await?;
        }
        Ok(())
    }

    fn check_version(&self) -> Result<(), StoreError> {
        for (table, known) in KNOWN {
            let Some(columns) = self.tables.get(table) else { continue };
            let known: BTreeMap<&str, bool> = known
                .split_ascii_whitespace()
                .map(|column| (column.trim_end_matches('?'), column.ends_with('?')))
                .collect();
            let unknown = columns.iter().find(|column| !known.contains_key(column.as_str()));
            let missing = known.iter().find(|(column, optional)| !**optional && !columns.contains(**column));
            let difference = match (unknown, missing) {
                (Some(column), _) => format!("has a column {column}"),
                (None, Some((column, _))) => format!("has no column {column}"),
                (None, None) => continue,
            };
            return Err(self.refused(&format!(
                "is of a version of CrowdSec that this program does not know: its table {table} {difference}. Nothing \
                 was taken; a newer version of this program is needed"
            )));
        }
        Ok(())
    }

    fn refused(&self, reason: &str) -> StoreError {
        StoreError::Import { source_name: self.name.clone(), reason: reason.to_owned() }
    }

    /// The error for a database without tables.
    fn no_tables(&self, database: &CrowdSecDatabase) -> StoreError {
        self.refused(&match database {
            CrowdSecDatabase::File(path) => format!(
                "holds no table. CrowdSec leaves its data in the write-ahead log {}-wal when it stops; copy that file \
                 too, from the same host and at the same time",
                path.display()
            ),
            CrowdSecDatabase::Server(_) => "holds no table in the role's default schema".to_owned(),
        })
    }
}

fn contents(tables: &BTreeMap<String, BTreeSet<String>>) -> Contents {
    let has = |table: &str| tables.contains_key(table);
    if has(crate::engine::MIGRATIONS_TABLE) && (has("head") || tables.len() == 1) {
        Contents::Ours
    } else if CORE.iter().all(|table| has(table)) {
        Contents::CrowdSec
    } else if tables.keys().all(|table| table.starts_with("sqlite_")) {
        Contents::Nothing
    } else {
        Contents::Other
    }
}

fn check_kind(path: &Path, found: &std::fs::Metadata) -> Result<(), StoreError> {
    if found.is_file() {
        return Ok(());
    }
    Err(StoreError::Config {
        database: path.display().to_string(),
        reason: "it is not a file; change db_config.db_path".to_owned(),
    })
}

/// What `db_config` names at the first start.
pub(super) enum Found {
    /// No file, an empty one, or a server without tables that matter.
    Nothing,
    Ours,
    CrowdSec(Source),
}

/// Looks at what `db_config` names. It is only read, and copied once.
///
/// # Errors
///
/// Those of [`Source::open`]; [`StoreError::Foreign`] for a file of another program.
pub(super) async fn look(database: &CrowdSecDatabase, scratch: PathBuf) -> Result<Found, StoreError> {
    if let CrowdSecDatabase::File(path) = database {
        match std::fs::metadata(path) {
            Ok(found) if found.is_file() && found.len() == 0 => return Ok(Found::Nothing),
            Ok(found) => check_kind(path, &found)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(unreadable(path, &error)),
        }
    }
    let source = Source::read(database, scratch).await?;
    match (source.contents(), database) {
        (Contents::Ours, _) => Ok(Found::Ours),
        (Contents::CrowdSec, _) => {
            if let CrowdSecDatabase::File(path) = database {
                refuse_in_use(path)?;
            }
            source.admit().await.map(Found::CrowdSec)
        }
        // Ours lies in a schema of its own, so tables of other programs do not matter.
        (_, CrowdSecDatabase::Server(_)) => Ok(Found::Nothing),
        // Its data is in a write-ahead log that is missing: beginning anew would lose it without a word.
        (Contents::Nothing, CrowdSecDatabase::File(_)) => Err(source.no_tables(database)),
        (Contents::Other, CrowdSecDatabase::File(_)) => Err(foreign_file(&source.name)),
    }
}

fn foreign_file(database: &str) -> StoreError {
    StoreError::Foreign {
        database: database.to_owned(),
        owner: "another program",
        setting: "db_config.db_path",
    }
}

/// Finds what the first start would refuse, without effect on the file. A file that has a write-ahead log, or is being
/// written, is only checked for being one.
///
/// # Errors
///
/// As the first start.
pub(super) async fn check_file(path: &Path) -> Result<(), StoreError> {
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(path, &error)),
    };
    check_kind(path, &found)?;
    std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let beside = |suffix: &str| {
        std::fs::metadata(format!("{}{suffix}", path.display())).map_or(0, |found| found.len())
    };
    if found.len() == 0 || beside("-wal") + beside("-journal") > 0 || !holders(path).is_empty() {
        return Ok(());
    }
    let mut session = foreign::open_in_place(path).await?;
    let tables = foreign::schema(&mut session).await?;
    let source = Source { session, tables, name: path.display().to_string(), _copy: None };
    match source.contents() {
        Contents::Ours => crate::engine::check_file_of_ours(path).await,
        Contents::CrowdSec => source.check_version(),
        Contents::Nothing => Err(source.no_tables(&CrowdSecDatabase::File(path.to_owned()))),
        Contents::Other => Err(foreign_file(&source.name)),
    }
}

/// Copies a file in a thread.
async fn copy(path: &Path, scratch: PathBuf) -> Result<Copy, StoreError> {
    let (original, doing) = (path.to_owned(), "copy CrowdSec's database");
    let copied = tokio::task::spawn_blocking(move || Copy::of(&original, scratch)).await;
    let (at, error) = match copied {
        Ok(Ok(copy)) => return Ok(copy),
        Ok(Err(failed)) => failed,
        Err(error) => (path.to_owned(), std::io::Error::other(error)),
    };
    Err(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::Full { doing, database: path.display().to_string() }
        }
        ErrorKind::ResourceBusy => StoreError::Import {
            source_name: path.display().to_string(),
            reason: "is being written to; stop CrowdSec's LAPI (`systemctl stop crowdsec`) and try again"
                .to_owned(),
        },
        _ => unreadable(&at, &error),
    })
}

/// An error that names the owner and the mode, because CrowdSec's files belong to root.
fn unreadable(path: &Path, error: &std::io::Error) -> StoreError {
    let reason = match std::fs::metadata(path) {
        Ok(found) if error.kind() == ErrorKind::PermissionDenied => format!(
            "cannot be read: {error} (owner {}, group {}, mode {:o}). Run `sudo palisade database import`, or let the \
             user of this program read it and its folder",
            found.uid(),
            found.gid(),
            found.permissions().mode() & 0o7777
        ),
        _ => format!("cannot be read: {error}"),
    };
    StoreError::Import { source_name: path.display().to_string(), reason }
}

/// A running LAPI would go on writing what is not read here.
fn refuse_in_use(path: &Path) -> Result<(), StoreError> {
    match holders(path).into_iter().find(|holder| !holder.only_processes_logs()) {
        None => Ok(()),
        Some(holder) => Err(StoreError::Import {
            source_name: path.display().to_string(),
            reason: format!(
                "is in use by {holder}. Stop it first (`systemctl stop crowdsec`); with the flag -no-api it may go on \
                 as a log processor"
            ),
        }),
    }
}
