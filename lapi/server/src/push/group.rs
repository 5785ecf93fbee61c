//! Those who wait for the same decisions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use palisade_active::{Cursor, Standing, StreamRequest, View};
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
    /// This is the answer, and the cursor after it.
    Answer(Bytes, Cursor),
    /// There is something; look for yourself.
    Look,
}

/// One filter's seats.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) database: Uuid,
    pub(super) digest: u64,
    request: StreamRequest,
    seats: Mutex<Seats>,
    /// With the number of the telling.
    told: watch::Sender<(u64, Told)>,
}

#[derive(Debug)]
struct Seats {
    count: usize,
    /// Nobody here has been told less than this, each in its own right.
    oldest: Cursor,
    /// How often something was told, or is being written to be told.
    tellings: u64,
}

impl Group {
    pub(super) fn new(database: Uuid, digest: u64, request: StreamRequest, cursor: Cursor) -> Self {
        Self {
            database,
            digest,
            request,
            seats: Mutex::new(Seats { count: 0, oldest: cursor, tellings: 0 }),
            told: watch::Sender::new((0, Told::Look)),
        }
    }

    /// One more, whose cursor is here. Returns the number of the last telling, which is not for them any more.
    pub(super) fn enter(&self, cursor: Cursor) -> u64 {
        let mut seats = self.seats();
        seats.count += 1;
        seats.oldest = Cursor {
            commit: seats.oldest.commit.min(cursor.commit),
            time: seats.oldest.time.min(cursor.time),
        };
        seats.tellings
    }

    /// One less; whether it was the last.
    pub(super) fn left(&self) -> bool {
        let mut seats = self.seats();
        seats.count -= 1;
        seats.count == 0
    }

    /// Tells everybody what changed since the oldest cursor here, if it concerns them. Returns how many.
    pub(super) fn tell(&self, view: &View, database: Uuid, now: UnixMillis) -> usize {
        let (since, standing, number, count) = {
            let mut seats = self.seats();
            let since = seats.oldest;
            let mut standing = view.standing(&self.request, since, now);
            if self.database != database {
                standing = Standing::TooOld;
            } else if standing == Standing::Abreast {
                seats.oldest.commit = view.head();
                return 0;
            }
            // Whoever enters from here on has seen this state, and waits for the next telling.
            seats.oldest = Cursor { commit: view.head(), time: now };
            seats.tellings += 1;
            (since, standing, seats.tellings, seats.count)
        };
        let told = if standing == Standing::Behind {
            let answer = view.answer(&self.request, Some(since), now);
            let next = answer.next;
            gather(answer).map_or(Told::Look, |body| Told::Answer(body, next))
        } else {
            Told::Look
        };
        self.told.send_replace((number, told));
        count
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
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
