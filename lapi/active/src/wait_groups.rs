//! Those who wait for news, filter by filter, and what those of one filter are told together. No task, no channel.
//!
//! ```text
//!   enter(): abreast, or behind by no more than the next round tells ──► waits
//!   round(): the state has moved ──► one answer for each filter that it concerns, for everybody in it
//! ```
//!
//! One telling serves all: it holds what changed since the oldest cursor among them. To be told something twice costs a
//! client nothing.

use std::collections::HashMap;

use palisade_wire::UnixMillis;
use uuid::Uuid;

use crate::answer::Answer;
use crate::cursor_token::CursorScope;
use crate::filter::StreamRequest;
use crate::row::Commit;
use crate::view::{Cursor, CursorStatus, View};

/// Everybody who waits. `S` is what the caller keeps of those of one filter until they are told: their seats.
///
/// All of it is to be called under one lock, with a state that was taken under the same lock, so that nobody enters
/// between a round and its state.
#[derive(Debug, Default)]
pub struct WaitGroups<S> {
    by_filter: HashMap<GroupKey, WaitGroup<S>>,
    /// What the last round was about: whose commits, and how many.
    last_broadcast: Option<(Uuid, u64, Commit)>,
}

/// Of which database the cursors are, and the digest of what is asked for.
type GroupKey = (Uuid, u64);

/// Everybody who waits for the same decisions.
#[derive(Debug)]
struct WaitGroup<S> {
    request: StreamRequest,
    /// Of which line of history the cursors here are.
    timeline: u64,
    /// Nobody here has been told less than this, each in its own right.
    oldest: Cursor,
    waiters: S,
}

/// What some who waited are told. They wait no longer.
#[derive(Debug)]
pub struct Broadcast<S> {
    /// The digest of what they asked for.
    pub digest: u64,
    /// The answer to all of them; `None` when each must ask for themselves.
    pub answer: Option<Answer>,
    /// Who they are.
    pub waiters: S,
}

impl<S: Default> WaitGroups<S> {
    /// Somebody with this cursor, which is good, may wait: returns where they sit, with others of the same `digest`.
    ///
    /// `None` when they are to be answered at once. Who is behind may wait all the same when a round is due that tells
    /// them all they lack: in a storm everybody is behind again as soon as they ask.
    pub fn register(
        &mut self,
        (view, scope): (&View, &CursorScope),
        (request, digest): (&StreamRequest, u64),
        cursor: Cursor,
        now: UnixMillis,
    ) -> Option<&mut S> {
        match view.status(request, cursor, now) {
            CursorStatus::UpToDate => {}
            // The last round was told up to here or before: what came after it is for the next.
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
        *oldest = Cursor { commit: oldest.commit.min(cursor.commit), time: oldest.time.min(cursor.time) };
        Some(&mut group.waiters)
    }

    fn last_broadcast_commit(&self, scope: &CursorScope) -> Option<Commit> {
        let (database, timeline, commit) = self.last_broadcast?;
        (database == scope.database && timeline == scope.timeline()).then_some(commit)
    }

    /// Those who wait, filter by filter.
    pub fn waiters(&mut self) -> impl Iterator<Item = &mut S> {
        self.by_filter.values_mut().map(|group| &mut group.waiters)
    }

    /// Forgets a filter if nobody is left there who waits.
    pub fn forget(&mut self, database: Uuid, digest: u64, is_empty: impl FnOnce(&mut S) -> bool) {
        if let Some(group) = self.by_filter.get_mut(&(database, digest))
            && is_empty(&mut group.waiters)
        {
            self.by_filter.remove(&(database, digest));
        }
    }

    /// Whom this state concerns, and what they are told. Answers are made as they are read, so that the lock need not be
    /// held meanwhile.
    pub fn broadcast(&mut self, view: &View, scope: &CursorScope, now: UnixMillis) -> Vec<Broadcast<S>> {
        self.last_broadcast = Some((scope.database, scope.timeline(), view.head()));
        let mut broadcasts = Vec::new();
        self.by_filter.retain(|(database, digest), group| {
            // Whether the cursors here are still good is for each to be looked at when history took another line.
            let same = *database == scope.database && group.timeline == scope.timeline();
            let since = group.oldest;
            let status = view.status(&group.request, since, now);
            if same && status == CursorStatus::UpToDate {
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
    use crate::cursor_token::Timeline;
    use crate::{ActiveSet, Change, Filter, ReplicaRow};

    const NOW: UnixMillis = UnixMillis(1_750_000_000_000);

    fn commit(set: &mut ActiveSet, kind: &str) {
        let next = Commit(set.head().0 + 1);
        let row = ReplicaRow {
            id: i64::try_from(next.0).unwrap(),
            commit: next,
            until: UnixMillis(NOW.0 + 3_600_000),
            alert: 1,
            simulated: false,
            uuid: None,
            origin: "cscli".into(),
            scenario: "by hand".into(),
            scope: "Ip".into(),
            kind: kind.into(),
            value: format!("192.0.2.{}", next.0),
        };
        set.apply(NOW, next, vec![Change::Put(row)]).unwrap();
    }

    fn of(kind: &str) -> StreamRequest {
        Filter::for_stream(&[("type".to_owned(), kind.to_owned())]).unwrap()
    }

    /// A LAPI's memory and who waits there, by name.
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

        fn register(&mut self, who: &'static str, kind: &str, commit: u64) -> bool {
            let (request, cursor) = (of(kind), Cursor { commit: Commit(commit), time: NOW });
            let state = (&self.set.view(), &self.scope);
            let waiters = self.waiting.register(state, (&request, request.digest()), cursor, NOW);
            waiters.map(|waiters| waiters.push(who)).is_some()
        }

        /// Who is told, and how many decisions; `None` for whoever must look for themselves.
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
    fn who_waits_is_told_what_concerns_them_and_waits_no_longer() {
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
    fn who_is_behind_waits_only_for_a_round_that_is_due_and_tells_all_they_lack() {
        let mut harness = Harness::new();
        commit(&mut harness.set, "ban");
        assert!(!harness.register("a", "ban", 0), "no round has been: nobody knows whether one is due");
        harness.broadcast();
        commit(&mut harness.set, "ban");
        assert!(!harness.register("a", "ban", 0), "the next round is about less than they lack");
        assert!(harness.register("b", "ban", 1) && harness.register("c", "ban", 2));
        // It tells the one who is abreast what they know; that is no harm.
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
    fn a_filter_is_forgotten_when_nobody_waits_there() {
        let mut harness = Harness::new();
        assert!(harness.register("a", "ban", 0) && harness.register("b", "captcha", 0));
        let digest = of("ban").digest();
        harness.waiting.forget(Uuid::nil(), digest, |waiters| waiters.is_empty());
        assert_eq!(harness.waiting.waiters().count(), 2);
        harness.waiting.forget(Uuid::nil(), digest, |waiters| {
            waiters.clear();
            waiters.is_empty()
        });
        assert_eq!(harness.waiting.waiters().flatten().collect::<Vec<_>>(), [&"b"]);
    }
}
