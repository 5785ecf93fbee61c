//! Sends dead letters again: what became of their values since, not the old event, unless the history is kept.

use palisade_cache::Timestamp;

use super::Engine;
use crate::delivery::difference::Known;
use crate::delivery::pending::Marks;
use crate::event::{Event, EventKind};
use crate::store::{Commit, DeadLetter, StoreError, ValueRecord};

impl Engine {
    /// Sends these dead letters again.
    pub fn replay(&mut self, letters: Vec<(u64, DeadLetter)>) {
        self.replays.extend(letters);
    }

    pub(super) fn is_replay_due(&self) -> bool {
        self.replays.iter().any(|(_, letter)| !self.pending.is_busy(&letter.event.value))
    }

    pub(super) fn replay_due(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if !self.is_replay_due() {
            return Ok(());
        }
        let (due, later): (Vec<_>, Vec<_>) =
            self.replays.drain(..).partition(|(_, letter)| !self.pending.is_busy(&letter.event.value));
        self.replays.extend(later);
        let mut due = due.into_iter();
        while let Some((number, letter)) = due.next() {
            if let Err(error) = self.replay_one(number, &letter, now) {
                self.replays.push_back((number, letter));
                self.replays.extend(due);
                return Err(error);
            }
        }
        Ok(())
    }

    fn replay_one(&mut self, number: u64, letter: &DeadLetter, now: Timestamp) -> Result<(), StoreError> {
        let event = &letter.event;
        let mut commit = Commit { undead: vec![number], durable: true, ..Commit::default() };
        if self.history.is_some() {
            commit.enqueue = vec![event.clone()];
        } else {
            let stored = self.store.records(std::slice::from_ref(&event.value))?.pop().flatten();
            let record = self.confirmed.get(&event.value).cloned().unwrap_or(stored);
            commit.records = vec![(event.value.clone(), self.without_event(record, event))];
        }
        let committed = self.commit(commit, now)?;
        match (&mut self.history, committed.enqueued.last()) {
            (Some(history), Some(last)) => history.added(*last),
            _ => {
                let is_full = self.pending.push(event.value.clone(), Marks::default(), now).is_err();
                self.wants_reconcile |= is_full;
            }
        }
        Ok(())
    }

    /// The record as if this event had not been sent: the receiver has rejected it.
    fn without_event(&self, record: Option<ValueRecord>, event: &Event) -> Option<ValueRecord> {
        let (mut known, sequence) = Known::of(record);
        let grouping = self.config.grouping;
        let at = known.certain.iter().position(|held| grouping.is_same_entry(held, &event.entry));
        match (&event.kind, at) {
            (EventKind::Lifted(_), None) => known.certain.push(event.entry.clone()),
            (EventKind::Changed(old), Some(at)) => known.certain[at] = old.clone(),
            (EventKind::Added | EventKind::Present, Some(at)) => _ = known.certain.remove(at),
            _ => {}
        }
        known.into_record(sequence.unwrap_or_default())
    }
}
