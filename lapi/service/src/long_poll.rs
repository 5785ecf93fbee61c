//! Long polling: parks stream requests until there are changes for them.
//!
//! ```text
//!    request with a cursor, nothing new ──► a waiter in the group of its filter ──► parked
//!    replication applies a commit ──► run(): one delta and one body per filter ──► batch after batch of waiters
//! ```
//!
//! The waiters of a filter are divided into batches, and a batch is woken when the one before has finished: a request
//! that arrives meanwhile is delayed by one batch, not by all waiters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_replica::{
    Broadcast, Cursor, CursorScope, CursorSigner, CursorToken, StreamRequest, WaitGroups,
};
use palisade_wire::UnixMillis;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;
use crate::replication::Replication;

/// The longest time a request is parked.
// Common proxies give up a response after a minute.
pub const MAX_WAIT: Duration = Duration::from_secs(60);
/// Older cursors are answered at once: they lack ends that came with time, which a broadcast would have to repeat for
/// every waiter of the group.
pub const MAX_CURSOR_AGE: Duration = Duration::from_secs(2 * MAX_WAIT.as_secs());
/// Maximum number of parked requests; beyond it responses carry no `wait`, and clients poll.
// A parked request takes about 26 KB, mostly for its connection, so this bounds them to some gigabytes.
const MAX_WAITERS: u64 = 100_000;
const BATCH_SIZE: usize = 128;
/// How long to wait for a batch to finish, that is until its tasks have dropped their waiters.
const BATCH_TIMEOUT: Duration = Duration::from_millis(500);
/// After a broadcast there is a pause as long as the broadcast took, within these bounds. A storm of single bans
/// becomes a few responses and uses about half of a processor (more when a broadcast takes longer than the longest
/// pause); a single ban is sent at once.
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// Bodies up to this size are generated once and shared. Longer ones are generated for each client while they are sent,
/// so that memory stays bounded.
const MAX_SHARED_BODY: usize = 16 * 1024 * 1024;

/// All parked requests, and the signer of their cursors.
#[derive(Debug)]
pub struct LongPoll {
    /// Signs and verifies cursors.
    pub signer: CursorSigner,
    replication: Arc<Replication>,
    clock: Clock,
    waiting: Mutex<WaitGroups<Vec<WaiterBatch>>>,
    waiters: AtomicU64,
}

/// Wakes the waiters of one batch, once.
type WaiterBatch = watch::Sender<Option<PollResult>>;

/// Why a waiter was woken.
#[derive(Debug, Clone)]
pub enum PollResult {
    /// The shared response body, and the signed cursor to send with it.
    Response {
        /// JSON.
        body: Bytes,
        /// Base64.
        cursor: Bytes,
    },
    /// There may be changes: the request must compute its own response.
    Recompute,
}

/// A parked request's place in a batch; dropped when it is answered.
#[derive(Debug)]
pub struct Waiter {
    long_poll: Arc<LongPoll>,
    database: Uuid,
    digest: u64,
    /// `None` only during drop.
    batch: Option<watch::Receiver<Option<PollResult>>>,
}

impl LongPoll {
    /// Without any waiter.
    pub fn new(signer: CursorSigner, replication: Arc<Replication>, clock: Clock) -> Self {
        Self { signer, replication, clock, waiting: Mutex::default(), waiters: AtomicU64::new(0) }
    }

    /// The number of parked requests.
    pub fn waiters(&self) -> u64 {
        self.waiters.load(Ordering::Relaxed)
    }

    /// Whether another request may be parked.
    pub fn has_room(&self) -> bool {
        self.waiters() < MAX_WAITERS
    }

