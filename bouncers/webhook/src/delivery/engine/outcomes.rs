//! What follows from the outcome of a delivery, and which message is sent next.

use std::sync::Arc;
use std::time::Duration;

use palisade_cache::Timestamp;
use tracing::{info, warn};

use super::{Dispatch, Engine};
use crate::delivery::circuit::{CircuitState, Permit};
use crate::delivery::difference::Known;
use crate::delivery::pending::{Marks, Taken};
use crate::delivery::shipment::{Part, Shipment, Subject, not_accepted};
use crate::delivery::snapshots::Stage;
use crate::delivery::status::escaped;
use crate::event::{Event, Value};
use crate::sink::{Failure, FailureKind, MessageKind, Outcome};
use crate::store::{DeadLetter, PausedState};

/// Messages given to each sink at once, so that it never waits for the next one.
pub(in crate::delivery) const SINK_DEPTH: usize = 4;

impl Engine {
    /// The next message to send, if one may be sent now.
    pub fn next(&mut self, now: Timestamp) -> Option<Dispatch> {
        loop {
            let most = match self.circuit.permit(now) {
                Permit::Many if self.circuit.is_failing() => self.config.parallel,
                Permit::Many => self.config.parallel * SINK_DEPTH,
                Permit::One => 1,
                Permit::Wait(_) | Permit::Never => 0,
            };
            if self.in_flight >= most {
                return None;
            }
            let id = self.choose(now)?;
            // What has changed since it was sent is compared anew: a backlog collapses.
            if self.is_outdated(id) {
                self.dissolve(&[id]);
                continue;
            }
            let shipment = self.shipments.get_mut(&id)?;
            let Some(message) = shipment.messages.front() else {
                self.finish(id, now);
                continue;
            };
            let message = Arc::clone(message);
            shipment.attempts = shipment.attempts.saturating_add(1);
            shipment.epoch = self.circuit.sent();
            self.in_flight += 1;
            return Some(Dispatch { shipment: id, message });
        }
    }

    fn choose(&mut self, now: Timestamp) -> Option<u64> {
        let due = |id: &u64| self.shipments.get(id).is_some_and(|shipment| shipment.not_before <= now);
        let retained = self.retained.iter().position(due);
        // While the circuit is open messages that failed and others take turns: one that the receiver never takes must
        // not keep it open for all.
        let prefers_new = self.circuit.state() != CircuitState::Closed && self.probes_new;
        match (retained, self.ready.is_empty()) {
            (Some(at), is_empty) if is_empty || !prefers_new => {
                self.probes_new = true;
                self.retained.remove(at)
            }
            _ => {
                self.probes_new = false;
                self.ready.pop_front()
            }
        }
    }

    fn is_outdated(&self, id: u64) -> bool {
        match self.shipments.get(&id) {
            Some(Shipment { subject: Subject::Values(parts), attempts: 1.., .. }) => {
                parts.iter().any(|part| self.pending.is_outdated(&part.taken.value))
            }
            // Another snapshot has taken its place.
            Some(Shipment { subject: Subject::Mark(snapshot), .. }) => {
                self.run.is_none_or(|run| run.number != *snapshot)
            }
            _ => false,
        }
    }

