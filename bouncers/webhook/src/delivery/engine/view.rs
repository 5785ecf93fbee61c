//! What is shown of the engine, and when it needs attention.

use palisade_cache::Timestamp;

use super::{CONFIRM_AFTER, Engine};
use crate::delivery::circuit::Permit;
use crate::delivery::status::EndpointStatus;
use crate::delivery::sweep::SweepKind;

impl Engine {
    /// Whether nothing is left to be done or under way.
    pub fn is_quiet(&self) -> bool {
        self.pending.is_empty()
            && self.shipments.is_empty()
            && self.sweep.is_none()
            && self.run.is_none()
            && self.replays.is_empty()
            && !(self.wants_reconcile || self.wants_adopt || self.wants_resend)
            && self.unsaved_since.is_none()
            && self.history.as_ref().is_none_or(|history| history.is_empty())
    }

    /// How many messages are under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// What is shown.
    pub fn status(&self, now: Timestamp) -> EndpointStatus {
        let counts = self.store.counts();
        let (pending, busy) = (self.pending.len() as u64, self.pending.busy() as u64);
        let queued =
            if self.history.is_some() { counts.queued.saturating_sub(self.dequeued.len() as u64) } else { 0 };
        let sweeping = self.sweep.as_ref().is_some_and(|sweep| sweep.kind != SweepKind::Adopt);
        EndpointStatus {
            // The marks of a snapshot count as one.
            waiting: pending + busy + queued + u64::from(self.run.is_some()),
            is_lower_bound: sweeping
                || self.wants_reconcile
                || self.wants_resend
                || self.run.is_some_and(|run| run.is_ahead()),
            in_flight: self.in_flight as u64,
            delivered: self.state.delivered,
            failed_attempts: self.failed_attempts,
            dropped: counts.dropped,
            dead_letters: counts.dead + self.dead.len() as u64,
            failing_since: self.failing_since,
            last_error: self.last_error.clone(),
            last_success: self.state.last_delivery_at,
            circuit: self.circuit.state(),
            next_attempt: match self.circuit.permit(now) {
                Permit::Wait(time) => Some(time),
                _ => None,
            },
            store_problem: self.store_problem.clone(),
            oldest_waiting: self.oldest_waiting(),
            is_snapshot_running: self.run.is_some(),
            generation: Some(self.snapshot.generation()),
        }
    }

    fn oldest_waiting(&self) -> Option<Timestamp> {
        let front = self.retained.front().or(self.ready.front());
        let shipped = front.and_then(|id| self.shipments.get(id)?.messages.front()).map(|message| message.at);
        let queued = self.history.as_ref().and_then(|history| history.oldest());
        [self.pending.oldest(), shipped, queued].into_iter().flatten().min()
    }

    /// When [`prepare`](Self::prepare) or [`next`](Self::next) should be called even if nothing happens until then.
    pub fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.needs_prepare(now) {
            return Some(now);
        }
        let blocked = self.store_retry_at;
        let confirm = self.unsaved_since.map(|since| since.saturating_add(CONFIRM_AFTER));
        let permitted = match self.circuit.permit(now) {
            Permit::Wait(time) => Some(time),
            _ => None,
        };
        let retained = self.retained.iter().filter_map(|id| self.shipments.get(id)).map(|one| one.not_before);
        let queued = self.history.as_ref().and_then(|history| history.oldest());
        let oldest = [self.pending.oldest(), queued].into_iter().flatten().min();
        let batch = oldest.map(|oldest| oldest.saturating_add(self.config.batch.wait));
        let times = [
            blocked,
            confirm.filter(|_| blocked.is_none()),
            permitted,
            retained.min(),
            batch,
            self.pending.next_release(),
            self.next_snapshot(),
        ];
        // What is due already waits for something else, such as a message under way or the end of a back-off.
        times.into_iter().flatten().filter(|time| *time > now).min()
    }

    pub(super) fn next_snapshot(&self) -> Option<Timestamp> {
        let interval = self.config.snapshot_interval?;
        (self.run.is_none() && self.state.initialised).then(|| self.snapshot_base.saturating_add(interval))
    }
}
