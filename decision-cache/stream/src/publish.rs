//! Between the one writer and its readers: an atomic pointer and a generation to wait on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use palisade_cache::{Snapshot, Timestamp};
use tokio::sync::watch;

use crate::Peer;
use crate::persist::Record;

/// More than this of changes is not held for the disk: everything is written instead.
const MAX_UNSAVED_BYTES: usize = 1 << 20;

/// How current the published snapshot is, and what went wrong on the way to it.
#[derive(Debug, Clone, Default)]
pub struct Freshness {
    /// When the LAPI last gave a usable answer; `None` while only remembered decisions are in force.
    pub last_answer: Option<Timestamp>,
    /// When the LAPI last gave its whole list.
    pub last_full: Option<Timestamp>,
    /// Since when remembered decisions were brought up to date by what had changed since, so that no whole list was
    /// needed.
    pub resumed: Option<Timestamp>,
    /// Who was asked last, as it may be shown.
    pub lapi: String,
    /// What kind of LAPI answered last.
    pub peer: Peer,
    /// Whether it holds our requests until there is something to tell; if not, it is asked at the interval.
    pub push: bool,
    /// How often another LAPI than before answered.
    pub fail_overs: u64,
    /// The last failure, while it lasts.
    pub failing: Option<String>,
    /// Failures since the last usable answer.
    pub failures_in_a_row: u32,
    /// Requests sent.
    pub requests: u64,
    /// Requests that gave no usable answer.
    pub failed_requests: u64,
    /// Full pulls among the requests.
    pub full_pulls: u64,
    /// Decisions found in force by a full pull that no delta had told.
    pub missed: u64,
    /// Decisions a full pull no longer listed, though no delta had told their end.
    pub vanished: u64,
    /// Full answers held back because they would have removed most of what is held.
    pub held_back: u64,
    /// Decisions not admitted, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Announcements left out because their type is not wanted.
    pub other_types: u64,
}

impl Freshness {
    /// Whether what is held is what the LAPI has in force: it gave its whole list, or went on from what was remembered.
    pub fn is_complete(&self) -> bool {
        self.last_full.is_some() || self.resumed.is_some()
    }
}

/// A snapshot and the cursor that belongs to exactly this; empty when none does.
#[derive(Debug, Clone, Default)]
pub(crate) struct SnapshotAt {
    pub(crate) snapshot: Snapshot,
    pub(crate) cursor: String,
}

/// What is published and not yet on disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unsaved {
    pub(crate) latest: Arc<SnapshotAt>,
    /// Answers with changes, in order.
    pub(crate) records: Vec<Record>,
    /// Something changed that no record describes.
    pub(crate) whole: bool,
}

#[derive(Debug, Default)]
struct Saving {
    unsaved: Unsaved,
    /// A task writes them to disk; without one nothing is collected.
    collecting: bool,
    bytes: usize,
}

/// The writer's end.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    generation: watch::Sender<u64>,
}

#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    saving: Mutex<Saving>,
    freshness: ArcSwap<Freshness>,
}

/// A reader's end; clones share it.
#[derive(Debug, Clone)]
pub struct CacheHandle {
    shared: Arc<Shared>,
    generation: watch::Receiver<u64>,
}

/// A publisher that starts with `first`, and a handle to it.
pub fn channel(first: Snapshot) -> (Publisher, CacheHandle) {
    let (sender, receiver) = watch::channel(first.generation());
    let shared = Arc::new(Shared {
        saving: Mutex::new(Saving::of(first.clone())),
        snapshot: ArcSwap::from_pointee(first),
        freshness: ArcSwap::from_pointee(Freshness::default()),
    });
    (
        Publisher { shared: Arc::clone(&shared), generation: sender },
        CacheHandle { shared, generation: receiver },
    )
}

impl Publisher {
    /// Makes a snapshot the current one: a reader sees all of it or none. Waiters wake when its generation
    /// is a new one. No cursor belongs to it.
    pub fn publish(&self, snapshot: Snapshot) {
        self.publish_at(snapshot, "");
    }

