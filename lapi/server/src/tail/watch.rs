//! Looks at the database for what others wrote: the admin CLI, or another LAPI.
//!
//! On PostgreSQL a notice says when there is something to see, and it is looked at once. A notice may be lost with its
//! connection, so the database is looked at now and then as well: rarely while notices are known to come, four times a
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

use super::{Word, read};
use crate::Lapi;

/// How often `head` is looked at.
const PACE: Duration = Duration::from_millis(250);
/// How often while notices come: only for one that got lost, and then it is a second at most.
const EASY_PACE: Duration = Duration::from_secs(1);
/// The longest pause while the database is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a missing commit may be under way before it is looked for in the database.
const GRACE: Duration = Duration::from_millis(20);
/// About how many changes are read at once.
const AT_ONCE: usize = 20_000;

/// What was seen last, and who wants it looked at sooner.
#[derive(Debug, Default)]
pub(super) struct Watching {
    seen: Mutex<Seen>,
    sooner: Notify,
    /// Somebody else has committed what the memory has not got: no grace for it.
    now: Notify,
    /// Notices come.
    listening: AtomicBool,
    /// One looks at a time, so that what was read earlier never replaces what was read later.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    database: Uuid,
    registry_version: i64,
    reload: bool,
}

impl Watching {
    /// The memory holds what the database held at `head`.
    pub(super) fn begin(&self, head: Head) {
        self.change(|seen| {
            *seen = Seen { database: head.database, registry_version: head.registry_version, reload: false }
        });
    }

    /// A commit is missing: look soon.
    pub(super) fn hurry(&self) {
        self.sooner.notify_one();
    }

    /// Somebody committed, and the memory is at `head`.
    fn moved(&self, head: Commit, commit: Commit, registry_version: i64, own: bool) {
        if self.seen().registry_version != registry_version || (commit > head && !own) {
            self.now.notify_one();
        } else if commit > head {
            // Our own words come by a shorter way, unless whoever wrote was given up.
            self.sooner.notify_one();
        }
    }

    /// The memory is not to be trusted: read everything again.
    pub(super) fn reload(&self) {
        self.change(|seen| seen.reload = true);
        self.sooner.notify_one();
    }

    fn pace(&self) -> Duration {
        if self.listening.load(Ordering::Relaxed) { EASY_PACE } else { PACE }
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Looks, and listens where that is possible, until `stop` fires.
pub(super) async fn run(lapi: Lapi, stop: CancellationToken) {
    let hearing = async {
        if let Some(listener) = lapi.store.listen() {
            stop.run_until_cancelled(hear(&lapi, listener)).await;
        }
    };
    tokio::join!(watch(&lapi, &stop), hearing);
}

/// Takes in what is said about commits.
async fn hear(lapi: &Lapi, mut listener: Listener) {
    let watching = &lapi.tail.watching;
    let mut deaf = false;
    loop {
        match listener.next().await {
            Notice::Moved { commit, registry_version, own } => {
                watching.moved(lapi.tail.head(), commit, registry_version, own)
            }
            Notice::Listening => {
                watching.listening.store(true, Ordering::Relaxed);
                // Whatever was said before was not heard.
                watching.now.notify_one();
                if std::mem::take(&mut deaf) {
                    tracing::info!("the database tells of changes at once again");
                }
            }
            Notice::Deaf(error) => {
                watching.listening.store(false, Ordering::Relaxed);
                if !std::mem::replace(&mut deaf, true) {
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
async fn watch(lapi: &Lapi, stop: &CancellationToken) {
    let mut away: Option<Instant> = None;
    let mut pause = PACE;
    loop {
        let sooner = async {
            lapi.tail.watching.sooner.notified().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            // While the database is away, hurrying would be asking it in a circle.
            () = sooner, if away.is_none() => {}
            // Somebody got through to it, whatever we met with.
            () = lapi.tail.watching.now.notified() => {}
        }
        let Some(looked) = stop.run_until_cancelled(look(lapi)).await else { return };
        match looked {
            Ok(_) => {
                if let Some(since) = away.take() {
                    tracing::info!(after = ?since.elapsed(), "the database answers again");
                }
                lapi.metrics.database_up.set(1);
                pause = lapi.tail.watching.pace();
            }
            Err(error) => {
                lapi.metrics.database_failures.inc();
                lapi.metrics.database_up.set(0);
                if away.is_none() {
                    away = Some(Instant::now());
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the database does not answer; decisions are served from memory, writes are refused"
                    );
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Looks once: hands everything that is new to the feed, and reads the registry again when it has moved. Returns the
/// commit that the memory will reach by it.
pub(super) async fn look(lapi: &Lapi) -> Result<Commit, StoreError> {
    let watching = &lapi.tail.watching;
    let _one_at_a_time = watching.looking.lock().await;
    // Before the database is asked: what is applied cannot be ahead of what is committed.
    let mut known = lapi.tail.head();
    let head = lapi.store.head().await?;
    let seen = watching.seen();
    if head.database != seen.database || head.commit < known || seen.reload {
        return reload(lapi).await;
    }
    while known < head.commit {
        let commits = lapi.store.changes_since(known, AT_ONCE).await?;
        let through = commits.last().map_or(head.commit, |(commit, _)| *commit);
        let after = known;
        known = through;
        let _ = lapi.tail.inbox.send(Word::Read { after, through, commits });
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
    lapi.store.begin_lineage(now, fastrand::u64(1..)).await?;
    let (held, head) = read(&lapi.store, now).await?;
    let _ = lapi.tail.inbox.send(Word::Replaced(Box::new(held)));
    lapi.tail.watching.change(|seen| {
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
    let lineages = lapi.store.lineages().await?;
    lapi.tail.active_mut().went_on(head.database, lineages);
    lapi.tail.watching.change(|seen| seen.registry_version = head.registry_version);
    Ok(())
}
