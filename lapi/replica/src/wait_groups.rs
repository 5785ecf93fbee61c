//! Long-poll waiters grouped by filter; each group shares one response. No task, no channel.
//!
//! ```text
//!    register(): up to date, or behind by no more than the next broadcast ──► waits
//!    broadcast(): after a commit ──► one answer for each filter it concerns, for all waiters of the group
//! ```
//!
//! The shared answer contains the changes since the oldest cursor of the group. Receiving a change twice does a client
//! no harm.

use std::collections::HashMap;

use palisade_model::Commit;
use palisade_wire::UnixMillis;
use uuid::Uuid;

use crate::answer::Answer;
use crate::cursor::Cursor;
use crate::cursor_token::CursorScope;
use crate::filter::StreamRequest;
use crate::view::{CursorStatus, View};

/// All waiters. `S` is what the caller keeps per group: its waiters.
///
/// Call all methods under one lock, with a snapshot taken under the same lock, so that no waiter is registered
/// between a broadcast and its snapshot.
#[derive(Debug, Default)]
pub struct WaitGroups<S> {
    by_filter: HashMap<GroupKey, WaitGroup<S>>,
    /// Database, timeline and commit of the last broadcast.
    last_broadcast: Option<(Uuid, u64, Commit)>,
}

/// The database of the cursors, and the digest of the request.
type GroupKey = (Uuid, u64);

/// The waiters of one filter.
#[derive(Debug)]
struct WaitGroup<S> {
    request: StreamRequest,
    /// The timeline of their cursors.
    timeline: u64,
    /// A lower bound of their cursors, by commit and by time.
    oldest: Cursor,
    waiters: S,
}

/// An answer for the waiters of a group, which are no longer registered.
#[derive(Debug)]
pub struct Broadcast<S> {
    /// The digest of their request.
    pub digest: u64,
    /// The shared answer; `None` when each request must compute its own.
    pub answer: Option<Answer>,
    /// The group's waiters.
    pub waiters: S,
}

impl<S: Default> WaitGroups<S> {
    /// Registers a waiter with this valid cursor: returns the waiters of its `digest`, to add it to.
    ///
    /// `None` when the request must be answered at once. A client that is behind may wait when the next broadcast
    /// will include all it lacks: with many changes in a row, every client is behind again at its next request.
    pub fn register(
        &mut self,
        (view, scope): (&View, &CursorScope),
        (request, digest): (&StreamRequest, u64),
        cursor: Cursor,
        now: UnixMillis,
    ) -> Option<&mut S> {
        match view.status(request, cursor, now) {
            CursorStatus::UpToDate => {}
            // The last broadcast covered at most this cursor: everything after it will be in the next one.
            CursorStatus::Behind
                if self.last_broadcast_commit(scope).is_some_and(|broadcast| broadcast <= cursor.commit) => {}
            _ => return None,
        }
        let group = self.by_filter.entry((scope.database, digest)).or_insert_with(|| WaitGroup {
            request: request.clone(),
            timeline: scope.timeline(),
            oldest: cursor,
            waiters: S::default(),
        });
        let oldest = &mut group.oldest;
        // Both minima, though they may come from different cursors: the shared response then contains the changes of
        // either.
        *oldest = Cursor { commit: oldest.commit.min(cursor.commit), time: oldest.time.min(cursor.time) };
        Some(&mut group.waiters)
    }

    fn last_broadcast_commit(&self, scope: &CursorScope) -> Option<Commit> {
        let (database, timeline, commit) = self.last_broadcast?;
        (database == scope.database && timeline == scope.timeline()).then_some(commit)
    }

    /// The waiters of each group.
    pub fn waiters(&mut self) -> impl Iterator<Item = &mut S> {
        self.by_filter.values_mut().map(|group| &mut group.waiters)
    }

    /// Removes a group when it has no waiters left.
    pub fn remove_if_empty(&mut self, database: Uuid, digest: u64, is_empty: impl FnOnce(&mut S) -> bool) {
        if let Some(group) = self.by_filter.get_mut(&(database, digest))
            && is_empty(&mut group.waiters)
        {
            self.by_filter.remove(&(database, digest));
        }
    }

    /// The groups concerned by this snapshot, with their answers. Answers are generated as they are read, so the lock
    /// need not be held meanwhile.
    pub fn broadcast(&mut self, view: &View, scope: &CursorScope, now: UnixMillis) -> Vec<Broadcast<S>> {
        // Also without waiters: it decides which requests of the next moments may wait.
        self.last_broadcast = Some((scope.database, scope.timeline(), view.head()));
        let mut broadcasts = Vec::new();
        self.by_filter.retain(|(database, digest), group| {
            // On another timeline each cursor must be checked individually.
            let same = *database == scope.database && group.timeline == scope.timeline();
            let since = group.oldest;
            let status = view.status(&group.request, since, now);
            if same && status == CursorStatus::UpToDate {
                // Nothing up to here concerns the group. Left behind, its cursor would become too old while it waits.
                group.oldest.commit = view.head();
                return true;
            }
            let answer = (same && status == CursorStatus::Behind)
                .then(|| view.answer(&group.request, Some(since), now));
            broadcasts.push(Broadcast {
                digest: *digest,
                answer,
                waiters: std::mem::take(&mut group.waiters),
            });
            false
        });
        broadcasts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ActiveSet, Filter};
    use palisade_model::Timeline;
    use palisade_model::{Change, StoredDecision, Target};

