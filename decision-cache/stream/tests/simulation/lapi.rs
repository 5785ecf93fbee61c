//! A LAPI without network: its memory, which may lag, and those who wait at it.

use std::time::Duration;

use palisade_active::{
    ActiveSet, Answer, Commit, Cursor, Filter, Gatherings, Origin, Place, Sealer, Standing, StreamRequest,
    Ticket,
};
use palisade_client::Continuation;
use palisade_stream::{Ask, Request};
use palisade_wire::UnixMillis;
use palisade_wire::follow::{Content, Why};
use uuid::Uuid;

use crate::log::Log;

/// The longest a request is held here, and how old a cursor may be to be held.
const LONGEST: Duration = Duration::from_secs(60);
const OLDEST: i64 = 120_000;

/// One of several on the same database.
pub(crate) struct Lapi {
    pub(crate) alive: bool,
    set: ActiveSet,
    origin: Origin,
    /// How far its clock is off, in milliseconds.
    skew: i64,
    waiting: Gatherings<Vec<Seat>>,
}

/// Somebody who waits.
pub(crate) struct Seat {
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
        Self { alive: true, set, origin: log.origin(), skew, waiting: Gatherings::default() }
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
            self.origin = log.origin();
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
        sealer: &Sealer,
        true_time: i64,
        client: usize,
        filter: &StreamRequest,
        request: Request,
    ) -> Option<Reply> {
        let asked = StreamRequest { startup: request.ask == Ask::Everything, ..filter.clone() };
        let digest = asked.digest();
        let mut place = self.place(sealer, true_time, &asked, &request);
        if matches!(place, Place::At(_, Standing::Ahead)) {
            self.catch_up(log, true_time, usize::MAX);
            place = self.place(sealer, true_time, &asked, &request);
        }
        let now = self.now(true_time);
        if let Place::At(cursor, Standing::Abreast | Standing::Behind) = place
            && !request.wait.is_zero()
            && now.0 - cursor.time.0 <= OLDEST
        {
            let state = (&self.set.view(), &self.origin);
            if let Some(seats) = self.waiting.enter(state, (&asked, digest), cursor, now) {
                let wait = i64::try_from(request.wait.min(LONGEST).as_millis()).expect("a short time");
                let (database, until) = (self.origin.database, true_time + wait);
                seats.push(Seat { client, request, asked, digest, database, until });
                return None;
            }
        }
        Some(self.answer(sealer, true_time, client, request, &asked, place))
    }

    /// Who waits.
    pub(crate) fn waiting(&mut self) -> Vec<usize> {
        self.waiting.seats().flatten().map(|seat| seat.client).collect()
    }

    /// Tells those who wait what is new, and answers those whose time is up.
    pub(crate) fn tell(&mut self, sealer: &Sealer, true_time: i64) -> Vec<Reply> {
        let mut replies = Vec::new();
        for telling in self.waiting.round(&self.set.view(), &self.origin, self.now(true_time)) {
            let answer = telling.answer.map(|answer| (answer.next, answer.flatten().collect::<Vec<u8>>()));
            for seat in telling.seats {
                replies.push(match &answer {
                    Some((next, body)) => {
                        let head = self.head(sealer, telling.digest, *next, Content::Changes);
                        let (client, request) = (seat.client, seat.request);
                        Reply { client, request, head, body: body.clone(), made: true_time }
                    }
                    None => self.look(sealer, true_time, seat),
                });
            }
        }
        for seat in self.take_up(|seat| seat.until <= true_time) {
            replies.push(self.look(sealer, true_time, seat));
        }
        replies
    }

    /// Somebody who waited has gone away.
    pub(crate) fn hang_up(&mut self, client: usize) {
        self.take_up(|seat| seat.client == client);
    }

    /// Who leaves before being told.
    fn take_up(&mut self, leaves: impl Fn(&Seat) -> bool) -> Vec<Seat> {
        let left: Vec<Seat> =
            self.waiting.seats().flat_map(|seats| seats.extract_if(.., |seat| leaves(seat))).collect();
        for seat in &left {
            self.waiting.forget(seat.database, seat.digest, |seats| seats.is_empty());
        }
        left
    }

    /// Answers somebody from what there is now.
    fn look(&self, sealer: &Sealer, true_time: i64, seat: Seat) -> Reply {
        let place = self.place(sealer, true_time, &seat.asked, &seat.request);
        self.answer(sealer, true_time, seat.client, seat.request, &seat.asked, place)
    }

    fn place(&self, sealer: &Sealer, true_time: i64, asked: &StreamRequest, request: &Request) -> Place {
        let view = self.set.view();
        sealer.place((&view, &self.origin), (asked, asked.digest()), &request.cursor, self.now(true_time))
    }

    fn answer(
        &self,
        sealer: &Sealer,
        true_time: i64,
        client: usize,
        request: Request,
        asked: &StreamRequest,
        place: Place,
    ) -> Reply {
        let (since, content) = match place {
            Place::Nowhere(why) => (None, Content::Everything(why)),
            Place::At(_, Standing::Ahead) => (None, Content::Everything(Why::OtherDatabase)),
            Place::At(cursor, _) => (Some(cursor), Content::Changes),
        };
        let answer: Answer = self.set.view().answer(asked, since, self.now(true_time));
        let head = self.head(sealer, asked.digest(), answer.next, content);
        Reply { client, request, head, body: answer.flatten().collect(), made: true_time }
    }

    fn head(&self, sealer: &Sealer, digest: u64, next: Cursor, content: Content) -> Continuation {
        let ticket = Ticket {
            database: self.origin.database,
            lineage: self.origin.lineage(),
            filter: digest,
            cursor: next,
        };
        Continuation { cursor: sealer.seal(&ticket), content, wait: Some(LONGEST) }
    }
}

/// What a client asks for, by its query.
pub(crate) fn filter(query: &[(&str, &str)]) -> StreamRequest {
    let pairs: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    StreamRequest { by_address: true, ..Filter::for_stream(&pairs).expect("a good filter") }
}
