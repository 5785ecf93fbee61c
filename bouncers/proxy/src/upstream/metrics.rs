//! Counts what happens at each upstream.

use std::sync::Arc;

use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// The counters of one upstream of a pool. They survive reloads.
#[derive(Debug, Default)]
pub struct ServerMetrics {
    /// Responses by the first digit of their status, from 1 (switched protocols) to 5.
    pub responses: [Counter; 5],
    /// Attempts without a response.
    pub failures: Counter,
    /// Connections that were not established.
    pub connect_failures: Counter,
    /// Attempts that followed a failed one, at this upstream or another.
    pub retries: Counter,
    /// Connections established.
    pub connects: Counter,
    /// Connections open, idle ones included.
    pub open: Gauge,
    /// Times it was ejected after consecutive failures.
    pub ejections: Counter,
    /// Responses that ended within the body.
    pub cut_responses: Counter,
}

impl ServerMetrics {
    pub(crate) fn count_response(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(counter) = class.checked_sub(1).and_then(|class| self.responses.get(class)) {
            counter.inc();
        }
    }
}

/// Counts a connection as open as long as it exists.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<ServerMetrics>);

impl OpenConnection {
    pub(crate) fn new(metrics: &Arc<ServerMetrics>) -> Self {
        metrics.connects.inc();
        metrics.open.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}
