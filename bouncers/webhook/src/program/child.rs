//! Represents a running program that reads its standard input: a pipe to it, and its end.
//!
//! The pipe's writing end is the only one, and its reading end is the program's alone. So bytes that are no longer in the
//! pipe have been read, and the program sees the end of its input when this process dies.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palisade_bouncer::control::printable;
use rustix::io::ioctl_fionread;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::exit;
use super::start::{ProcessGroup, command, start};
use crate::config::ProgramConfig;

/// Wanted capacity of the pipe: the most that an ordinary user may have by default. A whole message fits, so that it is
/// written at once.
const PIPE_BYTES: usize = 1 << 20;

/// Bytes of the end of a program's error output that are kept, for the log line about its end.
const MAX_KEPT: usize = 1024;

/// How long a program may take to end after SIGTERM.
const TERM_TIMEOUT: Duration = Duration::from_secs(2);

/// How long error output is read after the program's end: a process that left its group may hold the pipe open.
const ERROR_OUTPUT_TIMEOUT: Duration = Duration::from_millis(200);

/// How long a program that has closed its input may take to end by itself.
const CLOSED_INPUT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct RunningProgram {
    process: Child,
    group: ProcessGroup,
    input: Sender,
    errors: ErrorOutput,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// As Go describes it; `None` when it ended without an error.
    pub(super) error: Option<String>,
    /// The end of what it wrote to its standard error.
    pub(super) output: String,
}

impl RunningProgram {
    /// Starts the program.
    pub(super) fn start(config: &ProgramConfig) -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // Not a condition: when the user's pipes have all the memory they may have, the pipe stays at 64 KiB.
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        let input = Sender::from_owned_fd(writer)?;
        let (errors, error_writer) = ErrorOutput::pipe()?;
        let mut command = command(config);
        command.args(&config.arguments).stdin(reader).stdout(Stdio::null()).stderr(error_writer);
        let (process, group) = start(command)?;
        Ok(Self { process, group, input, errors })
    }

    /// Writes as much as the pipe takes; zero when it is full.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.input.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// The number of bytes that have not been read.
    pub(super) fn unread(&self) -> io::Result<u64> {
        Ok(ioctl_fionread(&self.input)?)
    }

    /// Waits until the pipe takes more, or nothing reads it any longer, or the program has ended.
    pub(super) async fn writable_or_ended(&mut self) -> Option<Ended> {
        tokio::select! {
            ended = Self::wait(&mut self.process, &self.group, &mut self.errors) => Some(ended),
            // An error is seen by the next write.
            _ = self.input.writable() => None,
        }
    }

    /// Waits for the program's end. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> Ended {
        Self::wait(&mut self.process, &self.group, &mut self.errors).await
    }

    async fn wait(process: &mut Child, group: &ProcessGroup, errors: &mut ErrorOutput) -> Ended {
        let error = match process.wait().await {
            Ok(status) if status.success() => None,
            Ok(status) => Some(exit::describe(status)),
            Err(error) => Some(error.to_string()),
        };
        // What it started would go on to work on old input, beside the program's next start.
        group.signal(Signal::KILL);
        Ended { error, output: errors.end().await }
    }

    /// The end of a program that has closed its input. A process that continues without it receives nothing more.
    pub(super) async fn ended_after_closed_input(&mut self) -> Ended {
        if let Ok(ended) = timeout(CLOSED_INPUT_TIMEOUT, self.ended()).await {
            return ended;
        }
        self.group.signal(Signal::KILL);
        let Ended { output, .. } = self.ended().await;
        Ended { error: Some("it has closed its standard input".to_owned()), output }
    }

    /// Closes its input and waits for its end, then sends SIGTERM, then SIGKILL.
    pub(super) async fn stop(mut self, stop_timeout: Duration) {
        drop(self.input);
        if timeout(stop_timeout, self.process.wait()).await.is_ok() {
            return;
        }
        warn!(
            timeout_seconds = stop_timeout.as_secs_f64(),
            "custom program has not ended after its input; terminating it"
        );
        self.group.signal(Signal::TERM);
        if timeout(TERM_TIMEOUT, self.process.wait()).await.is_err() {
            warn!("custom program has not ended after SIGTERM; killing it");
            self.group.signal(Signal::KILL);
            let _ = timeout(TERM_TIMEOUT, self.process.wait()).await;
        }
    }
}

/// Reads a program's error output, so that it is never blocked by it, and keeps the end.
#[derive(Debug)]
struct ErrorOutput {
    kept: Arc<Mutex<VecDeque<u8>>>,
    reading: JoinSet<()>,
    /// When reading ends, once the program has ended.
    until: Option<Instant>,
}

impl ErrorOutput {
    fn pipe() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut pipe = Receiver::from_owned_fd(reader)?;
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let shared = Arc::clone(&kept);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&buffer[..count]);
                let excess = kept.len().saturating_sub(MAX_KEPT);
                kept.drain(..excess);
            }
        });
        Ok((Self { kept, reading, until: None }, writer))
    }

    /// What was kept, on one line, after the program's end. May be dropped and called again.
    async fn end(&mut self) -> String {
        let until = *self.until.get_or_insert_with(|| Instant::now() + ERROR_OUTPUT_TIMEOUT);
        let _ = timeout_at(until, self.reading.join_next()).await;
        let kept: Vec<u8> =
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        printable(String::from_utf8_lossy(&kept).trim_end())
    }
}
