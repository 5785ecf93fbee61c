//! Writes one line for each request, in Apache's combined format.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use http::{HeaderValue, Method, Uri, Version};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use palisade_daemon::logs::{EntryLog, LogEntry, Rotation};

/// When the file is rotated: the defaults of the stock program.
const ROTATION: Rotation = Rotation { max_bytes: 40 << 20, max_files: 3, max_age_days: 30, compress: true };
/// Bytes of a field that are written.
const MAX_FIELD_BYTES: usize = 1024;
/// Stands for standard error, where the stock program logs requests when it does not log to files.
const STANDARD_ERROR: &str = "/dev/stderr";

/// A request that has been answered.
#[derive(Debug)]
pub(super) struct AccessEntry {
    pub(super) peer: Option<IpAddr>,
    pub(super) at: SystemTime,
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) bytes: u64,
    pub(super) referer: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
}

/// The log, if there is one.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    log: ArcSwapOption<EntryLog>,
    path: Mutex<Option<PathBuf>>,
}

impl AccessLog {
    /// Sets where lines go, and opens the file anew, as after a rotation.
    pub(super) fn configure(&self, path: Option<&Path>) -> anyhow::Result<()> {
        let mut current = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = path else {
            self.log.store(None);
            *current = None;
            return Ok(());
        };
        let same = self.log.load_full().filter(|_| current.as_deref() == Some(path));
        let log = match same {
            Some(log) => log,
            None => EntryLog::start().context("cannot start the thread of the access log")?.into(),
        };
        if path != Path::new(STANDARD_ERROR) {
            log.write_to_file(path.to_owned(), ROTATION).with_context(|| {
                format!("cannot write the access log {}; let the daemon's user write there", path.display())
            })?;
        }
        self.log.store(Some(log));
        *current = Some(path.to_owned());
        Ok(())
    }

    pub(super) fn is_on(&self) -> bool {
        self.log.load().is_some()
    }

    pub(super) fn write(&self, entry: AccessEntry) {
        if let Some(log) = &*self.log.load() {
            log.write(Box::new(entry));
        }
    }

    /// Waits until everything is written.
    pub(super) fn flush(&self) {
        if let Some(log) = self.log.load_full() {
            log.flush();
        }
    }
}

impl LogEntry for AccessEntry {
    fn push_line(&self, zone: &TimeZone, text: &mut String) {
        let at = Timestamp::try_from(self.at).unwrap_or_default().to_zoned(zone.clone());
        // Writing to a String cannot fail.
        let _ = match self.peer {
            Some(peer) => write!(text, "{peer}"),
            None => write!(text, "-"),
        };
        let _ = write!(text, " - - [{}] \"", at.strftime("%d/%b/%Y:%H:%M:%S %z"));
        push_field(text, self.method.as_str().as_bytes());
        text.push(' ');
        push_field(text, self.target.path_and_query().map_or("-", |both| both.as_str()).as_bytes());
        let _ = write!(text, " {:?}\" {} {} \"", self.version, self.status, self.bytes);
        push_field(text, self.referer.as_ref().map_or(b"", |value| value.as_bytes()));
        text.push_str("\" \"");
        push_field(text, self.user_agent.as_ref().map_or(b"", |value| value.as_bytes()));
        text.push_str("\"\n");
    }
}

/// A text for the inside of quotes, of bounded length.
fn push_field(text: &mut String, bytes: &[u8]) {
    for byte in bytes.iter().take(MAX_FIELD_BYTES) {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => _ = write!(text, "\\x{byte:02x}"),
            byte => text.push(char::from(*byte)),
        }
    }
    if bytes.len() > MAX_FIELD_BYTES {
        text.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_in_combined_form_and_escaped() {
        let entry = AccessEntry {
            peer: Some("192.0.2.1".parse().unwrap()),
            at: SystemTime::UNIX_EPOCH,
            method: Method::GET,
            target: Uri::from_static("/list?ipv4only"),
            version: Version::HTTP_11,
            status: 200,
            bytes: 17,
            referer: None,
            user_agent: Some(HeaderValue::from_static("a\"b")),
        };
        let mut line = String::new();
        entry.push_line(&TimeZone::UTC, &mut line);
        assert_eq!(
            line,
            "192.0.2.1 - - [01/Jan/1970:00:00:00 +0000] \"GET /list?ipv4only HTTP/1.1\" 200 17 \"\" \"a\\x22b\"\n"
        );
    }
}
