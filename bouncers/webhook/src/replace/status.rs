//! What is shown of a receiver of whole lists.

use palisade_cache::Timestamp;

use crate::delivery::circuit::CircuitState;

/// The state of one receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplaceStatus {
    /// Whether its circuit is closed.
    pub state: CircuitState,
    /// Whether the first decisions are known; nothing is uploaded before.
    pub ready: bool,
    /// Whether a list is to be uploaded, or may have to be.
    pub waiting: bool,
    /// Entries of the list that was made last.
    pub entries: usize,
    /// Values that this list leaves out because of a bound.
    pub omitted: usize,
    /// Values that the receiver cannot represent.
    pub unusable: usize,
    /// Lists accepted since the start.
    pub accepted: u64,
    /// Uploads that failed since the start.
    pub failed: u64,
    /// When the last list was accepted.
    pub last_accepted: Option<Timestamp>,
    /// Since when uploads fail.
    pub failing_since: Option<Timestamp>,
    /// The last failure, also after a success.
    pub last_error: Option<String>,
}
