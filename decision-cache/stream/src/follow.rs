//! The task that follows a LAPI: the only owner of the ledger, cancel-safe at every await.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palisade_cache::{Applied, Batch, Ledger, Mode, Timestamp};
use palisade_client::{Backoff, Continuation, StreamSink};
use palisade_go_compat::with_causes;
use palisade_wire::StreamItem;
use palisade_wire::follow::{Content, FullReason};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::admit::Admission;
use crate::cadence::{Peer, PullKind, Request, ResyncReason};
use crate::persist::Record;
use crate::publish::{Freshness, Publisher, Update};
use crate::schedule::{Failure, ResponseSummary, Schedule};
use crate::source::{PullFault, Source};
use crate::{Cadence, now};

/// The state of a follower.
#[derive(Debug)]
pub struct Follower<S> {
    /// The LAPIs.
    pub source: S,
    /// Request timing.
    pub cadence: Cadence,
    /// Delays after failures.
    pub backoff: Backoff,
    /// Which decisions are admitted.
    pub admission: Admission,
    /// Empty, or the persisted decisions.
    pub ledger: Ledger,
    /// The cursor persisted with exactly the ledger's contents; empty without one. Used once.
    pub cursor: String,
    /// Where snapshots are published.
    pub publisher: Publisher,
    /// Counters, possibly of an earlier run.
    pub state: Freshness,
}

/// Why a follower ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// It was stopped.
    Stopped,
    /// The LAPI refused the client from the start, and `give_up_when_refused` was set.
    GaveUp(PullFault),
}

/// How often the clock is read during a request, to detect suspension.
const TICK: Duration = Duration::from_secs(1);
/// A response whose head arrives this long after the second-to-last tick may have been buffered during a suspension:
/// its durations would be counted from too late a time.
const SUSPEND_THRESHOLD: Duration = Duration::from_secs(3);
/// A request without a response for this long, apart from its `wait`, is logged.
const SLOW_ANSWER: Duration = Duration::from_secs(10);
/// How soon a refused first request is repeated.
const REFUSED_RETRY: Duration = Duration::from_secs(2);

impl<S: Source> Follower<S> {
    /// Follows until `stop`. Decisions end on time whatever the LAPI does.
    ///
    /// With `give_up_when_refused`, two refusals before any response end the follower: the key is wrong.
    ///
    /// Cancel-safe: a response in progress is discarded, and the next run starts with a full pull.
    pub async fn run(&mut self, give_up_when_refused: bool, stop: CancellationToken) -> Ended {
        let mut schedule = Schedule::resume(self.cadence.clone(), std::mem::take(&mut self.cursor));
        let mut answered = false;
        let mut refusals = 0;
        let mut log = FailureLog::default();
        // Counters go on, but completeness must be shown anew: after a reload other decisions may be followed.
        (self.state.last_full, self.state.resumed) = (None, None);
        self.state.lapi = self.source.name();
        // Before the first request, so that no reader takes the earlier run's snapshot for complete meanwhile.
        self.publisher.publish_freshness(self.state.clone());
        loop {
            let request = schedule.next_request(now());
            if let Some(resync_reason) = request.resync_reason {
                debug!(reason = resync_reason.as_str(), "asking for every decision in force");
            }
            let Some(pulled) = self.pull(&request, &mut log, &stop).await else {
                return Ended::Stopped;
            };
            let wait = match pulled {
                Ok(answer) if answer.suspended || schedule.is_stale(answer.begun, &request) => {
                    warn!("the process was suspended during a request; repeating the request");
                    schedule.failed(
                        now(),
                        &request,
                        // A stock LAPI counts the discarded response as delivered, so its changes have to come by a
                        // full pull.
                        Failure { may_have_reached_lapi: true, ..Failure::default() },
                    );
                    self.state.failed_requests += 1;
                    Duration::ZERO
                }
                Ok(answer) => {
                    answered = true;
                    log = FailureLog::default();
                    aside(|| self.on_response(&mut schedule, &request, answer))
                }
                Err(fault) if give_up_when_refused && fault.refused && !answered => {
                    refusals += 1;
                    // One is not enough: when two machines first use a key at the same instant, a stock LAPI inserts
                    // the same row twice and refuses the request that comes second.
                    if refusals > 1 {
                        return Ended::GaveUp(fault);
                    }
                    self.failed(&mut schedule, &request, &fault, &mut log).min(REFUSED_RETRY)
                }
                Err(fault) => self.failed(&mut schedule, &request, &fault, &mut log),
            };
            self.publisher.publish_freshness(self.state.clone());
            if !self.wait(wait, &stop).await {
                return Ended::Stopped;
            }
        }
    }

