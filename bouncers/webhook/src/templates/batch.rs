//! Gives templates one view of messages and whole lists.

use palisade_cache::Timestamp;

use super::time;
use crate::event::{Entry, Event, EventId, EventKind, Value};
use crate::sink::{Message, MessageKind};

/// What a body is made from.
pub(super) struct Batch<'a> {
    pub(super) id: EventId,
    pub(super) kind: BatchKind,
    pub(super) events: &'a [Event],
    /// When the message was made.
    pub(super) at: Timestamp,
    /// When the body is made.
    pub(super) now: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchKind {
    Changes,
    SnapshotStarted { snapshot: u64 },
    SnapshotPart { snapshot: u64 },
    SnapshotCompleted { snapshot: u64, events: u64 },
    List,
}

impl BatchKind {
    /// As it is sent.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Changes => "decision.batch",
            Self::SnapshotStarted { .. } => "snapshot.started",
            Self::SnapshotPart { .. } => "snapshot.part",
            Self::SnapshotCompleted { .. } => "snapshot.completed",
            Self::List => "list",
        }
    }

    /// The snapshot's number.
    pub(super) fn snapshot(self) -> Option<u64> {
        match self {
            Self::Changes | Self::List => None,
            Self::SnapshotStarted { snapshot }
            | Self::SnapshotPart { snapshot }
            | Self::SnapshotCompleted { snapshot, .. } => Some(snapshot),
        }
    }

    /// How many events a completed snapshot had.
    pub(super) fn event_count(self) -> Option<u64> {
        match self {
            Self::SnapshotCompleted { events, .. } => Some(events),
            _ => None,
        }
    }

    /// Whether it marks the begin or end of a snapshot and has no events.
    pub(super) fn is_mark(self) -> bool {
        matches!(self, Self::SnapshotStarted { .. } | Self::SnapshotCompleted { .. })
    }
}

impl<'a> Batch<'a> {
    pub(super) fn of(message: &'a Message, now: Timestamp) -> Self {
        let kind = match message.kind {
            MessageKind::Changes => BatchKind::Changes,
            MessageKind::SnapshotStarted { snapshot } => BatchKind::SnapshotStarted { snapshot },
            MessageKind::Snapshot { snapshot } => BatchKind::SnapshotPart { snapshot },
            MessageKind::SnapshotCompleted { snapshot, events } => {
                BatchKind::SnapshotCompleted { snapshot, events }
            }
        };
        Self { id: message.id, kind, events: &message.events, at: message.at, now }
    }

    pub(super) fn list(events: &'a [Event], now: Timestamp) -> Self {
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        Self { id: EventId::of_message(&ids), kind: BatchKind::List, events, at: now, now }
    }
}

/// A list as events: each entry is in force.
pub(super) fn events_of_list(entries: &[(Value, Entry)], now: Timestamp) -> Vec<Event> {
    let event = |(value, entry): &(Value, Entry)| Event {
        id: EventId::of("", 0, &EventKind::Present, value, entry),
        kind: EventKind::Present,
        value: value.clone(),
        entry: entry.clone(),
        at: now,
    };
    entries.iter().map(event).collect()
}

/// Whole seconds that an event's decision still has: none after it was lifted.
pub(super) fn seconds_left(event: &Event, now: Timestamp) -> u64 {
    if event.kind.is_in_force() { time::seconds_left(event.entry.until, now) } else { 0 }
}
