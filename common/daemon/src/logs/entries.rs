//! A log of entries of one format, such as one line of JSON for each request.
//!
//! Who writes never waits: an entry is queued in one step and formatted by the log's thread. What the queue does not take
//! or the disk does not hold is counted.

use std::{fmt, io, path::PathBuf};

use jiff::tz::TimeZone;

use super::{
    LAST_LINES, LogTarget, Rotation,
    writer::{Queue, Target},
};

/// Something that is written as one line.
pub trait LogEntry: fmt::Debug + Send + 'static {
    /// Appends the line, newline included. Times are shown in `zone` where the format has local ones.
    fn push_line(&self, zone: &TimeZone, text: &mut String);
}

/// A handle to the log; clones share it. Lines go to standard error until it has a target.
#[derive(Debug, Clone)]
pub struct EntryLog(Queue);

impl EntryLog {
    /// Starts the thread that writes.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        Queue::start_for_entries().map(Self)
    }

    /// Writes to this file from now on, which is opened anew even if it is the same.
    ///
    /// # Errors
    ///
    /// When it cannot be opened; then the old target stays.
    pub fn write_to_file(&self, path: PathBuf, rotation: Rotation) -> io::Result<()> {
        self.0.retarget(LogTarget::File { path, rotation })
    }

    /// Writes to standard output from now on.
    ///
    /// # Errors
    ///
    /// When the thread has ended.
    pub fn write_to_stdout(&self) -> io::Result<()> {
        self.0.retarget_to(Target::Stdout)
    }

    /// Queues an entry.
    pub fn write(&self, entry: Box<dyn LogEntry>) {
        self.0.entry(entry);
    }

    /// The number of entries lost so far.
    pub fn lost(&self) -> u64 {
        self.0.lost()
    }

    /// Waits until everything is written, at most two seconds.
    pub fn flush(&self) {
        self.0.flush(LAST_LINES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Number(u32);

    impl LogEntry for Number {
        fn push_line(&self, _: &TimeZone, text: &mut String) {
            text.push_str(&format!("{{\"number\":{}}}\n", self.0));
        }
    }

    #[test]
    fn lost_entries_are_counted_and_leave_no_line_of_another_format() {
        let rotation = Rotation { max_bytes: 1 << 20, max_files: 1, max_age_days: 1, compress: false };
        let log = EntryLog::start().unwrap();
        log.write_to_file("/dev/full".into(), rotation).unwrap();
        for number in 0..100 {
            log.write(Box::new(Number(number)));
        }
        log.flush();
        assert_eq!(log.lost(), 100);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.log");
        log.write_to_file(path.clone(), rotation).unwrap();
        log.write(Box::new(Number(100)));
        log.flush();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"number\":100}\n");
    }
}
