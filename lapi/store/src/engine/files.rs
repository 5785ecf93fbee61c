//! Notices when the files of an open SQLite database are deleted, moved or replaced. SQLite itself does not: it goes on
//! with the files that it has open, and what it commits there is lost with the process.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Device and inode.
type FileId = (u64, u64);

const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// The files of a database as they were opened.
#[derive(Debug)]
pub(super) struct DatabaseFiles {
    path: PathBuf,
    database: Option<FileId>,
    /// The write-ahead log and its index, which the last connection removes.
    beside: Mutex<[Option<FileId>; 2]>,
}

/// What has become of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) reason: String,
    /// Only the write-ahead log has been deleted: what is in it can still be saved.
    pub(super) is_log_deleted: bool,
}

impl DatabaseFiles {
    /// Of a database that is open.
    pub(super) fn of(path: &Path) -> Self {
        let beside = BESIDE.map(|suffix| id(&with_suffix(path, suffix)));
        Self { path: path.to_owned(), database: id(path), beside: Mutex::new(beside) }
    }

    /// Whether the files are still where they were opened.
    pub(super) fn check(&self) -> Result<(), Lost> {
        let lost = |what: &str| Lost {
            reason: format!("{what} under the running program; put it back, or restart the program"),
            is_log_deleted: false,
        };
        match id(&self.path) {
            None => return Err(lost("the file was deleted or moved")),
            now if now != self.database => return Err(lost("the file was replaced")),
            _ => {}
        }
        let mut known = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        for (suffix, known) in BESIDE.into_iter().zip(known.iter_mut()) {
            let now = id(&with_suffix(&self.path, suffix));
            if now == *known {
                continue;
            }
            // Also after all connections were closed for a moment; then nothing has the old file open.
            if let Some(old) = *known
                && is_open(old)
            {
                let what = if now.is_some() { "replaced" } else { "deleted or moved" };
                let reason =
                    format!("its file {suffix} was {what} under the running program; restart the program");
                return Err(Lost { reason, is_log_deleted: suffix == BESIDE[0] && now.is_none() });
            }
            *known = now;
        }
        Ok(())
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn id(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().as_ref().map(id_of)
}

fn id_of(found: &Metadata) -> FileId {
    (found.dev(), found.ino())
}

/// Whether this process has the file open; assumed where that cannot be found out.
fn is_open(file: FileId) -> bool {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return true };
    open.flatten().any(|entry| std::fs::metadata(entry.path()).is_ok_and(|found| id_of(&found) == file))
}

#[cfg(test)]
mod tests {
    use std::fs::{File, remove_file, rename, write};

    use super::*;

    #[test]
    fn files_that_are_deleted_moved_or_replaced_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lapi.db");
        let (wal, away) = (with_suffix(&path, "-wal"), folder.path().join("away"));
        write(&path, "1").unwrap();
        write(&wal, "1").unwrap();
        let held = (File::open(&path).unwrap(), File::open(&wal).unwrap());
        let files = DatabaseFiles::of(&path);
        assert_eq!(files.check(), Ok(()));
        let reason = || files.check().unwrap_err();

        rename(&path, &away).unwrap();
        assert!(reason().reason.contains("deleted or moved"));
        write(&path, "2").unwrap();
        assert!(reason().reason.contains("replaced"));
        rename(&away, &path).unwrap();
        assert_eq!(files.check(), Ok(()));

        remove_file(&wal).unwrap();
        assert!(reason().is_log_deleted);
        write(&wal, "2").unwrap();
        assert!(!reason().is_log_deleted && reason().reason.contains("-wal was replaced"));
        // The first one is not open any more: all connections were closed and opened again.
        drop(held);
        assert_eq!(files.check(), Ok(()));
        write(with_suffix(&path, "-shm"), "1").unwrap();
        assert_eq!(files.check(), Ok(()));
    }
}
