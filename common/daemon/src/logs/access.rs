//! The access log: one line for each request, in the stock server's words.
//!
//! A request never waits for it: an entry is queued in one step and formatted by the log's thread, and what the queue does
//! not take is counted and reported.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use hyper::{Method, StatusCode, Uri, Version, header::HeaderValue};
use jiff::{Timestamp, tz::TimeZone};
use palisade_go_compat::GoDuration;

use super::{
    LAST_LINES, LogConfig, LogError, LogLevel, entries::LogEntry, format, limit::LogLimit, writer::Queue,
};

/// Characters of path and query that are written.
const MAX_TARGET: usize = 1024;
/// Characters of a User-Agent that are written.
const MAX_AGENT: usize = 255;
/// Lines about requests without credentials in a minute.
const STRANGER_LINES: u32 = 60;
/// Parameters of a query whose values are not written. None is read here, but clients send secrets to the wrong place.
const SECRETS: [&str; 7] = ["token", "jwt", "api_key", "apikey", "key", "password", "secret"];

/// An answered request.
#[derive(Debug)]
pub struct AccessEntry {
    /// Address of the client, as text.
    pub client: String,
    /// Method of the request.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// Version of HTTP.
    pub version: Version,
    /// The client's name for itself.
    pub agent: Option<HeaderValue>,
    /// Status of the response.
    pub status: StatusCode,
    /// From the request to the head of the response.
    pub took: Duration,
    /// When it was answered.
    pub at: SystemTime,
}

/// A handle to the access log; clones share it. Off until it is configured.
#[derive(Debug, Clone)]
pub struct AccessLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Queue,
    is_on: AtomicBool,
    strangers: LogLimit,
}

impl AccessLog {
    /// Starts the thread that writes.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start() -> Result<Self, LogError> {
        Ok(Self(Arc::new(Shared {
            queue: Queue::start().map_err(LogError::Thread)?,
            is_on: AtomicBool::new(false),
            strangers: LogLimit::new("requests without valid credentials").with_lines(STRANGER_LINES),
        })))
    }

    /// Sets where lines go; from level info on there are any. Nothing changes when the file cannot be opened.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn configure(&self, config: &LogConfig) -> Result<(), LogError> {
        let is_on = config.level >= LogLevel::Info;
        if is_on {
            self.0.queue.retarget(config.target.clone()).map_err(|cause| config.failed(cause))?;
        }
        self.0.is_on.store(is_on, Ordering::Relaxed);
        Ok(())
    }

    /// Whether entries are written: if not, none need be made.
    pub fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::Relaxed)
    }

    /// Queues an entry. Entries of unauthenticated clients are limited in number.
    pub fn write(&self, entry: AccessEntry, is_stranger: bool) {
        if !is_stranger || self.0.strangers.allows() {
            self.0.queue.entry(Box::new(entry));
        }
    }

    /// Logs how many entries of unauthenticated clients were left out; for a timer.
    pub fn report(&self) {
        self.0.strangers.report();
    }

    /// Waits until everything is written, at most two seconds.
    pub fn flush(&self) {
        self.0.queue.flush(LAST_LINES);
    }
}

impl LogEntry for AccessEntry {
    fn push_line(&self, zone: &TimeZone, text: &mut String) {
        text.push_str(&self.line(zone));
    }
}

impl AccessEntry {
    /// The line, newline included.
    pub(super) fn line(&self, zone: &TimeZone) -> String {
        let at = Timestamp::try_from(self.at).unwrap_or_default().to_zoned(zone.clone());
        let mut text = String::with_capacity(160);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{} - [{}] \"{} ",
            self.client,
            at.strftime("%a, %d %b %Y %H:%M:%S %Z"),
            self.method
        );
        push_target(&mut text, &self.uri);
        let took = GoDuration::from_nanos(i64::try_from(self.took.as_nanos()).unwrap_or(i64::MAX));
        let _ = write!(text, " {:?} {} {took} \"", self.version, self.status.as_u16());
        let agent = self.agent.as_ref().map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        text.extend(agent.as_deref().unwrap_or_default().chars().take(MAX_AGENT));
        // Behind it the stock server has the errors of its handlers, which are always empty.
        text.push_str("\" \"");
        format::line(&at, "info", &text)
    }
}

