//! A LAPI without network: its memory, which may lag, and those who wait at it.

use std::collections::HashMap;
use std::time::Duration;

use palisade_active::{
    ActiveSet, Answer, Commit, Cursor, Filter, Gathering, Origin, Place, Sealer, Standing, StreamRequest,
    Ticket,
};
use palisade_client::Continuation;
use palisade_stream::{Ask, Request};
use palisade_wire::UnixMillis;
use palisade_wire::follow::{Content, Why};

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
    gatherings: HashMap<u64, (Gathering, u64)>,
    pub(crate) seats: Vec<Seat>,
}

/// Somebody who waits.
pub(crate) struct Seat {
    pub(crate) client: usize,
    pub(crate) request: Request,
    asked: StreamRequest,
    digest: u64,
    entered: u64,
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
        Self { alive: true, set, origin: log.origin(), skew, gatherings: HashMap::new(), seats: Vec::new() }
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
        if let Place::At(cursor, Standing::Abreast) = place
            && !request.wait.is_zero()
            && self.now(true_time).0 - cursor.time.0 <= OLDEST
        {
            let lineage = self.origin.lineage();
            let (gathering, _) = self
                .gatherings
                .entry(digest)
                .or_insert_with(|| (Gathering::new(asked.clone(), cursor), lineage));
            let entered = gathering.enter(cursor);
            let until =
                true_time + i64::try_from(request.wait.min(LONGEST).as_millis()).expect("a short time");
            self.seats.push(Seat { client, request, asked, digest, entered, until });
            return None;
        }
        Some(self.answer(sealer, true_time, client, request, &asked, place))
    }

    /// Tells those who wait what is new, and answers those whose time is up.
    pub(crate) fn tell(&mut self, sealer: &Sealer, true_time: i64) -> Vec<Reply> {
        let (view, now) = (self.set.view(), self.now(true_time));
        let mut replies = Vec::new();
        let mut tellings = HashMap::new();
        for (digest, (gathering, lineage)) in &mut self.gatherings {
            let before = std::mem::replace(lineage, self.origin.lineage());
            let telling = if before == self.origin.lineage() {
                gathering.tell(&view, now)
            } else {
                Some(gathering.disband(&view, now))
            };
            if let Some(telling) = telling {
                let answer =
                    telling.answer.map(|answer| (answer.next, answer.flatten().collect::<Vec<u8>>()));
                tellings.insert(*digest, (telling.number, answer));
            }
        }
        let seats = std::mem::take(&mut self.seats);
        for seat in seats {
            let told = tellings.get(&seat.digest).filter(|(number, _)| *number > seat.entered);
            if told.is_none() && seat.until > true_time {
                self.seats.push(seat);
                continue;
            }
            self.leave(seat.digest);
            match told {
                Some((number, Some((next, body)))) if *number == seat.entered + 1 => {
                    let head = self.head(sealer, seat.digest, *next, Content::Changes);
                    let (client, request, body) = (seat.client, seat.request, body.clone());
                    replies.push(Reply { client, request, head, body, made: true_time });
                }
                _ => {
                    let place = self.place(sealer, true_time, &seat.asked, &seat.request);
                    replies.push(self.answer(
                        sealer,
                        true_time,
                        seat.client,
                        seat.request,
                        &seat.asked,
                        place,
                    ));
                }
            }
        }
        replies
    }

    /// Somebody who waited has gone away.
    pub(crate) fn hang_up(&mut self, client: usize) {
        while let Some(at) = self.seats.iter().position(|seat| seat.client == client) {
            let seat = self.seats.swap_remove(at);
            self.leave(seat.digest);
        }
    }

    fn leave(&mut self, digest: u64) {
        if self.gatherings.get_mut(&digest).is_some_and(|(gathering, _)| gathering.leave()) {
            self.gatherings.remove(&digest);
        }
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
