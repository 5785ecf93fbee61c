//! The last good decisions on disk, so that a rebooted host enforces before the LAPI answers.
//!
//! ```text
//!   decisions          everything, written whole beside the old file, synced, and moved over it
//!   decisions.journal  what changed since, one record per answer, appended and synced; each has a checksum
//! ```
//!
//! A reader sees the old state or the new one: of the journal it takes the records up to the first that is not whole, and
//! only those that belong to the file beside it. [`keep()`] decides what is written when.

mod format;
mod journal;
mod writer;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use palisade_cache::{Batch, Ledger, Mode, Snapshot, Timestamp};

use self::format::{Unusable, decode, encode};
pub(crate) use self::journal::Record;
pub use self::writer::keep;

/// A remembered file could not be used, or not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PersistError {
    /// The file system said no.
    #[error("cannot {doing} the remembered decisions at {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// Not a file of ours, or of another version.
    #[error("{} is not a file of remembered decisions this version can read; it is left unused and will be replaced", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// The checksum or the structure does not hold.
    #[error("{} is damaged; it is left unused and will be replaced", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The decisions are another LAPI's.
    #[error("{} holds decisions of another LAPI ({theirs}); it is left unused and will be replaced", path.display())]
    OtherLapi {
        /// Which file.
        path: PathBuf,
        /// The identity it carries.
        theirs: String,
    },
}

/// Where the last good decisions are kept.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
    identity: Identity,
}

/// Whose decisions they are: any of these LAPIs', of this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    lapis: Vec<String>,
    kind: String,
}

/// Decisions that were remembered.
#[derive(Debug, Default)]
pub struct PersistedState {
    /// What the file holds.
    base: Batch,
    /// What the journal holds, in order.
    changes: Vec<Batch>,
    /// When they were written.
    pub written: Timestamp,
    /// The cursor that belongs to exactly these; empty when none does.
    pub cursor: String,
}

impl PersistedState {
    /// Puts the decisions that still hold at `now` into a ledger, in place of what it held.
    pub fn restore(self, ledger: &mut Ledger, now: Timestamp) {
        ledger.apply(Mode::Everything, self.base);
        // Also what has ended since: it may have replaced what ends later.
        for changes in self.changes {
            ledger.apply(Mode::Changes, changes);
        }
        ledger.expire(now);
    }
}

/// What identifies one written file to the journal beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    checksum: u32,
    bytes: u64,
}

impl StateFile {
    /// Keeps decisions at `path`. `lapis` names where they come from (URLs of LAPIs that stand for each other) and
    /// `kind` which ones they are: a file that names none of these LAPIs, or another kind, is refused.
    pub fn new<'a>(
        path: impl Into<PathBuf>,
        lapis: impl IntoIterator<Item = &'a str>,
        kind: impl Into<String>,
    ) -> Self {
        let lapis = lapis.into_iter().map(str::to_owned).collect();
        Self { path: path.into(), identity: Identity { lapis, kind: kind.into() } }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn journal(&self) -> PathBuf {
        self.path.with_extension("journal")
    }

    /// The remembered decisions; `None` when there is no file. A journal that cannot be used is ignored.
    ///
    /// # Errors
    /// When there is a file and it cannot be read, or is not ours, not whole, or not of this LAPI.
    pub fn load(&self, now: Timestamp) -> Result<Option<PersistedState>, PersistError> {
        let io = |cause| PersistError::Io { doing: "read", path: self.path.clone(), cause };
        let mut bytes = Vec::new();
        match File::open(&self.path) {
            Ok(mut file) => file.read_to_end(&mut bytes).map_err(io)?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(io(cause)),
        };
        let (mut remembered, written) = match decode(&bytes, &self.identity, now) {
            Ok(found) => found,
            Err(Unusable::Foreign) => return Err(PersistError::Foreign { path: self.path.clone() }),
            Err(Unusable::Damaged) => return Err(PersistError::Damaged { path: self.path.clone() }),
            Err(Unusable::OtherLapi(theirs)) => {
                return Err(PersistError::OtherLapi { path: self.path.clone(), theirs });
            }
        };
        if let Ok(journal) = fs::read(self.journal()) {
            journal::read(&journal, written, &mut remembered);
        }
        Ok(Some(remembered))
    }

    /// Writes a snapshot; only the owner can read the file. Blocks on the disk.
    ///
    /// # Errors
    /// When the directory is missing or full; the old file then stays as it was.
    pub fn save(&self, snapshot: &Snapshot, now: Timestamp) -> Result<(), PersistError> {
        self.save_at(snapshot, "", now).map(drop)
    }

    /// The same with the cursor that belongs to exactly this snapshot.
    pub(crate) fn save_at(
        &self,
        snapshot: &Snapshot,
        cursor: &str,
        now: Timestamp,
    ) -> Result<Written, PersistError> {
        let (bytes, checksum) = encode(snapshot, &self.identity.text(), cursor, now);
        let staged = self.path.with_extension("new");
        let moved = (|| {
            let mut file = create(&staged)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&staged, &self.path)?;
            // The journal of the file before is of no use any more, and would not be read.
            match fs::remove_file(self.journal()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.sync_directory()
        })();
        moved.map_err(|cause| {
            // What is left of it takes room on a full disk; that it may be gone already is no news.
            let _ = fs::remove_file(&staged);
            PersistError::Io { doing: "write", path: self.path.clone(), cause }
        })?;
        Ok(Written { checksum, bytes: bytes.len() as u64 })
    }

    /// A rename or a new file must itself survive a power cut.
    fn sync_directory(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }
}

/// An empty file that only its owner can read.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

impl Identity {
    fn text(&self) -> String {
        format!("{} ({})", self.lapis.join(" "), self.kind)
    }

    fn is_ours(&self, theirs: &str) -> bool {
        let Some((lapis, kind)) = theirs.strip_suffix(')').and_then(|text| text.rsplit_once(" (")) else {
            return false;
        };
        kind == self.kind && lapis.split(' ').any(|lapi| self.lapis.iter().any(|ours| ours == lapi))
    }
}

/// Checks that bytes from anywhere decode or are refused, and never panic, as a file and as its journal. For fuzzing.
#[doc(hidden)]
pub fn fuzz_decode(bytes: &[u8]) -> Option<usize> {
    let identity = Identity { lapis: vec!["x".to_owned()], kind: "fuzz".to_owned() };
    journal::read(bytes, Written { checksum: 0, bytes: 0 }, &mut PersistedState::default());
    decode(bytes, &identity, Timestamp::default()).ok().map(|(found, _)| found.base.announced())
}

#[cfg(test)]
#[path = "persist/tests.rs"]
mod tests;
