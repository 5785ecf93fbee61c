//! Looks at the database for what others wrote: the admin CLI, or another LAPI.
//!
//! On PostgreSQL a notice says when there is something to see, and it is polled at once. A notice may be lost with its
//! connection, so the database is polled at now and then as well: rarely while notices are known to come, four times a
//! second otherwise.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use palisade_active::Commit;
use palisade_store::{Head, Listener, Notice, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{ReplicationEvent, read};
use crate::Lapi;

/// How often `head` is polled at.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How often while notices come: only for one that got lost, and then it is a second at most.
const POLL_INTERVAL_LISTENING: Duration = Duration::from_secs(1);
/// The longest pause while the database is unreachable_since.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How long a missing commit may be under way before it is polled for in the database.
const GAP_GRACE: Duration = Duration::from_millis(20);
/// About how many changes are read at once.
const CHANGES_PER_READ: usize = 20_000;

/// What was seen last, and who wants it polled at gap.
#[derive(Debug, Default)]
pub(super) struct PollState {
    seen: Mutex<LastSeen>,
    gap: Notify,
    /// Somebody else has committed what the memory has not got: no grace for it.
    immediate: Notify,
    /// Notices come.
    listening: AtomicBool,
    /// One looks at a time, so that what was read earlier never replaces what was read later.
    poll_lock: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct LastSeen {
    database: Uuid,
    registry_version: i64,
    reload: bool,
}

impl PollState {
    /// The memory holds what the database replica at `head`.
    pub(super) fn begin(&self, head: Head) {
        self.change(|seen| {
            *seen =
                LastSeen { database: head.database, registry_version: head.registry_version, reload: false }
        });
    }

    /// A commit is missing: look soon.
    pub(super) fn poll_soon(&self) {
        self.gap.notify_one();
    }

    /// Somebody committed, and the memory is at `head`.
    fn on_commit(&self, head: Commit, commit: Commit, registry_version: i64, own: bool) {
        if self.seen().registry_version != registry_version || (commit > head && !own) {
            self.immediate.notify_one();
        } else if commit > head {
            // Our own events come by a shorter way, unless whoever wrote was given up.
            self.gap.notify_one();
        }
    }

    /// The memory is not to be trusted: read everything again.
    pub(super) fn reload(&self) {
        self.change(|seen| seen.reload = true);
        self.gap.notify_one();
    }

    fn interval(&self) -> Duration {
        if self.listening.load(Ordering::Relaxed) { POLL_INTERVAL_LISTENING } else { POLL_INTERVAL }
    }

    fn seen(&self) -> LastSeen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut LastSeen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Looks, and listens where that is possible, until `stop` fires.
pub(super) async fn run(lapi: Lapi, stop: CancellationToken) {
    let notifications = async {
        if let Some(listener) = lapi.store.listen() {
            stop.run_until_cancelled(receive_notifications(&lapi, listener)).await;
        }
    };
    tokio::join!(poll_loop(&lapi, &stop), notifications);
}

/// Takes in what is said about commits.
async fn receive_notifications(lapi: &Lapi, mut listener: Listener) {
    let polling = &lapi.replication.polling;
    let mut disconnected = false;
    loop {
        match listener.next().await {
            Notice::Committed { commit, registry_version, own } => {
                polling.on_commit(lapi.replication.head(), commit, registry_version, own)
            }
            Notice::Listening => {
                polling.listening.store(true, Ordering::Relaxed);
                // Whatever was said before was not heard.
                polling.immediate.notify_one();
                if std::mem::take(&mut disconnected) {
                    tracing::info!("the database tells of changes at once again");
                }
            }
            Notice::Disconnected(error) => {
                polling.listening.store(false, Ordering::Relaxed);
                if !std::mem::replace(&mut disconnected, true) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the database does not tell of changes; it is asked for them four times a second"
                    );
                }
            }
        }
    }
}

/// Looks until `stop` fires. While the database is away everything is answered from memory.
async fn poll_loop(lapi: &Lapi, stop: &CancellationToken) {
    let mut unreachable_since: Option<Instant> = None;
    let mut pause = POLL_INTERVAL;
    loop {
        let gap = async {
            lapi.replication.polling.gap.notified().await;
            tokio::time::sleep(GAP_GRACE).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            // While the database is away, hurrying would be asking it in a circle.
            () = gap, if unreachable_since.is_none() => {}
            // Somebody got through to it, whatever we met with.
            () = lapi.replication.polling.immediate.notified() => {}
        }
        let Some(polled) = stop.run_until_cancelled(poll_once(lapi)).await else { return };
        match polled {
            Ok(_) => {
                if let Some(since) = unreachable_since.take() {
                    tracing::info!(after = ?since.elapsed(), "the database answers again");
                }
                lapi.metrics.database_up.set(1);
                pause = lapi.replication.polling.interval();
            }
            Err(error) => {
                lapi.metrics.database_failures.inc();
                lapi.metrics.database_up.set(0);
                if unreachable_since.is_none() {
                    unreachable_since = Some(Instant::now());
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the database does not answer; decisions are served from memory, writes are refused"
                    );
                }
                pause = (pause * 2).min(MAX_BACKOFF);
            }
        }
    }
}

/// Looks once: hands everything that is new to the feed, and reads the registry again when it has moved. Returns the
/// commit that the memory will reach by it.
pub(super) async fn poll_once(lapi: &Lapi) -> Result<Commit, StoreError> {
    let polling = &lapi.replication.polling;
    let _guard = polling.poll_lock.lock().await;
    // Before the database is asked: what is applied cannot be ahead of what is committed.
    let mut known = lapi.replication.head();
    let head = lapi.store.head().await?;
    let seen = polling.seen();
    if head.database != seen.database || head.commit < known || seen.reload {
        return reload(lapi).await;
    }
    while known < head.commit {
        let commits = lapi.store.changes_since(known, CHANGES_PER_READ).await?;
        let through = commits.last().map_or(head.commit, |(commit, _)| *commit);
        let after = known;
        known = through;
        let _ = lapi.replication.sender.send(ReplicationEvent::Fetched { after, through, commits });
    }
    if head.registry_version != seen.registry_version {
        refresh(lapi, head).await?;
    }
    Ok(known)
}

/// The database is another one than before: what is remembered of it is void.
async fn reload(lapi: &Lapi) -> Result<Commit, StoreError> {
    tracing::warn!(
        "the database or the clock went back, or the memory does not fit it; everything is read again"
    );
    let now = lapi.clock.now();
    lapi.store.begin_timeline(now, fastrand::u64(1..)).await?;
    let (replica, head) = read(&lapi.store, now).await?;
    let _ = lapi.replication.sender.send(ReplicationEvent::Reset(Box::new(replica)));
    lapi.replication.polling.change(|seen| {
        seen.database = head.database;
        seen.reload = false;
    });
    refresh(lapi, head).await?;
    Ok(head.commit)
}

/// Machines, bouncers or allowlists were changed by somebody.
async fn refresh(lapi: &Lapi, head: Head) -> Result<(), StoreError> {
    let now = lapi.clock.now();
    lapi.allowlists.refresh(&lapi.store, now).await?;
    lapi.registry.refresh().await?;
    let timelines = lapi.store.timelines().await?;
    lapi.replication.active_mut().set_timelines(head.database, timelines);
    lapi.replication.polling.change(|seen| seen.registry_version = head.registry_version);
    Ok(())
}
