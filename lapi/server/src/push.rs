//! Push: stream requests that are held until there is something for them.
//!
//! ```text
//!   request with a cursor, nothing new ──► a seat beside those who ask for the same ──► waits
//!   replication: a commit is applied ──► run(): one delta, one body for each filter ──► everybody who waits for it, row by row
//! ```
//!
//! The seats of one filter stand in rows, and a row is told when the one before it has been: however many wait, another
//! request stands behind one row of them and whoever asks again, not behind all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderValue;
use bytes::{Bytes, BytesMut};
use palisade_active::{Cursor, CursorScope, CursorSigner, CursorToken, Gatherings, StreamRequest, Telling};
use palisade_wire::UnixMillis;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Lapi;
use crate::replication::Replication;

/// The longest that a request is held.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);
/// A cursor that is older has ends to tell that came with time, and is answered at once: everybody who waits beside it
/// would have to be told them too.
pub(crate) const OLDEST: Duration = Duration::from_secs(2 * LONGEST.as_secs());
/// Requests that are held at once; beyond that clients are told to poll.
const MOST_SEATS: u64 = 100_000;
/// Seats in a row.
const ROW: usize = 128;
/// How long a row is waited for. Its seats are given up as soon as their tasks have run.
const ROW_PATIENCE: Duration = Duration::from_millis(500);
/// After a round there is a pause as long as the round took, within these: a storm of single bans becomes a few answers
/// and takes about half of the processor (more when a round takes longer than the longest pause), while a ban that comes
/// alone is told at once.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A body up to this length is made once for all; a longer one is made piece by piece for each, as it is sent, so that
/// memory stays bounded.
const SHARED_AT_MOST: usize = 16 * 1024 * 1024;

/// RegistryIndex that waits, and what seals their cursors.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) signer: CursorSigner,
    waiting: Mutex<Gatherings<Rows>>,
    seats: AtomicU64,
}

/// The seats of those who ask for the same: each row tells its own, once.
type Rows = Vec<watch::Sender<Option<Told>>>;

/// What those who wait are told.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// This is the answer, and the sealed cursor after it.
    Answer(Bytes, HeaderValue),
    /// There is something; look for yourself.
    Look,
}

/// A seat in a row, given up when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    push: Arc<Push>,
    database: Uuid,
    digest: u64,
    /// `None` only while it is dropped.
    row: Option<watch::Receiver<Option<Told>>>,
}

impl Push {
    pub(crate) fn new(signer: CursorSigner) -> Self {
        Self { signer, waiting: Mutex::default(), seats: AtomicU64::new(0) }
    }

    /// How many requests are held.
    pub(crate) fn seats(&self) -> u64 {
        self.seats.load(Ordering::Relaxed)
    }

    /// Whether one more may be held.
    pub(crate) fn has_room(&self) -> bool {
        self.seats() < MOST_SEATS
    }

    /// A seat for somebody with this cursor, which is good in `origin`; `None` when they are to be answered at once.
    pub(crate) fn join(
        self: &Arc<Self>,
        replication: &Replication,
        scope: &Arc<CursorScope>,
        asked: (&StreamRequest, u64),
        cursor: Cursor,
        now: UnixMillis,
    ) -> Option<Seat> {
        let mut waiting = self.waiting();
        let (view, of) = replication.state();
        if of != *scope {
            return None;
        }
        let rows = waiting.enter((&view, scope), asked, cursor, now)?;
        let row = match rows.last().filter(|row| row.receiver_count() < ROW) {
            Some(row) => row.subscribe(),
            None => {
                rows.retain(|row| row.receiver_count() > 0);
                let (row, seat) = watch::channel(None);
                rows.push(row);
                seat
            }
        };
        self.seats.fetch_add(1, Ordering::Relaxed);
        Some(Seat { push: Arc::clone(self), database: scope.database, digest: asked.1, row: Some(row) })
    }

    fn waiting(&self) -> MutexGuard<'_, Gatherings<Rows>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits until the row is told.
    pub(crate) async fn told(&mut self) -> Told {
        let Some(row) = &mut self.row else { return Told::Look };
        match row.wait_for(Option::is_some).await {
            Ok(told) => told.clone().unwrap_or(Told::Look),
            // Nobody is left who could tell.
            Err(_) => Told::Look,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let told = self.row.take().is_none_or(|row| row.borrow().is_some());
        self.push.seats.fetch_sub(1, Ordering::Relaxed);
        if !told {
            let empty = |rows: &mut Rows| rows.iter().all(|row| row.receiver_count() == 0);
            self.push.waiting().forget(self.database, self.digest, empty);
        }
    }
}

/// Tells everybody who waits what each commit did, until `stop` fires.
pub(crate) async fn run(lapi: Lapi, stop: CancellationToken) {
    let mut commits = lapi.replication.commits();
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
        let begun = Instant::now();
        round(&lapi).await;
        let pause = begun.elapsed().clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        earliest = Instant::now() + pause;
    }
}

/// One round: all are told what is new to them. Ends when they have been.
async fn round(lapi: &Lapi) {
    let lapi = lapi.clone();
    // Made away from the threads that answer: a large change takes a while to write.
    let made = tokio::task::spawn_blocking(move || {
        let (tellings, scope) = {
            let mut waiting = lapi.push.waiting();
            let (view, scope) = lapi.replication.state();
            (waiting.round(&view, &scope, lapi.clock.now()), scope)
        };
        let mut made: Vec<(Rows, Told)> =
            tellings.into_iter().map(|telling| tell(&lapi.push.signer, &scope, telling)).collect();
        // A few are not kept waiting by many.
        made.sort_by_key(|(rows, _)| rows.len());
        made
    });
    let made = made.await.unwrap_or_else(|error| {
        tracing::error!(%error, "telling those who wait failed; each looks for itself");
        Vec::new()
    });
    for (rows, told) in made {
        for row in rows {
            row.send_replace(Some(told.clone()));
            // It may take longer when the machine is busy: then there is no more to be gained by waiting.
            let _ = tokio::time::timeout(ROW_PATIENCE, row.closed()).await;
        }
    }
}

fn tell(signer: &CursorSigner, scope: &CursorScope, telling: Telling<Rows>) -> (Rows, Told) {
    let Telling { digest, answer, seats } = telling;
    let told = answer.and_then(|answer| {
        let cursor = answer.next;
        let token =
            CursorToken { database: scope.database, timeline: scope.timeline(), filter: digest, cursor };
        Some(Told::Answer(gather(answer)?, sealed(signer, &token)))
    });
    (seats, told.unwrap_or(Told::Look))
}

/// A cursor as a header has it.
pub(crate) fn sealed(signer: &CursorSigner, token: &CursorToken) -> HeaderValue {
    HeaderValue::try_from(signer.sign(token)).expect("base64 is visible ASCII")
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
