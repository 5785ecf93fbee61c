//! Reads one MaxMind database, and replaces it when its file changes.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use maxminddb::{MaxMindDbError, PathElement, Reader};
use tracing::{info, warn};

use super::place::{CountryCode, SystemNumber};

/// The fields that name a country, in the order in which they are tried.
const COUNTRY_FIELDS: [&str; 3] = ["country", "registered_country", "represented_country"];
/// The largest file that is read, in bytes.
// It is held in memory: a mapped file would crash the process if it were cut off in place.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GeoError {
    /// The file cannot be read.
    #[error("cannot read the database {}; correct its path in `geo`, or let the daemon's user read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },
    /// The file is too large.
    #[error("the database {} has more than {MAX_FILE_BYTES} bytes; use one of countries or of autonomous systems only", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is no MaxMind database; fetch it again", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: MaxMindDbError,
    },
}

/// One database.
pub struct Database {
    path: PathBuf,
    reader: ArcSwap<Reader<Vec<u8>>>,
    /// The file that was last looked at, whether it could be used or not.
    seen: Mutex<FileIdentity>,
}

/// What changes when a file is replaced or written to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl From<&Metadata> for FileIdentity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Database {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or is no MaxMind database.
    pub fn open(path: &Path) -> Result<Self, GeoError> {
        let (reader, identity) = read(path)?;
        Ok(Self { path: path.to_owned(), reader: ArcSwap::from_pointee(reader), seen: Mutex::new(identity) })
    }

    /// The country of an address: where it is, else where it is registered, else whom it represents.
    pub fn country(&self, address: IpAddr) -> Option<CountryCode> {
        let reader = self.reader.load();
        let found = reader.lookup(address).ok()?;
        COUNTRY_FIELDS.into_iter().find_map(|field| {
            // An entry that is damaged or of another shape says nothing.
            let path = [PathElement::Key(field), PathElement::Key("iso_code")];
            CountryCode::new(found.decode_path::<&str>(&path).ok()??)
        })
    }

    /// The autonomous system of an address.
    pub fn autonomous_system(&self, address: IpAddr) -> Option<SystemNumber> {
        let reader = self.reader.load();
        let found = reader.lookup(address).ok()?;
        let path = [PathElement::Key("autonomous_system_number")];
        found.decode_path::<u32>(&path).ok()?.map(SystemNumber)
    }

    /// Reads the file again if it has changed. The old database stays in use when it cannot be used, which is logged once.
    pub(super) async fn reload_if_changed(&self) {
        let path = self.path.clone();
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = tokio::task::spawn_blocking(move || {
            let identity =
                fs::metadata(&path).map(|metadata| FileIdentity::from(&metadata)).unwrap_or_default();
            (identity != seen).then(|| (identity, read(&path)))
        });
        // Nothing when the runtime is going down.
        let Ok(Some((identity, read))) = changed.await else { return };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = identity;
        match read {
            Ok((reader, _)) => {
                self.reader.store(Arc::new(reader));
                info!(path = %self.path.display(), "database of addresses reloaded");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "the database of addresses is not reloaded; the old one stays in use");
            }
        }
    }
}

fn read(path: &Path) -> Result<(Reader<Vec<u8>>, FileIdentity), GeoError> {
    let failed = |cause| GeoError::Read { path: path.to_owned(), cause };
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(GeoError::TooLarge { path: path.to_owned() });
    }
    let bytes = fs::read(path).map_err(failed)?;
    let reader =
        Reader::from_source(bytes).map_err(|cause| GeoError::Format { path: path.to_owned(), cause })?;
    Ok((reader, FileIdentity::from(&metadata)))
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}
