//! Persists decisions on disk, so that a rebooted host enforces them before the LAPI answers.
//!
//! ```text
//!    decisions          the whole state: written to a new file, synced, renamed over the old one
//!    decisions.journal  the changes since, one checksummed record per response, appended and synced
//! ```
//!
//! A reader sees either the old or the new state: of the journal it uses the records up to the first incomplete one,
//! and only if the journal belongs to the file. [`keep()`] decides what is written when.

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

/// A state file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PersistError {
    /// An operation of the file system failed.
    #[error("cannot {doing} the remembered decisions at {}", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// Not a state file, or of another version.
    #[error("{} is not a file of remembered decisions this version can read; it is left unused and will be replaced", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// Checksum or structure is invalid.
    #[error("{} is damaged; it is left unused and will be replaced", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The decisions are from another LAPI.
    #[error("{} holds decisions of another LAPI ({theirs}); it is left unused and will be replaced", path.display())]
    OtherLapi {
        /// Which file.
        path: PathBuf,
        /// The identity in the file.
        theirs: String,
    },
}

/// The location and identity of the persisted state.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
    identity: Identity,
}

/// What the decisions belong to: any of these LAPIs, and this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    lapis: Vec<String>,
    kind: String,
}

/// The persisted state, loaded.
#[derive(Debug, Default)]
pub struct PersistedState {
    base: Batch,
    /// The records of the journal, in order.
    changes: Vec<Batch>,
    /// When it was written.
    pub written: Timestamp,
    /// The cursor that belongs to exactly this state; empty without one.
    pub cursor: String,
}

impl PersistedState {
    /// Replaces the contents of a ledger by the decisions that are in force at `now`.
    pub fn restore(self, ledger: &mut Ledger, now: Timestamp) {
        ledger.apply(Mode::Everything, self.base);
        // Including ended decisions, which may have replaced decisions with a later end.
        for changes in self.changes {
            ledger.apply(Mode::Changes, changes);
        }
        ledger.expire(now);
    }
}

/// Identifies a written file to its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    checksum: u32,
    bytes: u64,
}

impl StateFile {
    /// State at `path`. `lapis` are the URLs of interchangeable LAPIs and `kind` describes the decisions: a file of
    /// none of these LAPIs, or of another kind, is refused.
    pub fn new<'a>(
        path: impl Into<PathBuf>,
        lapis: impl IntoIterator<Item = &'a str>,
        kind: impl Into<String>,
    ) -> Self {
        let lapis = lapis.into_iter().map(str::to_owned).collect();
        Self { path: path.into(), identity: Identity { lapis, kind: kind.into() } }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn journal(&self) -> PathBuf {
        self.path.with_extension("journal")
    }

    /// Loads the persisted state; `None` when there is no file. An unusable journal is ignored.
    ///
    /// # Errors
    /// When the file cannot be read, is not a state file, is damaged, or is of another LAPI.
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
        // An unreadable journal is ignored: the file alone is an older, but consistent state, and the LAPI completes
        // it.
        if let Ok(journal) = fs::read(self.journal()) {
            journal::read(&journal, written, &mut remembered);
        }
        Ok(Some(remembered))
    }

    /// Writes a snapshot, readable by the owner only. Blocks on the disk.
    ///
    /// # Errors
    /// When the directory is missing or full; the old file is unchanged then.
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
            // Before the rename: otherwise a power failure may leave the new name with no contents.
            file.sync_all()?;
            // Atomic, so that a reader or a crash meets the old file or the new one. The old journal carries the
            // checksum of the old file and is ignored beside the new one.
            fs::rename(&staged, &self.path)?;
            // The journal of the previous file is no longer valid; free its space.
            match fs::remove_file(self.journal()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.sync_directory()
        })();
        moved.map_err(|cause| {
            // Free the space of a partial file; it may not exist.
            let _ = fs::remove_file(&staged);
            PersistError::Io { doing: "write", path: self.path.clone(), cause }
        })?;
        Ok(Written { checksum, bytes: bytes.len() as u64 })
    }

    /// A rename or a new file survives a power failure only once its directory is synced.
    fn sync_directory(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }
}

/// Creates a file readable by the owner only.
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
        // One LAPI in common is enough: the lists of interchangeable LAPIs hold the same decisions, and adding one to
        // the list must not discard the state.
        kind == self.kind && lapis.split(' ').any(|lapi| self.lapis.iter().any(|ours| ours == lapi))
    }
}

/// Checks that arbitrary bytes, as a file or as a journal, are decoded or refused without panicking. For fuzzing.
#[doc(hidden)]
pub fn fuzz_decode(bytes: &[u8]) -> Option<usize> {
    let identity = Identity { lapis: vec!["x".to_owned()], kind: "fuzz".to_owned() };
    journal::read(bytes, Written { checksum: 0, bytes: 0 }, &mut PersistedState::default());
    decode(bytes, &identity, Timestamp::default()).ok().map(|(found, _)| found.base.announced())
}

#[cfg(test)]
#[path = "persist/tests.rs"]
mod tests;
