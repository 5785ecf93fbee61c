//! The task that follows a LAPI: sole owner of the ledger, stoppable at every await, honest about doubt.

use std::pin::pin;
use std::time::Duration;

use palisade_cache::{Batch, Ledger, Mode, Timestamp};
use palisade_client::Backoff;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::admit::Admission;
use crate::cadence::{Ask, Doubt, Schedule};
use crate::publish::{Freshness, Publisher};
use crate::source::{PullFault, Source};
use crate::{Cadence, now};

/// What a follower needs; it owns all of it.
#[derive(Debug)]
pub struct Follower<S> {
    /// Who is asked.
    pub source: S,
    /// How often.
    pub cadence: Cadence,
    /// How long to wait after failures.
    pub backoff: Backoff,
    /// What is admitted.
    pub admission: Admission,
    /// What is known so far: empty, or the remembered decisions.
    pub ledger: Ledger,
    /// Where snapshots go.
    pub publisher: Publisher,
    /// What has been counted so far: nothing, or what an earlier run counted.
    pub state: Freshness,
}

/// Why following ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// The LAPI refused us from the start, and it was told to give up on that.
    GaveUp(PullFault),
}

/// How soon a refused first request is repeated.
const SECOND_CHANCE: Duration = Duration::from_secs(2);

impl<S: Source> Follower<S> {
    /// Follows until `stop`. Decisions end on time whatever the LAPI does.
    ///
    /// With `give_up_when_refused`, a LAPI that refuses us twice before it ever answered ends it: that is a
    /// wrong key. (Once is no proof: a LAPI may refuse one of two machines that first use a key in the same
    /// instant.)
    ///
    /// Dropping the future is safe: an answer under way is thrown away, and a next run starts with a full pull.
    pub async fn run(&mut self, give_up_when_refused: bool, stop: CancellationToken) -> Ended {
        let mut schedule = Schedule::new(self.cadence.clone());
        let mut answered = false;
        self.state.last_full = None;
        self.publisher.tell(self.state.clone());
        loop {
            let (ask, doubt) = schedule.ask(now());
            if let Some(doubt) = doubt {
                debug!(?doubt, "asking for every decision in force");
            }
            let mut batch = Batch::new();
            let Some(pulled) = self.pull(ask, &mut batch, &stop).await else {
                return Ended::Stopped;
            };
            let wait = match pulled {
                Ok(()) => {
                    answered = true;
                    self.answered(&mut schedule, ask, doubt, batch)
                }
                Err(fault) if give_up_when_refused && fault.refused && !answered => {
                    if self.state.failing.is_some() {
                        return Ended::GaveUp(fault);
                    }
                    self.failed(&mut schedule, &fault).min(SECOND_CHANCE)
                }
                Err(fault) => self.failed(&mut schedule, &fault),
            };
            self.publisher.tell(self.state.clone());
            if !self.wait(wait, &stop).await {
                return Ended::Stopped;
            }
        }
    }

