//! When to send which request: a state machine without clock or socket.
//!
//! ```text
//!    next_request(now) ──► Request ──► (the LAPI) ──► head, items ──► mode(…) ──► apply ──► on_response(…)─► delay
//!                                       └──► failure ──────────────────────────────► failed(…)
//! ```
//!
//! A stock LAPI has no acknowledgements and moves its position whether or not a response arrives. Whenever the position
//! may be wrong, the next pull is full (see [`ResyncReason`]), and there are periodic full pulls besides. A stock LAPI
//! may also prolong a decision without announcing it: full pulls are made shortly before a decision ends and at the
//! next request after it, as often as the length of the list permits (see [`Cadence`]). A LAPI that keeps cursors
//! returns one with each response: failed requests are repeated with the same cursor, and no full pull is needed.

use std::time::Duration;

use palisade_cache::{Applied, Mode, Timestamp};
use palisade_client::Continuation;

use crate::cadence::{Cadence, Peer, PullKind, Request, ResyncReason};
use crate::long_poll_window::LongPollWindow;

/// A response with changes older than this, apart from the time its request was parked, is stale: longer than any
/// client waits for its head.
const MAX_RESPONSE_AGE: Duration = Duration::from_secs(60);
/// The same for full responses, which a stock LAPI may prepare for minutes.
const MAX_FULL_RESPONSE_AGE: Duration = Duration::from_secs(330);

/// The state between requests.
#[derive(Debug)]
pub struct Schedule {
    cadence: Cadence,
    resync: Duration,
    peer: Peer,
    /// The position at a LAPI that keeps cursors; empty without one.
    cursor: String,
    long_poll: LongPollWindow,
    /// The next request must not be parked: it finds out which LAPI answers.
    probing: bool,
    resync_reason: Option<ResyncReason>,
    last_answer: Option<Timestamp>,
    next_full: Option<Timestamp>,
    highest_id: i64,
    /// The number of decisions in the unconfirmed full response.
    unconfirmed: Option<usize>,
    /// Consecutive responses that did not continue from the cursor. One means a restored database; more mean, for
    /// example, LAPIs of different databases behind one address.
    cursor_mismatches: u32,
    /// The current full pull follows directly after changes, so it should contain nothing new.
    comparing: bool,
    /// It was due because of an end: then a decision prolonged without an announcement is not a sign of theft.
    for_end: bool,
    /// The number of entries in the last full response.
    full_entries: usize,
    last_full: Option<Timestamp>,
    /// When the next decision ends.
    next_end: Option<Timestamp>,
    /// The earliest end recorded since the last full pull.
    earliest_end: Option<Timestamp>,
    /// Decisions announced by changes since the last full pull.
    announced_since: usize,
    /// Comparisons that found decisions no update contained. A single one may be a coincidence.
    theft_signs: u32,
}

/// A complete response, as far as the schedule is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseSummary {
    /// The head; `None` from a stock LAPI.
    pub head: Option<Continuation>,
    /// The number of items of any kind.
    pub items: usize,
    /// The number of admitted decisions.
    pub announced: usize,
    /// The highest id among them.
    pub highest_id: Option<i64>,
}

/// A request without a usable response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failure {
    /// The LAPI may have received the request and counted the response as delivered.
    pub may_have_reached_lapi: bool,
    /// The request may have failed because it was parked for too long.
    pub may_end_a_hold: bool,
    /// The next request goes to another LAPI.
    pub elsewhere: bool,
}

/// What to do after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The delay before the next request.
    pub wait: Duration,
    /// The response was compared with a stock LAPI's changes: what it added or removed had been lost.
    pub compared: bool,
    /// Log (once) that another client seems to consume this client's changes.
    pub warn_of_theft: bool,
}

impl Schedule {
    /// Starts with an immediate full pull.
    pub fn new(cadence: Cadence) -> Self {
        Self::resume(cadence, String::new())
    }

