//! Collects what becomes of a request, for metrics and the access log.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use palisade_daemon::listen::Peer;

use super::request_id::RequestId;
use super::shared::Shared;
use super::site::SiteRoute;
use crate::access_log::{AccessEntry, AccessLog, UpstreamEntry};
use crate::metrics::InFlight;
use crate::remediation::Remediation;

/// The status in the access log of a request whose client went away before there was a response, as in nginx.
const CLIENT_GONE: u16 = 499;

/// What becomes of a request. Counted and written when it is dropped: after the last byte of the response, or when the
/// client has gone.
pub(crate) struct Record {
    began: Instant,
    in_flight: Option<InFlight>,
    remediation: Option<Remediation>,
    /// `None` while the access log is off.
    line: Option<Box<Line>>,
}

struct Line {
    log: AccessLog,
    entry: AccessEntry,
    received: Arc<AtomicU64>,
}

impl Record {
    /// A request has arrived.
    pub(crate) fn begin(
        shared: &Shared,
        parts: &Parts,
        peer: &Peer,
        client: Option<IpAddr>,
        id: &RequestId,
    ) -> Self {
        let began = Instant::now();
        let line = shared.access_log.is_on().then(|| {
            let field = |name| parts.headers.get(name).cloned();
            let authority =
                || parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
            let entry = AccessEntry {
                at: SystemTime::now(),
                // Also of a request that is refused before it has a route: a log processor must not take the proxy in
                // front for the client.
                client,
                peer: peer.address,
                method: parts.method.clone(),
                host: field(header::HOST).or_else(authority),
                target: parts.uri.clone(),
                version: parts.version,
                status: StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST),
                bytes_in: 0,
                bytes_out: 0,
                took: std::time::Duration::ZERO,
                upstream: None,
                route: None,
                request_id: Some(id.value().clone()),
                user_agent: field(header::USER_AGENT),
                referer: field(header::REFERER),
                remediation: None,
                blocked: false,
                refusal: None,
            };
            Box::new(Line { log: shared.access_log.clone(), entry, received: Arc::default() })
        });
        Self { began, in_flight: None, remediation: None, line }
    }

    pub(crate) fn routed(&mut self, route: &SiteRoute, client: Option<IpAddr>) {
        self.in_flight = Some(route.metrics.begin(client, self.began));
        self.update(|entry| {
            entry.client = client;
            entry.route = Some(Arc::clone(&route.name));
        });
    }

    /// A decision applies. `finally` unless the request passes all the same: a solved captcha, a limit not reached.
    pub(crate) fn remediated(&mut self, remediation: &Remediation, finally: bool) {
        if finally && let Some(in_flight) = &self.in_flight {
            in_flight.remediated(remediation);
        }
        self.remediation = Some(remediation.clone());
        self.update(|entry| {
            entry.remediation = Some(remediation.clone());
            entry.blocked |= finally && !remediation.log_only;
        });
    }

    /// The response is the proxy's own, for another reason than a decision.
    pub(crate) fn refused(&mut self, reason: &'static str) {
        self.update(|entry| entry.refusal = Some(reason));
    }

    /// The response is the proxy's own because decisions are not available.
    pub(crate) fn blocked(&mut self, reason: &'static str) {
        self.update(|entry| {
            entry.refusal = Some(reason);
            entry.blocked = true;
        });
    }

    pub(crate) fn forwarded(&mut self, upstream: impl FnOnce() -> UpstreamEntry) {
        self.update(|entry| entry.upstream = Some(upstream()));
    }

    pub(crate) fn responded(&mut self, status: StatusCode) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.responded(status);
        }
        self.update(|entry| entry.status = status);
    }

    /// Writes the decision that applies into the fields of a response.
    pub(crate) fn show_remediation(&self, headers: &mut HeaderMap) {
        let Some(Remediation { kind, decision, log_only }) = &self.remediation else { return };
        let log_only = if *log_only { "; log-only" } else { "" };
        let fields = [
            ("x-palisade-remediation", format!("{}{log_only}", kind.as_str())),
            ("x-palisade-origin", decision.source().into_owned()),
            ("x-palisade-scenario", decision.scenario.to_string()),
            ("x-palisade-decision", decision.id.to_string()),
        ];
        for (name, text) in fields {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    /// Where to count the bytes of the request's body; `None` when nobody reads the number.
    pub(crate) fn received(&self) -> Option<Arc<AtomicU64>> {
        self.line.as_ref().map(|line| Arc::clone(&line.received))
    }

    /// Bytes of the response's body were sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.update(|entry| entry.bytes_out += u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    fn update(&mut self, change: impl FnOnce(&mut AccessEntry)) {
        if let Some(line) = &mut self.line {
            change(&mut line.entry);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            let Line { log, mut entry, received } = *line;
            entry.took = self.began.elapsed();
            entry.bytes_in = received.load(Ordering::Relaxed);
            log.write(entry);
        }
    }
}
