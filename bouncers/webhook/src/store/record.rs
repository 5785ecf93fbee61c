//! Defines what a store is given and returns. Pure.

use std::time::Duration;

use palisade_cache::Timestamp;

use crate::config::HistoryConfig;
use crate::event::{Entry, Event, Value};

/// Longest reason stored with a dead letter or a pause; longer ones are cut.
pub const MAX_REASON_BYTES: usize = 512;

/// Memory for pages of one store's file. Most stores are read once and written in the order of values, so a larger
/// cache saves little.
pub const DEFAULT_CACHE_BYTES: usize = 4 << 20;

/// Most events or dead letters that one commit drops because of the limits. The rest follows with the next commits, so
/// that a queue that became too old as a whole does not make one huge transaction.
pub const MAX_DROPPED_BY_COMMIT: u64 = 10_000;

/// The bounds of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreLimits {
    /// The bounds of the queue; `None` when events are not queued, and then what an earlier configuration left in it
    /// stays until it is dequeued.
    pub history: Option<HistoryConfig>,
    /// How many dead letters are kept; the oldest go first.
    pub max_dead_letters: usize,
    /// Memory for pages of the file.
    pub cache_bytes: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { history: None, max_dead_letters: 1000, cache_bytes: DEFAULT_CACHE_BYTES }
    }
}

/// What an endpoint holds of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValueRecord {
    /// What it has confirmed.
    pub entries: Vec<Entry>,
    /// The delivery under way, or one that ended without an answer: the endpoint holds these entries or the confirmed
    /// ones.
    pub attempted: Option<Attempt>,
}

impl ValueRecord {
    /// Whether it says no more than no record at all.
    pub fn is_nothing(&self) -> bool {
        self.entries.is_empty() && self.attempted.is_none()
    }
}

/// A delivery for a value that may have arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What the endpoint holds if it arrived.
    pub entries: Vec<Entry>,
    /// Entries that the endpoint may hold besides, from earlier attempts that ended without an answer.
    pub maybe: Vec<Entry>,
    /// What the ids of its events are made with.
    pub sequence: u64,
}

/// Changes that are stored together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// New records of values; `None` removes.
    pub records: Vec<(Value, Option<ValueRecord>)>,
    /// Events for the end of the queue.
    pub enqueue: Vec<Event>,
    /// Events that leave the queue, by number. Those that are gone already are ignored.
    pub dequeue: Vec<u64>,
    /// Events that are given up.
    pub dead: Vec<DeadLetter>,
    /// Dead letters to remove, by number.
    pub undead: Vec<u64>,
    /// The new state; `None` leaves it.
    pub state: Option<EndpointState>,
    /// Whether it must survive a crash: it is on the disk when the call returns. Otherwise it is as soon as a later
    /// commit is, or after [`Store::sync`](super::Store::sync).
    pub durable: bool,
}

/// What a commit did besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// The numbers of the events that were enqueued, in their order.
    pub enqueued: Vec<u64>,
    /// What exceeded the limits and was dropped. For the log: [`Counts`] has the sums.
    pub dropped: Dropped,
}

/// How much was dropped because of the limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Queued events that became too old.
    pub too_old: u64,
    /// Queued events for which there was no room.
    pub no_room: u64,
    /// Dead letters for which there was no room.
    pub dead_letters: u64,
}

/// An event that is not sent again by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub event: Event,
    /// When it was given up.
    pub at: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// Why, in one line of at most [`MAX_REASON_BYTES`] bytes.
    pub reason: String,
}

/// What is known of an endpoint as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointState {
    /// The next number for an [`Attempt`].
    pub sequence: u64,
    /// The number of the last snapshot that was begun.
    pub snapshot: u64,
    /// When the last snapshot was completed.
    pub last_snapshot_at: Option<Timestamp>,
    /// Whether the endpoint has been sent what it is sent first. `false` in a new store.
    pub initialised: bool,
    /// The endpoint lost its state, and not all of it has been sent again.
    pub lost: bool,
    /// Why it is sent nothing.
    pub paused: Option<PausedState>,
    /// How many events it has accepted.
    pub delivered: u64,
    /// When it last accepted a message.
    pub last_delivery_at: Option<Timestamp>,
}

/// Why an endpoint is sent nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausedState {
    /// In one line of at most [`MAX_REASON_BYTES`] bytes.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// It asked never to be called again: only the operator resumes it.
    pub gone: bool,
}

/// How much a store has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Values with a record.
    pub records: u64,
    /// Queued events.
    pub queued: u64,
    /// Their size as stored.
    pub queued_bytes: u64,
    /// Dead letters.
    pub dead: u64,
    /// All that was ever dropped.
    pub dropped: Dropped,
}

/// The reason cut to its limit.
pub(super) fn bounded(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
}

/// Whether a queued event is too old. One that seems to come from the future, because the clock was set back, is not.
pub(super) fn is_too_old(at: Timestamp, now: Timestamp, max_age: Duration) -> bool {
    now.saturating_duration_since(at) > max_age
}
