//! The part of the engine that reads and writes the store.

use std::mem::take;
use std::time::Duration;

use palisade_cache::Timestamp;
use tracing::{error, info, warn};

use super::{CONFIRM_AFTER, Engine, MAX_PREPARED_EVENTS, MAX_WINDOW, STORE_RETRY, WINDOW};
use crate::delivery::circuit::Permit;
use crate::delivery::difference::{Known, Wanted};
use crate::delivery::pending::MAX_PENDING;
use crate::delivery::shipment::{Shipment, Subject, mark};
use crate::delivery::snapshots::Stage;
use crate::delivery::status::escaped;
use crate::delivery::sweep::{Piece, SWEEP_CHUNK, Sweep, SweepKind};
use crate::event::Value;
use crate::sink::MessageKind;
use crate::store::{Commit, Committed, StoreError, ValueRecord};
use crate::view;

/// Confirmations that are stored without waiting for more.
const MAX_CONFIRMED: usize = 16_384;

/// Windows that follow each other faster than this grow.
const SHORT_WINDOW: Duration = Duration::from_millis(250);

/// A window that lasted this long is the last large one.
const LONG_WINDOW: Duration = Duration::from_secs(1);

/// Pieces of a sweep that are read at once, so that other work is not put off for long.
const MAX_SWEEP_PIECES: usize = 8;

impl Engine {
    /// Whether [`prepare`](Self::prepare) has something to do.
    pub fn needs_prepare(&self, now: Timestamp) -> bool {
        if self.store_retry_at.is_some_and(|time| now < time) {
            return false;
        }
        self.pending.next_release().is_some_and(|time| time <= now)
            || self.next_snapshot().is_some_and(|time| time <= now)
            || self.is_replay_due()
            || self.is_run_due()
            || self.is_sweep_due()
            || self.may_resend_end()
            || self.window_size(now) > 0
            || self.history_is_due(now)
            || self.is_flush_due(now)
    }

    /// Reads and writes the store: makes messages, stores confirmations. May block for as long as the disk takes.
    pub fn prepare(&mut self, now: Timestamp) {
        if self.store_retry_at.is_some_and(|time| now < time) {
            return;
        }
        self.pending.release(now);
        if self.next_snapshot().is_some_and(|time| time <= now) {
            self.snapshot_wanted();
        }
        match self.work(now) {
            Ok(()) => {
                self.store_retry_at = None;
                if self.store_problem.take().is_some() {
                    info!(endpoint = %self.config.name, "the store can be written again");
                }
            }
            Err(error) => self.store_failed(&error, now),
        }
    }

    fn work(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.replay_due(now)?;
        self.advance_run(now)?;
        if self.may_resend_end() {
            self.state.lost = false;
            self.unsaved_since.get_or_insert(now);
        }
        self.begin_sweep();
        // Several pieces, so that one commit serves them all.
        for _ in 0..MAX_SWEEP_PIECES {
            if self.sweep.is_none() || !self.is_sweep_due() {
                break;
            }
            self.advance_sweep(now)?;
        }
        let most = self.window_size(now);
        if most > 0 {
            self.adapt_window(most, now);
            self.window(most, now)?;
        }
        if self.history_is_due(now) {
            self.load_history(now)?;
        }
        if self.is_flush_due(now) {
            self.commit(Commit { durable: true, ..Commit::default() }, now)?;
        }
        Ok(())
    }

    fn store_failed(&mut self, error: &StoreError, now: Timestamp) {
        let text = escaped(&palisade_go_compat::with_causes(error));
        if self.store_problem.is_none() {
            error!(endpoint = %self.config.name, error = %text, "the store fails; nothing new is sent until it works");
        }
        self.store_problem = Some(text);
        self.store_retry_at = Some(now.saturating_add(STORE_RETRY));
        if self.store.is_new() && !self.is_store_new {
            // Its file was unusable and has been begun anew: nothing is known of what the receiver holds.
            self.is_store_new = true;
            self.confirmed.clear();
            self.dequeued.clear();
            self.state.initialised = false;
            self.wants_reconcile = true;
            self.snapshot_wanted();
        }
    }

    fn is_flush_due(&self, now: Timestamp) -> bool {
        self.confirmed.len() + self.dequeued.len() >= MAX_CONFIRMED
            || self.unsaved_since.is_some_and(|since| since.saturating_add(CONFIRM_AFTER) <= now)
    }

    /// Stores what is not stored yet, at once.
    pub fn flush(&mut self, now: Timestamp) {
        if self.unsaved_since.is_some()
            && let Err(error) = self.commit(Commit { durable: true, ..Commit::default() }, now)
        {
            self.store_failed(&error, now);
        }
    }