/// Path and query without secrets.
fn push_target(text: &mut String, uri: &Uri) {
    let end = text.len() + MAX_TARGET;
    text.push_str(uri.path());
    if let Some(query) = uri.query() {
        for (index, pair) in query.split('&').enumerate() {
            // Otherwise 64 KiB of a query would be gone through for a line that is cut.
            if text.len() > end {
                break;
            }
            text.push(if index == 0 { '?' } else { '&' });
            match pair.split_once('=') {
                Some((name, _)) if SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) => {
                    text.push_str(name);
                    text.push_str("=***");
                }
                _ => text.push_str(pair),
            }
        }
    }
    if text.len() > end {
        // A URI is ASCII.
        text.truncate(text.floor_char_boundary(end));
        text.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{LogTarget, Rotation};
    use super::*;

    fn entry(uri: &str, agent: &str) -> AccessEntry {
        AccessEntry {
            client: "192.0.2.1".to_owned(),
            method: Method::GET,
            uri: uri.parse().unwrap(),
            version: Version::HTTP_11,
            agent: HeaderValue::from_bytes(agent.as_bytes()).ok(),
            status: StatusCode::OK,
            took: Duration::from_micros(1234),
            at: "2026-11-27T01:47:14Z".parse::<Timestamp>().unwrap().into(),
        }
    }

    fn config(path: &Path, level: LogLevel) -> LogConfig {
        let rotation = Rotation { max_bytes: 8 << 20, max_files: 1, max_age_days: 1, compress: false };
        let target = LogTarget::File { path: path.to_owned(), rotation };
        LogConfig { level, target, media_key: "common.log_media" }
    }

    #[test]
    fn lines_are_the_stock_servers() {
        let line =
            entry("/v1/decisions?ip=192.0.2.7&contains=true", "crowdsec/v1.7.8-linux").line(&TimeZone::UTC);
        assert_eq!(
            line,
            "time=\"2026-11-27T01:47:14Z\" level=info msg=\"192.0.2.1 - [Fri, 27 Nov 2026 01:47:14 UTC] \\\"GET \
             /v1/decisions?ip=192.0.2.7&contains=true HTTP/1.1 200 1.234ms \\\"crowdsec/v1.7.8-linux\\\" \\\"\"\n"
        );
    }

    #[test]
    fn nothing_of_a_request_forges_a_line_tells_a_secret_or_is_long() {
        let line = |uri: &str, agent: &str| entry(uri, agent).line(&TimeZone::UTC);
        let quoted = line("/v1/x?a=%0a", "x\" level=fatal\t\u{202e}");
        assert_eq!(quoted.matches('\n').count(), 1);
        assert!(quoted.contains("\\\"x\\\" level=fatal"), "{quoted}");
        for secret in ["token=s3cret", "a=1&API_KEY=s3cret", "jwt=s3cret&b=2", "password=s3cret"] {
            let shown = line(&format!("/v1/alerts?{secret}"), "a/b");
            assert!(!shown.contains("s3cret") && shown.contains("=***"), "{shown}");
        }
        let absolute = line("http://user:s3cret@lapi/v1/alerts", "a/b");
        assert!(!absolute.contains("s3cret"), "{absolute}");
        let long = line(&format!("/{}?{}", "p".repeat(2000), "q".repeat(50_000)), &"a".repeat(5000));
        assert!(long.len() < 2000, "{}", long.len());
    }

    #[test]
    fn strangers_cannot_fill_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.log");
        let log = AccessLog::start().unwrap();
        log.configure(&config(&path, LogLevel::Info)).unwrap();
        for _ in 0..10_000 {
            log.write(entry("/v1/decisions", "a/b"), true);
        }
        for _ in 0..100 {
            log.write(entry("/v1/heartbeat", "crowdsec/v1"), false);
        }
        log.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
        assert_eq!(count("/v1/heartbeat"), 100, "those of others are all there");
        // As many again in each minute that the loop took.
        assert!((60..600).contains(&count("/v1/decisions")), "{}", count("/v1/decisions"));
    }

    #[test]
    fn a_burst_is_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.log");
        let log = AccessLog::start().unwrap();
        log.configure(&config(&path, LogLevel::Info)).unwrap();
        for _ in 0..8000 {
            log.write(entry("/v1/heartbeat", "crowdsec/v1"), false);
        }
        log.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 8000);
    }

    #[test]
    fn a_level_above_info_switches_it_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.log");
        let log = AccessLog::start().unwrap();
        assert!(!log.is_on());
        log.configure(&config(&path, LogLevel::Warn)).unwrap();
        assert!(!log.is_on() && !path.exists());
        log.configure(&config(&path, LogLevel::Debug)).unwrap();
        assert!(log.is_on());
        log.configure(&config(&dir.path().join("api.log/x"), LogLevel::Info)).unwrap_err();
        log.write(entry("/health", "a/b"), false);
        log.flush();
        assert!(std::fs::read_to_string(&path).unwrap().contains("/health"), "the old file stays in use");
    }
}
