//! Stops hyper before bytes that the scanner refuses.

use std::sync::Arc;

use hyper::StatusCode;
use tokio::io::ReadBuf;

use super::{
    activity::ConnectionActivity,
    metrics::ConnectionMetrics,
    options::{ListenerOptions, StrictHttp},
    peer::Peer,
    strict::{RequestScanner, Stop, UNPARSABLE, Violation},
};

/// A head that hyper refuses itself, or a body.
pub(super) const MALFORMED_HEAD: Refusal = Refusal { name: "malformed_head", reason: "malformed request" };
pub(super) const MALFORMED_BODY: Refusal = Refusal { name: "malformed_body", reason: "malformed body" };
pub(super) const SLOW_BODY: Refusal = Refusal { name: "slow_body", reason: "the body came too slowly" };

/// Why a request is refused: the name in access logs and metrics, and the text of the response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) name: &'static str,
    pub(super) reason: &'static str,
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self { name: violation.name(), reason: violation.reason() }
    }
}

/// Where refused requests are reported.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) metrics: ConnectionMetrics,
    pub(super) options: Arc<ListenerOptions>,
    pub(super) peer: Peer,
}

impl Report {
    pub(super) fn refused(&self, status: StatusCode, refusal: Refusal) {
        self.metrics.refused(refusal.name);
        if let Some(report) = &self.options.on_refused {
            report(&self.peer, status, refusal.name);
        }
    }
}

/// The scanner of a connection, between its socket and hyper.
#[derive(Debug)]
pub(super) struct StrictReader {
    scanner: RequestScanner,
    stopped: Option<Stop>,
    /// What is left of [`UNPARSABLE`].
    unparsable: &'static [u8],
    pub(super) report: Report,
}

impl StrictReader {
    pub(super) fn new(limits: StrictHttp, report: Report) -> Self {
        Self { scanner: RequestScanner::new(limits), stopped: None, unparsable: UNPARSABLE, report }
    }

    /// Scans what was read beyond the first `before` bytes of the buffer, and replaces it from the first violation on.
    pub(super) fn check(&mut self, buffer: &mut ReadBuf<'_>, before: usize, activity: &ConnectionActivity) {
        let Err(stop) = self.scanner.scan(&buffer.filled()[before..]) else { return };
        self.stopped = Some(stop);
        activity.stopped(&stop);
        buffer.set_filled(before + stop.at);
        self.fill(buffer);
    }

    /// Whether nothing is read from the client any more; the buffer then has the rest of what hyper refuses.
    pub(super) fn is_stopped(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        if self.stopped.is_some() {
            self.fill(buffer);
        }
        self.stopped.is_some()
    }

    fn fill(&mut self, buffer: &mut ReadBuf<'_>) {
        let (now, later) = self.unparsable.split_at(self.unparsable.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.unparsable = later;
    }

    /// Why the next request is refused, when hyper says that its head cannot be parsed.
    pub(super) fn verdict(&self, hyper: StatusCode, served: u32) -> (StatusCode, Refusal) {
        match self.stopped {
            // Of this request, and not of a later one that was read ahead.
            Some(stop) if !stop.in_body && stop.request == served.wrapping_add(1) => {
                (stop.violation.status(), stop.violation.into())
            }
            _ => (hyper, MALFORMED_HEAD),
        }
    }
}