    /// Starts with an immediate request for the changes since `cursor`, which must belong to exactly the decisions
    /// held; an empty cursor starts with a full pull.
    pub fn resume(cadence: Cadence, cursor: String) -> Self {
        Self {
            resync: cadence.resync,
            peer: Peer::Unknown,
            long_poll: LongPollWindow::new(cadence.max_wait),
            cadence,
            probing: true,
            resync_reason: cursor.is_empty().then_some(ResyncReason::Start),
            cursor,
            last_answer: None,
            next_full: None,
            highest_id: 0,
            unconfirmed: None,
            cursor_mismatches: 0,
            comparing: false,
            for_end: false,
            full_entries: 0,
            last_full: None,
            next_end: None,
            earliest_end: None,
            announced_since: 0,
            theft_signs: 0,
        }
    }

    /// The next request.
    pub fn next_request(&mut self, now: Timestamp) -> Request {
        // One missed request is usual. During a long gap the retention of a stock LAPI may have deleted expired rows
        // before they were announced.
        let gap = (self.cadence.interval * 3).max(Duration::from_secs(30));
        if self.resync_reason.is_none()
            && self.peer == Peer::Stock
            && self.last_answer.is_some_and(|last| now.saturating_duration_since(last) > gap)
        {
            self.resync_reason = Some(ResyncReason::Gap);
        }
        // A full pull for another reason is no comparison: its differences have that reason, not theft.
        self.comparing &= self.resync_reason.is_none();
        let resync_reason = if self.comparing { Some(ResyncReason::Timer) } else { self.resync_reason };
        let ask = if resync_reason.is_some() { PullKind::Everything } else { PullKind::Changes };
        // After a start or a failure the response should come at once: it shows which LAPI answers, and that it
        // works.
        let held = ask == PullKind::Changes && self.peer == Peer::KeepsCursors && !self.probing;
        let wait = if held { self.long_poll.next_wait(now) } else { Duration::ZERO };
        Request { ask, cursor: self.cursor.clone(), wait, resync_reason, at: now }
    }

    /// How to apply a response: whether a full one may remove what it does not contain.
    pub fn mode(
        &self,
        request: &Request,
        head: Option<&Continuation>,
        announced: usize,
        held: usize,
    ) -> Mode {
        match request.brings(head) {
            PullKind::Changes => Mode::Changes,
            PullKind::Everything => {
                // A stock LAPI whose database fails midway sends a valid but truncated or empty list. Short lists
                // often lose most entries by themselves, so there only an empty one is suspicious.
                let shrinks = if held < 100 { announced == 0 && held > 0 } else { announced < held / 2 };
                // About the same number twice is taken as correct: a list truncated by a failure would rarely end at
                // the same place. Some entries may come and go between the two.
                let confirmed =
                    self.unconfirmed.is_some_and(|before| announced.abs_diff(before) <= before / 4 + 10);
                if shrinks && !confirmed { Mode::Additions } else { Mode::Everything }
            }
        }
    }

    /// Records when the next decision ends, after a response was applied and before [`on_response`](Self::on_response).
    pub fn set_next_end(&mut self, end: Option<Timestamp>) {
        self.next_end = end;
        self.earliest_end = self.earliest_end.into_iter().chain(end).min();
    }

