//! Polls the database for commits of other processes: the admin CLI and other LAPIs.
//!
//! On PostgreSQL a notification triggers a poll at once. Notifications can be lost with their connection, so there is a
//! timer as well: slow while notifications are known to arrive, four times a second otherwise.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use palisade_replica::Commit;
use palisade_store::{Head, Listener, Notice, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{ReplicationEvent, read};
use crate::Lapi;

/// How often `head` is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The same while notifications arrive: only for one that was lost.
const POLL_INTERVAL_LISTENING: Duration = Duration::from_secs(1);
/// The longest pause between polls while the database is unavailable.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How long a missing commit may take to be reported locally before it is fetched.
const GAP_GRACE: Duration = Duration::from_millis(20);
/// About how many changes are fetched at once.
const CHANGES_PER_READ: usize = 20_000;

/// The state of the last poll, and the triggers of the next.
#[derive(Debug, Default)]
pub(super) struct PollState {
    seen: Mutex<LastSeen>,
    gap: Notify,
    /// Another process has committed: poll without the grace period.
    immediate: Notify,
    /// Whether notifications arrive.
    listening: AtomicBool,
    /// Serialises polls, so that an older result never replaces a newer one.
    poll_lock: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct LastSeen {
    database: Uuid,
    registry_version: i64,
    reload: bool,
}

impl PollState {
    /// The replica holds the database's state at `head`.
    pub(super) fn begin(&self, head: Head) {
        self.change(|seen| {
            *seen =
                LastSeen { database: head.database, registry_version: head.registry_version, reload: false }
        });
    }

    /// A commit is missing: poll after the grace period.
    pub(super) fn poll_soon(&self) {
        self.gap.notify_one();
    }

    /// A notification arrived, while the replica is at `head`.
    fn on_commit(&self, head: Commit, commit: Commit, registry_version: i64, own: bool) {
        if self.seen().registry_version != registry_version || (commit > head && !own) {
            self.immediate.notify_one();
        } else if commit > head {
            // Local commits are reported directly, unless the writing request was dropped.
            self.gap.notify_one();
        }
    }

    /// The replica is inconsistent: reload everything at the next poll.
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

/// Polls, and on PostgreSQL listens, until `stop` fires.
pub(super) async fn run(lapi: Lapi, stop: CancellationToken) {
    let notifications = async {
        if let Some(listener) = lapi.store.listen() {
            stop.run_until_cancelled(receive_notifications(&lapi, listener)).await;
        }
    };
    tokio::join!(poll_loop(&lapi, &stop), notifications);
}

/// Handles notifications.
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
                // Commits before this may have been missed.
                polling.immediate.notify_one();
                if std::mem::take(&mut disconnected) {
                    tracing::info!("change notifications arrive again");
                }
            }
            Notice::Disconnected(error) => {
                polling.listening.store(false, Ordering::Relaxed);
                if !std::mem::replace(&mut disconnected, true) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "change notifications do not arrive; the database is polled four times a second"
                    );
                }
            }
        }
    }
}

/// Polls until `stop` fires. While the database is unavailable, requests are answered from memory.
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
            // While the database is unavailable, gaps must not cause a busy loop.
            () = gap, if unreachable_since.is_none() => {}
            // Another process has reached the database, so this one may too.
            () = lapi.replication.polling.immediate.notified() => {}
        }
        let Some(polled) = stop.run_until_cancelled(poll_once(lapi)).await else { return };
        match polled {
            Ok(_) => {
                if let Some(since) = unreachable_since.take() {
                    tracing::info!(seconds = since.elapsed().as_secs(), "the database answers again");
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

/// Polls once: queues new commits and reloads the registry when its version has changed. Returns the commit that the
/// replica will reach.
pub(super) async fn poll_once(lapi: &Lapi) -> Result<Commit, StoreError> {
    let polling = &lapi.replication.polling;
    let _guard = polling.poll_lock.lock().await;
    // Read before the database is queried, so that it cannot be ahead of what is committed.
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

/// Reloads everything, because the replica cannot be brought up to date by commits.
async fn reload(lapi: &Lapi) -> Result<Commit, StoreError> {
    tracing::warn!(
        "the database was replaced or restored, or the replica is inconsistent; reloading all decisions"
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

/// Reloads machines, bouncers, allowlists and timelines.
async fn refresh(lapi: &Lapi, head: Head) -> Result<(), StoreError> {
    let now = lapi.clock.now();
    lapi.allowlists.refresh(&lapi.store, now).await?;
    lapi.registry.refresh().await?;
    let timelines = lapi.store.timelines().await?;
    lapi.replication.active_mut().set_timelines(head.database, timelines);
    lapi.replication.polling.change(|seen| seen.registry_version = head.registry_version);
    Ok(())
}