    /// The same for a snapshot that `cursor` belongs to: a later process may go on from both together.
    pub fn publish_at(&self, snapshot: Snapshot, cursor: &str) {
        self.shared.saving().set_whole(snapshot.clone(), cursor);
        self.store(snapshot);
    }

    /// The same, when `record` is what was done to the snapshot before; `None` when nothing was.
    pub(crate) fn publish_changes(&self, snapshot: Snapshot, cursor: &str, record: Option<Record>) {
        self.shared.saving().add_record(snapshot.clone(), cursor, record);
        self.store(snapshot);
    }

    /// Publishes what is left after some decisions have ended: the cursor stays.
    pub(crate) fn publish_expired(&self, snapshot: Snapshot) {
        {
            let mut saving = self.shared.saving();
            let cursor = saving.unsaved.latest.cursor.clone();
            saving.add_record(snapshot.clone(), &cursor, None);
        }
        self.store(snapshot);
    }

    fn store(&self, snapshot: Snapshot) {
        let generation = snapshot.generation();
        self.shared.snapshot.store(Arc::new(snapshot));
        self.generation.send_if_modified(|current| std::mem::replace(current, generation) != generation);
    }

    /// Tells readers how current the snapshot is.
    pub fn publish_freshness(&self, freshness: Freshness) {
        self.shared.freshness.store(Arc::new(freshness));
    }
}

impl CacheHandle {
    /// The current snapshot, without a lock or a reference count; keep the guard for the length of a lookup,
    /// not across an await.
    #[inline]
    pub fn read(&self) -> Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// The current snapshot, to keep.
    pub fn load(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Collects what is to be written to disk until the guard is dropped. First of all that is everything.
    pub(crate) fn collect_unsaved(&self) -> Collecting {
        let mut saving = self.shared.saving();
        saving.collecting = true;
        saving.require_whole();
        drop(saving);
        Collecting(Arc::clone(&self.shared))
    }

    /// What is to be written now.
    pub(crate) fn take_unsaved(&self) -> Unsaved {
        let mut saving = self.shared.saving();
        let latest = Arc::clone(&saving.unsaved.latest);
        saving.bytes = 0;
        std::mem::replace(&mut saving.unsaved, Unsaved { latest, ..Unsaved::default() })
    }

    /// Has everything written next, whatever changes.
    pub(crate) fn save_whole(&self) {
        self.shared.saving().require_whole();
    }

    /// A receiver that wakes for each new generation; slow readers skip generations.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    /// How current the snapshot is.
    pub fn freshness(&self) -> Arc<Freshness> {
        self.shared.freshness.load_full()
    }
}

/// Ends the collecting when dropped.
#[derive(Debug)]
pub(crate) struct Collecting(Arc<Shared>);

impl Drop for Collecting {
    fn drop(&mut self) {
        let mut saving = self.0.saving();
        saving.collecting = false;
        saving.require_whole();
    }
}

impl Shared {
    fn saving(&self) -> MutexGuard<'_, Saving> {
        self.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Saving {
    fn of(snapshot: Snapshot) -> Self {
        let latest = Arc::new(SnapshotAt { snapshot, cursor: String::new() });
        Self { unsaved: Unsaved { latest, ..Unsaved::default() }, ..Self::default() }
    }

    fn set_whole(&mut self, snapshot: Snapshot, cursor: &str) {
        self.unsaved.latest = Arc::new(SnapshotAt { snapshot, cursor: cursor.to_owned() });
        self.require_whole();
    }

    fn add_record(&mut self, snapshot: Snapshot, cursor: &str, record: Option<Record>) {
        self.unsaved.latest = Arc::new(SnapshotAt { snapshot, cursor: cursor.to_owned() });
        let Some(record) = record.filter(|_| self.collecting) else { return };
        self.bytes += record.bytes();
        self.unsaved.records.push(record.with_cursor(cursor));
        if self.bytes > MAX_UNSAVED_BYTES {
            self.unsaved.records = Vec::new();
            self.bytes = 0;
            self.require_whole();
        }
    }

    fn require_whole(&mut self) {
        self.unsaved.whole = true;
    }
}
