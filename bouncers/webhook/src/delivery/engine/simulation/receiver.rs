//! A receiver that applies messages as documented, and refuses what must not happen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::world::same;
use crate::event::{Entry, Event, EventId, EventKind, Grouping, Value};
use crate::sink::{Message, MessageKind};

/// What a value was to be at each of its versions.
pub(super) type Versions = BTreeMap<Value, Vec<Vec<Entry>>>;

#[derive(Debug, Default)]
pub(super) struct Receiver {
    pub(super) holds: BTreeMap<Value, Vec<Entry>>,
    /// The earliest version that each value may have reached, by the events so far.
    reached: BTreeMap<Value, usize>,
    /// Events by id: one id is one event.
    seen: HashMap<EventId, (&'static str, Value, Entry)>,
    snapshot: Option<u64>,
    touched: BTreeSet<Value>,
    parts: u64,
    /// Whether a sequence of events may be repeated.
    repeats: bool,
}

impl Receiver {
    pub(super) fn new(repeats: bool) -> Self {
        Self { repeats, ..Self::default() }
    }

    /// Its state is gone, as after a restart.
    pub(super) fn forget(&mut self) {
        self.holds.clear();
        self.snapshot = None;
    }

    pub(super) fn apply(&mut self, message: &Message, grouping: Grouping, versions: &Versions) {
        match message.kind {
            MessageKind::SnapshotStarted { snapshot } => {
                (self.snapshot, self.parts) = (Some(snapshot), 0);
                self.touched.clear();
            }
            MessageKind::Snapshot { snapshot } => {
                // One of an earlier snapshot may arrive late, one of a later never early.
                if let Some(open) = self.snapshot {
                    assert!(snapshot <= open, "a part of a snapshot that has not begun");
                    self.parts += if snapshot == open { message.events.len() as u64 } else { 0 };
                }
            }
            MessageKind::SnapshotCompleted { snapshot, events } => {
                // A receiver that lost its state meanwhile has no use for the mark.
                if self.snapshot == Some(snapshot) {
                    assert!(self.parts >= events, "{} parts of {events} arrived", self.parts);
                    self.holds.retain(|value, _| self.touched.contains(value));
                    self.snapshot = None;
                }
            }
            MessageKind::Changes => {}
        }
        for event in &message.events {
            self.event(event, grouping, versions);
        }
    }

    fn event(&mut self, event: &Event, grouping: Grouping, versions: &Versions) {
        let fact = (event.kind.as_str(), event.value.clone(), event.entry.clone());
        let is_repeat = self.seen.contains_key(&event.id);
        let known = self.seen.entry(event.id).or_insert_with(|| fact.clone());
        assert!(
            known.0 == fact.0 && known.1 == fact.1 && same(&known.2, &fact.2),
            "one id, two events: {event:?}"
        );
        let of_value = versions.get(&event.value).expect("a value that was never decided on");
        let is_in_force = event.kind.is_in_force();
        let agrees = |entries: &Vec<Entry>| match is_in_force {
            true => entries.iter().any(|entry| same(entry, &event.entry)),
            false => !entries.iter().any(|entry| grouping.is_same_entry(entry, &event.entry)),
        };
        let ever = of_value.iter().flatten().any(|entry| same(entry, &event.entry));
        assert!(ever, "an entry that never was in force: {event:?}");
        // After a crash the queue of a history begins again with what was not stored as delivered, in the same order.
        if !(is_repeat && self.repeats) {
            let reached = self.reached.entry(event.value.clone()).or_default();
            let next = (*reached..of_value.len()).find(|at| agrees(&of_value[*at]));
            *reached = next.unwrap_or_else(|| panic!("an event from before an earlier one: {event:?}"));
        }
        self.touched.insert(event.value.clone());
        let held = self.holds.entry(event.value.clone()).or_default();
        held.retain(|entry| !grouping.is_same_entry(entry, &event.entry));
        if let EventKind::Changed(_) | EventKind::Added | EventKind::Present = event.kind {
            held.push(event.entry.clone());
        }
        if held.is_empty() {
            self.holds.remove(&event.value);
        }
    }
}