    /// Registers a waiter with this cursor, valid in `scope`. `None` when the request must be answered at once.
    pub fn register(
        self: &Arc<Self>,
        scope: &Arc<CursorScope>,
        asked: (&StreamRequest, u64),
        cursor: Cursor,
        now: UnixMillis,
    ) -> Option<Waiter> {
        // Before the snapshot is taken: a commit that is applied after it is broadcast to this waiter too, as the
        // broadcast needs this lock.
        let mut waiting = self.waiting();
        let (view, of) = self.replication.state();
        // Since the cursor was checked the database was replaced, or another LAPI began a timeline.
        if of != *scope {
            return None;
        }
        let batches = waiting.register((&view, scope), asked, cursor, now)?;
        // Only the last batch is filled up. Earlier ones shrink as requests end, and empty ones are removed below.
        let batch = match batches.last().filter(|batch| batch.receiver_count() < BATCH_SIZE) {
            Some(batch) => batch.subscribe(),
            None => {
                batches.retain(|batch| batch.receiver_count() > 0);
                let (batch, waiter) = watch::channel(None);
                batches.push(batch);
                waiter
            }
        };
        // Counted only here and in `drop`, so the number cannot drift. `has_room` may let a few too many in, which
        // does no harm.
        self.waiters.fetch_add(1, Ordering::Relaxed);
        Some(Waiter {
            long_poll: Arc::clone(self),
            database: scope.database,
            digest: asked.1,
            batch: Some(batch),
        })
    }

    /// Broadcasts the changes of each commit to the waiters until `stop` fires.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut commits = self.replication.commits();
        let mut earliest = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = commits.changed() => if changed.is_err() { return },
            }
            // Commits during the pause are all in the next broadcast.
            if stop.run_until_cancelled(tokio::time::sleep_until(earliest)).await.is_none() {
                return;
            }
            // Before the broadcast: a commit during it causes another one.
            commits.borrow_and_update();
            let begun = Instant::now();
            self.broadcast().await;
            let pause = begun.elapsed().clamp(MIN_PAUSE, MAX_PAUSE);
            earliest = Instant::now() + pause;
        }
    }

    /// Sends all waiters the changes they lack; returns when all batches have finished.
    async fn broadcast(self: &Arc<Self>) {
        let poll = Arc::clone(self);
        // On a blocking thread: serialising a large change takes a while.
        let made = tokio::task::spawn_blocking(move || poll.results()).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the broadcast failed; each waiting request computes its own response");
            Vec::new()
        });
        for (batches, result) in made {
            for batch in batches {
                // A clone shares the body, so a batch costs no copy of it.
                batch.send_replace(Some(result.clone()));
                // On a busy machine the batch may take longer; waiting more would not help.
                let _ = tokio::time::timeout(BATCH_TIMEOUT, batch.closed()).await;
            }
        }
    }

    /// The result for each group, smaller groups first, so that they do not wait for large ones.
    fn results(&self) -> Vec<(Vec<WaiterBatch>, PollResult)> {
        // The lock is held only to take the groups; generating the bodies takes much longer.
        let (broadcasts, scope) = {
            let mut waiting = self.waiting();
            let (view, scope) = self.replication.state();
            (waiting.broadcast(&view, &scope, self.clock.now()), scope)
        };
        let mut results: Vec<_> =
            broadcasts.into_iter().map(|broadcast| poll_result(&self.signer, &scope, broadcast)).collect();
        // A filter with few bouncers is answered before one with thousands.
        results.sort_by_key(|(batches, _)| batches.len());
        results
    }

    fn waiting(&self) -> MutexGuard<'_, WaitGroups<Vec<WaiterBatch>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Waits until the batch is woken.
    pub async fn result(&mut self) -> PollResult {
        let Some(batch) = &mut self.batch else { return PollResult::Recompute };
        match batch.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(PollResult::Recompute),
            // The group was removed.
            Err(_) => PollResult::Recompute,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // Taken before the check below, which counts receivers: this one must not count any more.
        let result = self.batch.take().is_none_or(|batch| batch.borrow().is_some());
        self.long_poll.waiters.fetch_sub(1, Ordering::Relaxed);
        // A waiter that was woken belongs to a group that the broadcast has removed already. A request that ended
        // otherwise may leave an empty group behind.
        if !result {
            let empty =
                |batches: &mut Vec<WaiterBatch>| batches.iter().all(|batch| batch.receiver_count() == 0);
            self.long_poll.waiting().remove_if_empty(self.database, self.digest, empty);
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
        Some(PollResult::Response { body: concat(answer)?, cursor: signer.sign(&token).into() })
    });
    (waiters, result.unwrap_or(PollResult::Recompute))
}

/// Concatenates the chunks of a body; `None` above [`MAX_SHARED_BODY`].
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
