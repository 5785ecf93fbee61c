//! Captures the beginning of a process's output, bounded.

use std::io;
use std::os::fd::OwnedFd;

use palisade_bouncer::control::printable;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;

/// Bytes of a program's output that are kept for its failure's log line.
const MAX_KEPT: usize = 2048;

/// Reads at most so much after the process has ended: what it started may write for ever.
const MAX_READ_AFTER_END: usize = 1 << 20;

/// The reading end of a pipe, and the beginning of what came through it.
#[derive(Debug)]
pub(super) struct Output {
    pipe: Receiver,
    kept: Vec<u8>,
    more: bool,
    ended: bool,
}

impl Output {
    /// A pipe: its reading end, and the end that the process writes to.
    pub(super) fn pipe() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let pipe = Receiver::from_owned_fd(reader)?;
        Ok((Self { pipe, kept: Vec::new(), more: false, ended: false }, writer))
    }

    /// Reads until all writers have closed the pipe. May be dropped and called again.
    pub(super) async fn read_to_end(&mut self) {
        while !self.ended {
            if self.pipe.readable().await.is_err() {
                self.ended = true;
            }
            self.read_some();
        }
    }

    /// Reads what is there already.
    pub(super) fn read_rest(&mut self) {
        let mut read = 0;
        while read < MAX_READ_AFTER_END {
            match self.read_some() {
                0 => break,
                count => read += count,
            }
        }
    }

    fn read_some(&mut self) -> usize {
        let mut buffer = [0; 4096];
        match self.pipe.try_read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                let kept = count.min(MAX_KEPT - self.kept.len());
                self.kept.extend_from_slice(&buffer[..kept]);
                self.more |= kept < count;
                return count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.ended = true,
        }
        0
    }

    /// What was kept, on one line, without control characters.
    pub(super) fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let mut shown = printable(text.trim_end());
        if self.more {
            shown.push_str(" ...");
        }
        shown
    }
}