    /// One commit of `commit`, of everything confirmed, and of the state.
    pub(super) fn commit(&mut self, mut commit: Commit, now: Timestamp) -> Result<Committed, StoreError> {
        // Confirmations first: a new attempt for the same value replaces them.
        let mut records: Vec<(Value, Option<ValueRecord>)> = self.confirmed.drain().collect();
        let confirmed = records.len();
        records.append(&mut commit.records);
        commit.records = records;
        commit.dequeue = take(&mut self.dequeued);
        commit.dead = take(&mut self.dead);
        commit.state = Some(self.state.clone());
        match self.store.commit(&commit, now) {
            Ok(committed) => {
                self.unsaved_since = None;
                let dropped = committed.dropped;
                if dropped.too_old + dropped.no_room > 0 {
                    warn!(
                        endpoint = %self.config.name,
                        too_old = dropped.too_old,
                        no_room = dropped.no_room,
                        "events exceeded the bounds of the history and were dropped"
                    );
                }
                Ok(committed)
            }
            Err(error) => {
                commit.records.truncate(confirmed);
                self.confirmed.extend(commit.records);
                (self.dequeued, self.dead) = (commit.dequeue, commit.dead);
                self.unsaved_since.get_or_insert(now);
                Err(error)
            }
        }
    }

    /// How many values may be made into messages now.
    fn window_size(&self, now: Timestamp) -> usize {
        let waiting = self.pending.waiting();
        if waiting == 0 {
            return 0;
        }
        let adopts = self.sweep.as_ref().is_some_and(|sweep| sweep.kind == SweepKind::Adopt);
        // What is taken for known or queued is no matter of the receiver.
        if adopts || self.history.is_some() {
            return WINDOW;
        }
        let batch = self.config.batch;
        let is_late = |since: Timestamp| since.saturating_add(batch.wait) <= now;
        let is_due = self.sweep.is_some() || self.pending.oldest().is_some_and(is_late);
        let waiting = if is_due { waiting } else { waiting / batch.events.max(1) * batch.events };
        let room = self.room(now);
        waiting.min(room)
    }

    /// A commit costs about the same for any number of values, and the receiver waits for it. So a fast one is given more
    /// at once; a slow one is not, because what is prepared no longer changes with its value.
    fn adapt_window(&mut self, size: usize, now: Timestamp) {
        let since = now.saturating_duration_since(self.last_window_at);
        self.last_window_at = now;
        if since >= LONG_WINDOW {
            self.window = WINDOW;
        } else if since < SHORT_WINDOW && (size < self.pending.waiting() || self.sweep.is_some()) {
            self.window = (self.window * 2).min(MAX_WINDOW);
        }
    }

    /// How many values or events may be made into messages, by the state of the receiver.
    pub(super) fn room(&self, now: Timestamp) -> usize {
        let batch = self.config.batch.events.max(1);
        let is_retry_due =
            || self.retained.iter().any(|id| self.shipments.get(id).is_some_and(|one| one.not_before <= now));
        match self.circuit.permit(now) {
            Permit::Many if !self.circuit.is_failing() => {
                let two_for_each_sink = batch * self.config.parallel * 2;
                // A fast receiver takes one window while the next is prepared.
                let windows = if self.window > WINDOW { self.window * 2 } else { self.window };
                let most = two_for_each_sink.clamp(windows, MAX_PREPARED_EVENTS);
                let at_once = two_for_each_sink.max(self.window);
                // Not for each value that becomes free: a commit costs the same for one and for thousands.
                let prepared = self.prepared();
                if prepared > most / 2 { 0 } else { (most - prepared).min(at_once / batch * batch) }
            }
            Permit::Many if self.ready.is_empty() && !is_retry_due() => batch * self.config.parallel,
            Permit::One if self.ready.is_empty() && self.in_flight == 0 => {
                if is_retry_due() && !self.probes_new { 0 } else { batch }
            }
            _ => 0,
        }
    }

    fn prepared(&self) -> usize {
        match &self.history {
            Some(history) => history.outstanding(),
            None => self.pending.busy(),
        }
    }

    fn is_sweep_due(&self) -> bool {
        let Some(sweep) = &self.sweep else { return self.next_sweep().is_some() };
        if sweep.is_at_end() {
            // Until all is stored as known, a crash must begin it anew.
            return sweep.kind != SweepKind::Adopt || self.pending.is_empty();
        }
        self.pending.waiting() < self.window && self.pending.len() + SWEEP_CHUNK <= MAX_PENDING
    }