    /// Sends one request; decisions expire meanwhile. `None` when stopped.
    async fn pull(
        &mut self,
        request: &Request,
        log: &mut FailureLog,
        stop: &CancellationToken,
    ) -> Option<Result<Answer, PullFault>> {
        let Self { source, admission, ledger, publisher, state, .. } = self;
        state.requests += 1;
        state.full_pulls += u64::from(request.ask == PullKind::Everything);
        let batch = Batch::new();
        let full = request.ask == PullKind::Everything;
        // A request that was dropped or failed midway may have left ids behind.
        admission.begin_answer();
        // Shared with the sink, which the pull borrows mutably for as long as the loop below runs.
        let has_begun = AtomicBool::new(false);
        let mut sink =
            ResponseSink { admission, request, batch, full, items: 0, begun: now(), has_begun: &has_begun };
        let slow = Instant::now() + request.wait + SLOW_ANSWER;
        let asked = source.name();
        let span = info_span!("pull", ask = request.ask.as_str(), wait_seconds = request.wait.as_secs());
        // Two ticks are kept: after a suspension, the timer may fire before buffered data is read. Compared with the
        // last tick alone, the gap would then seem short.
        let (mut last_tick, mut previous_tick) = (now(), now());
        let pulled = {
            // Polled across iterations and never recreated: dropping it would abort the request each time a decision
            // ends.
            let mut pull = pin!(source.pull(request, &mut sink).instrument(span));
            loop {
                // Ticks also measure the clock: a gap between two of them shows that the process was suspended.
                let ending = until_next_end(ledger).min(TICK);
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return None,
                    pulled = &mut pull => break pulled,
                    () = sleep(ending) => expire(ledger, publisher),
                }
                previous_tick = std::mem::replace(&mut last_tick, now());
                let is_slow = Instant::now() >= slow && !has_begun.load(Ordering::Relaxed);
                if is_slow && !std::mem::replace(&mut log.slow, true) {
                    warn!(
                        lapi = asked,
                        seconds = (request.wait + SLOW_ANSWER).as_secs(),
                        "the LAPI has not begun to answer yet; the last decisions stay in force"
                    );
                }
            }
        };
        let ResponseSink { batch, items, begun, .. } = sink;
        // The head of a long response arrived before the last tick.
        let suspended =
            // Only for parked requests; for others `is_stale` alone limits the age.
            !request.wait.is_zero() && begun.saturating_duration_since(previous_tick) > SUSPEND_THRESHOLD;
        Some(pulled.map(|head| Answer { head, batch, items, begun, suspended }))
    }

    /// Waits while decisions expire. `false` when stopped.
    async fn wait(&mut self, wait: Duration, stop: &CancellationToken) -> bool {
        let mut waited = pin!(sleep(wait));
        loop {
            let ending = until_next_end(&self.ledger);
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                () = &mut waited => return true,
                () = sleep(ending) => aside(|| expire(&mut self.ledger, &self.publisher)),
            }
        }
    }

    fn on_response(&mut self, schedule: &mut Schedule, request: &Request, answer: Answer) -> Duration {
        let received = now();
        self.connected(received);
        // Before `held` is read below: decisions that have just ended must not count as removed by this response.
        self.ledger.expire(received);
        let Answer { head, batch, items, .. } = answer;
        let (announced, lifted, highest_id) = (batch.announced(), batch.lifted(), batch.highest_id());
        let held = self.ledger.len();
        let mode = schedule.mode(request, head.as_ref(), announced, held);
        // Encoded here, as `apply` consumes the batch. Not for full responses: the journal replays changes only.
        let record = (mode == Mode::Changes && announced + lifted > 0).then(|| Record::of(&batch, received));
        let applied = self.ledger.apply(mode, batch);
        // Only now, as the response can no longer be discarded.
        self.admission.end_answer(head.is_none());
        let summary = ResponseSummary { head, items, announced, highest_id };
        let (before, resync) = (schedule.peer(), schedule.resync_interval());
        // Before `on_response`, which takes the end as the first one after a full pull.
        schedule.set_next_end(self.ledger.next_expiry());
        let next = schedule.on_response(received, request, &summary, mode, applied, fastrand::f64());
        let state = &mut self.state;
        (state.peer, state.push) = (schedule.peer(), schedule.long_polls());
        log_peer_change(before, state);
        let held_now = self.ledger.len();
        let Applied { added, renewed, removed, .. } = applied;
        let is_news = added + renewed + removed > 0;
        match mode {
            Mode::Changes if is_news => {
                // At debug level: the enforcer logs the effect.
                debug!(added, renewed, removed, held = held_now, "decisions changed");
            }
            Mode::Changes => debug!(announced, lifted, "nothing changed"),
            Mode::Everything => {
                state.last_full = Some(received);
                if next.compared {
                    state.missed += added as u64;
                    state.vanished += removed as u64;
                }
                let text = "every decision in force was pulled";
                // A periodic pull that found nothing is routine; one with a reason confirms that the problem is over.
                if is_news || request.resync_reason != Some(ResyncReason::Timer) {
                    info!(added, renewed, removed, held = held_now, "{text}");
                } else {
                    debug!(held = held_now, "{text}");
                }
            }
            Mode::Additions => {
                state.held_back += 1;
                warn!(
                    announced,
                    held,
                    "the LAPI's full list would remove most decisions in force; nothing is removed until a \
                     second answer says the same"
                );
            }
        }
        if mode == Mode::Changes && state.last_full.is_none() && !schedule.cursor().is_empty() {
            // The first response that continued from the persisted cursor: with it the persisted decisions are
            // complete.
            state.resumed.get_or_insert(received);
        }
        log_full_response(request, summary.head.as_ref());
        if next.warn_of_theft {
            warn!(
                missed = state.missed,
                every_seconds = schedule.resync_interval().as_secs(),
                before_seconds = resync.as_secs(),
                "full pulls find decisions that no update contained: probably another bouncer uses this API key from \
                 the same address. Give each its own key (`cscli bouncers add NAME` on the LAPI), or use a LAPI that \
                 keeps cursors (palisade-lapi); until then everything is pulled more often"
            );
        }
        state.refused = self.admission.refused().iter().map(|(why, count)| (why.as_str(), *count)).collect();
        state.other_types = self.admission.other_types();
        // A response without effect is not written. The cursor still moves on with it, and is written with the next
        // change.
        let update = if !is_news {
            Update::Changes(None)
        } else if mode == Mode::Changes {
            Update::Changes(record)
        } else {
            // A full response is no list of changes, and after an unconfirmed one no record describes the ledger.
            Update::Whole
        };
        // Snapshot, cursor and freshness in one step: a reader between two would take an older snapshot for complete.
        self.publisher.publish_response(self.ledger.snapshot(), schedule.cursor(), update, state.clone());
        next.wait
    }

    /// Records a response, and which LAPI sent it.
    fn connected(&mut self, received: Timestamp) {
        let state = &mut self.state;
        let who = self.source.name();
        if state.lapi != who {
            state.fail_overs += 1;
            let before = std::mem::replace(&mut state.lapi, who);
            warn!(lapi = state.lapi, before, "switched to another LAPI of the list");
        } else if state.failing.is_some() {
            info!(failures = state.failures_in_a_row, "the LAPI answers again");
        }
        state.failing = None;
        state.failures_in_a_row = 0;
        state.last_answer = Some(received);
        // Only after a whole response, so that delays go on growing for a LAPI that accepts connections and fails
        // midway.
        self.backoff.reset();
    }

    fn failed(
        &mut self,
        schedule: &mut Schedule,
        request: &Request,
        fault: &PullFault,
        log: &mut FailureLog,
    ) -> Duration {
        let state = &mut self.state;
        let failure = Failure {
            may_have_reached_lapi: fault.may_have_reached_lapi,
            may_end_a_hold: fault.may_end_a_hold,
            elsewhere: fault.elsewhere,
        };
        schedule.failed(now(), request, failure);
        state.push = schedule.long_polls();
        // The next LAPI has not failed yet, so there is nothing to wait for. Once all have failed, `elsewhere` is
        // false.
        let wait = if fault.elsewhere {
            Duration::ZERO
        } else {
            self.backoff.next_for(fault.shortest_retry, fault.settled_retry)
        };
        let retry_seconds = (wait.as_secs_f64() * 10.0).round() / 10.0;
        let text = with_causes(fault.error.as_ref());
        state.failed_requests += 1;
        state.failures_in_a_row += 1;
        if log.is_news(fault, &text, state.failing.as_deref()) {
            if fault.refused {
                error!(
                    error = text,
                    retry_seconds, "the LAPI refuses this bouncer; the last decisions stay in force"
                );
            } else if fault.elsewhere {
                warn!(
                    error = text,
                    next = self.source.name(),
                    "no answer from this LAPI; asking the next one"
                );
            } else {
                warn!(
                    error = text,
                    retry_seconds, "no answer from the LAPI; the last decisions stay in force"
                );
            }
        }
        state.failing = Some(text);
        wait
    }
}

