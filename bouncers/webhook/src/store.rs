//! Stores durably what one endpoint holds, in one file. Synchronous: to be called where blocking is allowed.
//!
//! ```text
//!   Store ── one redb file: opened, opened again after an error, set aside when unusable (open, medium)
//!     ├─ values    value ─► what the endpoint has confirmed, and the attempt that may have arrived
//!     ├─ queue     number ─► event, with `keep_history` (apply drops what exceeds the limits)
//!     ├─ dead      number ─► event that was given up
//!     └─ meta      state of the endpoint, counters, version of the format
//! ```
//!
//! A [`Commit`] is stored whole or not at all. One that is not `durable` costs no wait for the disk; a crash may undo it
//! together with all later ones up to the next durable one, never a part of it.

mod apply;
mod codec;
mod error;
mod format;
mod labels;
mod medium;
mod open;
mod record;
mod tables;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use palisade_cache::Timestamp;
use redb::{Durability, ReadableDatabase as _, ReadableTableMetadata as _};

pub use self::error::StoreError;
pub use self::record::{
    Attempt, Commit, Committed, Counts, DEFAULT_CACHE_BYTES, DeadLetter, Dropped, EndpointState,
    MAX_DROPPED_BY_COMMIT, MAX_REASON_BYTES, PausedState, StoreLimits, ValueRecord,
};

use self::error::Problem;
use self::format::{decode_dead_letter, decode_event, decode_record};
use self::medium::{FileMedium, Medium};
use self::open::{Open, open_or_begin};
use crate::event::{Event, Value};

/// Commits without a sync after which one is synced all the same, which bounds what a crash undoes.
const MAX_UNSYNCED_COMMITS: u32 = 64;

/// The durable state of one endpoint.
///
/// ```
/// use palisade_cache::Timestamp;
/// use palisade_webhook::event::Value;
/// use palisade_webhook::store::{Attempt, Commit, Store, StoreLimits, ValueRecord};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("endpoints/siem.redb");
/// let store = Store::open(&path, StoreLimits::default())?;
/// let value = Value::Net("192.0.2.7/32".parse()?);
///
/// // Before a message is sent: what the endpoint holds if it arrives.
/// let attempted = Some(Attempt { entries: Vec::new(), maybe: Vec::new(), sequence: 1 });
/// let records = vec![(value.clone(), Some(ValueRecord { entries: Vec::new(), attempted }))];
/// store.commit(&Commit { records, durable: true, ..Commit::default() }, Timestamp::from_millis(0))?;
/// drop(store);
///
/// let store = Store::open(&path, StoreLimits::default())?;
/// assert!(store.records(&[value])?[0].as_ref().is_some_and(|record| record.attempted.is_some()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Store {
    medium: Box<dyn Medium>,
    limits: StoreLimits,
    /// `None` after an error: redb refuses an open file after one.
    open: Mutex<Option<Open>>,
    view: Mutex<View>,
}

/// What is known without the file, so that a status never waits for the disk.
#[derive(Debug, Clone)]
struct View {
    state: EndpointState,
    counts: Counts,
    is_new: bool,
}

impl Store {
    /// Opens the file, or begins a new one when there is none or it is unusable. Reads all of it.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is in use.
    pub fn open(path: impl Into<PathBuf>, limits: StoreLimits) -> Result<Self, StoreError> {
        Self::open_on(Box::new(FileMedium::new(path.into())), limits)
    }

    fn open_on(medium: Box<dyn Medium>, limits: StoreLimits) -> Result<Self, StoreError> {
        let opened = open_or_begin(&*medium, limits.cache_bytes);
        let (open, begun) = opened.map_err(|problem| problem.at(medium.path().to_owned()))?;
        let view = View { state: open.state.clone(), counts: open.counts, is_new: begun.is_some() };
        Ok(Self { medium, limits, open: Mutex::new(Some(open)), view: Mutex::new(view) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.medium.path()
    }

    /// Whether the file was begun by this process: there was none, or it was unusable. Nothing is known of what the
    /// endpoint holds then.
    pub fn is_new(&self) -> bool {
        lock(&self.view).is_new
    }

    /// The state of the endpoint, without reading the file.
    pub fn state(&self) -> EndpointState {
        lock(&self.view).state.clone()
    }

    /// How much is stored, without reading the file.
    pub fn counts(&self) -> Counts {
        lock(&self.view).counts
    }

    /// What the endpoint holds of these values, in their order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn records(&self, values: &[Value]) -> Result<Vec<Option<ValueRecord>>, StoreError> {
        self.run(|open| {
            let transaction = open.database.begin_read()?;
            let table = transaction.open_table(tables::VALUES)?;
            let mut found = Vec::with_capacity(values.len());
            for value in values {
                let record = table.get(value.to_key().as_slice())?;
                found.push(record.map(|record| decode_record(record.value(), &mut open.labels)).transpose()?);
            }
            Ok(found)
        })
    }

    /// At most `limit` values with a record that come after `after`, in the order of their keys.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn scan(&self, after: Option<&Value>, limit: usize) -> Result<Vec<(Value, ValueRecord)>, StoreError> {
        self.run(|open| {
            let transaction = open.database.begin_read()?;
            let table = transaction.open_table(tables::VALUES)?;
            let after = after.map(Value::to_key);
            let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut found = Vec::new();
            for row in table.range::<&[u8]>((start, Bound::Unbounded))?.take(limit) {
                let (key, record) = row?;
                let value = Value::from_key(key.value()).map_err(|_| codec::Malformed)?;
                found.push((value, decode_record(record.value(), &mut open.labels)?));
            }
            Ok(found)
        })
    }

