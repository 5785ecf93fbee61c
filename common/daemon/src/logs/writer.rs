//! The thread that writes log lines.
//!
//! A full disk or a slow pipe must not block the daemon: lines wait in a bounded queue, lines that do not fit or cannot
//! be written are counted, and the count is logged as soon as writing works again.

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    time::Duration,
};

use jiff::{Timestamp, Zoned, tz::TimeZone};

use super::{entries::LogEntry, format, keys::LogTarget, rotate::LogFile};

/// Capacity of the queue: a few megabytes at a few hundred bytes per line.
const QUEUE: usize = 8192;

/// How long a burst may block the logging thread, once, before lines are dropped.
// Longer than a write takes, and short enough that a daemon whose log is stuck still does its work.
const BURST: Duration = Duration::from_millis(100);
const STEP: Duration = Duration::from_millis(1);
/// Time between two batches of entries of the access log; the queue holds those of 800,000 requests a second.
const BATCH_PAUSE: Duration = Duration::from_millis(10);
/// Entries of the access log are written together up to this size.
const BATCH_BYTES: usize = 16 * 1024;

#[derive(Debug)]
enum Message {
    /// `loud` lines also go to standard error.
    Line {
        text: String,
        loud: bool,
    },
    /// Formatted by this thread.
    Entry(Box<dyn LogEntry>),
    Target {
        target: Target,
        done: SyncSender<io::Result<()>>,
    },
    Flush(SyncSender<()>),
}

/// Where lines go.
#[derive(Debug)]
pub(super) enum Target {
    /// Standard error, or a file.
    Log(LogTarget),
    /// Standard output, for entries without other lines between them.
    Stdout,
}

#[derive(Debug, Clone)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    /// Whether the last line was dropped.
    stuck: Arc<AtomicBool>,
}

impl Queue {
    /// Starts the thread; lines go to standard error at first.
    pub(super) fn start() -> io::Result<Self> {
        Self::launch(true)
    }

    /// The same for entries of one format: losses are only counted, as a line about them would not be in that format.
    pub(super) fn start_for_entries() -> io::Result<Self> {
        Self::launch(false)
    }

    fn launch(reports_losses: bool) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer { target: Open::Stderr, lost: lost.clone(), reported: 0, reports_losses };
        // A thread and no task: writing blocks, and lines are also logged before the runtime starts and after it has
        // ended.
        std::thread::Builder::new().name("log".into()).spawn(move || writer.run(&receiver))?;
        Ok(Self { sender, lost, stuck: Arc::default() })
    }

    /// Sends a line, newline included. A burst may wait briefly for the writer; a stuck writer is not waited for.
    pub(super) fn line(&self, text: String, loud: bool) {
        // Once a line was dropped, the following ones do not wait again until one has been queued.
        let timeout = if self.stuck.load(Ordering::Relaxed) { Duration::ZERO } else { BURST };
        let sent = self.send(Message::Line { text, loud }, timeout);
        self.stuck.store(!sent, Ordering::Relaxed);
        if !sent {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends an entry without waiting.
    pub(super) fn entry(&self, entry: Box<dyn LogEntry>) {
        if self.sender.try_send(Message::Entry(entry)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the message was queued within `longest`.
    fn send(&self, mut message: Message, longest: Duration) -> bool {
        let mut waited = Duration::ZERO;
        loop {
            message = match self.sender.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) if waited >= longest => return false,
                Err(TrySendError::Full(message)) => message,
            };
            // The standard library's bounded channel has no send with a timeout.
            std::thread::sleep(STEP);
            waited += STEP;
        }
    }

    /// The number of lines lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Changes the target for the following lines. On an error the target stays.
    pub(super) fn retarget(&self, target: LogTarget) -> io::Result<()> {
        self.retarget_to(Target::Log(target))
    }

    /// The same for any target.
    pub(super) fn retarget_to(&self, target: Target) -> io::Result<()> {
        let (done, answer) = mpsc::sync_channel(1);
        let gone = || io::Error::other("the log thread has ended");
        // Through the queue, so that lines logged before go to the previous target.
        self.sender.send(Message::Target { target, done }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    /// Waits until everything sent is written, at most `longest`.
    pub(super) fn flush(&self, longest: Duration) {
        let (done, answer) = mpsc::sync_channel(1);
        if self.send(Message::Flush(done), longest) {
            let _ = answer.recv_timeout(longest);
        }
    }
}

enum Open {
    Stderr,
    Stdout,
    File(Box<LogFile>),
}

struct Writer {
    target: Open,
    lost: Arc<AtomicU64>,
    reported: u64,
    reports_losses: bool,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Message>) {
        let mut next = None;
        while let Some(message) = next.take().or_else(|| queue.recv().ok()) {
            match message {
                Message::Entry(entry) => next = self.write_entries(&*entry, queue),
                Message::Line { text, loud } => {
                    // Before the next line, so that the gap shows where it is.
                    self.report_losses();
                    if self.write(&text).is_err() {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                    }
                    if loud && matches!(self.target, Open::File(_)) {
                        let _ = io::stderr().write_all(text.as_bytes());
                    }
                }
                Message::Target { target, done } => {
                    let result = self.retarget(&target);
                    let _ = done.send(result);
                }
                Message::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    /// Writes an entry, and those that wait behind it, in one piece. Returns the message after them.
    fn write_entries(&mut self, first: &dyn LogEntry, queue: &Receiver<Message>) -> Option<Message> {
        let zone = TimeZone::system();
        let (mut text, mut count, mut next, mut is_drained) = (String::new(), 1, None, false);
        first.push_line(&zone, &mut text);
        while text.len() < BATCH_BYTES {
            match queue.try_recv() {
                Ok(Message::Entry(entry)) => {
                    entry.push_line(&zone, &mut text);
                    count += 1;
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => {
                    is_drained = true;
                    break;
                }
            }
        }
        self.report_losses();
        if self.write(&text).is_err() {
            self.lost.fetch_add(count, Ordering::Relaxed);
        }
        if is_drained {
            // Entries that come meanwhile do not wake this thread one by one, which would cost a request more than all
            // else that is done for its line.
            std::thread::sleep(BATCH_PAUSE);
        }
        next
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        match &mut self.target {
            Open::Stderr => io::stderr().write_all(line.as_bytes()),
            Open::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(line.as_bytes()).and_then(|()| out.flush())
            }
            Open::File(file) => file.write_line(line.as_bytes(), Timestamp::now()),
        }
    }

    fn report_losses(&mut self) {
        let lost = self.lost.load(Ordering::Relaxed);
        if self.reports_losses && lost > self.reported {
            let text = format!(
                "{} log lines were lost: the log was full or could not be written",
                lost - self.reported
            );
            if self.write(&format::line(&Zoned::now(), "warning", &text)).is_ok() {
                self.reported = lost;
            }
        }
    }

    fn retarget(&mut self, target: &Target) -> io::Result<()> {
        self.target = match target {
            Target::Stdout => Open::Stdout,
            Target::Log(LogTarget::Stderr) => Open::Stderr,
            // Opened anew even if the path is the same, because the file may have been moved aside before the reload.
            Target::Log(LogTarget::File { path, rotation }) => {
                Open::File(Box::new(LogFile::open(path, *rotation)?))
            }
        };
        Ok(())
    }
}
