//! Logs in the format of CrowdSec's programs, to standard error or to a rotated file.
//!
//! [`Logs::start`] is called first: lines go to standard error at level info. [`Logs::configure`] follows once the
//! configuration has been read, and on each reload. Requests have a log of their own, [`AccessLog`].

mod access;
mod entries;
mod format;
mod keys;
mod limit;
mod rotate;
mod writer;

use std::{io, sync::Arc, time::Duration};

use jiff::Zoned;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Registry,
    filter::Targets,
    fmt::MakeWriter,
    layer::{Layer as _, SubscriberExt as _},
    reload,
    util::SubscriberInitExt as _,
};

pub use self::access::{AccessEntry, AccessLog};
pub use self::entries::{EntryLog, LogEntry};
pub use self::keys::{LOG_KEYS, LogConfig, LogKeys, LogLevel, LogTarget, Rotation};
pub use self::limit::LogLimit;
use self::{format::Logfmt, writer::Queue};

/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file cannot be opened.
    #[error("unable to load configuration: failed to setup logging: cannot write {}; let the daemon's user write in \
             its folder, or set `{media_key}: stdout`", path.display())]
    Open {
        /// The file.
        path: std::path::PathBuf,
        /// The key that chooses between standard error and a file.
        media_key: &'static str,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },
    /// The writer thread cannot be started.
    #[error("cannot start the log thread")]
    Thread(#[source] io::Error),
    /// Another subscriber is installed already.
    #[error("logging was set up before")]
    Twice,
}

/// A handle to the program's log; clones share it.
#[derive(Debug, Clone)]
pub struct Logs {
    queue: Queue,
    filter: Arc<reload::Handle<Targets, Registry>>,
}

impl Logs {
    /// Starts logging to standard error at level info, for the whole process.
    pub fn start() -> Result<Self, LogError> {
        let (logs, subscriber) = Self::detached()?;
        subscriber.try_init().map_err(|_| LogError::Twice)?;
        logs.log_panics();
        Ok(logs)
    }

    /// The same without installing it as the process's log.
    fn detached() -> Result<(Self, impl Subscriber + Send + Sync), LogError> {
        let queue = Queue::start().map_err(LogError::Thread)?;
        let (filter, handle) = reload::Layer::new(targets(LogLevel::Info));
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .fmt_fields(Logfmt)
            .event_format(Logfmt)
            .with_writer(Lines { queue: queue.clone() });
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
        Ok((Self { queue, filter: Arc::new(handle) }, subscriber))
    }

    /// Applies level and target. Nothing changes when the file cannot be opened.
    pub fn configure(&self, config: &LogConfig) -> Result<(), LogError> {
        // The file first: if it cannot be opened, the level stays as well.
        self.queue.retarget(config.target.clone()).map_err(|cause| config.failed(cause))?;
        // Fails only when the subscriber has been dropped; then there is nothing to filter.
        let _ = self.filter.reload(targets(config.level));
        Ok(())
    }

    /// Logs the message that ends the program, in file mode to standard error too, and waits until it is written.
    pub fn fatal(&self, message: &str) {
        // Not through `tracing`, which has no such level, and whose filter may be off.
        let message = palisade_go_compat::go_errors(message);
        self.queue.line(format::line(&Zoned::now(), "fatal", &message), true);
        self.flush();
    }

    /// The number of lines lost so far.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// Waits until everything logged so far is written, at most two seconds.
    pub fn flush(&self) {
        self.queue.flush(LAST_LINES);
    }

    fn log_panics(&self) {
        let queue = self.queue.clone();
        std::panic::set_hook(Box::new(move |panic| {
            queue.line(format::line(&Zoned::now(), "panic", &panic.to_string()), true);
            // The panic may end the process before the writer's thread runs.
            queue.flush(LAST_LINES);
        }));
    }
}

impl LogConfig {
    /// Finds what [`Logs::configure`] would refuse, without making the file or its folder.
    ///
    /// # Errors
    ///
    /// When the file could not be opened.
    pub fn check(&self) -> Result<(), LogError> {
        match &self.target {
            LogTarget::Stderr => Ok(()),
            LogTarget::File { path, .. } => rotate::check_path(path).map_err(|cause| self.failed(cause)),
        }
    }

    fn failed(&self, cause: io::Error) -> LogError {
        match &self.target {
            LogTarget::File { path, .. } => {
                LogError::Open { path: path.clone(), media_key: self.media_key, cause }
            }
            LogTarget::Stderr => LogError::Thread(cause),
        }
    }
}

/// The suite's crates at `level`; libraries at warn, or at trace when that is requested.
fn targets(level: LogLevel) -> Targets {
    let (ours, theirs) = match level {
        // What panics and fatal errors log does not pass through the filter.
        LogLevel::Panic | LogLevel::Fatal => (LevelFilter::OFF, LevelFilter::OFF),
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
        // Trace of the libraries would include each frame of HTTP/2.
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    // h2 warns of what any client can do a hundred times on each connection.
    let about_clients = if level == LogLevel::Trace { theirs } else { theirs.min(LevelFilter::ERROR) };
    Targets::new().with_default(theirs).with_target("palisade", ours).with_target("h2", about_clients)
}

/// Sends formatted lines to the queue.
#[derive(Debug)]
struct Lines {
    queue: Queue,
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        Line { queue: &self.queue, text: Vec::new() }
    }
}

/// A line being formatted; sent when it is complete.
struct Line<'w> {
    queue: &'w Queue,
    text: Vec<u8>,
}

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Collected until the end, because the formatter writes a line in many pieces and the queue takes whole ones.
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.queue.line(String::from_utf8_lossy(&self.text).into_owned(), false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tracing::{debug, error, info, info_span, warn};

    use super::*;

    const ROTATION: Rotation =
        Rotation { max_bytes: 1 << 20, max_files: 1, max_age_days: 1, compress: false };

    fn to_file(path: &Path, level: LogLevel) -> LogConfig {
        let target = LogTarget::File { path: path.to_owned(), rotation: ROTATION };
        LogConfig { level, target, media_key: "common.log_media" }
    }

    /// The contents of the file, without the times.
    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn writes_levels_spans_and_fields() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.log");
        let (logs, subscriber) = Logs::detached().unwrap();
        logs.configure(&to_file(&path, LogLevel::Info)).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            info!("1 decision added");
            debug!("not at this level");
            warn!(target: "h2::proto::ping_pong", "what clients can cause");
            let span = info_span!("pull", ask = "everything");
            let cause = io::Error::other("refused\nby peer");
            span.in_scope(|| warn!(error = &cause as &dyn std::error::Error, count = 3, "pull failed"));
            logs.configure(&to_file(&path, LogLevel::Error)).unwrap();
            info!("not any more");
            error!("one");
        });
        logs.fatal("the end");
        assert_eq!(
            lines(&path),
            [
                "level=info msg=\"1 decision added\"",
                "level=warning msg=\"pull failed\" ask=everything error=\"refused\\nby peer\" count=3",
                "level=error msg=one",
                "level=fatal msg=\"the end\"",
            ]
        );
        assert_eq!(logs.lost(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named_beforehand_too() {
        let (logs, _subscriber) = Logs::detached().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        for name in ["file/d.log", "file/more/d.log", "."] {
            let config = to_file(&dir.path().join(name), LogLevel::Info);
            let text = format!(
                "unable to load configuration: failed to setup logging: cannot write {}; let the daemon's user write \
                 in its folder, or set `common.log_media: stdout`",
                dir.path().join(name).display()
            );
            assert_eq!(logs.configure(&config).unwrap_err().to_string(), text);
            assert_eq!(config.check().unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn the_folder_is_made_and_a_check_makes_nothing() {
        let (logs, _subscriber) = Logs::detached().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/d.log");
        let config = to_file(&path, LogLevel::Info);
        config.check().unwrap();
        assert!(!dir.path().join("a").exists());
        logs.configure(&config).unwrap();
        assert!(path.is_file());
        config.check().unwrap();
    }

    #[test]
    fn a_full_disk_loses_lines_and_nothing_else() {
        let (logs, subscriber) = Logs::detached().unwrap();
        // Opening works, every write fails with "no space left on device".
        logs.configure(&to_file(Path::new("/dev/full"), LogLevel::Info)).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..100 {
                info!(number, "into the void");
            }
            logs.flush();
            assert_eq!(logs.lost(), 100);
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("d.log");
            logs.configure(&to_file(&path, LogLevel::Info)).unwrap();
            info!("room again");
            logs.flush();
            let lines = lines(&path);
            assert!(lines[0].contains("100 log lines were lost"), "{lines:?}");
            assert_eq!(lines[1], "level=info msg=\"room again\"");
        });
    }
}
