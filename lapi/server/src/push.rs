//! Push: stream requests that are held until there is something for them.
//!
//! ```text
//!   request with a cursor, nothing new ──► a seat in the group of its filter ──► waits
//!   tail: a commit is applied ──► run(): one delta, one body for each group ──► everybody in it
//! ```
//!
//! Whoever asks for the same decisions sits in one group, and one body is made for all of them: it tells what changed
//! since the oldest cursor among them. To be told something twice costs a client nothing.

mod group;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use palisade_active::{Cursor, Origin, Sealer, StreamRequest};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use group::{Seat, Told};

use crate::Lapi;
use group::Group;

/// The longest that a request is held.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);
/// A cursor that is older has ends to tell that came with time, and is answered at once: everybody in its group would
/// have to be told them too.
pub(crate) const OLDEST: Duration = Duration::from_secs(2 * LONGEST.as_secs());
/// Requests that are held at once; beyond that clients are told to poll.
const MOST_SEATS: u64 = 100_000;
/// Between two rounds there is at least this, and more the more there are to tell: so a storm of single bans becomes a
/// few answers, while a ban that comes alone is told at once.
const PAUSE: Duration = Duration::from_millis(10);
/// What telling one more costs, about.
const PAUSE_PER_SEAT: Duration = Duration::from_micros(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Everybody that waits, and what seals their cursors.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) sealer: Sealer,
    groups: Mutex<HashMap<(Uuid, u64), Arc<Group>>>,
    seats: AtomicU64,
}

impl Push {
    pub(crate) fn new(sealer: Sealer) -> Self {
        Self { sealer, groups: Mutex::default(), seats: AtomicU64::new(0) }
    }

    /// How many requests are held.
    pub(crate) fn seats(&self) -> u64 {
        self.seats.load(Ordering::Relaxed)
    }

    /// Whether one more may be held.
    pub(crate) fn has_room(&self) -> bool {
        self.seats() < MOST_SEATS
    }

    /// A seat for a request, from now on told of every commit. Whoever takes one looks at the state of things
    /// afterwards: what was applied before is not told.
    pub(crate) fn join(
        self: &Arc<Self>,
        origin: &Origin,
        request: &StreamRequest,
        digest: u64,
        cursor: Cursor,
    ) -> Seat {
        let (group, entered) = {
            let mut groups = self.groups();
            let group = groups
                .entry((origin.database, digest))
                .or_insert_with(|| Arc::new(Group::new(origin, digest, request.clone(), cursor)));
            // Under the lock, so that the group is not put away meanwhile.
            let entered = group.enter(cursor);
            (Arc::clone(group), entered)
        };
        self.seats.fetch_add(1, Ordering::Relaxed);
        Seat::new(Arc::clone(self), group, entered)
    }

    fn leave(&self, group: &Group) {
        self.seats.fetch_sub(1, Ordering::Relaxed);
        let mut groups = self.groups();
        if group.left() {
            groups.remove(&(group.database, group.digest));
        }
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<(Uuid, u64), Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells everybody who waits what each commit did, until `stop` fires.
pub(crate) async fn run(lapi: Lapi, stop: CancellationToken) {
    let mut commits = lapi.tail.commits();
    let mut earliest = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = commits.changed() => if changed.is_err() { return },
        }
        if stop.run_until_cancelled(tokio::time::sleep_until(earliest)).await.is_none() {
            return;
        }
        commits.borrow_and_update();
        let served = round(&lapi).await;
        let pause = PAUSE_PER_SEAT.saturating_mul(u32::try_from(served).unwrap_or(u32::MAX));
        earliest = Instant::now() + pause.clamp(PAUSE, LONGEST_PAUSE);
    }
}

/// One round: every group is told what is new to it. Returns how many requests are answered by it.
async fn round(lapi: &Lapi) -> usize {
    let groups: Vec<Arc<Group>> = lapi.push.groups().values().cloned().collect();
    if groups.is_empty() {
        return 0;
    }
    let (view, origin) = lapi.tail.state();
    let now = lapi.clock.now();
    // Made away from the threads that answer: a large change takes a while to write.
    let telling =
        tokio::task::spawn_blocking(move || groups.iter().map(|group| group.tell(&view, &origin, now)).sum());
    telling.await.unwrap_or_else(|error| {
        tracing::error!(%error, "telling those who wait failed; they are answered when their time is up");
        0
    })
}
