//! A LAPI without network: its memory, which may lag, and its parked requests.

use std::time::Duration;

use palisade_client::Continuation;
use palisade_model::Commit;
use palisade_replica::{
    ActiveSet, Answer, Cursor, CursorLookup, CursorScope, CursorSigner, CursorStatus, CursorToken, Filter,
    StreamRequest, WaitGroups,
};
use palisade_stream::{PullKind, Request};
use palisade_wire::UnixMillis;
use palisade_wire::follow::{Content, FullReason};
use uuid::Uuid;

use crate::log::Log;

/// The longest a request is held here, and how old a cursor may be to be held.
const MAX_WAIT: Duration = Duration::from_secs(60);
const OLDEST: i64 = 120_000;

/// One of several on the same database.
pub(crate) struct Lapi {
    pub(crate) alive: bool,
    set: ActiveSet,
    scope: CursorScope,
    /// How far its clock is off, in milliseconds.
    skew: i64,
    waiting: WaitGroups<Vec<Waiter>>,
}

/// A parked request.
pub(crate) struct Waiter {
    pub(crate) client: usize,
    pub(crate) request: Request,
    asked: StreamRequest,
    digest: u64,
    database: Uuid,
    /// By true time, in milliseconds.
    until: i64,
}

/// What goes back.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) client: usize,
    pub(crate) request: Request,
    pub(crate) head: Continuation,
    pub(crate) body: Vec<u8>,
    /// By true time, in milliseconds.
    pub(crate) made: i64,
}

impl Lapi {
    pub(crate) fn start(log: &mut Log, true_time: i64, skew: i64, chance: &mut fastrand::Rng) -> Self {
        log.begin(chance);
        let set = log.load(UnixMillis(true_time + skew));
        Self { alive: true, set, scope: log.scope(), skew, waiting: WaitGroups::default() }
    }

    pub(crate) fn now(&self, true_time: i64) -> UnixMillis {
        UnixMillis(true_time + self.skew)
    }

    /// Reads so many commits that others made, and what lines of history there are.
    pub(crate) fn catch_up(&mut self, log: &Log, true_time: i64, at_most: usize) {
        let from = usize::try_from(self.set.head().0).expect("a small number");
        for (place, changes) in log.commits.iter().enumerate().skip(from).take(at_most) {
            let commit = Commit(place as u64 + 1);
            self.set.apply(self.now(true_time), commit, changes.clone()).expect("commits are in order");
        }
        if self.set.head() == log.head() {
            self.scope = log.scope();
        }
    }

    pub(crate) fn expire(&mut self, true_time: i64) {
        let now = self.now(true_time);
        self.set.expire(now);
    }

    /// Takes a request: answers it, or holds it.
    pub(crate) fn take(
        &mut self,
        log: &Log,
        signer: &CursorSigner,
        true_time: i64,
        client: usize,
        filter: &StreamRequest,
        request: Request,
    ) -> Option<Reply> {
        let asked = StreamRequest { startup: request.ask == PullKind::Everything, ..filter.clone() };
        let digest = asked.digest();
        let mut place = self.place(signer, true_time, &asked, &request);
        if matches!(place, CursorLookup::Valid(_, CursorStatus::Ahead)) {
            self.catch_up(log, true_time, usize::MAX);
            place = self.place(signer, true_time, &asked, &request);
        }
        let now = self.now(true_time);
        if let CursorLookup::Valid(cursor, CursorStatus::UpToDate | CursorStatus::Behind) = place
            && !request.wait.is_zero()
            && now.0 - cursor.time.0 <= OLDEST
        {
            let state = (&self.set.view(), &self.scope);
            if let Some(waiters) = self.waiting.register(state, (&asked, digest), cursor, now) {
                let wait = i64::try_from(request.wait.min(MAX_WAIT).as_millis()).expect("a short time");
                let (database, until) = (self.scope.database, true_time + wait);
                waiters.push(Waiter { client, request, asked, digest, database, until });
                return None;
            }
        }
        Some(self.answer(signer, true_time, client, request, &asked, place))
    }

