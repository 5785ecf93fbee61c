//! Those who wait for the same decisions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use palisade_active::{Cursor, Gathering, Origin, StreamRequest, Telling, View};
use palisade_wire::UnixMillis;
use tokio::sync::watch;
use uuid::Uuid;

use super::Push;

/// A body up to this length is made once for all; a longer one is made piece by piece for each, as it is sent, so that
/// memory stays bounded.
const SHARED_AT_MOST: usize = 16 * 1024 * 1024;

/// What those who wait are told.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// This is the answer, the cursor after it, and whose commits that counts.
    Answer(Bytes, Cursor, Arc<Origin>),
    /// There is something; look for yourself.
    Look,
}

/// One filter's seats.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) database: Uuid,
    pub(super) digest: u64,
    gathering: Mutex<Gathering>,
    /// Of which line of history the cursors here are.
    lineage: AtomicU64,
    /// With the number of the telling.
    told: watch::Sender<(u64, Told)>,
}

impl Group {
    pub(super) fn new(origin: &Origin, digest: u64, request: StreamRequest, cursor: Cursor) -> Self {
        let gathering = Mutex::new(Gathering::new(request, cursor));
        Self {
            database: origin.database,
            digest,
            gathering,
            lineage: AtomicU64::new(origin.lineage()),
            told: watch::Sender::new((0, Told::Look)),
        }
    }

    /// As [`Gathering::enter`].
    pub(super) fn enter(&self, cursor: Cursor) -> u64 {
        self.gathering().enter(cursor)
    }

    /// As [`Gathering::leave`].
    pub(super) fn left(&self) -> bool {
        self.gathering().leave()
    }

    /// Tells everybody what changed since the oldest cursor here, if it concerns them. Returns how many.
    pub(super) fn tell(&self, view: &View, origin: &Arc<Origin>, now: UnixMillis) -> usize {
        let telling = {
            let mut gathering = self.gathering();
            // Whether the cursors here are still good is for each to be looked at when history took another line.
            let before = self.lineage.swap(origin.lineage(), Ordering::Relaxed);
            if self.database == origin.database && before == origin.lineage() {
                gathering.tell(view, now)
            } else {
                Some(gathering.disband(view, now))
            }
        };
        let Some(Telling { number, count, answer }) = telling else { return 0 };
        let told = answer.and_then(|answer| {
            let next = answer.next;
            Some(Told::Answer(gather(answer)?, next, origin.clone()))
        });
        self.told.send_replace((number, told.unwrap_or(Told::Look)));
        count
    }

    fn gathering(&self) -> MutexGuard<'_, Gathering> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pieces of a body as one; `None` when it is too long for that.
fn gather(pieces: impl Iterator<Item = Bytes>) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    for piece in pieces {
        if whole.len() + piece.len() > SHARED_AT_MOST {
            return None;
        }
        whole.extend_from_slice(&piece);
    }
    Some(whole.freeze())
}

/// A place in a group, given up when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    push: Arc<Push>,
    group: Arc<Group>,
    entered: u64,
    told: watch::Receiver<(u64, Told)>,
}

impl Seat {
    /// For somebody who has entered when this was the last telling.
    pub(super) fn new(push: Arc<Push>, group: Arc<Group>, entered: u64) -> Self {
        let told = group.told.subscribe();
        Self { push, group, entered, told }
    }

    /// Waits for the telling after the one at which the seat was taken.
    pub(crate) async fn told(&mut self) -> Told {
        loop {
            let (number, told) = self.told.borrow_and_update().clone();
            if number == self.entered + 1 {
                return told;
            }
            // One was missed, because this task was not run in time: its content is not in the next.
            if number > self.entered || self.told.changed().await.is_err() {
                return Told::Look;
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.push.leave(&self.group);
    }
}
