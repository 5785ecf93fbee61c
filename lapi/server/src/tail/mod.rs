//! Keeps the active decisions in memory abreast of the database.
//!
//! ```text
//! a write ──► store ──► its commits ──┐
//!                                     ├──► Feed: in order, once each ──► ActiveSet ──► streams, live queries
//! head, four times a second ──► what others wrote ──┘
//! ```
//!
//! A write is answered after its commit has been applied, so whoever posts and then pulls finds what he posted.

mod feed;
mod order;
mod watch;

use std::time::Duration;

use palisade_active::{ActiveSet, Change, Commit};
use palisade_store::{Head, Store, StoreError};
use palisade_wire::UnixMillis;
use tokio::sync::{mpsc, watch as latest};

pub(crate) use feed::Feed;
use order::Changes;

use crate::Lapi;

/// For how long it is remembered that a decision ended or was removed. A bouncer that was away for longer gets a
/// full answer.
pub(crate) const HISTORY: Duration = Duration::from_secs(24 * 3600);
/// How many such memories there may be.
const HISTORY_ENTRIES: usize = 1_000_000;
/// How long the answer to a write waits for its commit to be applied. Longer it waits only where an earlier commit
/// is missing and the database does not answer; what was written is safe nevertheless.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way into the memory: told of commits, knows how far it has come.
#[derive(Debug)]
pub(crate) struct Tail {
    inbox: mpsc::UnboundedSender<Word>,
    applied: latest::Receiver<Commit>,
    watching: watch::Watching,
}

/// What the feed is told. Bounded by the writes under way: each waits for its own to be applied.
#[derive(Debug)]
enum Word {
    /// A writer's own commits.
    Told(Vec<(Commit, Changes)>),
    /// All that is left of the commits after `after` up to `through`, read from the database.
    Read { after: Commit, through: Commit, commits: Vec<(Commit, Changes)> },
    /// The database is another one, or went back: this is what it holds.
    Replaced(Box<ActiveSet>),
}

impl Tail {
    /// A tail of a memory that was loaded up to `head`, and the feed that must run for it.
    pub(crate) fn new(head: Head) -> (Self, Feed) {
        let (inbox, words) = mpsc::unbounded_channel();
        let (applied, seen) = latest::channel(head.commit);
        let tail = Self { inbox, applied: seen, watching: watch::Watching::new(head) };
        (tail, Feed::new(head.commit, words, applied))
    }

    /// The last commit that is applied.
    pub(crate) fn head(&self) -> Commit {
        *self.applied.borrow()
    }

    /// Hands on what a write did, and waits until it is applied.
    pub(crate) async fn follow(&self, commits: Vec<(Commit, Vec<Change>)>) {
        let Some(last) = commits.iter().map(|(commit, _)| *commit).max() else { return };
        // Nobody listens at the very end of the process, when nobody asks either.
        if self.inbox.send(Word::Told(commits)).is_ok() {
            self.reached(last).await;
        }
    }

    /// Waits until a commit is applied, within reason.
    async fn reached(&self, commit: Commit) {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|head| *head >= commit);
        if !matches!(tokio::time::timeout(PATIENCE, reached).await, Ok(Ok(_))) {
            tracing::warn!(commit = commit.0, "a commit is stored and not yet applied; bouncers get it later");
        }
    }
}

/// Reads everything the memory needs.
///
/// # Errors
///
/// When the database fails.
pub(crate) async fn load(store: &Store, now: UnixMillis) -> Result<(ActiveSet, Head), StoreError> {
    // Before the snapshot: what is committed between the two is read again by the watch.
    let mut head = store.head().await?;
    let mut changes = Vec::new();
    head.commit = store.load(now, HISTORY, &mut |change| changes.push(change)).await?;
    let mut set = ActiveSet::new(HISTORY, HISTORY_ENTRIES);
    set.load(now, changes.into_iter(), head.commit);
    Ok((set, head))
}

/// Starts the tasks that keep the memory abreast; they end when the LAPI stops.
pub(crate) fn start(lapi: &Lapi, feed: Feed) {
    lapi.tasks.spawn(feed.run(lapi.clone()));
    lapi.tasks.spawn(watch::run(lapi.clone()));
}

impl Lapi {
    /// Brings the memory up to what the database holds now, whoever wrote it.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        let head = watch::look(self).await?;
        self.tail.reached(head).await;
        Ok(())
    }
}
