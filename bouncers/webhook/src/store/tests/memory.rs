//! Storage in memory that records every operation, and fails on request.

use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use super::super::medium::{Backend, Medium};
use super::*;

/// One operation on the storage.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
    /// A commit of the test was begun.
    Begun(u64),
    /// It returned and was durable.
    Durable(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) log: Vec<Operation>,
    published: bool,
    aside: bool,
    /// The storage cannot grow beyond this; what it has can be written.
    pub(super) capacity: Option<u64>,
    /// After so many further operations all fail.
    pub(crate) fails_after: Option<u64>,
}

impl Disk {
    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Write(offset, data) => {
                let start = usize::try_from(*offset).unwrap();
                // Without the growth before it, which a crash undid, there is no place for it.
                if let Some(place) = self.bytes.get_mut(start..start + data.len()) {
                    place.copy_from_slice(data);
                }
            }
            Operation::SetLen(length) => self.bytes.resize(usize::try_from(*length).unwrap(), 0),
            Operation::Sync | Operation::Begun(_) | Operation::Durable(_) => {}
        }
    }

    fn perform(&mut self, operation: Operation) -> io::Result<()> {
        let is_growth = matches!(&operation, Operation::SetLen(length) if Some(*length) > self.capacity);
        if is_growth && self.capacity.is_some() || self.fails_after == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(left) = &mut self.fails_after {
            *left -= 1;
        }
        self.apply(&operation);
        self.log.push(operation);
        Ok(())
    }
}

/// A medium whose storage the test holds too.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryMedium(Arc<Mutex<Disk>>);

impl MemoryMedium {
    pub(crate) fn with(bytes: Vec<u8>) -> Self {
        let published = !bytes.is_empty();
        Self(Arc::new(Mutex::new(Disk { bytes, published, ..Disk::default() })))
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.0)
    }

    pub(crate) fn open(&self, limits: StoreLimits) -> Result<Store, StoreError> {
        Store::open_on(Box::new(self.clone()), limits)
    }

    /// Whether the storage was found unusable.
    pub(super) fn was_set_aside(&self) -> bool {
        self.disk().aside
    }
}

impl Medium for MemoryMedium {
    fn path(&self) -> &Path {
        Path::new("memory.redb")
    }

    fn existing(&self) -> io::Result<Option<Backend>> {
        Ok(self.disk().published.then(|| Backend::new(self.clone())))
    }

    fn create(&self) -> io::Result<Backend> {
        self.disk().bytes.clear();
        Ok(Backend::new(self.clone()))
    }

    fn publish(&self) -> io::Result<()> {
        self.disk().published = true;
        Ok(())
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        let mut disk = self.disk();
        (disk.published, disk.aside) = (false, true);
        Ok("aside".into())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk().bytes.len() as u64)
    }
}

impl StorageBackend for MemoryMedium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let disk = self.disk();
        let place = disk.bytes.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(place);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk().perform(Operation::SetLen(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk().perform(Operation::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk().perform(Operation::Write(offset, data.to_vec()))
    }
}
