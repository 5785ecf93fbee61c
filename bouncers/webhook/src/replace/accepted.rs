//! Keeps on disk which list the receiver has accepted, so that a restart does not upload it again.
//!
//! Before an upload the record is removed: what was uploaded last is then not known, and the next start uploads again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A longer file is none of ours.
const MAX_FILE_BYTES: u64 = 4096;

/// What a process left about its receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The digest of the list that was accepted, in hexadecimal digits; `None` when that is not known.
    pub digest: Option<String>,
    /// Whether the receiver asked never to be called again.
    pub stopped: bool,
}

/// The file.
#[derive(Debug, Clone)]
pub struct AcceptedFile(PathBuf);

impl AcceptedFile {
    /// A file at this path, whose directory is made when it is first written.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads it. A file that is missing or damaged says nothing.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self) -> io::Result<Accepted> {
        match fs::metadata(&self.0) {
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => return Ok(Accepted::default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Accepted::default()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        Ok(serde_json::from_slice(&fs::read(&self.0)?).unwrap_or_default())
    }

    /// Replaces it atomically. Blocks on the disk.
    ///
    /// # Errors
    /// When the directory cannot be written; the file is unchanged then.
    pub fn write(&self, accepted: &Accepted) -> io::Result<()> {
        let staged = self.0.with_extension("new");
        let written = (|| {
            // Stores of other endpoints make the directory too, but there may be none.
            if let Some(parent) = self.0.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut file = File::create(&staged)?;
            file.write_all(&serde_json::to_vec(accepted)?)?;
            // Before the rename: otherwise a power failure may leave the new name with no contents.
            file.sync_all()?;
            fs::rename(&staged, &self.0)?;
            self.sync_directory()
        })();
        if written.is_err() {
            // Free the space of a partial file; it may not exist.
            let _ = fs::remove_file(&staged);
        }
        written
    }

    /// Removes it, which also a full disk allows. Blocks on the disk.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync_directory(),
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        match self.0.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_made_when_no_other_endpoint_has_made_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = AcceptedFile::new(dir.path().join("endpoints").join("x.list"));
        file.forget().unwrap();
        let accepted = Accepted { digest: Some("ab".to_owned()), stopped: false };
        file.write(&accepted).unwrap();
        assert_eq!(file.read().unwrap(), accepted);
    }

    #[test]
    fn what_was_accepted_is_read_back_and_a_damaged_file_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = AcceptedFile::new(dir.path().join("x.accepted"));
        assert_eq!(file.read().unwrap(), Accepted::default());
        let accepted = Accepted { digest: Some("ab".to_owned()), stopped: false };
        file.write(&accepted).unwrap();
        assert_eq!(file.read().unwrap(), accepted);
        file.forget().unwrap();
        file.forget().unwrap();
        assert_eq!(file.read().unwrap(), Accepted::default());
        for damaged in ["", "{\"digest\":", "{\"digest\":1,\"stopped\":false}", &"x".repeat(5000)] {
            fs::write(file.path(), damaged).unwrap();
            assert_eq!(file.read().unwrap(), Accepted::default());
        }
    }
}
