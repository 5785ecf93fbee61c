//! Publishes snapshots from the one writer to its readers: an atomic pointer, and a generation to wait on.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use palisade_cache::{Snapshot, Timestamp};
use tokio::sync::watch;

use crate::Peer;
use crate::persist::Record;

/// Unsaved changes are kept up to this size; beyond it the whole state is written.
const MAX_UNSAVED_BYTES: usize = 1 << 20;

/// How current the published snapshot is, and counters of requests.
#[derive(Debug, Clone, Default)]
pub struct Freshness {
    /// The time of the LAPI's last usable response; `None` while only persisted decisions are in force.
    pub last_answer: Option<Timestamp>,
    /// When the persisted decisions were written, if there were any at the start.
    pub remembered: Option<Timestamp>,
    /// The time of the LAPI's last full response.
    pub last_full: Option<Timestamp>,
    /// When persisted decisions were brought up to date by changes alone, without a full response.
    pub resumed: Option<Timestamp>,
    /// The LAPI used last, for display.
    pub lapi: String,
    /// The kind of LAPI that answered last.
    pub peer: Peer,
    /// Whether the LAPI parks requests; otherwise it is polled at the interval.
    pub push: bool,
    /// Number of switches to another LAPI.
    pub fail_overs: u64,
    /// The current failure.
    pub failing: Option<String>,
    /// Failures since the last usable response.
    pub failures_in_a_row: u32,
    /// Requests sent.
    pub requests: u64,
    /// Requests without a usable response.
    pub failed_requests: u64,
    /// Full pulls among the requests.
    pub full_pulls: u64,
    /// Decisions found by a full pull that no update contained.
    pub missed: u64,
    /// Decisions missing from a full pull whose end no update contained.
    pub vanished: u64,
    /// Full responses held back because they would have removed most decisions.
    pub held_back: u64,
    /// Refused decisions by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Decisions skipped because of their type.
    pub other_types: u64,
}

impl Freshness {
    /// Whether the snapshot is complete: based on a full response, or on persisted decisions plus all changes since.
    pub fn is_complete(&self) -> bool {
        self.last_full.is_some() || self.resumed.is_some()
    }

    /// When the snapshot was known to be current: at the LAPI's last usable response, or before the first one when the
    /// persisted decisions were written. `None` without either.
    #[inline]
    pub fn current_at(&self) -> Option<Timestamp> {
        self.last_answer.or(self.remembered)
    }
}

/// A snapshot and how current exactly this one is. Published as one value: freshness beside an older snapshot would
/// claim completeness for decisions that are not in it yet.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// The decisions in force.
    pub snapshot: Snapshot,
    /// How current they are.
    pub freshness: Arc<Freshness>,
}

/// A borrowed view of the current snapshot and of how current exactly this one is.
#[derive(Debug)]
pub struct SnapshotGuard(Guard<Arc<Published>>);

impl SnapshotGuard {
    /// How current the snapshot is.
    #[inline]
    pub fn freshness(&self) -> &Freshness {
        &self.0.freshness
    }
}

impl Deref for SnapshotGuard {
    type Target = Snapshot;

    #[inline]
    fn deref(&self) -> &Snapshot {
        &self.0.snapshot
    }
}

/// What is to be persisted of a response.
#[derive(Debug)]
pub(crate) enum Update {
    /// The whole snapshot.
    Whole,
    /// The changes since the snapshot before; `None` for no changes.
    Changes(Option<Record>),
}

/// A snapshot and the cursor that belongs to exactly it; empty without one.
#[derive(Debug, Clone, Default)]
pub(crate) struct SnapshotAt {
    pub(crate) snapshot: Snapshot,
    pub(crate) cursor: String,
}

/// What is published but not persisted yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unsaved {
    pub(crate) latest: Arc<SnapshotAt>,
    /// Responses with changes, in order.
    pub(crate) records: Vec<Record>,
    /// Whether something changed that no record describes.
    pub(crate) whole: bool,
}

#[derive(Debug, Default)]
struct Saving {
    unsaved: Unsaved,
    /// Whether a task persists them; otherwise nothing is collected.
    collecting: bool,
    bytes: usize,
}

/// The writer's handle.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    generation: watch::Sender<u64>,
}

#[derive(Debug)]
struct Shared {
    published: ArcSwap<Published>,
    saving: Mutex<Saving>,
}

/// A reader's handle; clones share it.
#[derive(Debug, Clone)]
pub struct CacheHandle {
    shared: Arc<Shared>,
    generation: watch::Receiver<u64>,
}

/// A publisher of `first`, and a handle to it.
pub fn channel(first: Snapshot) -> (Publisher, CacheHandle) {
    channel_with(first, Freshness::default())
}

