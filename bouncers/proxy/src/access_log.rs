//! Writes one line for each request.
//!
//! ```text
//!  request ─► AccessEntry ─► queue ─► thread: json.rs, combined.rs ─► file, standard output
//!                              └─ full: counted
//! ```
//!
//! A request never waits for the log. Everything in a line is escaped and of bounded length.
//!
//! **No log processor counts a refusal again.** A client that is banned and goes on would otherwise be banned for the 403s
//! of its ban, for ever. Lines of JSON have `"blocked":true` where a decision was the reason of the response, for log
//! processors to skip; the combined format has no place for it, so such requests are left out of it.

mod combined;
mod json;
mod text;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, StatusCode, Uri, Version};
use jiff::tz::TimeZone;
use palisade_daemon::logs::{EntryLog, LogEntry, Rotation};

use crate::config::{AccessLogConfig, AccessLogFormat, PeerAddress};
use crate::remediation::Remediation;

/// The file is rotated as the program's own log is by default. Another rotation has to be earlier, and
/// sends SIGHUP.
const ROTATION: Rotation = Rotation { max_bytes: 500 << 20, max_files: 3, max_age_days: 30, compress: true };

/// A request that has ended. Owned, and made without copying texts where the types of `http` allow it.
#[derive(Debug, Clone)]
pub struct AccessEntry {
    /// When it arrived.
    pub at: SystemTime,
    /// The client's address, as far as it was determined.
    pub client: Option<IpAddr>,
    /// The peer of the connection.
    pub peer: PeerAddress,
    /// The method.
    pub method: Method,
    /// `Host`, or the authority of HTTP/2.
    pub host: Option<HeaderValue>,
    /// The target as received.
    pub target: Uri,
    /// The version.
    pub version: Version,
    /// The response's status; 499 when the client went away before there was one.
    pub status: StatusCode,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// From the arrival to the last byte of the response.
    pub took: Duration,
    /// What upstreams did; `None` when none was asked.
    pub upstream: Option<UpstreamEntry>,
    /// The route's name; `None` when no route was found.
    pub route: Option<Arc<str>>,
    /// The id that the upstream received in `X-Request-Id`, or responses to the client show.
    pub request_id: Option<HeaderValue>,
    /// `User-Agent`.
    pub user_agent: Option<HeaderValue>,
    /// `Referer`.
    pub referer: Option<HeaderValue>,
    /// The decision that applied, whatever became of the request.
    pub remediation: Option<Remediation>,
    /// Whether the response is ours because of a decision: a page, a captcha, 429 or 503. Not with `log_only`, after a solved
    /// captcha, or within the limit of a throttle.
    pub blocked: bool,
    /// Why the request was refused other than by a decision, of a fixed set of words.
    pub refusal: Option<&'static str>,
}

/// What upstreams did for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamEntry {
    /// The one that was asked last.
    pub server: Arc<str>,
    /// How many were asked.
    pub attempts: u8,
    /// For the connection, if a new one was made.
    pub connect: Option<Duration>,
    /// Until the head of the response, if there was one.
    pub head: Option<Duration>,
}

/// A handle to the access log; clones share it. Off until it is configured.
#[derive(Debug, Clone)]
pub struct AccessLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    log: EntryLog,
    format: AtomicU8,
}

/// The access log cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessLogError {
    /// The thread cannot be started.
    #[error("cannot start the thread of the access log")]
    Thread(#[source] io::Error),
    /// The file cannot be opened.
    #[error("cannot write the access log {}; correct `access_log.file`, or let the daemon's user write there", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },
}

const OFF: u8 = 0;
const JSON: u8 = 1;
const COMBINED: u8 = 2;

impl AccessLog {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start() -> Result<Self, AccessLogError> {
        let log = EntryLog::start().map_err(AccessLogError::Thread)?;
        Ok(Self(Arc::new(Shared { log, format: AtomicU8::new(OFF) })))
    }

    /// Sets where lines go, and opens the file anew, as after a rotation; `None` switches the log off.
    ///
    /// # Errors
    /// When the file cannot be opened; then everything stays as it was.
    pub fn configure(&self, config: Option<&AccessLogConfig>) -> Result<(), AccessLogError> {
        let Some(config) = config else {
            self.0.format.store(OFF, Ordering::Relaxed);
            return Ok(());
        };
        match &config.file {
            Some(path) => self
                .0
                .log
                .write_to_file(path.clone(), ROTATION)
                .map_err(|cause| AccessLogError::Open { path: path.clone(), cause })?,
            None => self.0.log.write_to_stdout().map_err(AccessLogError::Thread)?,
        }
        let format = match config.format {
            AccessLogFormat::Json => JSON,
            AccessLogFormat::Combined => COMBINED,
        };
        self.0.format.store(format, Ordering::Relaxed);
        Ok(())
    }

    /// Whether entries are written: if not, none need be made.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.format.load(Ordering::Relaxed) != OFF
    }

    /// Queues an entry.
    pub fn write(&self, entry: AccessEntry) {
        match self.0.format.load(Ordering::Relaxed) {
            JSON => self.0.log.write(Box::new(Json(entry))),
            // The format has no field for it, and its readers would take the refusal for an attack.
            COMBINED if !entry.blocked => self.0.log.write(Box::new(Combined(entry))),
            _ => {}
        }
    }

    /// The number of entries lost so far, because the queue was full or the disk did not take them.
    pub fn lost(&self) -> u64 {
        self.0.log.lost()
    }

    /// Waits until everything is written, at most two seconds.
    pub fn flush(&self) {
        self.0.log.flush();
    }
}

#[derive(Debug)]
struct Json(AccessEntry);

#[derive(Debug)]
struct Combined(AccessEntry);

impl LogEntry for Json {
    fn push_line(&self, _: &TimeZone, text: &mut String) {
        json::push(&self.0, text);
    }
}

impl LogEntry for Combined {
    fn push_line(&self, zone: &TimeZone, text: &mut String) {
        combined::push(&self.0, zone, text);
    }
}

impl AccessEntry {
    /// The protocol as request lines and nginx's log have it.
    fn version_text(&self) -> &'static str {
        match self.version {
            Version::HTTP_09 => "HTTP/0.9",
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_3 => "HTTP/3.0",
            _ => "HTTP/1.1",
        }
    }

    /// Path and query, or what stands in their place.
    fn path_and_query(&self) -> &str {
        match self.target.path_and_query() {
            Some(both) => both.as_str(),
            // The target of CONNECT.
            None => self.target.authority().map_or("", http::uri::Authority::as_str),
        }
    }
}

/// The client, or else the peer; `-` for neither, as over a unix socket.
struct ClientText<'a>(&'a AccessEntry);

impl fmt::Display for ClientText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.client.or(self.0.peer.map(|peer| peer.ip())) {
            Some(address) => address.fmt(f),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests;
