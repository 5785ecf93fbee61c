//! Defines what is shown of an endpoint.

use palisade_cache::Timestamp;

use super::circuit::CircuitState;
use crate::store::Dropped;

/// Longest text shown of a failure.
const MAX_SHOWN_REASON: usize = 300;

/// The state of an endpoint's deliveries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointStatus {
    /// Values or queued events that wait to be sent, those under way included.
    pub waiting: u64,
    /// Whether more may be waiting than that: everything is being compared.
    pub is_lower_bound: bool,
    /// Messages under way.
    pub in_flight: u64,
    /// Events accepted, since the store was begun.
    pub delivered: u64,
    /// Attempts that failed, since the program was started.
    pub failed_attempts: u64,
    /// What exceeded the bounds of the history and of dead letters.
    pub dropped: Dropped,
    /// Dead letters kept.
    pub dead_letters: u64,
    /// Since when every attempt has failed.
    pub failing_since: Option<Timestamp>,
    /// The last failure, escaped and bounded.
    pub last_error: Option<String>,
    /// When a message was last accepted.
    pub last_success: Option<Timestamp>,
    /// The circuit.
    pub circuit: CircuitState,
    /// When the next message may be sent; `None` for at once.
    pub next_attempt: Option<Timestamp>,
    /// Why the store cannot be written.
    pub store_problem: Option<String>,
    /// Since when the oldest change has been waiting.
    pub oldest_waiting: Option<Timestamp>,
    /// Whether a snapshot is under way.
    pub is_snapshot_running: bool,
    /// The generation of the snapshot that is compared with.
    pub generation: Option<u64>,
}

/// A text of a receiver, safe for one line of a log.
pub(super) fn escaped(text: &str) -> String {
    text.chars()
        .take(MAX_SHOWN_REASON)
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}
