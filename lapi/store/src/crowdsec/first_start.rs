//! The first start on a database: takes over what `db_config` names, or moves what an earlier version made there.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use palisade_wire::UnixMillis;

use super::holder::holders;
use super::import::OnProgress;
use super::report::ImportReport;
use super::source::{CrowdSecDatabase, Found, Source, check_file, look};
use crate::engine::{check_file_of_ours, move_schema, own_schema_exists, settle_log};
use crate::{DbConfig, Engine, Retention, Store, StoreError};

/// The setting that marks the first start as complete.
const SETTING: &str = "first_start";

/// What the first start found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstStart {
    /// It was not the first.
    Earlier,
    /// Nothing: the database is new.
    New,
    /// A database that an earlier version of this program made at this place, from where it was moved.
    Moved(String),
    /// A database of CrowdSec at this place, which was imported.
    Imported(String, Box<ImportReport>),
}

/// The file of ours beside CrowdSec's: `crowdsec.db` becomes `crowdsec.palisade.db`.
///
/// A file of its own, because every stock program that reads the same configuration opens the file in `db_path`, even a log
/// processor without Local API, and migrates it.
pub fn own_file(db_path: &Path) -> PathBuf {
    let mut name = OsString::from(db_path.file_stem().unwrap_or_default());
    name.push(".palisade.db");
    db_path.with_file_name(name)
}

impl Store {
    /// Opens the database. At the first start, takes over the database of CrowdSec that [`DbConfig::crowdsec`] names, or
    /// moves one of ours from there. A start that fails or is killed is the first one again.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`]; [`StoreError::Import`] when CrowdSec's database is in use, unreadable, or unknown.
    pub async fn open_or_take_over(
        config: &DbConfig,
        now: UnixMillis,
        keep: &Retention,
        on_progress: OnProgress,
    ) -> Result<(Self, FirstStart), StoreError> {
        let Some(crowdsec) = &config.crowdsec else {
            return Ok((Self::open(config).await?, FirstStart::Earlier));
        };
        let mut interrupted = false;
        if Self::exists(config).await? {
            let store = Self::open(config).await?;
            if store.setting(SETTING).await?.is_some() {
                return Ok((store, FirstStart::Earlier));
            }
            store.close().await;
            interrupted = true;
        }
        // Before ours is made: a start that is refused leaves nothing behind.
        let found = look(crowdsec, scratch(config, "first-start")).await?;
        if matches!(found, Found::Ours) {
            if interrupted {
                return Err(two_databases(config, crowdsec));
            }
            move_here(config, crowdsec).await?;
        }
        let store = Self::open(config).await?;
        let first_start = match found {
            Found::CrowdSec(source) => {
                let report = store.take_all(now, source, keep.clone(), false, on_progress).await?;
                FirstStart::Imported(crowdsec.to_string(), Box::new(report))
            }
            Found::Ours => FirstStart::Moved(crowdsec.to_string()),
            Found::Nothing => FirstStart::New,
        };
        let word = match first_start {
            FirstStart::Imported(..) => "imported",
            FirstStart::Moved(_) => "moved",
            _ => "new",
        };
        store.setting_or_insert(now, SETTING, word).await?;
        Ok((store, first_start))
    }

    /// Whether there is a database of ours at its place.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn exists(config: &DbConfig) -> Result<bool, StoreError> {
        match &config.engine {
            Engine::Sqlite { path, .. } => Ok(std::fs::metadata(path).is_ok_and(|found| found.len() > 0)),
            Engine::Postgres(server) => own_schema_exists(server).await,
        }
    }

    /// Opens the database and takes what a CrowdSec database has and it has not: everything, or what came since the last
    /// import. With `dry_run` nothing is taken.
    ///
    /// # Errors
    ///
    /// [`StoreError::Import`] when the source is in use, unreadable, or unknown, before a database of ours is made; otherwise
    /// when a database fails. Nothing was taken then.
    pub async fn open_and_import(
        config: &DbConfig,
        now: UnixMillis,
        database: &CrowdSecDatabase,
        keep: &Retention,
        dry_run: bool,
        on_progress: OnProgress,
    ) -> Result<(Self, ImportReport), StoreError> {
        let source = Source::open(database, scratch(config, "import")).await?;
        let is_configured = config.crowdsec.as_ref().is_none_or(|configured| configured == database);
        let store = if is_configured {
            Self::open(config).await?
        } else {
            // What `db_config` names comes first, as at any start.
            Self::open_or_take_over(config, now, keep, std::sync::Arc::new(|_| ())).await?.0
        };
        let report = store.take_all(now, source, keep.clone(), dry_run, on_progress).await?;
        if !dry_run {
            // The next start must not import again what `db_config` names.
            store.setting_or_insert(now, SETTING, "imported").await?;
        }
        Ok((store, report))
    }
}

