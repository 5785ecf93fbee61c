//! Makes messages of values that wait: one look at the store, one commit.

use std::sync::Arc;
use std::time::Duration;

use palisade_cache::Timestamp;

use super::Engine;
use crate::delivery::difference::{Difference, Known, Wanted};
use crate::delivery::pending::Taken;
use crate::delivery::shipment::{Part, Shipment, Subject, message};
use crate::event::{Event, EventId, EventKind, Value};
use crate::sink::MessageKind;
use crate::store::{Commit, StoreError, ValueRecord};
use crate::view;

/// What becomes of the values that were taken.
#[derive(Default)]
struct Draft {
    records: Vec<(Value, Option<ValueRecord>)>,
    shipments: Vec<Shipment>,
    changes: OpenMessage,
    presents: OpenMessage,
    /// Nothing to send, and whether they are to be sent as part of a snapshot afterwards.
    settled: Vec<(Taken, bool)>,
    /// Of values with `keep_history`.
    enqueue: Vec<Event>,
}

#[derive(Default)]
struct OpenMessage {
    events: Vec<Event>,
    parts: Vec<Part>,
}

/// What one value comes to.
struct Compared {
    difference: Difference,
    under_way: Known,
    sequence: u64,
    then_present: bool,
    /// Whether the record is another one even if there is nothing to send.
    is_new_record: bool,
}

impl Engine {
    pub(super) fn window(&mut self, most: usize, now: Timestamp) -> Result<(), StoreError> {
        let taken = self.pending.take(most);
        let values: Vec<Value> = taken.iter().map(|taken| taken.value.clone()).collect();
        let stored = match self.store.records(&values) {
            Ok(stored) => stored,
            Err(error) => {
                self.pending.put_back(taken.into_iter());
                return Err(error);
            }
        };
        let mut draft = Draft::default();
        for (taken, stored) in taken.into_iter().zip(stored) {
            self.draft(&mut draft, taken, stored, now);
        }
        self.close(&mut draft, true, now);
        self.close(&mut draft, false, now);
        self.store_draft(draft, now)
    }

    fn store_draft(&mut self, draft: Draft, now: Timestamp) -> Result<(), StoreError> {
        let is_new = !(draft.records.is_empty() && draft.enqueue.is_empty());
        if is_new {
            let commit =
                Commit { records: draft.records, enqueue: draft.enqueue, durable: true, ..Commit::default() };
            match self.commit(commit, now) {
                Ok(committed) => {
                    if let (Some(history), Some(last)) = (&mut self.history, committed.enqueued.last()) {
                        history.added(*last);
                    }
                }
                Err(error) => {
                    // In the order in which they were taken.
                    for shipment in draft.shipments.into_iter().rev() {
                        if let Subject::Values(parts) = shipment.subject {
                            self.pending.put_back(parts.into_iter().map(|part| part.taken));
                        }
                    }
                    self.pending.put_back(draft.settled.into_iter().map(|(taken, _)| taken));
                    return Err(error);
                }
            }
        }
        for shipment in draft.shipments {
            if let Subject::Values(parts) = &shipment.subject {
                self.presents += parts.iter().filter(|part| part.taken.marks.present).count();
            }
            let id = self.add(shipment);
            self.ready.push_back(id);
        }
        for (taken, then_present) in draft.settled {
            self.done(taken.value, Duration::ZERO, then_present, now);
        }
        Ok(())
    }

