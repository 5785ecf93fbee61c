//! The first start on a database: takes over what `db_config` names, or moves what an earlier version made there.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use palisade_wire::UnixMillis;

use super::holder::holders;
use super::import::OnProgress;
use super::report::ImportReport;
use super::source::{Contents, CrowdSecDatabase, Source, check_file, file_contents, server_contents};
use crate::engine::{check_file_of_ours, move_schema, own_schema_exists, settle_log};
use crate::{DbConfig, Engine, Retention, Store, StoreError};

/// The setting that says that the first start is complete.
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
        let found;
        if Self::exists(config).await? {
            let store = Self::open(config).await?;
            if store.setting(SETTING).await?.is_some() {
                return Ok((store, FirstStart::Earlier));
            }
            // A start was interrupted.
            found = contents(config, crowdsec).await?;
            store.close().await;
        } else {
            found = contents(config, crowdsec).await?;
            if found == Contents::Ours {
                move_here(config, crowdsec).await?;
            }
        }
        let source = match found {
            Contents::CrowdSec => Some(Source::open(crowdsec, scratch(config)).await?),
            _ => None,
        };
        let store = Self::open(config).await?;
        let first_start = match (source, found) {
            (Some(source), _) => {
                let report = store.take_all(now, source, keep.clone(), false, on_progress).await?;
                FirstStart::Imported(crowdsec.to_string(), Box::new(report))
            }
            (None, Contents::Ours) => FirstStart::Moved(crowdsec.to_string()),
            (None, _) => FirstStart::New,
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

    /// Takes what a CrowdSec database has and this one has not: everything, or what came since the last import. With
    /// `dry_run` nothing is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Import`] when the source is in use, unreadable, or unknown; otherwise when a database fails. Nothing
    /// was taken then.
    pub async fn import_crowdsec(
        &self,
        config: &DbConfig,
        now: UnixMillis,
        database: &CrowdSecDatabase,
        keep: &Retention,
        dry_run: bool,
        on_progress: OnProgress,
    ) -> Result<ImportReport, StoreError> {
        let source = Source::open(database, scratch(config)).await?;
        let report = self.take_all(now, source, keep.clone(), dry_run, on_progress).await?;
        if !dry_run {
            // The next start must not import again what `db_config` names.
            self.setting_or_insert(now, SETTING, "imported").await?;
        }
        Ok(report)
    }
}

/// Finds, by reading, what the first start would refuse.
pub(crate) async fn check(config: &DbConfig) -> Result<(), StoreError> {
    let (Some(CrowdSecDatabase::File(path)), false) = (&config.crowdsec, Store::exists(config).await?) else {
        return Ok(());
    };
    check_file(path).await
}

/// A folder for the copy of CrowdSec's file, on the file system that holds our database.
fn scratch(config: &DbConfig) -> PathBuf {
    match &config.engine {
        Engine::Sqlite { path, .. } => PathBuf::from(format!("{}-import", path.display())),
        Engine::Postgres(_) => std::env::temp_dir().join(format!("palisade-import-{}", std::process::id())),
    }
}

async fn contents(config: &DbConfig, crowdsec: &CrowdSecDatabase) -> Result<Contents, StoreError> {
    match crowdsec {
        CrowdSecDatabase::File(path) => {
            let found = file_contents(path, scratch(config)).await?;
            // Its data is in a write-ahead log that is missing: beginning anew would lose it without a word.
            let has_data = std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
            match (found, has_data) {
                (Contents::Nothing, true) => Source::open(crowdsec, scratch(config)).await.map(|_| found),
                (Contents::Other, _) => Err(StoreError::Foreign {
                    database: path.display().to_string(),
                    owner: "another program",
                    setting: "db_config.db_path",
                }),
                _ => Ok(found),
            }
        }
        // Ours lies in a schema of its own, so tables of other programs do not matter.
        CrowdSecDatabase::Server(server) => server_contents(server).await,
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
