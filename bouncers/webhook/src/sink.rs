//! Defines how an endpoint's deliveries reach a receiver: what a sink is given, and what it reports back.

use std::future::{Future, pending};
use std::time::Duration;

use palisade_cache::Timestamp;

use crate::event::{Event, EventId};

/// What is sent at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same whenever this message is sent again with the same events.
    pub id: EventId,
    /// What it is.
    pub kind: MessageKind,
    /// At most the endpoint's batch size; empty for the marks of a snapshot.
    pub events: Vec<Event>,
    /// When the message was made.
    pub at: Timestamp,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Changes.
    Changes,
    /// A snapshot begins: [`EventKind::Present`](crate::event::EventKind::Present) events follow. Changes may come in between.
    SnapshotStarted {
        /// Its number, unique for the endpoint's store.
        snapshot: u64,
    },
    /// Part of a snapshot.
    Snapshot {
        /// Its number.
        snapshot: u64,
    },
    /// All parts of a snapshot have been accepted: what the receiver holds, and has not received since
    /// `SnapshotStarted`, is not in force.
    SnapshotCompleted {
        /// Its number.
        snapshot: u64,
        /// How many events the parts had.
        events: u64,
    },
}

/// Delivers messages to one receiver, one at a time. An endpoint that sends several at once has several sinks.
pub trait Sink: Send + 'static {
    /// Delivers a message. Dropping the future abandons the delivery; it then counts as perhaps received.
    fn deliver(&mut self, message: &Message) -> impl Future<Output = Outcome> + Send;

    /// Resolves when the receiver has lost its state, so that everything must be sent again. Only polled while
    /// nothing is being delivered.
    fn lost(&mut self) -> impl Future<Output = String> + Send {
        pending()
    }

    /// Ends in order, after the last delivery.
    fn close(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        async {}
    }
}

/// Makes the sinks of an endpoint.
pub trait Connector: Send + Sync + 'static {
    /// What it makes.
    type Sink: Sink;

    /// A sink. Opens nothing: a sink connects when it has something to deliver.
    fn sink(&self) -> Self::Sink;
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has accepted the message.
    Delivered,
    /// The receiver has accepted all but these events of the message, by position.
    Partly(Vec<(usize, Failure)>),
    /// The receiver has not accepted the message.
    Failed(Failure),
    /// The receiver has lost its state, such as a program that was started again.
    Lost(String),
}

/// Why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What follows from it.
    pub kind: FailureKind,
    /// Whether the receiver may have processed the message all the same. `false` only when no byte of it was sent.
    pub perhaps_received: bool,
    /// For the operator: one line, without secrets.
    pub reason: String,
    /// The time that the receiver asked for (`Retry-After`), bounded.
    pub retry_after: Option<Duration>,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Temporary (no connection, timeout, 408, 425, 429, 5xx): the message is sent again later.
    Retry,
    /// The receiver does not take this message (400, 413, 422, ...): it is split to find the event at fault, which becomes
    /// a dead letter.
    Rejected,
    /// The receiver refuses this sender (401, 403, 404, 405, a redirect, a certificate): the endpoint is paused and tried
    /// again rarely.
    Refusing,
    /// The receiver asks never to be called again (410): the endpoint is paused until it is resumed by hand.
    Gone,
}
