//! Between the one writer and its readers: an atomic pointer and a generation to wait on.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use palisade_cache::{Snapshot, Timestamp};
use tokio::sync::watch;

use crate::Peer;

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
pub(crate) struct Kept {
    pub(crate) snapshot: Snapshot,
    pub(crate) cursor: String,
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
    kept: ArcSwap<Kept>,
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
        kept: ArcSwap::from_pointee(Kept { snapshot: first.clone(), cursor: String::new() }),
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
        let generation = snapshot.generation();
        self.shared.kept.store(Arc::new(Kept { snapshot: snapshot.clone(), cursor: cursor.to_owned() }));
        self.shared.snapshot.store(Arc::new(snapshot));
        self.generation.send_if_modified(|current| std::mem::replace(current, generation) != generation);
    }

    /// Publishes what is left after some decisions have ended: the cursor stays.
    pub(crate) fn publish_rest(&self, snapshot: Snapshot) {
        let cursor = self.shared.kept.load().cursor.clone();
        self.publish_at(snapshot, &cursor);
    }

    /// Tells readers how current the snapshot is.
    pub fn tell(&self, freshness: Freshness) {
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

    /// The current snapshot with the cursor that belongs to it.
    pub(crate) fn kept(&self) -> Arc<Kept> {
        self.shared.kept.load_full()
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
