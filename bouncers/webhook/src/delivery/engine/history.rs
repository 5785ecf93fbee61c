//! Delivers the queue of an endpoint that keeps its history: in order for each value, in parallel across values.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use palisade_cache::Timestamp;

use super::{Engine, WINDOW};
use crate::delivery::shipment::{Shipment, Subject, message};
use crate::event::{Event, EventKind, Value};
use crate::store::StoreError;

/// What is in memory of the queue.
#[derive(Debug, Default)]
pub(super) struct HistoryQueue {
    loaded: VecDeque<(u64, Event)>,
    after: Option<u64>,
    is_all_loaded: bool,
    /// Values in messages, and in which.
    busy: HashMap<Value, u64>,
    outstanding: BTreeSet<u64>,
    last: u64,
    /// Whether every loaded event waits for a message under way.
    is_blocked: bool,
}

impl HistoryQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.loaded.is_empty() && self.is_all_loaded && self.outstanding.is_empty()
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// The highest number of the queue.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.loaded.front().map(|(_, event)| event.at)
    }

    /// Whether all events up to this number have been delivered.
    pub(super) fn is_past(&self, number: u64) -> bool {
        self.outstanding.first().is_none_or(|first| *first > number)
            && self.loaded.front().is_none_or(|(first, _)| *first > number)
            && (self.is_all_loaded || self.after.is_some_and(|after| after >= number))
    }

    pub(super) fn added(&mut self, last: u64) {
        (self.last, self.is_all_loaded, self.is_blocked) = (last, false, false);
    }

    pub(super) fn finish(&mut self, events: &[(u64, Value)]) {
        for (number, value) in events {
            self.outstanding.remove(number);
            self.busy.remove(value);
        }
        self.is_blocked = false;
    }
}

#[derive(Default)]
struct OpenMessage {
    id: u64,
    numbers: Vec<(u64, Value)>,
    events: Vec<Event>,
}

impl Engine {
    pub(super) fn history_is_due(&self, now: Timestamp) -> bool {
        let Some(history) = &self.history else { return false };
        if !history.is_all_loaded && history.loaded.len() < WINDOW / 2 {
            return true;
        }
        let batch = self.config.batch;
        let is_late = |since: Timestamp| since.saturating_add(batch.wait) <= now;
        !history.is_blocked
            && (history.loaded.len() >= batch.events || history.oldest().is_some_and(is_late))
            && self.room(now) > 0
    }

    pub(super) fn load_history(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let room = self.room(now);
        let Some(mut history) = self.history.take() else { return Ok(()) };
        let loaded = if history.loaded.len() < WINDOW / 2 && !history.is_all_loaded {
            self.store.queue(history.after, WINDOW)
        } else {
            Ok(Vec::new())
        };
        if let Ok(rows) = &loaded
            && !history.is_all_loaded
        {
            history.is_all_loaded = rows.len() < WINDOW;
        }
        let loaded = loaded.map(|rows| {
            if let Some((last, _)) = rows.last() {
                (history.after, history.is_blocked) = (Some(*last), false);
                history.last = history.last.max(*last);
            }
            history.loaded.extend(rows);
            self.form(&mut history, room, now);
        });
        self.history = Some(history);
        loaded
    }

    fn form(&mut self, history: &mut HistoryQueue, room: usize, now: Timestamp) {
        let most = self.config.batch.events.max(1);
        let mut open = [self.open(), self.open()];
        let (mut waiting, mut formed) = (VecDeque::new(), 0);
        let mut behind: HashSet<Value> = HashSet::new();
        while formed < room
            && let Some((number, event)) = history.loaded.pop_front()
        {
            let is_present = event.kind == EventKind::Present && self.run.is_some();
            let message = &mut open[usize::from(is_present)];
            // Later events of a value wait until the message with the earlier ones has arrived, and behind those that wait.
            if history.busy.get(&event.value).is_some_and(|id| *id != message.id)
                || behind.contains(&event.value)
            {
                behind.insert(event.value.clone());
                waiting.push_back((number, event));
                continue;
            }
            history.busy.insert(event.value.clone(), message.id);
            history.outstanding.insert(number);
            message.numbers.push((number, event.value.clone()));
            message.events.push(event);
            formed += 1;
            if message.events.len() == most {
                let full = std::mem::replace(message, self.open());
                self.ship(full, is_present, now);
            }
        }
        let [changes, presents] = open;
        self.ship(changes, false, now);
        self.ship(presents, true, now);
        waiting.append(&mut history.loaded);
        history.loaded = waiting;
        history.is_blocked = formed == 0 && room > 0;
    }

    fn open(&mut self) -> OpenMessage {
        self.last_shipment += 1;
        OpenMessage { id: self.last_shipment, ..OpenMessage::default() }
    }

    fn ship(&mut self, open: OpenMessage, is_present: bool, now: Timestamp) {
        if open.events.is_empty() {
            return;
        }
        let message = Arc::new(message(self.kind(is_present), open.events, now));
        self.shipments.insert(open.id, Shipment::new([message].into(), Subject::Queued(open.numbers)));
        self.ready.push_back(open.id);
    }
}