    /// After a response was applied. `spread` is a random number from 0 to 1 that spreads the load of many machines.
    pub fn on_response(
        &mut self,
        now: Timestamp,
        request: &Request,
        summary: &ResponseSummary,
        mode: Mode,
        applied: Applied,
        spread: f64,
    ) -> Next {
        let head = summary.head.as_ref();
        let before =
            std::mem::replace(&mut self.peer, if head.is_some() { Peer::KeepsCursors } else { Peer::Stock });
        self.last_answer = Some(now);
        self.probing = false;
        // The LAPI did not know the cursor and sent everything, or the other way round.
        if request.brings(head) != request.ask {
            self.cursor_mismatches += 1;
        }
        let mut next = Next { wait: self.usual_wait(now, request, summary, spread), ..Next::IMMEDIATELY };
        match mode {
            Mode::Changes => {
                if !self.take_changes(request, summary) {
                    self.cursor_mismatches += u32::from(request.ask == PullKind::Changes);
                    // The changes cannot be used, so everything is asked for at once.
                    next.wait = Duration::ZERO;
                } else {
                    self.announced_since += summary.announced;
                    let timer = now >= self.full_due(now);
                    if timer || self.end_check_due(now) {
                        // The changes come first and everything directly afterwards: whatever the full pull adds then
                        // was lost by the stock LAPI's changes. With time in between it might simply be new.
                        (self.comparing, self.for_end) = (true, !timer);
                        next.wait = Duration::ZERO;
                    }
                }
            }
            Mode::Additions => {
                // The cursor stays: the response it belongs to was not applied.
                if head.is_none() {
                    self.cursor.clear();
                }
                self.unconfirmed = Some(summary.announced);
                self.resync_reason = Some(ResyncReason::Unconfirmed);
                self.comparing = false;
                next.wait = self.cadence.confirm_after.min(self.cadence.interval);
            }
            Mode::Everything => {
                let compared = std::mem::take(&mut self.comparing);
                // A LAPI that keeps cursors loses nothing, and after a switch of LAPIs differences are to be
                // expected.
                next.compared = compared && before == Peer::Stock && self.peer == Peer::Stock;
                let for_end = std::mem::take(&mut self.for_end);
                // A stock LAPI itself loses about one decision in a thousand (committed later than its timestamp);
                // another client of the same key takes a large part.
                let announced = std::mem::take(&mut self.announced_since);
                // A pull because of an end may find the one decision that was prolonged without an announcement.
                let many = applied.added > usize::from(for_end) && applied.added * 9 >= announced;
                let stolen = next.compared && many;
                self.resync = if stolen {
                    (self.resync / 4).max(self.cadence.resync_floor()).min(self.cadence.resync)
                } else if next.compared {
                    // Back by steps: the other client may only have paused.
                    (self.resync * 2).min(self.cadence.resync)
                } else {
                    // Not a comparison, so no evidence of theft.
                    self.resync
                };
                self.theft_signs += u32::from(stolen);
                // The first may be a coincidence, such as a large import that was committed late. From the second on
                // it is logged once.
                next.warn_of_theft = stolen && self.theft_signs == 2;
                (self.resync_reason, self.unconfirmed) = (None, None);
                (self.full_entries, self.last_full) = (summary.items, Some(now));
                // The full pull has shown what became of all decisions with an earlier end.
                self.earliest_end = self.next_end;
                // Not the maximum with the earlier one: after a restored database ids begin lower.
                self.highest_id = summary.highest_id.unwrap_or(0);
                self.cursor = head.map_or_else(String::new, |head| head.cursor.clone());
                // Shorter and never longer, so that the interval remains the bound on staleness.
                let until_full = self.full_interval().mul_f64(1.0 - spread.clamp(0.0, 1.0) / 4.0);
                self.next_full = Some(now.saturating_add(until_full));
            }
        }
        if self.cursor_mismatches > 1 {
            // One mismatch is corrected immediately; repeated mismatches must not cause a busy loop.
            next.wait = next.wait.max(self.cadence.interval);
        }
        next
    }

    /// Moves the cursor after a response with changes; `false` when they cannot be relied on and a full pull is needed.
    fn take_changes(&mut self, request: &Request, summary: &ResponseSummary) -> bool {
        let resync_reason = match &summary.head {
            // Changes relative to an unknown position.
            Some(_) if request.ask == PullKind::Everything || request.cursor.is_empty() => {
                Some(ResyncReason::NoPlace)
            }
            Some(head) => {
                self.cursor.clone_from(&head.cursor);
                self.cursor_mismatches = 0;
                None
            }
            // The client failed over from a LAPI with cursors to a stock one, whose position for this client may be
            // anywhere.
            None if !request.cursor.is_empty() => {
                self.cursor.clear();
                Some(ResyncReason::NoCursor)
            }
            // Ids come from a counter of the database. New decisions with lower ones show that it was restored or
            // replaced.
            None if summary.highest_id.is_some_and(|id| id < self.highest_id) => {
                Some(ResyncReason::OtherDatabase)
            }
            None => {
                self.cursor_mismatches = 0;
                None
            }
        };
        self.highest_id = summary.highest_id.map_or(self.highest_id, |id| id.max(self.highest_id));
        self.resync_reason = self.resync_reason.or(resync_reason);
        resync_reason.is_none()
    }