/// The same with a first snapshot that is as current as `freshness` says.
pub fn channel_with(first: Snapshot, freshness: Freshness) -> (Publisher, CacheHandle) {
    let (sender, receiver) = watch::channel(first.generation());
    let shared = Arc::new(Shared {
        saving: Mutex::new(Saving::of(first.clone())),
        published: ArcSwap::from_pointee(Published { snapshot: first, freshness: Arc::new(freshness) }),
    });
    (
        Publisher { shared: Arc::clone(&shared), generation: sender },
        CacheHandle { shared, generation: receiver },
    )
}

impl Publisher {
    /// Publishes a snapshot atomically and wakes waiters if its generation is new. No cursor belongs to it.
    pub fn publish(&self, snapshot: Snapshot) {
        self.publish_at(snapshot, "");
    }

    /// The same with a cursor that belongs to the snapshot: a later process may continue from both.
    pub fn publish_at(&self, snapshot: Snapshot, cursor: &str) {
        self.shared.saving().set_whole(snapshot.clone(), cursor);
        self.store(Published { snapshot, freshness: self.freshness() });
    }

    /// Publishes a response: the snapshot, the cursor that belongs to it, and how current it is.
    pub(crate) fn publish_response(
        &self,
        snapshot: Snapshot,
        cursor: &str,
        update: Update,
        freshness: Freshness,
    ) {
        match update {
            Update::Whole => self.shared.saving().set_whole(snapshot.clone(), cursor),
            Update::Changes(record) => self.shared.saving().add_record(snapshot.clone(), cursor, record),
        }
        self.store(Published { snapshot, freshness: Arc::new(freshness) });
    }

    /// Publishes a snapshot after decisions have expired; the cursor stays.
    pub(crate) fn publish_expired(&self, snapshot: Snapshot) {
        {
            let mut saving = self.shared.saving();
            // An end follows from the decision itself, so the cursor still belongs to what is left.
            let cursor = saving.unsaved.latest.cursor.clone();
            // No record: the file holds the end of each decision, so nothing has to be written.
            saving.add_record(snapshot.clone(), &cursor, None);
        }
        self.store(Published { snapshot, freshness: self.freshness() });
    }

    fn store(&self, published: Published) {
        let generation = published.snapshot.generation();
        // Before the generation: a reader that it wakes must find the snapshot.
        self.shared.published.store(Arc::new(published));
        // Freshness alone wakes no reader: it changes with every request.
        self.generation.send_if_modified(|current| std::mem::replace(current, generation) != generation);
    }

    /// Publishes how current the snapshot is.
    pub fn publish_freshness(&self, freshness: Freshness) {
        let snapshot = self.shared.published.load().snapshot.clone();
        self.store(Published { snapshot, freshness: Arc::new(freshness) });
    }

    fn freshness(&self) -> Arc<Freshness> {
        Arc::clone(&self.shared.published.load().freshness)
    }
}

impl CacheHandle {
    /// The current snapshot, without a lock or reference count. Hold the guard for a lookup only, not across an await.
    #[inline]
    pub fn read(&self) -> SnapshotGuard {
        SnapshotGuard(self.shared.published.load())
    }

    /// The current snapshot, to keep.
    pub fn load(&self) -> Snapshot {
        self.shared.published.load().snapshot.clone()
    }

    /// The current snapshot and how current exactly this one is.
    pub fn published(&self) -> Arc<Published> {
        self.shared.published.load_full()
    }

    /// Collects changes for the disk until the guard is dropped, beginning with the whole state.
    pub(crate) fn collect_unsaved(&self) -> Collecting {
        let mut saving = self.shared.saving();
        saving.collecting = true;
        // Changes before this call were not recorded.
        saving.require_whole();
        drop(saving);
        Collecting(Arc::clone(&self.shared))
    }

    pub(crate) fn take_unsaved(&self) -> Unsaved {
        let mut saving = self.shared.saving();
        let latest = Arc::clone(&saving.unsaved.latest);
        saving.bytes = 0;
        std::mem::replace(&mut saving.unsaved, Unsaved { latest, ..Unsaved::default() })
    }

    /// Requests that the whole state is written next.
    pub(crate) fn save_whole(&self) {
        self.shared.saving().require_whole();
    }

    /// A receiver woken by each new generation; slow readers skip some.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    /// How current the snapshot is. Where a decision depends on both, [`published`](Self::published) gives the two that
    /// belong together.
    pub fn freshness(&self) -> Arc<Freshness> {
        Arc::clone(&self.shared.published.load().freshness)
    }
}

/// Ends collecting on drop.
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
        // Without a task that takes them records would pile up for ever.
        let Some(record) = record.filter(|_| self.collecting) else { return };
        self.bytes += record.bytes();
        self.unsaved.records.push(record.with_cursor(cursor));
        if self.bytes > MAX_UNSAVED_BYTES {
            // The writer is slow or failing. The whole state takes their place, so memory stays bounded.
            self.unsaved.records = Vec::new();
            self.bytes = 0;
            self.require_whole();
        }
    }

    fn require_whole(&mut self) {
        self.unsaved.whole = true;
    }
}