/// What has been logged about failures since the last response.
#[derive(Debug, Default)]
struct FailureLog {
    /// A slow response was logged.
    slow: bool,
    several: bool,
    all: bool,
    refused: bool,
}

impl FailureLog {
    /// Whether a failure is logged: when it begins or changes, not on every attempt. With several LAPIs: the first
    /// failure, and when all have failed.
    fn is_news(&mut self, fault: &PullFault, text: &str, before: Option<&str>) -> bool {
        let refused = fault.refused && !std::mem::replace(&mut self.refused, fault.refused);
        if fault.elsewhere {
            self.several = true;
            return before.is_none();
        }
        let all = std::mem::replace(&mut self.all, true);
        refused || if self.several { !all } else { before != Some(text) }
    }
}

/// A complete response that has not been applied yet.
struct Answer {
    head: Option<Continuation>,
    batch: Batch,
    items: usize,
    /// When its head arrived.
    begun: Timestamp,
    /// Whether the process may have been suspended before the head arrived.
    suspended: bool,
}

/// Collects a response as it arrives.
struct ResponseSink<'a> {
    admission: &'a mut Admission,
    request: &'a Request,
    batch: Batch,
    full: bool,
    items: usize,
    /// When the head arrived.
    begun: Timestamp,
    has_begun: &'a AtomicBool,
}

