//! Those who wait for news under one filter, as one: what they must be told together. No task, no channel.
//!
//! One telling serves all: it holds what changed since the oldest cursor among them. To be told something twice costs a
//! client nothing.

use palisade_wire::UnixMillis;

use crate::answer::Answer;
use crate::filter::StreamRequest;
use crate::view::{Cursor, Standing, View};

/// Everybody who waits for the same decisions.
#[derive(Debug)]
pub struct Gathering {
    request: StreamRequest,
    /// Nobody here has been told less than this, each in its own right.
    oldest: Cursor,
    count: usize,
    tellings: u64,
}

/// What those who entered before it are told.
#[derive(Debug)]
pub struct Telling {
    /// Its number: it is for those for whom [`Gathering::enter`] returned the one before. Whoever missed one has to ask
    /// for themselves: a telling does not repeat what an earlier one told.
    pub number: u64,
    /// How many wait for it.
    pub count: usize,
    /// The answer; `None` when each must ask for themselves.
    pub answer: Option<Answer>,
}

impl Gathering {
    /// For a first one, who has yet to enter.
    pub fn new(request: StreamRequest, cursor: Cursor) -> Self {
        Self { request, oldest: cursor, count: 0, tellings: 0 }
    }

    /// Somebody waits who has this cursor. Returns the number of the last telling, which is not for them. They must
    /// look at the state once more after this: what it held before is not told.
    pub fn enter(&mut self, cursor: Cursor) -> u64 {
        self.count += 1;
        self.oldest =
            Cursor { commit: self.oldest.commit.min(cursor.commit), time: self.oldest.time.min(cursor.time) };
        self.tellings
    }

    /// Somebody waits no longer; whether they were the last.
    pub fn leave(&mut self) -> bool {
        self.count -= 1;
        self.count == 0
    }

    /// What is to be told of this state; `None` when it concerns nobody. The answer is made as it is read, so that no
    /// lock need be held meanwhile: whoever enters from here on waits for the next telling.
    pub fn tell(&mut self, view: &View, now: UnixMillis) -> Option<Telling> {
        let since = self.oldest;
        let standing = view.standing(&self.request, since, now);
        if standing == Standing::Abreast {
            self.oldest.commit = view.head();
            return None;
        }
        let answer = (standing == Standing::Behind).then(|| view.answer(&self.request, Some(since), now));
        Some(self.telling(view, now, answer))
    }

    /// Sends everybody to ask for themselves: the state is of another database.
    pub fn disband(&mut self, view: &View, now: UnixMillis) -> Telling {
        self.telling(view, now, None)
    }

    fn telling(&mut self, view: &View, now: UnixMillis, answer: Option<Answer>) -> Telling {
        self.oldest = Cursor { commit: view.head(), time: now };
        self.tellings += 1;
        Telling { number: self.tellings, count: self.count, answer }
    }
}
