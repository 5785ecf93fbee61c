//! The state file: loaded with its journal, written whole.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use palisade_cache::{Snapshot, Timestamp};

use super::disk::{create, sync_directory};
use super::error::PersistError;
use super::format::{Unusable, decode, encode};
use super::journal;
use super::state::{Identity, PersistedState, Written};

/// The location and identity of the persisted state.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
    identity: Identity,
}

/// Opening a pipe or reading a device could take for ever.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    fs::read(path)
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

    pub(super) fn journal(&self) -> PathBuf {
        self.path.with_extension("journal")
    }

    /// Loads the persisted state; `None` when there is no file. An unusable journal is ignored.
    ///
    /// # Errors
    /// When the file cannot be read, is not a state file, is damaged, or is of another LAPI.
    pub fn load(&self, now: Timestamp) -> Result<Option<PersistedState>, PersistError> {
        let io = |cause| PersistError::Io { doing: "read", path: self.path.clone(), cause };
        let bytes = match read_regular(&self.path) {
            Ok(bytes) => bytes,
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
        if let Ok(journal) = read_regular(&self.journal()) {
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
            // Renaming over a device or a pipe would replace it.
            if fs::symlink_metadata(&self.path).is_ok_and(|metadata| !metadata.is_file()) {
                return Err(io::Error::other("it is no regular file"));
            }
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
            sync_directory(&self.path)
        })();
        moved.map_err(|cause| {
            // Free the space of a partial file; it may not exist.
            let _ = fs::remove_file(&staged);
            PersistError::Io { doing: "write", path: self.path.clone(), cause }
        })?;
        Ok(Written { checksum, bytes: bytes.len() as u64 })
    }
}
