//! Starts a process for each event, one after the other: `add|del VALUE SECONDS SCENARIO JSON`.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use palisade_bouncer::control::printable;
use palisade_cache::Timestamp;
use palisade_stream::now;
use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error};

use super::attempts::Attempts;
use super::call::{Action, calls, log_counts};
use super::failure_log::FailureLog;
use super::output::Output;
use super::start::{command, start, start_failure};
use super::{exit, json};
use crate::config::ProgramConfig;
use crate::event::{Entry, Event, Value};
use crate::sink::{Failure, FailureKind, Message, Outcome};

/// The longest form of a call in a log line.
const MAX_SHOWN_CHARS: usize = 1024;

#[derive(Debug)]
pub(super) struct ArgumentsSink {
    config: Arc<ProgramConfig>,
    timeout: Duration,
    attempts: Attempts,
    failures: FailureLog,
}

/// Why a process did not do what it was to do.
enum Failed {
    NotStarted(Failure),
    /// It ended with this status, or had to be killed; and what it wrote.
    Ended {
        status: String,
        output: String,
    },
}

impl ArgumentsSink {
    pub(super) fn new(config: Arc<ProgramConfig>, timeout: Duration, attempts: Attempts) -> Self {
        Self { config, timeout, attempts, failures: FailureLog::default() }
    }

    pub(super) async fn deliver(&mut self, message: &Message) -> Outcome {
        if !message.events.is_empty() {
            log_counts(message);
        }
        let mut failures = Vec::new();
        for (index, event) in message.events.iter().enumerate() {
            let Err(failure) = self.deliver_event(event).await else { continue };
            // Without the program, the rest would fail in the same way.
            if matches!(failure.kind, FailureKind::Refusing) {
                if index == 0 {
                    return Outcome::Failed(failure);
                }
                failures.extend((index..message.events.len()).map(|index| (index, failure.clone())));
                break;
            }
            failures.push((index, failure));
        }
        if failures.is_empty() { Outcome::Delivered } else { Outcome::Partly(failures) }
    }

    async fn deliver_event(&mut self, event: &Event) -> Result<(), Failure> {
        for (action, entry) in calls(event) {
            let key = (event.value.clone(), Arc::clone(&entry.remediation), action);
            match self.call(action, &event.value, entry, now()).await {
                Ok(()) => self.attempts.succeeded(&key),
                Err(Failed::NotStarted(failure)) => return Err(failure),
                Err(Failed::Ended { status, output }) => {
                    let again = self.attempts.failed(key);
                    // The stock bouncer counts it as done. Here it is tried again, but not for ever: it would keep later
                    // changes of the value waiting.
                    let kind = if again { FailureKind::Retry } else { FailureKind::Rejected };
                    let reason = match output.is_empty() {
                        true => format!("the program failed: {status}"),
                        false => format!("the program failed: {status}: {output}"),
                    };
                    return Err(Failure { kind, perhaps_received: true, reason, retry_after: None });
                }
            }
        }
        Ok(())
    }

    async fn call(
        &mut self,
        action: Action,
        value: &Value,
        entry: &Entry,
        now: Timestamp,
    ) -> Result<(), Failed> {
        let arguments = arguments_of(action, value, entry, now);
        let mut command = command(&self.config);
        command.args(&arguments);
        let result = run(command, self.timeout).await.map_err(|error| match error {
            RunError::Start(error) => Failed::NotStarted(start_failure(&self.config, &error)),
            RunError::Ended { status, output } => Failed::Ended { status, output },
        });
        if let Err(Failed::Ended { status, output }) = &result {
            self.log(action, &arguments, status, output);
        }
        result
    }

    fn log(&mut self, action: Action, arguments: &[String], status: &str, output: &str) {
        let action = action.as_str();
        let Some(unlogged) = self.failures.count(&format!("{action}: {status}"), Instant::now()) else {
            debug!("Error in '{action}' command: {status}");
            return;
        };
        let call: String = printable(&arguments.join(" ")).chars().take(MAX_SHOWN_CHARS).collect();
        let path = self.config.path.display();
        // The stock bouncer's text.
        error!(unlogged, "Error in '{action}' command ({path} {call}): {status} --> {output}");
    }
}

/// The arguments of the calls for an event, in order.
pub(super) fn of_event(event: &Event, now: Timestamp) -> Vec<[String; 5]> {
    calls(event).map(|(action, entry)| arguments_of(action, &event.value, entry, now)).collect()
}

fn arguments_of(action: Action, value: &Value, entry: &Entry, now: Timestamp) -> [String; 5] {
    // Both are rounded alike, so that the argument is what the stock bouncer derives from the text.
    let left = json::time_left(action, entry, now);
    [
        action.as_str().to_owned(),
        value.to_string(),
        left.rounded_seconds().to_string(),
        entry.scenario.to_string(),
        json::decision(value, entry, left),
    ]
}

enum RunError {
    Start(std::io::Error),
    Ended { status: String, output: String },
}

/// Runs a command to its end. Dropping the future kills its processes.
async fn run(mut command: Command, timeout: Duration) -> Result<(), RunError> {
    let deadline = Instant::now() + timeout;
    let (mut output, writer) = Output::pipe().map_err(RunError::Start)?;
    let second = writer.try_clone().map_err(RunError::Start)?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second);
    let (mut child, group) = start(command).map_err(RunError::Start)?;
    let status = {
        let wait = child.wait();
        tokio::pin!(wait);
        let mut reading = true;
        loop {
            tokio::select! {
                status = &mut wait => break Some(status),
                // Output that is not read would block the program.
                () = output.read_to_end(), if reading => reading = false,
                () = sleep_until(deadline) => break None,
            }
        }
    };
    match status {
        Some(Ok(status)) if status.success() => {
            group.release();
            Ok(())
        }
        Some(status) => {
            output.read_rest();
            // What a failed program left running may stay, as it may after a success.
            group.release();
            let status = status.map_or_else(|error| error.to_string(), exit::describe);
            Err(RunError::Ended { status, output: output.shown() })
        }
        None => {
            group.signal(Signal::KILL);
            // Reaps it; a process that does not die at once is reaped later.
            let _ = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
            output.read_rest();
            let status = format!("killed after the timeout of {timeout:?}");
            Err(RunError::Ended { status, output: output.shown() })
        }
    }
}

#[cfg(test)]
mod tests;