    fn next_sweep(&self) -> Option<SweepKind> {
        let is_accepted = self.run.is_some_and(|run| run.stage == Stage::Accepted);
        match () {
            () if self.wants_adopt => Some(SweepKind::Adopt),
            () if self.wants_reconcile => Some(SweepKind::Reconcile),
            () if is_accepted || self.wants_resend => Some(SweepKind::Present),
            () => None,
        }
    }

    fn begin_sweep(&mut self) {
        if self.sweep.is_some() {
            return;
        }
        let Some(kind) = self.next_sweep() else { return };
        match kind {
            SweepKind::Adopt => self.wants_adopt = false,
            SweepKind::Reconcile => self.wants_reconcile = false,
            SweepKind::Present => {
                self.wants_resend = false;
                if let Some(run) = self.run.as_mut().filter(|run| run.stage == Stage::Accepted) {
                    run.stage = Stage::Sweeping;
                }
            }
        }
        self.sweep = Some(Sweep::new(kind, self.snapshot.clone()));
    }

    fn advance_sweep(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let Some(mut sweep) = self.sweep.take() else { return Ok(()) };
        let piece = match sweep.next(&self.store) {
            Ok(piece) => piece,
            Err(error) => {
                self.sweep = Some(sweep);
                return Err(error);
            }
        };
        let marks = sweep.marks();
        let values = match piece {
            Piece::Stored(rows) => rows
                .into_iter()
                .filter_map(|(value, record)| self.differs(&value, record, now).then_some(value))
                .collect(),
            Piece::Targets(values) => values,
            Piece::End => {
                self.sweep_ended(&sweep, now);
                return Ok(());
            }
        };
        for value in values {
            self.wants_reconcile |= self.pending.push(value, marks, now).is_err();
        }
        self.sweep = Some(sweep);
        Ok(())
    }

    fn sweep_ended(&mut self, sweep: &Sweep, now: Timestamp) {
        match sweep.kind {
            SweepKind::Reconcile => {}
            SweepKind::Adopt => {
                self.state.initialised = true;
                self.unsaved_since.get_or_insert(now);
            }
            SweepKind::Present => {
                if let Some(run) = self.run.as_mut().filter(|run| run.stage == Stage::Sweeping) {
                    run.stage = Stage::Draining(None);
                }
            }
        }
    }

    fn differs(&mut self, value: &Value, record: ValueRecord, now: Timestamp) -> bool {
        if record.attempted.is_some() {
            return true;
        }
        let entries =
            view::entries(&self.snapshot, value, &*self.takes, self.config.grouping, &mut self.texts);
        let wanted = Wanted { entries: &entries, has_others: false, grouping: self.config.grouping, now };
        !Known::confirmed(record.entries).difference(wanted).0.changes.is_empty()
    }

    fn are_presents_sent(&self) -> bool {
        self.pending.presents() == 0 && self.presents == 0
    }

    fn may_resend_end(&self) -> bool {
        self.state.lost
            && !self.wants_resend
            && self.run.is_none_or(|run| !run.is_ahead())
            && self.sweep.is_none()
            && self.are_presents_sent()
    }

    fn is_run_due(&self) -> bool {
        match self.run.map(|run| run.stage) {
            // Two marks under way at once could arrive in the wrong order.
            Some(Stage::Wanted) => self.mark.is_none(),
            Some(Stage::Draining(None)) => self.are_presents_sent(),
            Some(Stage::Draining(Some(number))) => {
                self.history.as_ref().is_none_or(|history| history.is_past(number))
            }
            _ => false,
        }
    }

    fn advance_run(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if !self.is_run_due() {
            return Ok(());
        }
        let Some(run) = self.run else { return Ok(()) };
        let (stage, kind) = match (run.stage, &self.history) {
            (Stage::Wanted, _) => {
                // Its number is used once, also after a crash.
                self.commit(Commit { durable: true, ..Commit::default() }, now)?;
                (Stage::Starting, Some(MessageKind::SnapshotStarted { snapshot: run.number }))
            }
            (Stage::Draining(None), Some(history)) => (Stage::Draining(Some(history.last())), None),
            _ => {
                let (snapshot, events) = (run.number, run.events);
                (Stage::Completing, Some(MessageKind::SnapshotCompleted { snapshot, events }))
            }
        };
        if let Some(kind) = kind {
            let message = mark(&self.config.name, run.sequence, kind, now);
            let id = self.add(Shipment::new([message.into()].into(), Subject::Mark(run.number)));
            self.ready.push_front(id);
            self.mark = Some(id);
        }
        if let Some(run) = &mut self.run {
            run.stage = stage;
        }
        Ok(())
    }

    pub(super) fn add(&mut self, shipment: Shipment) -> u64 {
        self.last_shipment += 1;
        self.shipments.insert(self.last_shipment, shipment);
        self.last_shipment
    }
}
