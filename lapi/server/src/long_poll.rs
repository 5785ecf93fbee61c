//! LongPoll: stream requests that are held until there is something for them.
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
use palisade_active::{Broadcast, Cursor, CursorScope, CursorSigner, CursorToken, StreamRequest, WaitGroups};
use palisade_wire::UnixMillis;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Lapi;
use crate::replication::Replication;

/// The longest that a request is held.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);
/// A cursor that is older has ends to tell that came with time, and is answered at once: everybody who waits beside it
/// would have to be told them too.
pub(crate) const MAX_CURSOR_AGE: Duration = Duration::from_secs(2 * MAX_WAIT.as_secs());
/// Requests that are held at once; beyond that clients are told to poll.
const MAX_WAITERS: u64 = 100_000;
/// Seats in a row.
const BATCH_SIZE: usize = 128;
/// How long a row is waited for. Its seats are given up as soon as their tasks have run.
const BATCH_TIMEOUT: Duration = Duration::from_millis(500);
/// After a round there is a pause as long as the round took, within these: a storm of single bans becomes a few answers
/// and takes about half of the processor (more when a round takes longer than the longest pause), while a ban that comes
/// alone is told at once.
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// A body up to this length is made once for all; a longer one is made piece by piece for each, as it is sent, so that
/// memory stays bounded.
const MAX_SHARED_BODY: usize = 16 * 1024 * 1024;

/// RegistryIndex that waits, and what seals their cursors.
#[derive(Debug)]
pub(crate) struct LongPoll {
    pub(crate) signer: CursorSigner,
    waiting: Mutex<WaitGroups<Vec<WaiterBatch>>>,
    waiters: AtomicU64,
}

/// The seats of those who ask for the same: each row tells its own, once.
type WaiterBatch = watch::Sender<Option<PollResult>>;

/// What those who wait are told.
#[derive(Debug, Clone)]
pub(crate) enum PollResult {
    /// This is the answer, and the sealed cursor after it.
    Response(Bytes, HeaderValue),
    /// There is something; look for yourself.
    Recompute,
}

/// A seat in a row, given up when dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    long_poll: Arc<LongPoll>,
    database: Uuid,
    digest: u64,
    /// `None` only while it is dropped.
    batch: Option<watch::Receiver<Option<PollResult>>>,
}

impl LongPoll {
    pub(crate) fn new(signer: CursorSigner) -> Self {
        Self { signer, waiting: Mutex::default(), waiters: AtomicU64::new(0) }
    }

    /// How many requests are held.
    pub(crate) fn waiters(&self) -> u64 {
        self.waiters.load(Ordering::Relaxed)
    }

    /// Whether one more may be held.
    pub(crate) fn has_room(&self) -> bool {
        self.waiters() < MAX_WAITERS
    }

    /// A seat for somebody with this cursor, which is good in `origin`; `None` when they are to be answered at once.
    pub(crate) fn register(
        self: &Arc<Self>,
        replication: &Replication,
        scope: &Arc<CursorScope>,
        asked: (&StreamRequest, u64),
        cursor: Cursor,
        now: UnixMillis,
    ) -> Option<Waiter> {
        let mut waiting = self.waiting();
        let (view, of) = replication.state();
        if of != *scope {
            return None;
        }
        let batches = waiting.register((&view, scope), asked, cursor, now)?;
        let batch = match batches.last().filter(|batch| batch.receiver_count() < BATCH_SIZE) {
            Some(batch) => batch.subscribe(),
            None => {
                batches.retain(|batch| batch.receiver_count() > 0);
                let (batch, waiter) = watch::channel(None);
                batches.push(batch);
                waiter
            }
        };
        self.waiters.fetch_add(1, Ordering::Relaxed);
        Some(Waiter {
            long_poll: Arc::clone(self),
            database: scope.database,
            digest: asked.1,
            batch: Some(batch),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, WaitGroups<Vec<WaiterBatch>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Waits until the row is told.
    pub(crate) async fn result(&mut self) -> PollResult {
        let Some(batch) = &mut self.batch else { return PollResult::Recompute };
        match batch.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(PollResult::Recompute),
            // Nobody is left who could tell.
            Err(_) => PollResult::Recompute,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let result = self.batch.take().is_none_or(|batch| batch.borrow().is_some());
        self.long_poll.waiters.fetch_sub(1, Ordering::Relaxed);
        if !result {
            let empty =
                |batches: &mut Vec<WaiterBatch>| batches.iter().all(|batch| batch.receiver_count() == 0);
            self.long_poll.waiting().forget(self.database, self.digest, empty);
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
        broadcast(&lapi).await;
        let pause = begun.elapsed().clamp(MIN_PAUSE, MAX_PAUSE);
        earliest = Instant::now() + pause;
    }
}

/// One round: all are told what is new to them. Ends when they have been.
async fn broadcast(lapi: &Lapi) {
    let lapi = lapi.clone();
    // Made away from the threads that answer: a large change takes a while to write.
    let made = tokio::task::spawn_blocking(move || {
        let (broadcasts, scope) = {
            let mut waiting = lapi.long_poll.waiting();
            let (view, scope) = lapi.replication.state();
            (waiting.broadcast(&view, &scope, lapi.clock.now()), scope)
        };
        let mut made: Vec<(Vec<WaiterBatch>, PollResult)> = broadcasts
            .into_iter()
            .map(|broadcast| poll_result(&lapi.long_poll.signer, &scope, broadcast))
            .collect();
        // A few are not kept waiting by many.
        made.sort_by_key(|(batches, _)| batches.len());
        made
    });
    let made = made.await.unwrap_or_else(|error| {
        tracing::error!(%error, "broadcast those who wait failed; each looks for itself");
        Vec::new()
    });
    for (batches, result) in made {
        for batch in batches {
            batch.send_replace(Some(result.clone()));
            // It may take longer when the machine is busy: then there is no more to be gained by waiting.
            let _ = tokio::time::timeout(BATCH_TIMEOUT, batch.closed()).await;
        }
    }
}

fn poll_result(
    signer: &CursorSigner,
    scope: &CursorScope,
    broadcast: Broadcast<Vec<WaiterBatch>>,
) -> (Vec<WaiterBatch>, PollResult) {
    let Broadcast { digest, answer, waiters } = broadcast;
    let result = answer.and_then(|answer| {
        let cursor = answer.next;
        let token =
            CursorToken { database: scope.database, timeline: scope.timeline(), filter: digest, cursor };
        Some(PollResult::Response(concat(answer)?, cursor_header(signer, &token)))
    });
    (waiters, result.unwrap_or(PollResult::Recompute))
}

/// A cursor as a header has it.
pub(crate) fn cursor_header(signer: &CursorSigner, token: &CursorToken) -> HeaderValue {
    HeaderValue::try_from(signer.sign(token)).expect("base64 is visible ASCII")
}

/// The pieces of a body as one; `None` when it is too long for that.
fn concat(pieces: impl Iterator<Item = Bytes>) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    for piece in pieces {
        if whole.len() + piece.len() > MAX_SHARED_BODY {
            return None;
        }
        whole.extend_from_slice(&piece);
    }
    Some(whole.freeze())
}