    /// One request. Decisions go on ending while it is under way. `None` when stopped.
    async fn pull(
        &mut self,
        ask: Ask,
        batch: &mut Batch,
        stop: &CancellationToken,
    ) -> Option<Result<(), PullFault>> {
        let Self { source, admission, ledger, publisher, state, .. } = self;
        state.requests += 1;
        state.full_pulls += u64::from(ask == Ask::Everything);
        let full = ask == Ask::Everything;
        let mut sink = |item: palisade_wire::StreamItem<'_>| admission.take(item, full, now(), batch);
        let mut pull = pin!(source.pull(ask, &mut sink).instrument(info_span!("pull", ?ask)));
        loop {
            let ending = until_next_end(ledger);
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                pulled = &mut pull => return Some(pulled),
                () = sleep(ending) => expire(ledger, publisher),
            }
        }
    }

    /// Waits, ending decisions meanwhile. `false` when stopped.
    async fn wait(&mut self, wait: Duration, stop: &CancellationToken) -> bool {
        let mut waited = pin!(sleep(wait));
        loop {
            let ending = until_next_end(&self.ledger);
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                () = &mut waited => return true,
                () = sleep(ending) => expire(&mut self.ledger, &self.publisher),
            }
        }
    }

    fn answered(
        &mut self,
        schedule: &mut Schedule,
        ask: Ask,
        doubt: Option<Doubt>,
        batch: Batch,
    ) -> Duration {
        let received = now();
        let state = &mut self.state;
        if state.failing.take().is_some() {
            info!(failures = state.failures_in_a_row, "the LAPI answers again");
        }
        let first = state.last_answer.is_none();
        state.failures_in_a_row = 0;
        state.last_answer = Some(received);
        self.backoff.reset();
        self.ledger.expire(received);
        let (announced, lifted, highest) = (batch.announced(), batch.lifted(), batch.highest_id());
        let held = self.ledger.len();
        let mode = schedule.mode(ask, announced, held);
        let applied = self.ledger.apply(mode, batch);
        let next = schedule.answered(received, mode, announced, highest, applied, fastrand::f64());
        match mode {
            Mode::Changes if applied.added + applied.renewed + applied.removed > 0 => {
                info!(announced, lifted, ?applied, held = self.ledger.len(), "decisions changed");
            }
            Mode::Changes => debug!(announced, lifted, "nothing changed"),
            Mode::Everything => {
                state.last_full = Some(received);
                if !first && doubt == Some(Doubt::Timer) {
                    state.missed += applied.added as u64;
                    state.vanished += applied.removed as u64;
                }
                info!(announced, ?applied, "every decision in force was pulled");
            }
            Mode::Additions => {
                state.held_back += 1;
                warn!(
                    announced,
                    held,
                    "the LAPI's full list would remove most of what is in force; nothing is removed until a \
                     second answer says the same"
                );
            }
        }
        if doubt == Some(Doubt::OtherDatabase) {
            warn!(
                "the LAPI numbers its decisions anew, so its database was restored or replaced; every decision was pulled again"
            );
        }
        if next.warn_of_theft {
            warn!(
                missed = state.missed,
                resync = ?schedule.resync_interval(),
                "full pulls find decisions that no update told: probably another bouncer uses this API key from \
                 the same address. Give each its own key (`cscli bouncers add NAME` on the LAPI); until then \
                 everything is pulled more often"
            );
        }
        state.refused = self.admission.refused().iter().map(|(why, count)| (why.as_str(), *count)).collect();
        state.other_types = self.admission.other_types();
        // Told first: whoever wakes for the snapshot can see what kind of answer it is from.
        self.publisher.tell(state.clone());
        self.publisher.publish(self.ledger.snapshot());
        next.wait
    }

    fn failed(&mut self, schedule: &mut Schedule, fault: &PullFault) -> Duration {
        let state = &mut self.state;
        schedule.failed(fault.may_have_reached_lapi);
        let wait = self.backoff.next(fault.shortest_retry);
        let text = describe(fault);
        state.failed_requests += 1;
        state.failures_in_a_row += 1;
        // One line when trouble begins or changes, not one per try.
        if state.failing.as_deref() != Some(text.as_str()) {
            if fault.refused {
                error!(error = text, retry_in = ?wait, "the LAPI refuses this bouncer; the last decisions stay in force");
            } else {
                warn!(error = text, retry_in = ?wait, "no answer from the LAPI; the last decisions stay in force");
            }
        }
        state.failing = Some(text);
        wait
    }
}

/// The fault and its causes in one line.
fn describe(fault: &PullFault) -> String {
    let mut text = fault.error.to_string();
    let mut cause = fault.error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn until_next_end(ledger: &Ledger) -> Duration {
    // Far enough to be never, near enough for every timer.
    let never = Duration::from_secs(24 * 3600);
    ledger.next_expiry().map_or(never, |end: Timestamp| {
        // A millisecond more, so that it is over when we look.
        (end.saturating_duration_since(now()) + Duration::from_millis(1)).min(never)
    })
}

fn expire(ledger: &mut Ledger, publisher: &Publisher) {
    let ended = ledger.expire(now());
    if ended > 0 {
        debug!(ended, "decisions ended");
        publisher.publish(ledger.snapshot());
    }
}
