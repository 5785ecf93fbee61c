//! Delivers events to one process, a line of JSON each, and starts it again when it ends.
//!
//! A message counts as delivered when the pipe is empty again, that is, when the program has read it. A program that was
//! started anew knows nothing, so everything is lost with the one before it.
//!
//! ```text
//!             start                  end (1st .. n-1st)
//!   Waiting ─────────► Running ───────────────────────► Waiting (restart_wait)
//!                         └── nth end ──► GivenUp: the daemon ends
//! ```

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use palisade_stream::now;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, error, warn};

use super::call::log_counts;
use super::child::{Ended, RunningProgram};
use super::start::start_failure;
use super::{MaxStartsExceeded, json};
use crate::config::ProgramConfig;
use crate::event::EventId;
use crate::sink::{Failure, FailureKind, Message, Outcome};

/// A program that has read nothing for so long counts as failing. It is not ended: what it does may take its time.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest wait between two looks at whether the pipe is empty, for which there is no notification.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// Events whose lines are made before they are written.
const EVENTS_AT_ONCE: usize = 256;

/// When the program is started and ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// See [`ProgramMode::StandardInput`](crate::config::ProgramMode::StandardInput).
    pub(super) max_starts: Option<u32>,
    pub(super) restart_wait: Duration,
    pub(super) stop_timeout: Duration,
}

#[derive(Debug)]
pub(super) struct StandardInputSink {
    config: Arc<ProgramConfig>,
    policy: Policy,
    read_timeout: Duration,
    state: State,
    starts: u32,
    /// Why the program's state is lost, until it has been reported.
    lost: Option<String>,
    input: Input,
    max_starts_exceeded: mpsc::Sender<MaxStartsExceeded>,
}

#[derive(Debug)]
enum State {
    /// To be started at this time.
    Waiting(Instant),
    Running(Box<RunningProgram>),
    GivenUp,
}

/// What is written to the program. Outlives a delivery that is abandoned, because a line must not be cut.
#[derive(Debug, Default)]
struct Input {
    bytes: String,
    written: usize,
    /// The message that `bytes` is.
    message: Option<EventId>,
}

impl Input {
    /// Drops all lines of which nothing has been written.
    fn cut_to_started_line(&mut self) {
        let is_within_line = self.written > 0 && self.bytes.as_bytes().get(self.written - 1) != Some(&b'\n');
        let rest = &self.bytes.as_bytes()[self.written..];
        let end = match rest.iter().position(|&byte| byte == b'\n') {
            Some(end) if is_within_line => self.written + end + 1,
            _ => self.written,
        };
        if end < self.bytes.len() {
            self.bytes.truncate(end);
            self.message = None;
        }
    }

    /// Makes the lines of a message, and hands each part of them to the program, which reads it meanwhile.
    fn fill(&mut self, message: &Message, write: impl Fn(&[u8]) -> io::Result<usize>) {
        let now = now();
        self.bytes.clear();
        self.written = 0;
        self.message = Some(message.id);
        for events in message.events.chunks(EVENTS_AT_ONCE) {
            for event in events {
                json::append_lines(&mut self.bytes, event, now);
            }
            // A full or closed pipe is for the write that waits.
            self.written += write(&self.bytes.as_bytes()[self.written..]).unwrap_or(0);
        }
    }
}

/// Why the input was not read.
enum Unread {
    Ended(Ended),
    /// Nothing was read for the timeout.
    Stalled,
}

impl StandardInputSink {
    pub(super) fn new(
        config: Arc<ProgramConfig>,
        policy: Policy,
        max_starts_exceeded: mpsc::Sender<MaxStartsExceeded>,
    ) -> Self {
        Self {
            config,
            policy,
            read_timeout: READ_TIMEOUT,
            state: State::Waiting(Instant::now()),
            starts: 0,
            lost: None,
            input: Input::default(),
            max_starts_exceeded,
        }
    }

