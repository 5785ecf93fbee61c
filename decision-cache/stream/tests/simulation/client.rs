//! A client without network: the schedule, the admission and the ledger as the follower drives them.

use std::collections::BTreeMap;

use palisade_cache::{Batch, Ledger, Policy, Target, Timestamp};
use palisade_stream::{Admission, Cadence, Failure, PullKind, Request, ResponseSummary, Schedule};
use palisade_wire::{StreamDecoder, StreamItem};

use crate::lapi::Reply;

/// What holds: by target and remediation, the end of the longest, in milliseconds of true time.
pub(crate) type Holds = BTreeMap<(String, String), i64>;

/// What it is doing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// Waits until then.
    Idle(i64),
    /// Has sent a request and waits for the response.
    Asking(Request),
}

pub(crate) struct Client {
    schedule: Schedule,
    admission: Admission,
    ledger: Ledger,
    pub(crate) phase: Phase,
    /// The LAPI it uses.
    pub(crate) at: usize,
    /// Does nothing before then.
    pub(crate) asleep_until: i64,
    /// Answers with everything it was given.
    pub(crate) full: usize,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self {
            schedule: Schedule::new(Cadence::default()),
            admission: Admission::new(None),
            ledger: Ledger::new(Policy::default(), 1),
            phase: Phase::Idle(0),
            at: 0,
            asleep_until: 0,
            full: 0,
        }
    }

    pub(crate) fn next_request(&mut self, now: i64) -> Request {
        let request = self.schedule.next_request(Timestamp::from_millis(now));
        self.phase = Phase::Asking(request.clone());
        request
    }

    /// Takes a whole answer, if it is to the request that is under way.
    pub(crate) fn take(&mut self, now: i64, reply: &Reply, spread: f64) -> bool {
        if self.phase != Phase::Asking(reply.request.clone()) {
            return false;
        }
        let received = Timestamp::from_millis(now);
        if self.schedule.is_stale(received, &reply.request) {
            self.failed(now, Failure { may_have_reached_lapi: true, ..Failure::default() }, 0);
            return false;
        }
        let head = Some(&reply.head);
        let full = reply.request.brings(head) == PullKind::Everything;
        self.full += usize::from(full);
        let (mut batch, mut items) = (Batch::new(), 0);
        let mut decoder = StreamDecoder::new();
        let mut take = |item: StreamItem<'_>| {
            items += 1;
            self.admission.take(item, full, received, &mut batch);
        };
        decoder.push(&reply.body, &mut take).expect("a LAPI writes good JSON");
        decoder.finish().expect("the answer is whole");
        assert!(self.admission.refused().is_empty(), "{:?}", self.admission.refused());
        self.ledger.expire(received);
        let summary = ResponseSummary {
            head: Some(reply.head.clone()),
            items,
            announced: batch.announced(),
            highest_id: batch.highest_id(),
        };
        let mode = self.schedule.mode(&reply.request, head, summary.announced, self.ledger.len());
        let applied = self.ledger.apply(mode, batch);
        self.schedule.set_next_end(self.ledger.next_expiry());
        let next = self.schedule.on_response(received, &reply.request, &summary, mode, applied, spread);
        self.phase = Phase::Idle(now + i64::try_from(next.wait.as_millis()).expect("a short time"));
        true
    }

    /// Handles a request without a response.
    pub(crate) fn failed(&mut self, now: i64, failure: Failure, wait: i64) {
        let Phase::Asking(request) = &self.phase else { return };
        self.schedule.failed(Timestamp::from_millis(now), request, failure);
        self.phase = Phase::Idle(now + wait);
    }

    /// The cursor that belongs to what is held; empty while a full pull is pending.
    pub(crate) fn cursor(&self) -> &str {
        self.schedule.cursor()
    }

    pub(crate) fn holds(&mut self, now: i64) -> Holds {
        self.ledger.expire(Timestamp::from_millis(now));
        let mut holds = Holds::new();
        for decision in self.ledger.snapshot().decisions() {
            let target = match decision.target {
                Target::Net(net) => net.to_string(),
                Target::Name(name) => format!("{} {name}", decision.scope),
            };
            let until = decision.until.as_millis();
            let longest = holds.entry((target, decision.remediation.to_owned())).or_insert(until);
            *longest = until.max(*longest);
        }
        holds
    }
}
