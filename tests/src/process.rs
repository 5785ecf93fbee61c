//! A process of a test: started on a host, its output in a file, killed when the test ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::host::Host;
use crate::outcome::{Doing, Failure, Outcome};
use crate::wait;

/// A running (or ended) process; killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` on `host` with both outputs in `log`.
    ///
    /// # Errors
    /// When the log cannot be written, or the command cannot be started.
    pub fn start(host: &Host, name: &str, mut command: Command, log: &Path) -> Outcome<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .doing(format_args!("creating {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = host.start(&mut command)?;
        Ok(Self { name: name.to_owned(), child, log: log.to_path_buf(), ended: None })
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// Waits until its output contains `text`.
    ///
    /// # Errors
    /// When it does not in time, or the process ends without it.
    pub fn wait_for_log(&mut self, text: &str) -> Outcome<Duration> {
        let what = format!("{} says {text:?}", self.name);
        let mut ended = None;
        let waited = wait::eventually(&what, || {
            ended = self.exited();
            self.log().contains(text) || ended.is_some()
        })?;
        match ended {
            Some(status) if !self.log().contains(text) => {
                Err(Failure::new(format!("{} ended with {status} and did not say {text:?}", self.name)))
            }
            _ => Ok(waited),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn end(&mut self) -> Outcome<ExitStatus> {
        let what = format!("{} ends", self.name);
        wait::eventually(&what, || self.exited().is_some())?;
        self.ended.doing("it has ended")
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has already ended.
    pub fn signal(&mut self, signal: Signal) -> Outcome {
        if let Some(status) = self.exited() {
            return Err(Failure::new(format!("{} has already ended with {status}", self.name)));
        }
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).doing("a process id is positive")?;
        kill_process(pid, signal).doing(format_args!("signalling {}", self.name))
    }

    /// `kill -9`, and waits for the end.
    ///
    /// # Errors
    /// When it has already ended.
    pub fn kill(&mut self) -> Outcome {
        self.signal(Signal::KILL)?;
        self.end().map(drop)
    }

    /// A line of `/proc/<pid>/status` in kB, for instance `VmRSS` or `VmHWM`.
    ///
    /// # Errors
    /// When it has ended, or the kernel has no such line.
    pub fn memory(&self, line: &str) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let digits = found.doing(format_args!("no {line} in the status of {}", self.name))?;
        Ok(digits.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that has already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
