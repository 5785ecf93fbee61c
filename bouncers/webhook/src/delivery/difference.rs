//! Computes what an endpoint is sent for a value: the difference between what it holds and what it is to hold. Pure.
//!
//! What an endpoint holds is known for certain only while no message to it is unconfirmed. After one that perhaps arrived
//! it may hold the entries from before or those of the message, and after several of them any mixture:
//!
//! ```text
//!  certain ── entries that the endpoint holds whatever became of the messages
//!  maybe ──── entries that it may hold besides, from messages that were followed by others
//!  attempt ── all entries as they are once the last message has arrived
//! ```

use std::time::Duration;

use palisade_cache::Timestamp;

use crate::event::{Entry, EventKind, Grouping, LiftCause};

/// Two ends this close are one: durations on the wire are rounded to seconds and age on the way, and neither a restart nor
/// a full pull may look like a change of every decision. The ledger has the same rule.
pub const SAME_END: Duration = Duration::from_secs(2);

/// What is known of what an endpoint holds of one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// What it holds for certain.
    pub certain: Vec<Entry>,
    /// What it may hold besides: at most one version of each entry, none of which is in `certain`.
    pub maybe: Vec<Entry>,
    /// What it holds if the last message arrived; `None` when all messages are confirmed.
    pub attempt: Option<Vec<Entry>>,
}

/// What an endpoint is to hold of one value.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The entries.
    pub entries: &'a [Entry],
    /// Whether there are decisions on the value that the endpoint does not take.
    pub has_others: bool,
    /// Which of them are versions of one.
    pub grouping: Grouping,
    /// The current time.
    pub now: Timestamp,
}

/// What is to be sent for one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// The changes: ends first, so that a receiver that knows values only does not drop what has just come.
    pub changes: Vec<(EventKind, Entry)>,
    /// What the endpoint holds once it has received them.
    pub target: Vec<Entry>,
    /// Whether this is what the last attempt consisted of: its sequence number is used again.
    pub is_repeat: bool,
}

impl Difference {
    /// Whether a receiver enforces all of it already, and does so until `until` if it is sent nothing: it consists of
    /// other ends, origins and scenarios of entries that it holds.
    pub fn is_repeat_until(&self, until: Timestamp) -> bool {
        self.changes.iter().all(|(kind, entry)| match kind {
            EventKind::Changed(held) => {
                held.remediation == entry.remediation && held.until > until.saturating_add(SAME_END)
            }
            _ => false,
        })
    }
}

/// Whether two entries are the same to a receiver, apart from rounding.
fn is_same(a: &Entry, b: &Entry) -> bool {
    let apart = (a.until.saturating_duration_since(b.until)).max(b.until.saturating_duration_since(a.until));
    apart <= SAME_END && a.remediation == b.remediation && a.origin == b.origin && a.scenario == b.scenario
}

/// Whether both lists have the same entries, in any order.
fn are_same(a: &[Entry], b: &[Entry]) -> bool {
    a.len() == b.len() && a.iter().all(|one| b.iter().any(|other| is_same(one, other)))
}

impl Known {
    /// When nothing is unconfirmed.
    pub fn confirmed(entries: Vec<Entry>) -> Self {
        Self { certain: entries, ..Self::default() }
    }

    /// Whether the endpoint holds nothing for certain, so that there is nothing to remember.
    pub fn is_nothing(&self) -> bool {
        self.certain.is_empty() && self.maybe.is_empty() && self.attempt.is_none()
    }

    /// What is known when the last message did not arrive for certain.
    pub fn without_attempt(mut self) -> Self {
        // With earlier unconfirmed messages the attempt has replaced what they may have left behind, see `base`. Then it
        // stays: that is a repeated event at worst.
        if self.maybe.is_empty() {
            self.attempt = None;
        }
        self
    }

    /// What is known before another attempt is made: the doubt of the last one is moved to `maybe`.
    fn base(&self, grouping: Grouping) -> Self {
        let Some(attempt) = &self.attempt else { return self.clone() };
        let mut base = Self { maybe: self.maybe.clone(), ..Self::default() };
        let mut doubt =
            |entry: &Entry| match base.maybe.iter_mut().find(|one| grouping.is_same_entry(one, entry)) {
                Some(older) => older.clone_from(entry),
                None => base.maybe.push(entry.clone()),
            };
        for entry in &self.certain {
            if attempt.iter().any(|attempted| is_same(attempted, entry)) {
                base.certain.push(entry.clone());
            } else {
                doubt(entry);
            }
        }
        for entry in attempt {
            if !self.certain.iter().any(|held| is_same(held, entry)) {
                doubt(entry);
            }
        }
        base
    }

    /// The difference to what is wanted, and what is known while it is under way.
    pub fn difference(&self, wanted: Wanted<'_>) -> (Difference, Self) {
        match &self.attempt {
            // Nothing changed since: the same changes with the same ids, whether or not they arrived.
            Some(attempt) if are_same(attempt, wanted.entries) => {
                let base = Self { attempt: None, ..self.clone() };
                let wanted = Wanted { entries: attempt, ..wanted };
                let difference = Difference { is_repeat: true, ..base.changes(wanted) };
                (difference, self.clone())
            }
            _ => {
                let base = self.base(wanted.grouping);
                let difference = base.changes(wanted);
                let under_way = Self { attempt: Some(difference.target.clone()), ..base };
                (difference, under_way)
            }
        }
    }

    /// Everything wanted, as part of a snapshot. `None` when the endpoint may hold what it is not to hold: then the
    /// difference is to be sent first.
    pub fn present(&self, wanted: Wanted<'_>) -> Option<(Difference, Self)> {
        let (mut difference, under_way) = self.difference(wanted);
        if difference.changes.iter().any(|(kind, _)| !kind.is_in_force()) {
            return None;
        }
        difference.changes =
            difference.target.iter().map(|entry| (EventKind::Present, entry.clone())).collect();
        Some((difference, under_way))
    }

    /// With nothing attempted.
    fn changes(&self, wanted: Wanted<'_>) -> Difference {
        let grouping = wanted.grouping;
        let find = |list: &'_ [Entry], entry: &Entry| {
            list.iter().find(|one| grouping.is_same_entry(one, entry)).cloned()
        };
        let mut difference = Difference::default();
        for entry in self.certain.iter().chain(&self.maybe) {
            let is_lifted =
                difference.changes.iter().any(|(_, lifted)| grouping.is_same_entry(lifted, entry));
            if !is_lifted && find(wanted.entries, entry).is_none() {
                difference.changes.push((EventKind::Lifted(wanted.cause(entry)), entry.clone()));
            }
        }
        for entry in wanted.entries {
            let (certain, maybe) = (find(&self.certain, entry), find(&self.maybe, entry));
            let kind = match (certain, maybe) {
                (Some(held), None) if is_same(&held, entry) => {
                    // What was sent stays what is known: if it followed each rounding, many small steps would add up.
                    difference.target.push(held);
                    continue;
                }
                (Some(held), _) => EventKind::Changed(held),
                (None, _) => EventKind::Added,
            };
            difference.changes.push((kind, entry.clone()));
            difference.target.push(entry.clone());
        }
        difference
    }
}

impl Wanted<'_> {
    fn cause(&self, lifted: &Entry) -> LiftCause {
        // A LAPI whose clock is a little ahead reports the end of what is about to expire.
        if lifted.until <= self.now.saturating_add(SAME_END) {
            LiftCause::Expired
        } else if self.entries.is_empty() && self.has_others {
            LiftCause::Superseded
        } else {
            LiftCause::Deleted
        }
    }
}

#[cfg(test)]
mod tests;