    fn draft(&mut self, draft: &mut Draft, taken: Taken, stored: Option<ValueRecord>, now: Timestamp) {
        let record = self.confirmed.get(&taken.value).cloned().unwrap_or(stored);
        let Compared { difference, under_way, sequence, then_present, is_new_record } =
            self.compare(&taken, record, now);
        if difference.changes.is_empty() {
            if is_new_record {
                let record = Known::confirmed(difference.target).into_record(0);
                draft.records.push((taken.value.clone(), record));
            }
            draft.settled.push((taken, false));
            return;
        }
        if let Some(until) = taken.hold_until.filter(|until| *until > now && !is_new_record)
            && difference.is_repeat_until(until)
        {
            self.pending.hold_back(taken, until);
            return;
        }
        let is_present = matches!(difference.changes.first(), Some((EventKind::Present, _)));
        let message_kind = self.kind(is_present);
        let events: Vec<Event> = difference
            .changes
            .into_iter()
            .map(|(kind, entry)| {
                let id = EventId::of(&self.config.name, sequence, &kind, &taken.value, &entry);
                let id = match message_kind {
                    MessageKind::Snapshot { snapshot } => id.in_snapshot(snapshot),
                    _ => id,
                };
                Event { id, kind, value: taken.value.clone(), entry, at: now }
            })
            .collect();
        if self.history.is_some() {
            let record = Known::confirmed(difference.target).into_record(0);
            draft.records.push((taken.value.clone(), record));
            draft.enqueue.extend(events);
            draft.settled.push((taken, then_present));
            return;
        }
        let is_repeat = difference.is_repeat;
        if !is_repeat {
            draft.records.push((taken.value.clone(), under_way.into_record(sequence)));
        }
        let part = Part { taken, target: difference.target, is_repeat, then_present };
        self.put(draft, is_present, part, events, now);
    }

    fn compare(&mut self, taken: &Taken, record: Option<ValueRecord>, now: Timestamp) -> Compared {
        let grouping = self.config.grouping;
        let (mut known, sequence) = Known::of(record);
        let mut is_new_record = known.attempt.is_some();
        if taken.marks.not_received {
            known = known.without_attempt();
        }
        let value = &taken.value;
        if taken.marks.adopt
            && known.is_nothing()
            && let Some(sweep) = &self.sweep
        {
            // As of the start: what has changed since is to be sent.
            let entries = view::entries(&sweep.snapshot, value, &*self.takes, grouping, &mut self.texts);
            is_new_record |= !entries.is_empty();
            known = Known::confirmed(entries);
        }
        let entries = view::entries(&self.snapshot, value, &*self.takes, grouping, &mut self.texts);
        let has_others = entries.is_empty() && view::has_decisions(&self.snapshot, value);
        let wanted = Wanted { entries: &entries, has_others, grouping, now };
        let present = if taken.marks.present { known.present(wanted) } else { None };
        let then_present = taken.marks.present && present.is_none();
        let (difference, under_way) = present.unwrap_or_else(|| known.difference(wanted));
        let sequence = match sequence {
            Some(sequence) if difference.is_repeat => sequence,
            _ => {
                self.state.sequence += 1;
                self.state.sequence
            }
        };
        Compared { difference, under_way, sequence, then_present, is_new_record }
    }

    fn put(&mut self, draft: &mut Draft, is_present: bool, part: Part, events: Vec<Event>, now: Timestamp) {
        let most = self.config.batch.events.max(1);
        if events.len() > most {
            // More than a message holds: one after another.
            let kind = self.kind(is_present);
            let messages = events.chunks(most).map(|events| Arc::new(message(kind, events.to_vec(), now)));
            draft.shipments.push(Shipment::new(messages.collect(), Subject::Values(vec![part])));
            return;
        }
        let open = if is_present { &draft.presents } else { &draft.changes };
        if open.events.len() + events.len() > most {
            self.close(draft, is_present, now);
        }
        let open = if is_present { &mut draft.presents } else { &mut draft.changes };
        open.events.extend(events);
        open.parts.push(part);
        if open.events.len() == most {
            self.close(draft, is_present, now);
        }
    }

    fn close(&self, draft: &mut Draft, is_present: bool, now: Timestamp) {
        let open = if is_present { &mut draft.presents } else { &mut draft.changes };
        let OpenMessage { events, parts } = std::mem::take(open);
        if !events.is_empty() {
            let message = Arc::new(message(self.kind(is_present), events, now));
            draft.shipments.push(Shipment::new([message].into(), Subject::Values(parts)));
        }
    }

    pub(super) fn kind(&self, is_present: bool) -> MessageKind {
        match &self.run {
            // What is left of a snapshot that another one has replaced is no part of it: its first mark comes later.
            Some(run) if is_present && run.stage.is_begun() => MessageKind::Snapshot { snapshot: run.number },
            _ => MessageKind::Changes,
        }
    }
}