    pub(super) async fn deliver(&mut self, message: &Message) -> Outcome {
        if let Err(failure) = self.ensure_running().await {
            return Outcome::Failed(failure);
        }
        if let Some(reason) = self.lost.take() {
            return Outcome::Lost(reason);
        }
        if message.events.is_empty() {
            return Outcome::Delivered;
        }
        // After an abandoned delivery or a timeout: what is in the pipe is read first, so that it cannot pile up. If it is
        // this message, it need not be written again.
        let mut is_written = false;
        let mut result = Ok(());
        if self.input.message != Some(message.id) {
            self.input.cut_to_started_line();
            result = self.write_until_read().await;
            if result.is_ok() {
                log_counts(message);
                self.fill(message);
            }
        }
        if result.is_ok() {
            is_written = true;
            result = self.write_until_read().await;
        }
        match result {
            Ok(()) => {
                // The same message can be delivered again, after a crash of the store for instance.
                self.input.message = None;
                Outcome::Delivered
            }
            Err(Unread::Ended(ended)) => self.restart(ended).await,
            Err(Unread::Stalled) => Outcome::Failed(self.stalled(is_written)),
        }
    }

    fn stalled(&self, perhaps_received: bool) -> Failure {
        Failure {
            kind: FailureKind::Retry,
            perhaps_received,
            reason: format!("the program has not read its standard input for {:?}", self.read_timeout),
            // Nothing is written while nothing is read, so there is no reason to wait longer and longer.
            retry_after: Some(Duration::from_secs(1)),
        }
    }

    /// After the program's end during a delivery.
    async fn restart(&mut self, ended: Ended) -> Outcome {
        self.note_end(&ended);
        match self.ensure_running().await {
            Ok(()) => Outcome::Lost(self.lost.take().unwrap_or_default()),
            Err(failure) => Outcome::Failed(failure),
        }
    }

    /// Keeps the program running; resolves when it was started, which is when it knows nothing.
    pub(super) async fn lost(&mut self) -> String {
        loop {
            // Its failure is kept for the next delivery to report.
            if self.ensure_running().await.is_err() && matches!(self.state, State::GivenUp) {
                return pending().await;
            }
            if let Some(reason) = self.lost.take() {
                return reason;
            }
            if let State::Running(program) = &mut self.state {
                let ended = program.ended().await;
                self.note_end(&ended);
            }
        }
    }

    pub(super) async fn close(mut self) {
        let deadline = Instant::now() + self.policy.stop_timeout;
        self.input.cut_to_started_line();
        // A cut line would be no JSON. Whole lines can still be read from the pipe after it was closed.
        let _ = timeout_at(deadline, self.write()).await;
        if let State::Running(program) = self.state {
            program.stop(deadline.saturating_duration_since(Instant::now())).await;
        }
    }

