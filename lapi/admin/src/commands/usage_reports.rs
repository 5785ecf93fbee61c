//! Reads the usage metrics that bouncers and log processors report and the store keeps as text.

use palisade_store::UsageRow;
use palisade_wire::{MetricItem, MetricsWindow};
use serde::Deserialize;

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    metrics: Vec<MetricsWindow>,
}

/// The windows of a report; none if it cannot be parsed.
pub(super) fn windows(report: &UsageRow) -> Vec<MetricsWindow> {
    serde_json::from_str(&report.payload).map_or_else(|_| Vec::new(), |payload: Payload| payload.metrics)
}

/// A label's value; empty if it is absent.
pub(super) fn label(item: &MetricItem, name: &str) -> String {
    item.labels.get(name).cloned().unwrap_or_default()
}

/// The value, truncated to an integer as in `cscli`.
pub(super) fn count(item: &MetricItem) -> i64 {
    item.value.as_i64().or_else(|| item.value.as_f64().map(|value| value as i64)).unwrap_or_default()
}