    /// A message came to an end.
    pub fn completed(&mut self, id: u64, outcome: Outcome, now: Timestamp) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(shipment) = self.shipments.get(&id) else { return };
        let Some(message) = shipment.messages.front().map(Arc::clone) else { return };
        match outcome {
            Outcome::Delivered => {
                self.accepted(id, message.kind, message.events.len(), now);
                self.step(id, [], now);
            }
            Outcome::Partly(failures) => self.partly(id, &message.events, message.kind, failures, now),
            Outcome::Failed(Failure { kind: FailureKind::Rejected, reason, .. }) => {
                // It works, apart from this message.
                self.succeeded(id, now);
                self.split(id, &message.events, &reason, now);
            }
            Outcome::Failed(failure) => self.failed(id, &failure, now),
            Outcome::Lost(reason) => {
                self.lost(&reason, now);
                self.again(id, now);
            }
        }
    }

    /// A message is sent again at once: no failure of the receiver, which has only forgotten.
    fn again(&mut self, id: u64, now: Timestamp) {
        let Some(shipment) = self.shipments.get_mut(&id) else { return };
        shipment.is_perhaps_received = true;
        shipment.not_before = now;
        match shipment.subject {
            // Compared anew, with the rest.
            Subject::Values(_) => self.dissolve(&[id]),
            Subject::Queued(_) | Subject::Mark(_) => self.retained.push_back(id),
        }
    }

    fn accepted(&mut self, id: u64, kind: MessageKind, events: usize, now: Timestamp) {
        self.succeeded(id, now);
        self.state.delivered += events as u64;
        self.state.last_delivery_at = Some(now);
        if let (Some(run), MessageKind::Snapshot { snapshot }) = (&mut self.run, kind)
            && run.number == snapshot
        {
            run.events += events as u64;
        }
        self.unsaved_since.get_or_insert(now);
    }

    /// The front message is done with: what is left of it comes next.
    fn step<const N: usize>(&mut self, id: u64, rest: [Vec<Event>; N], now: Timestamp) {
        let Some(shipment) = self.shipments.get_mut(&id) else { return };
        shipment.is_perhaps_received = true;
        shipment.replace_front(rest.into_iter());
        if shipment.messages.is_empty() {
            self.finish(id, now);
        } else {
            self.ready.push_front(id);
        }
    }

    fn split(&mut self, id: u64, events: &[Event], reason: &str, now: Timestamp) {
        match events {
            [] => {
                warn!(endpoint = %self.config.name, reason = %escaped(reason), "a mark of a snapshot was rejected");
                self.step(id, [], now);
            }
            [event] => {
                self.give_up(id, event, reason, now);
                self.step(id, [], now);
            }
            events => {
                let (first, second) = events.split_at(events.len() / 2);
                self.step(id, [first.to_vec(), second.to_vec()], now);
            }
        }
    }

    fn partly(
        &mut self,
        id: u64,
        events: &[Event],
        kind: MessageKind,
        failures: Vec<(usize, Failure)>,
        now: Timestamp,
    ) {
        let mut again = Vec::new();
        let mut temporary: Option<Failure> = None;
        for (at, failure) in failures.iter().filter(|(at, _)| *at < events.len()) {
            if failure.kind == FailureKind::Rejected {
                self.give_up(id, &events[*at], &failure.reason, now);
            } else {
                again.push(*at);
                temporary.get_or_insert_with(|| failure.clone());
            }
        }
        self.accepted(id, kind, events.len() - failures.len().min(events.len()), now);
        let rejected = |at: usize| {
            failures.iter().any(|(one, failure)| *one == at && failure.kind == FailureKind::Rejected)
        };
        let kept: Vec<Event> = events
            .iter()
            .enumerate()
            .filter(|(at, _)| !rejected(*at))
            .map(|(_, event)| event.clone())
            .collect();
        let positions: Vec<usize> =
            again.iter().map(|at| at - (0..*at).filter(|one| rejected(*one)).count()).collect();
        let rest = not_accepted(&kept, &positions);
        let has_rest = !rest.is_empty();
        self.step(id, [rest], now);
        if let (true, Some(failure)) = (has_rest, temporary) {
            self.ready.retain(|one| *one != id);
            let failure = Failure { perhaps_received: true, ..failure };
            self.failed(id, &failure, now);
        }
    }

    fn give_up(&mut self, id: u64, event: &Event, reason: &str, now: Timestamp) {
        let attempts = self.shipments.get(&id).map_or(1, |shipment| shipment.attempts.max(1));
        if self.dead.is_empty() {
            warn!(
                endpoint = %self.config.name,
                value = %escaped(&event.value.to_string()),
                reason = %escaped(reason),
                "the receiver rejects an event; it is kept as a dead letter"
            );
        }
        self.last_error = Some(escaped(reason));
        self.dead.push(DeadLetter { event: event.clone(), at: now, attempts, reason: escaped(reason) });
        self.unsaved_since.get_or_insert(now);
    }

    fn succeeded(&mut self, id: u64, now: Timestamp) {
        let epoch = self.shipments.get(&id).map(|shipment| shipment.epoch).unwrap_or_default();
        self.circuit.delivered(epoch);
        if self.circuit.is_failing() {
            return;
        }
        if let Some(since) = self.failing_since.take() {
            let seconds = now.saturating_duration_since(since).as_secs();
            info!(
                endpoint = %self.config.name,
                failures = self.failures_since_success,
                seconds,
                "deliveries succeed again"
            );
        }
        self.failures_since_success = 0;
        if self.state.paused.take().is_some() {
            self.unsaved_since.get_or_insert(now);
        }
    }

    fn failed(&mut self, id: u64, failure: &Failure, now: Timestamp) {
        let random = self.random.f64();
        self.failed_attempts += 1;
        self.failures_since_success += 1;
        let shown = escaped(&failure.reason);
        if self.failing_since.is_none() {
            self.failing_since = Some(now);
            warn!(endpoint = %self.config.name, reason = %shown, "deliveries fail; they are repeated");
        }
        let before = self.circuit.state();
        let Some(shipment) = self.shipments.get_mut(&id) else { return };
        self.circuit.failed(shipment.epoch, failure, now, random);
        shipment.is_perhaps_received |= failure.perhaps_received;
        shipment.not_before = now.saturating_add(self.circuit.wait(shipment.attempts, random));
        let state = self.circuit.state();
        if state != before && matches!(state, CircuitState::Refused | CircuitState::Stopped) {
            let gone = state == CircuitState::Stopped;
            warn!(endpoint = %self.config.name, reason = %shown, state = state.as_str(), "the endpoint is paused");
            self.state.paused = Some(PausedState { reason: shown.clone(), since: now, gone });
            self.unsaved_since.get_or_insert(now);
        }
        self.last_error = Some(shown);
        self.retained.push_back(id);
        // They were made for a receiver that works. Until it does again, their values may change.
        let unsent: Vec<u64> = self.ready.iter().copied().filter(|id| self.is_unsent(*id)).collect();
        self.ready.retain(|id| !unsent.contains(id));
        self.dissolve(&unsent);
    }

    fn is_unsent(&self, id: u64) -> bool {
        self.shipments.get(&id).is_some_and(|shipment| {
            matches!(shipment.subject, Subject::Values(_))
                && shipment.attempts == 0
                && !shipment.is_perhaps_received
        })
    }

    /// Gives up these shipments, none of which is listed any more: their values wait again in the same order.
    pub(super) fn dissolve(&mut self, ids: &[u64]) {
        let mut taken: Vec<Taken> = Vec::new();
        for id in ids {
            let Some(shipment) = self.shipments.remove(id) else { continue };
            if self.mark == Some(*id) {
                self.mark = None;
            }
            let Subject::Values(parts) = shipment.subject else { continue };
            for part in parts {
                let perhaps = shipment.is_perhaps_received || part.is_repeat;
                self.presents -= usize::from(part.taken.marks.present);
                let marks = Marks { not_received: !perhaps, ..part.taken.marks };
                taken.push(Taken { marks, ..part.taken });
            }
        }
        self.pending.put_back(taken.into_iter());
    }

    /// All of a shipment was delivered or given up.
    fn finish(&mut self, id: u64, now: Timestamp) {
        let Some(shipment) = self.shipments.remove(&id) else { return };
        self.unsaved_since.get_or_insert(now);
        match shipment.subject {
            Subject::Values(parts) => parts.into_iter().for_each(|part| self.finish_part(part, now)),
            Subject::Queued(events) => {
                if let Some(history) = &mut self.history {
                    history.finish(&events);
                }
                self.dequeued.extend(events.into_iter().map(|(number, _)| number));
            }
            Subject::Mark(snapshot) => self.mark_accepted(snapshot, now),
        }
    }

    fn finish_part(&mut self, part: Part, now: Timestamp) {
        let Part { taken, target, then_present, .. } = part;
        self.presents -= usize::from(taken.marks.present);
        let record = Known::confirmed(target).into_record(0);
        self.confirmed.insert(taken.value.clone(), record);
        self.done(taken.value, self.config.hold_repeats, then_present, now);
    }

    /// A value is in no message any more.
    pub(super) fn done(&mut self, value: Value, hold: Duration, then_present: bool, now: Timestamp) {
        self.pending.done(value.clone(), hold, now);
        if then_present {
            let marks = Marks { present: true, ..Marks::default() };
            self.wants_resend |= self.pending.push(value, marks, now).is_err();
        }
    }

    fn mark_accepted(&mut self, snapshot: u64, now: Timestamp) {
        self.mark = None;
        let Some(run) = self.run.as_mut().filter(|run| run.number == snapshot) else { return };
        match run.stage {
            Stage::Starting => run.stage = Stage::Accepted,
            Stage::Completing => {
                self.run = None;
                self.state.initialised = true;
                self.state.last_snapshot_at = Some(now);
                self.snapshot_base = now;
            }
            _ => {}
        }
    }
}