/// Finds, by reading, what the first start would refuse.
pub(crate) async fn check(config: &DbConfig) -> Result<(), StoreError> {
    // A server is not connected to, so this only looks beside a file.
    let Some(CrowdSecDatabase::File(path)) = &config.crowdsec else { return Ok(()) };
    if Store::exists(config).await? {
        return Ok(());
    }
    check_file(path).await
}

/// A folder for the copy of CrowdSec's file, on the file system that holds our database.
fn scratch(config: &DbConfig, purpose: &str) -> PathBuf {
    match &config.engine {
        Engine::Sqlite { path, .. } => PathBuf::from(format!("{}-{purpose}", path.display())),
        Engine::Postgres(_) => {
            std::env::temp_dir().join(format!("palisade-{purpose}-{}", std::process::id()))
        }
    }
}

/// The error for a database of an earlier version beside one that was begun at the new place: moving it would replace
/// that one.
fn two_databases(config: &DbConfig, earlier: &CrowdSecDatabase) -> StoreError {
    let begun = match &config.engine {
        Engine::Sqlite { path, .. } => path.display().to_string(),
        Engine::Postgres(_) => "the schema palisade_lapi".to_owned(),
    };
    StoreError::Import {
        source_name: earlier.to_string(),
        reason: format!(
            "was made by an earlier version and is to be moved, but {begun} was begun already; remove the one that is not \
             to be used"
        ),
    }
}

/// Moves a database of ours to its own place.
async fn move_here(config: &DbConfig, from: &CrowdSecDatabase) -> Result<(), StoreError> {
    match (from, &config.engine) {
        (CrowdSecDatabase::File(from), Engine::Sqlite { path: to, .. }) => {
            if let Some(holder) = holders(from).into_iter().next() {
                return Err(StoreError::Import {
                    source_name: from.display().to_string(),
                    reason: format!(
                        "is to be moved to {}, but {holder} has it open; stop it first",
                        to.display()
                    ),
                });
            }
            // Before it is moved: an earlier version goes on with it where it is.
            check_file_of_ours(from).await?;
            // Into one file, so that the move is one step.
            settle_log(from).await?;
            let moved = std::fs::rename(from, to).and_then(|()| {
                let folder = to.parent().unwrap_or(Path::new("/"));
                File::open(folder)?.sync_all()
            });
            moved.map_err(|error| StoreError::Import {
                source_name: from.display().to_string(),
                reason: format!("cannot be moved to {}: {error}", to.display()),
            })?;
            for suffix in ["-wal", "-shm", "-open.lock", "-import.lock"] {
                std::fs::remove_file(format!("{}{suffix}", from.display())).ok();
            }
            Ok(())
        }
        (CrowdSecDatabase::Server(server), Engine::Postgres(_)) => move_schema(server).await,
        _ => unreachable!("the configuration names one database"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_lies_beside() {
        for (theirs, ours) in [
            ("/var/lib/crowdsec/data/crowdsec.db", "/var/lib/crowdsec/data/crowdsec.palisade.db"),
            ("/x/lapi", "/x/lapi.palisade.db"),
            ("/x/a.b.sqlite", "/x/a.b.palisade.db"),
        ] {
            assert_eq!(own_file(Path::new(theirs)), Path::new(ours));
        }
    }
}
