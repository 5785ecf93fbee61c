//! Messages on their way, with what follows when they arrive. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use palisade_cache::Timestamp;

use super::circuit::Epoch;
use super::difference::Known;
use super::pending::Taken;
use crate::event::{Entry, Event, EventId, EventKind, Value};
use crate::sink::{Message, MessageKind};

/// A value whose events are in a shipment.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) taken: Taken,
    /// What the endpoint holds when all events have arrived.
    pub(super) target: Vec<Entry>,
    /// Whether an earlier message with the same events perhaps arrived.
    pub(super) is_repeat: bool,
    /// Whether it is to be sent as part of a snapshot afterwards.
    pub(super) then_present: bool,
}

/// What a shipment is about.
#[derive(Debug)]
pub(super) enum Subject {
    /// The difference of values to the current state.
    Values(Vec<Part>),
    /// Events of the queue, by number.
    Queued(Vec<(u64, Value)>),
    /// The mark that begins or ends the snapshot with this number.
    Mark(u64),
}

/// Messages that are delivered one after another, as a whole or not at all.
#[derive(Debug)]
pub(super) struct Shipment {
    pub(super) messages: VecDeque<Arc<Message>>,
    pub(super) subject: Subject,
    /// Attempts to send the message at the front.
    pub(super) attempts: u32,
    pub(super) not_before: Timestamp,
    pub(super) epoch: Epoch,
    /// Whether any of it was perhaps received.
    pub(super) is_perhaps_received: bool,
}

impl Shipment {
    pub(super) fn new(messages: VecDeque<Arc<Message>>, subject: Subject) -> Self {
        Self {
            messages,
            subject,
            attempts: 0,
            not_before: Timestamp::default(),
            epoch: Epoch::default(),
            is_perhaps_received: false,
        }
    }

    /// Puts these events in place of the message at the front, as several messages.
    pub(super) fn replace_front(&mut self, lists: impl DoubleEndedIterator<Item = Vec<Event>>) {
        let Some(front) = self.messages.pop_front() else { return };
        for events in lists.rev().filter(|events| !events.is_empty()) {
            self.messages.push_front(Arc::new(message(front.kind, events, front.at)));
        }
        self.attempts = 0;
    }
}

/// A message with these events.
pub(super) fn message(kind: MessageKind, events: Vec<Event>, at: Timestamp) -> Message {
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    Message { id: EventId::of_message(&ids), kind, events, at }
}

/// The mark of a snapshot. It has no events that its id could follow from.
pub(super) fn mark(endpoint: &str, sequence: u64, kind: MessageKind, at: Timestamp) -> Message {
    let name = match kind {
        MessageKind::SnapshotStarted { .. } => "started",
        MessageKind::SnapshotCompleted { .. } => "completed",
        MessageKind::Snapshot { .. } => "part",
        MessageKind::Changes => "changes",
    };
    let value = Value::Name { scope: "snapshot".into(), value: name.into() };
    let empty: Arc<str> = "".into();
    let entry = Entry {
        remediation: Arc::clone(&empty),
        origin: Arc::clone(&empty),
        scenario: empty,
        until: Timestamp::default(),
        id: 0,
    };
    let id = EventId::of(endpoint, sequence, &EventKind::Present, &value, &entry);
    Message { id, kind, events: Vec::new(), at }
}

/// The events that must be sent again when those at `failed` (ascending) were not accepted: also later ones on the same
/// values, which would otherwise arrive before them.
pub(super) fn not_accepted(events: &[Event], failed: &[usize]) -> Vec<Event> {
    let mut again: Vec<Event> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        if failed.contains(&at) || again.iter().any(|earlier| earlier.value == event.value) {
            again.push(event.clone());
        }
    }
    again
}

impl Known {
    pub(super) fn of(record: Option<crate::store::ValueRecord>) -> (Self, Option<u64>) {
        let Some(record) = record else { return (Self::default(), None) };
        match record.attempted {
            None => (Self::confirmed(record.entries), None),
            Some(attempted) => (
                Self { certain: record.entries, maybe: attempted.maybe, attempt: Some(attempted.entries) },
                Some(attempted.sequence),
            ),
        }
    }

    pub(super) fn into_record(self, sequence: u64) -> Option<crate::store::ValueRecord> {
        if self.is_nothing() {
            return None;
        }
        let Self { certain, maybe, attempt } = self;
        let attempted = attempt.map(|entries| crate::store::Attempt { entries, maybe, sequence });
        Some(crate::store::ValueRecord { entries: certain, attempted })
    }
}