    /// The delay when nothing special is due.
    fn usual_wait(
        &mut self,
        now: Timestamp,
        request: &Request,
        summary: &ResponseSummary,
        spread: f64,
    ) -> Duration {
        let Some(head) = &summary.head else {
            self.long_poll.clear_grant();
            return self.cadence.interval;
        };
        let took = now.saturating_duration_since(request.at);
        let empty = summary.items == 0;
        self.long_poll.on_response(request.wait, took, empty, head.wait, self.cadence.interval, spread)
    }

    /// When the next periodic full pull is due.
    fn full_due(&mut self, now: Timestamp) -> Timestamp {
        let interval = self.full_interval();
        // No full pull yet: decisions were resumed from disk by cursor. The timer begins now.
        *self.next_full.get_or_insert(now.saturating_add(interval))
    }

    fn full_interval(&self) -> Duration {
        match self.peer {
            Peer::KeepsCursors => self.cadence.resync.saturating_mul(Cadence::AUDIT),
            Peer::Stock | Peer::Unknown => self.resync.min(self.cadence.resync_of(self.full_entries)),
        }
    }

    /// Whether a full pull from a stock LAPI is due because a decision is about to end, or has ended since the last
    /// one: it may have been prolonged without an announcement.
    fn end_check_due(&self, now: Timestamp) -> bool {
        let Some(last_full) = self.last_full.filter(|_| self.peer == Peer::Stock) else { return false };
        if now.saturating_duration_since(last_full) < self.cadence.end_check_of(self.full_entries) {
            return false;
        }
        let window = self.cadence.end_check_window();
        // The earliest end on record and not the next one: that decision is gone from the ledger by now.
        let ended = self.earliest_end.is_some_and(|end| end <= now);
        // Ends closer than the lead are left to the pull afterwards: the response may or may not contain the decision.
        let ends_soon = self.next_end.is_some_and(|end| {
            let left = end.saturating_duration_since(now);
            // The last full pull was made within the window already and showed how long the decision lasts.
            let seen = end.saturating_duration_since(last_full) <= window;
            left > Cadence::END_CHECK_LEAD && left <= window && !seen
        });
        ended || ends_soon
    }

    /// Whether a response whose head arrives now was buffered during a suspension of this machine. Its durations would
    /// be counted from now, so it must be discarded, as [failed](Self::failed).
    pub fn is_stale(&self, now: Timestamp, request: &Request) -> bool {
        let fresh = match request.ask {
            PullKind::Changes => MAX_RESPONSE_AGE,
            PullKind::Everything => MAX_FULL_RESPONSE_AGE,
        };
        now.saturating_duration_since(request.at) > request.wait + fresh
    }

    /// After a failed request.
    pub fn failed(&mut self, now: Timestamp, request: &Request, failure: Failure) {
        if self.peer == Peer::Stock && self.resync_reason.is_none() {
            self.resync_reason = if failure.may_have_reached_lapi {
                // A stock LAPI moves its position when it has sent the response, whether or not that arrived.
                Some(ResyncReason::LostAnswer)
            } else {
                failure.elsewhere.then_some(ResyncReason::OtherLapi)
            };
        }
        self.comparing = false;
        // The next request may reach another LAPI, and it should show at once whether that works.
        self.probing = true;
        if !failure.may_have_reached_lapi {
            self.long_poll.lapi_unreachable();
        } else if failure.may_end_a_hold && !request.wait.is_zero() {
            self.long_poll.interrupted(now, now.saturating_duration_since(request.at));
        }
    }

    /// The current time between full pulls.
    pub fn resync_interval(&self) -> Duration {
        self.full_interval()
    }

    /// The kind of LAPI that answered last.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The cursor that belongs to the decisions held; empty without one.
    pub fn cursor(&self) -> &str {
        // While a full pull is pending, the decisions held are not those of the cursor, and must not be resumed from
        // it.
        if self.resync_reason.is_none() { &self.cursor } else { "" }
    }

    /// Whether the LAPI parks requests until there are changes.
    pub fn long_polls(&self) -> bool {
        self.peer == Peer::KeepsCursors && self.long_poll.is_long_polling()
    }
}

impl Next {
    const IMMEDIATELY: Self = Self { wait: Duration::ZERO, compared: false, warn_of_theft: false };
}

#[cfg(test)]
#[path = "schedule/tests.rs"]
mod tests;