    const NOW: UnixMillis = UnixMillis(1_750_000_000_000);

    fn commit(set: &mut ActiveSet, kind: &str) {
        let next = Commit(set.head().0 + 1);
        let row = StoredDecision {
            id: i64::try_from(next.0).unwrap(),
            commit: next,
            until: UnixMillis(NOW.0 + 3_600_000),
            alert: 1,
            simulated: false,
            uuid: None,
            origin: "cscli".into(),
            scenario: "by hand".into(),
            target: Target::stored("Ip", &format!("192.0.2.{}", next.0)),
            remediation: kind.into(),
        };
        set.apply(NOW, next, vec![Change::Put(row)]).unwrap();
    }

    fn of(kind: &str) -> StreamRequest {
        Filter::for_stream(&[("type".to_owned(), kind.to_owned())]).unwrap()
    }

    /// A replica and named waiters.
    struct Harness {
        set: ActiveSet,
        scope: CursorScope,
        waiting: WaitGroups<Vec<&'static str>>,
    }

    impl Harness {
        fn new() -> Self {
            let scope = CursorScope {
                database: Uuid::nil(),
                timelines: vec![Timeline { token: 1, from: Commit(0) }],
            };
            let set = ActiveSet::new(Duration::from_secs(1000), 1000);
            Self { set, scope, waiting: WaitGroups::default() }
        }

        fn register(&mut self, waiter: &'static str, kind: &str, commit: u64) -> bool {
            let (request, cursor) = (of(kind), Cursor { commit: Commit(commit), time: NOW });
            let state = (&self.set.view(), &self.scope);
            let waiters = self.waiting.register(state, (&request, request.digest()), cursor, NOW);
            waiters.map(|waiters| waiters.push(waiter)).is_some()
        }

        /// The waiters woken, and the number of decisions sent; `None` when they must compute their own answer.
        fn broadcast(&mut self) -> Vec<(Vec<&'static str>, Option<usize>)> {
            let broadcasts = self.waiting.broadcast(&self.set.view(), &self.scope, NOW);
            let mut told: Vec<_> = broadcasts
                .into_iter()
                .map(|broadcast| {
                    let body = broadcast.answer.map(|answer| answer.flatten().collect::<Vec<u8>>());
                    let count = |body: Vec<u8>| String::from_utf8(body).unwrap().matches("\"id\"").count();
                    (broadcast.waiters, body.map(count))
                })
                .collect();
            told.sort();
            told
        }
    }

    #[test]
    fn waiters_get_the_changes_of_their_filter_once() {
        let mut harness = Harness::new();
        commit(&mut harness.set, "ban");
        assert!(
            harness.register("a", "ban", 1)
                && harness.register("b", "ban", 1)
                && harness.register("c", "captcha", 1)
        );
        assert_eq!(harness.broadcast(), [], "there is nothing new");
        commit(&mut harness.set, "ban");
        assert_eq!(harness.broadcast(), [(vec!["a", "b"], Some(1))]);
        commit(&mut harness.set, "captcha");
        assert_eq!(harness.broadcast(), [(vec!["c"], Some(1))]);
        assert_eq!(harness.waiting.waiters().count(), 0);
    }

    #[test]
    fn a_client_that_is_behind_is_parked_only_for_a_broadcast_with_all_it_lacks() {
        let mut harness = Harness::new();
        commit(&mut harness.set, "ban");
        assert!(!harness.register("a", "ban", 0), "no round has been: nobody knows whether one is due");
        harness.broadcast();
        commit(&mut harness.set, "ban");
        assert!(!harness.register("a", "ban", 0), "the next round is about less than they lack");
        assert!(harness.register("b", "ban", 1) && harness.register("c", "ban", 2));
        // A client that is up to date receives changes it has already; that does no harm.
        assert_eq!(harness.broadcast(), [(vec!["b", "c"], Some(1))]);
        assert!(!harness.register("b", "ban", 1), "the round has been");
    }

    #[test]
    fn whom_another_line_of_history_concerns_looks_for_themselves() {
        let mut harness = Harness::new();
        commit(&mut harness.set, "ban");
        harness.broadcast();
        assert!(harness.register("a", "ban", 1));
        harness.scope.timelines.push(Timeline { token: 2, from: Commit(1) });
        commit(&mut harness.set, "ban");
        assert!(!harness.register("b", "ban", 1), "the last round was of another line");
        assert_eq!(harness.broadcast(), [(vec!["a"], None)]);
    }

    #[test]
    fn a_filter_without_waiters_is_removed() {
        let mut harness = Harness::new();
        assert!(harness.register("a", "ban", 0) && harness.register("b", "captcha", 0));
        let digest = of("ban").digest();
        harness.waiting.remove_if_empty(Uuid::nil(), digest, |waiters| waiters.is_empty());
        assert_eq!(harness.waiting.waiters().count(), 2);
        harness.waiting.remove_if_empty(Uuid::nil(), digest, |waiters| {
            waiters.clear();
            waiters.is_empty()
        });
        assert_eq!(harness.waiting.waiters().flatten().collect::<Vec<_>>(), [&"b"]);
    }
}
