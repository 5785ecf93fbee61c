//! Provides the file of a store: created readable by the owner only, grown with reserved space, set aside when unusable.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Appended to the name of a file that cannot be used. One is kept: a later one replaces it.
pub(super) const SET_ASIDE_SUFFIX: &str = ".unusable";

/// Where the bytes of a store are.
pub(super) trait Medium: fmt::Debug + Send + Sync {
    /// For messages.
    fn path(&self) -> &Path;
    /// The bytes that are there; `None` when there are none.
    fn existing(&self) -> io::Result<Option<Backend>>;
    /// Empty storage, which becomes the existing one with [`publish`](Self::publish).
    fn create(&self) -> io::Result<Backend>;
    /// Puts what was created in place, durably.
    fn publish(&self) -> io::Result<()>;
    /// Moves the existing bytes out of the way and returns where they are.
    fn set_aside(&self) -> io::Result<PathBuf>;
    /// How many bytes there are.
    fn size(&self) -> io::Result<u64>;
}

/// A file.
#[derive(Debug)]
pub(super) struct FileMedium {
    path: PathBuf,
}

impl FileMedium {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    fn staged(&self) -> PathBuf {
        self.with_suffix(".new")
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(self.directory())?.sync_all()
    }
}

impl Medium for FileMedium {
    fn path(&self) -> &Path {
        &self.path
    }

    fn existing(&self) -> io::Result<Option<Backend>> {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            // Neither a link, which may lead anywhere, nor a device, which would be overwritten.
            Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("it is no regular file")),
            Ok(_) => {}
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        FileStorage::new(file).map(|storage| Some(Backend::new(storage)))
    }

    /// Under another name until it has content: a crash in between leaves no half-made file to be taken for damage.
    fn create(&self) -> io::Result<Backend> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.directory())?;
        match fs::remove_file(self.staged()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(self.staged())?;
        FileStorage::new(file).map(Backend::new)
    }

    fn publish(&self) -> io::Result<()> {
        fs::rename(self.staged(), &self.path)?;
        self.sync_directory()
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.with_suffix(SET_ASIDE_SUFFIX);
        fs::rename(&self.path, &aside)?;
        self.sync_directory()?;
        Ok(aside)
    }

    fn size(&self) -> io::Result<u64> {
        fs::metadata(&self.path).map(|metadata| metadata.len())
    }
}

/// Storage of any kind, for redb.
#[derive(Debug)]
pub(super) struct Backend(Box<dyn StorageBackend>);

impl Backend {
    pub(super) fn new(storage: impl StorageBackend) -> Self {
        Self(Box::new(storage))
    }
}

/// redb's own access to a file, except that the file is grown with its space reserved.
///
/// redb grows a file by a hole that it fills later. On a full file system it would then fail in the middle of writing
/// pages, and again when it repairs the file, so that not even the old state could be read. With reserved space the
/// only call that can fail for lack of it is the one that grows the file.
#[derive(Debug)]
struct FileStorage {
    pages: FileBackend,
    file: File,
}

impl FileStorage {
    fn new(file: File) -> io::Result<Self> {
        let pages = FileBackend::new(file.try_clone()?).map_err(io::Error::other)?;
        Ok(Self { pages, file })
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        loop {
            match fallocate(&self.file, FallocateFlags::empty(), from, to - from) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                // The file system cannot reserve.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return self.file.set_len(to),
                Err(error) => {
                    // What was reserved of it must not stay taken from others.
                    self.file.set_len(from)?;
                    return Err(error.into());
                }
            }
        }
    }
}

impl StorageBackend for FileStorage {
    fn len(&self) -> io::Result<u64> {
        self.pages.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.pages.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let current = self.pages.len()?;
        if length > current { self.reserve(current, length) } else { self.pages.set_len(length) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.pages.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.pages.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.pages.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.pages.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.pages.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.pages.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.pages.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.pages.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.pages.query_lock_range(start, end)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}
