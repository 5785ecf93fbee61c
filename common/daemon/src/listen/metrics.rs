//! Metrics of connections.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

/// Metrics of the connections. Clones share the values; the owner registers them under names of its own.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    /// Open connections.
    pub open: Gauge,
    /// Connections closed because the client was idle or stalled.
    pub cut: Counter,
    /// Connections and requests refused before any handler.
    pub refused: Family<RefusedLabels, Counter>,
}

/// Labels of the connections and requests that are refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabels {
    /// Why, of a fixed set of values.
    pub reason: &'static str,
}

impl ConnectionMetrics {
    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusedLabels { reason }).inc();
    }
}