    /// Starts the program unless it runs, after the wait that is due.
    async fn ensure_running(&mut self) -> Result<(), Failure> {
        loop {
            match &self.state {
                State::Running(_) => return Ok(()),
                State::GivenUp => {
                    let reason = MaxStartsExceeded.to_string();
                    let kind = FailureKind::Gone;
                    return Err(Failure { kind, perhaps_received: false, reason, retry_after: None });
                }
                State::Waiting(until) => sleep_until(*until).await,
            }
            self.starts = self.starts.saturating_add(1);
            match RunningProgram::start(&self.config) {
                Ok(program) => {
                    debug!(path = %self.config.path.display(), starts = self.starts, "custom program started");
                    self.lost.get_or_insert_with(|| "the program was started".to_owned());
                    self.input = Input::default();
                    self.state = State::Running(Box::new(program));
                }
                Err(error) => {
                    let failure = start_failure(&self.config, &error);
                    self.note_end(&Ended { error: Some(failure.reason.clone()), output: String::new() });
                    // With bounded starts it is tried until they are used up, as the stock bouncer does.
                    if self.policy.max_starts.is_none() {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Logs the end of the program, in the stock bouncer's words, and decides whether it is started again.
    fn note_end(&mut self, ended: &Ended) {
        let retry = match self.policy.max_starts {
            Some(total) if total > 1 => format!(" (retry {}/{total})", self.starts),
            _ => String::new(),
        };
        let output = ended.output.as_str();
        match &ended.error {
            Some(error) => error!(output, "custom program exited{retry}: {error}"),
            None => warn!(
                output,
                "custom program exited with no error{retry} -- the command is not supposed to quit when using stdin"
            ),
        }
        let reason = ended.error.as_deref().unwrap_or("it ended without an error");
        self.lost = Some(format!("the program was started again: {reason}"));
        self.state = match self.policy.max_starts {
            Some(total) if self.starts >= total => {
                // A full channel has the message already.
                let _ = self.max_starts_exceeded.try_send(MaxStartsExceeded);
                State::GivenUp
            }
            _ => State::Waiting(Instant::now() + self.policy.restart_wait),
        };
    }

    fn fill(&mut self, message: &Message) {
        let Self { state, input, .. } = self;
        input.fill(message, |bytes| match &*state {
            State::Running(program) => program.write(bytes),
            State::Waiting(_) | State::GivenUp => Ok(0),
        });
    }

    /// Writes the input.
    async fn write(&mut self) -> Result<(), Unread> {
        let State::Running(program) = &mut self.state else { return Ok(()) };
        let Input { bytes, written, .. } = &mut self.input;
        let mut deadline = Instant::now() + self.read_timeout;
        while let rest @ [_, ..] = &bytes.as_bytes()[*written..] {
            match program.write(rest) {
                Ok(0) => {}
                Ok(count) => {
                    *written += count;
                    deadline = Instant::now() + self.read_timeout;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Nothing reads the pipe any longer, mostly because the program is about to end.
                Err(_) => return Err(Unread::Ended(program.ended_after_closed_input().await)),
            }
            tokio::select! {
                ended = program.writable_or_ended() => if let Some(ended) = ended {
                    return Err(Unread::Ended(ended));
                },
                () = sleep_until(deadline) => return Err(Unread::Stalled),
            }
        }
        Ok(())
    }

    /// Writes the input and waits until the program has read it.
    async fn write_until_read(&mut self) -> Result<(), Unread> {
        self.write().await?;
        let State::Running(program) = &mut self.state else { return Ok(()) };
        let mut deadline = Instant::now() + self.read_timeout;
        let mut last = u64::MAX;
        let mut pause = Pause::default();
        loop {
            // A pipe that cannot be asked counts as unread.
            let unread = program.unread().unwrap_or(u64::MAX);
            if unread == 0 {
                return Ok(());
            }
            if unread < last {
                last = unread;
                deadline = Instant::now() + self.read_timeout;
                pause.shorten();
            }
            tokio::select! {
                ended = program.ended() => return Err(Unread::Ended(ended)),
                () = pause.wait() => {}
            }
            if Instant::now() >= deadline {
                return Err(Unread::Stalled);
            }
        }
    }
}

/// Waits between two looks at the pipe: short ones while the program reads, longer ones while it does not.
#[derive(Debug, Default)]
struct Pause(u32);

impl Pause {
    /// Looks without a wait; then the program has had its chance to run.
    const YIELDS: u32 = 4;

    async fn wait(&mut self) {
        self.0 += 1;
        match self.0.checked_sub(Self::YIELDS) {
            None | Some(0) => yield_now().await,
            // 1, 2, 4 ... milliseconds.
            Some(n) => sleep(Duration::from_millis(1 << (n - 1).min(10)).min(MAX_PAUSE)).await,
        }
    }

    fn shorten(&mut self) {
        self.0 = self.0.min(Self::YIELDS);
    }
}

#[cfg(test)]
mod tests;