    /// The clients with parked requests.
    pub(crate) fn waiting(&mut self) -> Vec<usize> {
        self.waiting.waiters().flatten().map(|waiter| waiter.client).collect()
    }

    /// Broadcasts changes, and answers requests that have timed out.
    pub(crate) fn broadcast(&mut self, signer: &CursorSigner, true_time: i64) -> Vec<Reply> {
        let mut replies = Vec::new();
        for broadcast in self.waiting.broadcast(&self.set.view(), &self.scope, self.now(true_time)) {
            let answer = broadcast.answer.map(|answer| (answer.next, answer.flatten().collect::<Vec<u8>>()));
            for waiter in broadcast.waiters {
                replies.push(match &answer {
                    Some((next, body)) => {
                        let head = self.head(signer, broadcast.digest, *next, Content::Changes);
                        let (client, request) = (waiter.client, waiter.request);
                        Reply { client, request, head, body: body.clone(), made: true_time }
                    }
                    None => self.look(signer, true_time, waiter),
                });
            }
        }
        for waiter in self.take_up(|waiter| waiter.until <= true_time) {
            replies.push(self.look(signer, true_time, waiter));
        }
        replies
    }

    /// A parked request was aborted.
    pub(crate) fn hang_up(&mut self, client: usize) {
        self.take_up(|waiter| waiter.client == client);
    }

    /// The clients whose requests are aborted before a response.
    fn take_up(&mut self, leaves: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        let left: Vec<Waiter> = self
            .waiting
            .waiters()
            .flat_map(|waiters| waiters.extract_if(.., |waiter| leaves(waiter)))
            .collect();
        for waiter in &left {
            self.waiting.remove_if_empty(waiter.database, waiter.digest, |waiters| waiters.is_empty());
        }
        left
    }

    /// Answers a request from the current state.
    fn look(&self, signer: &CursorSigner, true_time: i64, waiter: Waiter) -> Reply {
        let place = self.place(signer, true_time, &waiter.asked, &waiter.request);
        self.answer(signer, true_time, waiter.client, waiter.request, &waiter.asked, place)
    }

    fn place(
        &self,
        signer: &CursorSigner,
        true_time: i64,
        asked: &StreamRequest,
        request: &Request,
    ) -> CursorLookup {
        let view = self.set.view();
        signer.lookup((&view, &self.scope), (asked, asked.digest()), &request.cursor, self.now(true_time))
    }

    fn answer(
        &self,
        signer: &CursorSigner,
        true_time: i64,
        client: usize,
        request: Request,
        asked: &StreamRequest,
        place: CursorLookup,
    ) -> Reply {
        let (since, content) = match place {
            CursorLookup::Invalid(why) => (None, Content::Everything(why)),
            CursorLookup::Valid(_, CursorStatus::Ahead) => {
                (None, Content::Everything(FullReason::OtherDatabase))
            }
            CursorLookup::Valid(cursor, _) => (Some(cursor), Content::Changes),
        };
        let answer: Answer = self.set.view().answer(asked, since, self.now(true_time));
        let head = self.head(signer, asked.digest(), answer.next, content);
        Reply { client, request, head, body: answer.flatten().collect(), made: true_time }
    }

    fn head(&self, signer: &CursorSigner, digest: u64, next: Cursor, content: Content) -> Continuation {
        let token = CursorToken {
            database: self.scope.database,
            timeline: self.scope.timeline(),
            filter: digest,
            cursor: next,
        };
        Continuation { cursor: signer.sign(&token), content, wait: Some(MAX_WAIT) }
    }
}

/// The filter of a client's query.
pub(crate) fn filter(query: &[(&str, &str)]) -> StreamRequest {
    let pairs: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    StreamRequest { by_address: true, ..Filter::for_stream(&pairs).expect("a good filter") }
}
