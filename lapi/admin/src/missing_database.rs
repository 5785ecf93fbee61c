//! Refuses to make a database where there was one.
//!
//! On a fresh host the first `machines add` or `bouncers add` may come before the first start of the LAPI, and makes the
//! database. Where one was deleted, a new empty one would hide that, and a running LAPI would not know it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use palisade_store::{CrowdSecDatabase, DbConfig, Engine};

use crate::failure::Failure;

/// Files that a LAPI or a command leaves beside its database.
const TRACES: [&str; 5] = ["-open.lock", "-import.lock", "-sync.sock", "-wal", "-shm"];

/// Checks that the database is there, or that the command may make it.
///
/// # Errors
///
/// When it is missing and must not be made.
pub(crate) fn check(config: &DbConfig, may_create: bool) -> Result<(), Failure> {
    let Engine::Sqlite { path, .. } = &config.engine else { return Ok(()) };
    // Whatever else is wrong with it is found when it is opened.
    if !std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(());
    }
    let shown = path.display();
    if let Some(process) = process_with(path) {
        return Err(Failure::Command(format!(
            "the database {shown} was deleted or moved, and process {process} still has it open; put it back or restore it \
             from a backup, then restart palisade-lapi"
        )));
    }
    if let Some(trace) = TRACES.into_iter().map(|suffix| beside(path, suffix)).find(|trace| trace.exists()) {
        return Err(Failure::Command(format!(
            "the database {shown} is missing, but {} shows that there was one; restore it from a backup, or start \
             palisade-lapi, which makes an empty one",
            trace.display()
        )));
    }
    // A database of CrowdSec in `db_path` is taken over.
    let is_taken_over = matches!(&config.crowdsec, Some(CrowdSecDatabase::File(path)) if path.exists());
    if !may_create && !is_taken_over {
        return Err(Failure::Command(format!(
            "the database {shown} does not exist; start palisade-lapi, which makes it, or correct db_config.db_path"
        )));
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// A process that has a file of this path open although it is not there any more; only processes that this one may look
/// into.
fn process_with(path: &Path) -> Option<String> {
    let resolved = path.parent().and_then(|folder| folder.canonicalize().ok())?.join(path.file_name()?);
    let mut deleted: OsString = resolved.into_os_string();
    deleted.push(" (deleted)");
    let deleted = PathBuf::from(deleted);
    let has = |process: &Path| {
        let open = std::fs::read_dir(process.join("fd")).ok();
        open.into_iter()
            .flatten()
            .flatten()
            .any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == deleted))
    };
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut numbers =
        processes.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    numbers.find(|entry| has(&entry.path())).map(|entry| entry.file_name().to_string_lossy().into_owned())
}
