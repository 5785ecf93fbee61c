//! Decides when an endpoint may be sent to after failures: back-off, circuit breaker, pauses. Pure.
//!
//! ```text
//!  Closed ──N failures in a row──► Open ──one probe at a time──► Closed on success
//!    │ (waits after each failure)    (waits after each failure, longer and longer)
//!    ├── refusing receiver ──► Refused: one probe at a time, rarely ──► Closed on success
//!    └── 410 ──► Stopped: nothing until it is resumed
//! ```

use std::time::Duration;

use palisade_cache::Timestamp;

use crate::config::RetryConfig;
use crate::sink::{Failure, FailureKind};

/// Doublings of the wait after which it does not grow: no configured maximum is 2^40 times the first wait.
const MAX_DOUBLINGS: u32 = 40;

/// The state of an endpoint's circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CircuitState {
    /// Messages are sent.
    #[default]
    Closed,
    /// Many failures in a row: one message at a time probes the receiver.
    Open,
    /// The receiver refuses this sender: it is tried rarely.
    Refused,
    /// The receiver asked never to be called again: nothing is sent until the endpoint is resumed.
    Stopped,
}

impl CircuitState {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// Whether a message may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// As many as there are sinks.
    Many,
    /// One, while no other is under way.
    One,
    /// None before this time.
    Wait(Timestamp),
    /// None until the endpoint is resumed.
    Never,
}

/// What messages carry from [`Circuit::sent`] to the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epoch(u64);

/// The circuit of one endpoint.
#[derive(Debug, Clone)]
pub struct Circuit {
    config: RetryConfig,
    state: CircuitState,
    /// Failures in a row. Messages that were under way together count as one.
    failures: u32,
    not_before: Option<Timestamp>,
    epoch: Epoch,
}

impl Circuit {
    /// A closed circuit, or one that stays stopped from an earlier run.
    pub fn new(config: RetryConfig, is_stopped: bool) -> Self {
        let state = if is_stopped { CircuitState::Stopped } else { CircuitState::Closed };
        Self { config, state, failures: 0, not_before: None, epoch: Epoch::default() }
    }

    /// Its state.
    pub fn state(&self) -> CircuitState {
        self.state
    }