impl StreamSink for ResponseSink<'_> {
    fn begin(&mut self, head: Option<&Continuation>) {
        // What was asked for is not enough: a LAPI that does not know the cursor sends everything.
        self.full = self.request.brings(head) == PullKind::Everything;
        self.begun = now();
        self.has_begun.store(true, Ordering::Relaxed);
    }

    fn item(&mut self, item: StreamItem<'_>) {
        self.items += 1;
        // The time of each item and not of the head: a stock LAPI computes durations while it sends, which can take
        // minutes for a long list.
        self.admission.take(item, self.full, now(), &mut self.batch);
    }
}

/// Logs when the kind of LAPI has changed.
fn log_peer_change(before: Peer, state: &Freshness) {
    let (lapi, push) = (&state.lapi, state.push);
    match (before, state.peer) {
        (before, now) if before == now => {}
        (_, Peer::KeepsCursors) => {
            info!(lapi, push, "the LAPI keeps cursors: lost and repeated responses do no harm");
        }
        (Peer::KeepsCursors, _) => {
            warn!(
                lapi,
                "a stock LAPI answers now, which keeps no cursors: all decisions are pulled, now and periodically"
            );
        }
        _ => {
            debug!(lapi, "the LAPI is a stock one: changes are polled, and all decisions pulled periodically")
        }
    }
}

/// Logs why a full response was sent, where that is useful to operators.
fn log_full_response(request: &Request, head: Option<&Continuation>) {
    match head.map(|head| head.content) {
        Some(Content::Everything(why @ (FullReason::OtherDatabase | FullReason::Forged))) => {
            warn!(
                why = why.as_str(),
                "the LAPI does not know the cursor: its database was restored or replaced, or LAPIs of different databases \
                 are configured together; all decisions were pulled"
            );
        }
        Some(Content::Everything(why)) if request.ask == PullKind::Changes => {
            info!(why = why.as_str(), "the LAPI cannot continue from the cursor; all decisions were pulled");
        }
        None if request.resync_reason == Some(ResyncReason::OtherDatabase) => {
            warn!(
                "decision ids went back, so the LAPI's database was restored or replaced; all decisions were pulled again"
            );
        }
        Some(Content::Changes) if request.ask == PullKind::Everything || request.cursor.is_empty() => {
            warn!("the LAPI sent changes when asked for all decisions; asking again");
        }
        _ => {}
    }
}

fn until_next_end(ledger: &Ledger) -> Duration {
    // Practically never, but within the range of every timer. When it fires, nothing has ended and the loop goes
    // round.
    let never = Duration::from_secs(24 * 3600);
    ledger.next_expiry().map_or(never, |end: Timestamp| {
        // One millisecond more, so that it has ended when the timer fires.
        (end.saturating_duration_since(now()) + Duration::from_millis(1)).min(never)
    })
}

/// Runs work that may take long without delaying the other tasks of its thread. A change of 50,000 decisions takes some 50 ms,
/// for which a proxy's requests would wait.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    // Other runtimes have no thread to hand the tasks to.
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn expire(ledger: &mut Ledger, publisher: &Publisher) {
    let ended = ledger.expire(now());
    if ended > 0 {
        debug!(ended, "decisions ended");
        // One snapshot for all that ended together, and none if nothing did.
        publisher.publish_expired(ledger.snapshot());
    }
}