    /// Stores all of `commit` or nothing. `now` decides which queued events are too old.
    ///
    /// # Errors
    /// When it cannot be written. Whether it is stored is known only when the file can be read again: with the next
    /// call that succeeds.
    pub fn commit(&self, commit: &Commit, now: Timestamp) -> Result<Committed, StoreError> {
        self.run(|open| {
            let mut transaction = open.database.begin_write()?;
            let synced = commit.durable || open.unsynced >= MAX_UNSYNCED_COMMITS;
            if !synced {
                transaction.set_durability(Durability::None)?;
            }
            let Open { labels, counters, .. } = open;
            let committed = apply::apply(&transaction, commit, now, &self.limits, labels, counters)?;
            open.counts = Counts {
                records: transaction.open_table(tables::VALUES)?.len()?,
                queued: transaction.open_table(tables::QUEUE)?.len()?,
                dead: transaction.open_table(tables::DEAD)?.len()?,
                queued_bytes: open.counters.queued_bytes,
                dropped: open.counters.dropped,
            };
            transaction.commit()?;
            open.unsynced = if synced { 0 } else { open.unsynced + 1 };
            if let Some(state) = &commit.state {
                open.state.clone_from(state);
            }
            Ok(committed)
        })
    }

    /// Makes all commits so far survive a crash.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.run(|open| {
            if open.unsynced > 0 {
                open.database.begin_write()?.commit()?;
                open.unsynced = 0;
            }
            Ok(())
        })
    }

    /// At most `limit` queued events with a number above `after`, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn queue(&self, after: Option<u64>, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.run(|open| {
            let transaction = open.database.begin_read()?;
            let table = transaction.open_table(tables::QUEUE)?;
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut found = Vec::new();
            for row in table.range((start, Bound::Unbounded))?.take(limit) {
                let (number, event) = row?;
                found.push((number.value(), decode_event(event.value(), &mut open.labels)?));
            }
            Ok(found)
        })
    }

    /// At most `limit` dead letters with a number above `after`, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn dead_letters(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, DeadLetter)>, StoreError> {
        self.run(|open| {
            let transaction = open.database.begin_read()?;
            let table = transaction.open_table(tables::DEAD)?;
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut found = Vec::new();
            for row in table.range((start, Bound::Unbounded))?.take(limit) {
                let (number, letter) = row?;
                found.push((number.value(), decode_dead_letter(letter.value(), &mut open.labels)?));
            }
            Ok(found)
        })
    }

    /// Does `work` with the open file. After an error the file is closed, and the next call opens it again.
    fn run<T>(&self, work: impl FnOnce(&mut Open) -> Result<T, Problem>) -> Result<T, StoreError> {
        let mut slot = lock(&self.open);
        self.run_on(&mut slot, work).map_err(|problem| problem.at(self.path().to_owned()))
    }

    fn run_on<T>(
        &self,
        slot: &mut Option<Open>,
        work: impl FnOnce(&mut Open) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut open = match slot.take() {
            Some(open) => open,
            None => self.reopen(slot)?,
        };
        let done = work(&mut open);
        match done {
            Ok(_) => {
                self.show(&open);
                *slot = Some(open);
            }
            Err(Problem::Damaged(reason)) => {
                // Closed first: its lock would go with the file to its other name.
                drop(open);
                open::set_aside(&*self.medium, &reason)?;
                // An error in any case: the new file is empty.
                self.reopen(slot)?;
                return Err(Problem::Damaged(reason));
            }
            Err(_) => {}
        }
        done
    }

    /// Opens the file again. It may lack commits that were not synced. If it had to be begun anew, that is an error,
    /// once: the caller must learn that nothing of what it knows is stored.
    fn reopen(&self, slot: &mut Option<Open>) -> Result<Open, Problem> {
        let (open, begun) = open_or_begin(&*self.medium, self.limits.cache_bytes)?;
        self.show(&open);
        let Some(reason) = begun else { return Ok(open) };
        lock(&self.view).is_new = true;
        *slot = Some(open);
        Err(Problem::Damaged(reason))
    }

    fn show(&self, open: &Open) {
        let mut view = lock(&self.view);
        view.state.clone_from(&open.state);
        view.counts = open.counts;
    }
}

/// A panic elsewhere does not make what is behind the lock unusable: an open file that was in use is closed by it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
