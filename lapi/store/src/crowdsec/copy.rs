//! Copies a SQLite database with its write-ahead log or rollback journal, so that the original is only read.
//!
//! SQLite itself cannot open CrowdSec's file without a trace: as another user it may be unable to, with a write-ahead log
//! it leaves `-shm` and `-wal` files of the wrong owner, and `immutable` ignores the log without an error.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The files of a database besides the database itself.
const SIDE_FILES: [&str; 2] = ["-wal", "-journal"];
/// Attempts to copy while another process writes.
const ATTEMPTS: usize = 5;
/// The name of the copy in its folder.
const COPY: &str = "copy.db";

/// A private copy, removed when dropped.
#[derive(Debug)]
pub(super) struct Copy {
    folder: PathBuf,
}

impl Drop for Copy {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

impl Copy {
    /// Copies a database into a new folder, which replaces one that a killed process left behind.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` when the database changes all the time; those of the file system, with the path that they concern.
    pub(super) fn of(database: &Path, folder: PathBuf) -> Result<Self, (PathBuf, Error)> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| (path, error)
        };
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err((folder, error)),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed(&folder))?;
        let copy = Self { folder };
        for _ in 0..ATTEMPTS {
            let before = states(database);
            for (from, suffix) in files(database) {
                let to = copy.folder.join(format!("{COPY}{suffix}"));
                match copy_file(&from, &to) {
                    Err(error) if error.kind() == ErrorKind::NotFound && !suffix.is_empty() => {
                        std::fs::remove_file(&to).ok();
                    }
                    done => done.map_err(failed(&from))?,
                }
            }
            // A write in between is seen by the time or size of a file: then the parts may not belong together.
            if states(database) == before {
                return Ok(copy);
            }
        }
        Err((database.to_owned(), Error::from(ErrorKind::ResourceBusy)))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(COPY)
    }
}

fn files(database: &Path) -> impl Iterator<Item = (PathBuf, &'static str)> {
    std::iter::once("")
        .chain(SIDE_FILES)
        .map(move |suffix| (PathBuf::from(format!("{}{suffix}", database.display())), suffix))
}

fn states(database: &Path) -> Vec<Option<(u64, u64, i64, i64)>> {
    let state = |found: Metadata| (found.ino(), found.size(), found.mtime(), found.mtime_nsec());
    files(database).map(|(path, _)| std::fs::metadata(path).ok().map(state)).collect()
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    let mut from = File::open(from)?;
    let mut to = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    std::io::copy(&mut from, &mut to).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_has_the_log_and_goes_with_its_handle() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        std::fs::write(&database, "main").unwrap();
        std::fs::write(folder.path().join("a.db-wal"), "log").unwrap();
        let scratch = folder.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        std::fs::write(scratch.join("copy.db-journal"), "of a killed process").unwrap();
        let copy = Copy::of(&database, scratch.clone()).unwrap();
        assert_eq!(std::fs::read_to_string(copy.path()).unwrap(), "main");
        assert_eq!(std::fs::read_to_string(scratch.join("copy.db-wal")).unwrap(), "log");
        assert!(!scratch.join("copy.db-journal").exists());
        drop(copy);
        assert!(!scratch.exists());
        let (path, error) = Copy::of(&folder.path().join("none"), scratch).unwrap_err();
        assert_eq!((path, error.kind()), (folder.path().join("none"), ErrorKind::NotFound));
    }
}
