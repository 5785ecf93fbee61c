//! Delivers events to a program: by a process for each event, or by lines of JSON to one process.
//!
//! Both forms are those of crowdsec-custom-bouncer, so that programs written for it work unchanged.
//!
//! ```text
//!            ┌─ Arguments ──────► arguments ──► a process for each event, one after the other
//! deliver ──►│
//!            └─ StandardInput ──► standard_input ──► child (pipe, process group, restarts)
//! ```
//!
//! Processes are children in process groups of their own. None is left behind: abandoning a delivery kills its process.

mod arguments;
mod attempts;
mod call;
mod child;
mod exit;
mod failure_log;
mod installed;
pub mod json;
mod output;
mod standard_input;
mod start;

use std::sync::Arc;

use palisade_cache::Timestamp;
use tokio::sync::mpsc;

use self::arguments::ArgumentsSink;
use self::attempts::Attempts;
pub use self::installed::{NotInstalled, check};
use self::standard_input::StandardInputSink;
use crate::config::{ProgramConfig, ProgramMode};
use crate::event::Event;
use crate::sink::{Connector, Message, Outcome, Sink};

/// A program has ended as often as it may be started, which ends the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
// The stock bouncer's text.
#[error("maximum retries exceeded for program execution")]
pub struct MaxStartsExceeded;

/// Makes the sinks of an endpoint that is a program.
#[derive(Debug)]
pub struct ProgramConnector {
    config: Arc<ProgramConfig>,
    /// Of all sinks: which of them an event is given to again is not known.
    attempts: Attempts,
    max_starts_exceeded: mpsc::Sender<MaxStartsExceeded>,
}

impl ProgramConnector {
    /// A connector. Starts nothing. A message in `max_starts_exceeded` is to end the daemon, as an error.
    pub fn new(config: Arc<ProgramConfig>, max_starts_exceeded: mpsc::Sender<MaxStartsExceeded>) -> Self {
        Self { config, attempts: Attempts::default(), max_starts_exceeded }
    }
}

impl Connector for ProgramConnector {
    type Sink = ProgramSink;

    fn sink(&self) -> ProgramSink {
        let config = Arc::clone(&self.config);
        ProgramSink(match config.mode {
            ProgramMode::Arguments { timeout } => {
                Kind::Arguments(ArgumentsSink::new(config, timeout, self.attempts.clone()))
            }
            ProgramMode::StandardInput { max_starts, restart_wait, stop_timeout } => {
                let policy = standard_input::Policy { max_starts, restart_wait, stop_timeout };
                let exceeded = self.max_starts_exceeded.clone();
                Kind::StandardInput(Box::new(StandardInputSink::new(config, policy, exceeded)))
            }
        })
    }
}

/// Delivers events to a program.
#[derive(Debug)]
pub struct ProgramSink(Kind);

#[derive(Debug)]
enum Kind {
    Arguments(ArgumentsSink),
    StandardInput(Box<StandardInputSink>),
}

impl Sink for ProgramSink {
    async fn deliver(&mut self, message: &Message) -> Outcome {
        match &mut self.0 {
            Kind::Arguments(sink) => sink.deliver(message).await,
            Kind::StandardInput(sink) => sink.deliver(message).await,
        }
    }

    async fn lost(&mut self) -> String {
        match &mut self.0 {
            // A program that ran to its end keeps what it received.
            Kind::Arguments(_) => std::future::pending().await,
            Kind::StandardInput(sink) => sink.lost().await,
        }
    }

    async fn close(self) {
        if let Kind::StandardInput(sink) = self.0 {
            sink.close().await;
        }
    }
}

/// The arguments of each start of a program for an event, with [`ProgramMode::Arguments`].
pub(crate) fn arguments_of(event: &Event, now: Timestamp) -> Vec<[String; 5]> {
    arguments::of_event(event, now)
}

#[cfg(test)]
mod test_support;