    /// Whether the last message failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0 || self.state != CircuitState::Closed
    }

    /// Whether a message may be sent now.
    pub fn permit(&self, now: Timestamp) -> Permit {
        match (self.state, self.not_before) {
            (CircuitState::Stopped, _) => Permit::Never,
            (_, Some(time)) if now < time => Permit::Wait(time),
            (CircuitState::Closed, _) => Permit::Many,
            _ => Permit::One,
        }
    }

    /// The epoch of a message that is sent now.
    pub fn sent(&self) -> Epoch {
        self.epoch
    }

    /// A message was accepted.
    pub fn delivered(&mut self, sent: Epoch) {
        // One that was under way when another failed says nothing about the time after that failure, such as whether a
        // `Retry-After` is over.
        if sent == self.epoch && self.state != CircuitState::Stopped {
            (self.state, self.failures, self.not_before) = (CircuitState::Closed, 0, None);
        }
    }

    /// A message failed. `random` is uniform in 0..1.
    pub fn failed(&mut self, sent: Epoch, failure: &Failure, now: Timestamp, random: f64) {
        let is_first = sent == self.epoch;
        if is_first {
            self.epoch.0 += 1;
            self.failures = self.failures.saturating_add(1);
        }
        let wait = match failure.kind {
            FailureKind::Gone => {
                self.state = CircuitState::Stopped;
                return;
            }
            _ if self.state == CircuitState::Stopped => return,
            FailureKind::Refusing => {
                self.state = CircuitState::Refused;
                // Spread a little, so that several endpoints of one receiver do not come at once.
                self.config.refused.mul_f64(0.9 + 0.2 * random)
            }
            FailureKind::Retry | FailureKind::Rejected if is_first => {
                if self.failures >= self.config.breaker_failures && self.state == CircuitState::Closed {
                    self.state = CircuitState::Open;
                }
                self.wait(self.failures, random)
            }
            FailureKind::Retry | FailureKind::Rejected => Duration::ZERO,
        };
        let asked = failure.retry_after.unwrap_or_default().min(self.config.max_retry_after);
        let time = now.saturating_add(wait.max(asked));
        self.not_before = self.not_before.max(Some(time));
    }

    /// The wait after the failure with this number: full jitter over a time that doubles with each.
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        let longest = self.config.first.as_secs_f64() * 2f64.powi(doublings.cast_signed());
        Duration::from_secs_f64(longest.min(self.config.max.as_secs_f64()) * random)
    }

    /// The receiver works again, by the operator's word: the next message is sent at once.
    pub fn resume(&mut self) {
        (self.state, self.failures, self.not_before) = (CircuitState::Closed, 0, None);
        self.epoch.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn circuit() -> Circuit {
        let config = RetryConfig {
            first: SECOND,
            max: Duration::from_secs(3600),
            breaker_failures: 3,
            max_retry_after: Duration::from_secs(600),
            refused: Duration::from_secs(1800),
        };
        Circuit::new(config, false)
    }

    fn failure(kind: FailureKind, retry_after: Option<u64>) -> Failure {
        let retry_after = retry_after.map(Duration::from_secs);
        Failure { kind, perhaps_received: true, reason: String::new(), retry_after }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn waits_double_up_to_the_longest_with_full_jitter() {
        let circuit = circuit();
        for (failures, seconds) in [(1, 1), (2, 2), (3, 4), (10, 512), (13, 3600), (u32::MAX, 3600)] {
            assert_eq!(circuit.wait(failures, 1.0), Duration::from_secs(seconds), "{failures}");
            assert_eq!(circuit.wait(failures, 0.0), Duration::ZERO);
        }
    }

    #[test]
    fn the_circuit_opens_after_failures_in_a_row_and_closes_with_a_success() {
        let mut circuit = circuit();
        let retry = failure(FailureKind::Retry, None);
        for (now, expected) in [(0, Permit::Wait(at(1))), (1, Permit::Wait(at(3))), (3, Permit::Wait(at(7)))]
        {
            assert_eq!(circuit.permit(at(now)), Permit::Many);
            circuit.failed(circuit.sent(), &retry, at(now), 1.0);
            assert_eq!(circuit.permit(at(now)), expected);
        }
        assert_eq!((circuit.state(), circuit.permit(at(7))), (CircuitState::Open, Permit::One));
        circuit.failed(circuit.sent(), &retry, at(7), 1.0);
        assert_eq!(circuit.permit(at(8)), Permit::Wait(at(15)));
        circuit.delivered(circuit.sent());
        assert_eq!((circuit.state(), circuit.permit(at(8))), (CircuitState::Closed, Permit::Many));
        assert!(!circuit.is_failing());
    }

    #[test]
    fn messages_that_were_under_way_together_fail_once() {
        let mut circuit = circuit();
        let sent = circuit.sent();
        for _ in 0..50 {
            circuit.failed(sent, &failure(FailureKind::Retry, None), at(0), 1.0);
        }
        assert_eq!((circuit.state(), circuit.permit(at(0))), (CircuitState::Closed, Permit::Wait(at(1))));
        circuit.failed(sent, &failure(FailureKind::Retry, Some(60)), at(0), 1.0);
        circuit.delivered(sent);
        assert_eq!(
            circuit.permit(at(1)),
            Permit::Wait(at(60)),
            "a success from before the failure ends no wait"
        );
    }

    #[test]
    fn retry_after_is_honoured_up_to_a_bound() {
        for (asked, expected) in [(0, 1), (30, 30), (86_400, 600)] {
            let mut circuit = circuit();
            circuit.failed(circuit.sent(), &failure(FailureKind::Retry, Some(asked)), at(0), 1.0);
            assert_eq!(circuit.permit(at(0)), Permit::Wait(at(expected)), "{asked}");
        }
    }

    #[test]
    fn a_refusing_receiver_is_tried_rarely_and_a_gone_one_never_until_resumed() {
        let mut circuit = circuit();
        circuit.failed(circuit.sent(), &failure(FailureKind::Refusing, None), at(0), 0.5);
        assert_eq!((circuit.state(), circuit.permit(at(0))), (CircuitState::Refused, Permit::Wait(at(1800))));
        assert_eq!(circuit.permit(at(1800)), Permit::One);
        circuit.failed(circuit.sent(), &failure(FailureKind::Gone, None), at(1800), 0.5);
        circuit.delivered(circuit.sent());
        circuit.failed(circuit.sent(), &failure(FailureKind::Retry, None), at(1801), 0.5);
        assert_eq!((circuit.state(), circuit.permit(at(9_999_999))), (CircuitState::Stopped, Permit::Never));
        circuit.resume();
        assert_eq!(circuit.permit(at(1801)), Permit::Many);
        let stopped = Circuit::new(circuit.config, true);
        assert_eq!(stopped.permit(at(0)), Permit::Never);
    }
}
