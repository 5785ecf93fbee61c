//! Exports Prometheus metrics of the subscription: under the stock names, and Palisade's own with a prefix.

use std::fmt;

use palisade_stream::{CacheHandle, Peer, now};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads the cache's state at each scrape. Register it with
/// `metrics.register(|registry| registry.register_collector(Box::new(StreamMetrics::new(cache))))`.
#[derive(Debug)]
pub struct StreamMetrics {
    cache: CacheHandle,
}

impl StreamMetrics {
    /// Metrics of this cache.
    pub fn new(cache: CacheHandle) -> Self {
        Self { cache }
    }
}

impl Collector for StreamMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.cache.freshness();
        // The encoder adds `_total` to counters, as the stock names have it.
        for (name, help, value) in [
            ("lapi_requests", "Requests for decisions", state.requests),
            (
                "lapi_requests_failures",
                "Requests for decisions that gave no usable answer",
                state.failed_requests,
            ),
            ("palisade_full_pulls", "Requests for all decisions", state.full_pulls),
            ("palisade_missed_decisions", "Decisions in force that no update had told", state.missed),
            ("palisade_vanished_decisions", "Decisions whose end no update had told", state.vanished),
            ("palisade_lapi_fail_overs", "Times another LAPI than before answered", state.fail_overs),
            ("palisade_held_back_answers", "Full answers held back until confirmed", state.held_back),
        ] {
            ConstCounter::new(value).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        let mut gauge = |name: &str, help: &str, value: f64| {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge("palisade_decisions", "Decisions held", as_float(self.cache.read().len() as u64))?;
        gauge(
            "palisade_lapi_failing",
            "1 while the LAPI gives no usable answer",
            f64::from(u8::from(state.failing.is_some())),
        )?;
        gauge(
            "palisade_lapi_keeps_cursors",
            "1 when the LAPI that answered last keeps cursors, so that no answer can be lost",
            f64::from(u8::from(state.peer == Peer::KeepsCursors)),
        )?;
        gauge(
            "palisade_lapi_push",
            "1 while the LAPI tells changes as they happen",
            f64::from(u8::from(state.push)),
        )?;
        // Omitted before the first response: an age of 0 would look like one.
        if let Some(last) = state.last_answer {
            let age = now().saturating_duration_since(last).as_secs_f64();
            gauge("palisade_last_answer_age_seconds", "Time since the LAPI's last usable answer", age)?;
        }
        let mut refused = encoder.encode_descriptor(
            "palisade_refused_decisions",
            "Decisions that could not be admitted",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in &state.refused {
            ConstCounter::new(*count).encode(refused.encode_family(&[("reason", *reason)])?)?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric; exact up to 2^53")]
fn as_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use palisade_cache::Snapshot;
    use palisade_daemon::metrics::Metrics;
    use palisade_stream::{Freshness, channel};

    use super::*;

    #[test]
    fn the_stock_names_are_served() {
        let (publisher, cache) = channel(Snapshot::default());
        let metrics = Metrics::new();
        metrics.register(|registry| registry.register_collector(Box::new(StreamMetrics::new(cache))));
        publisher.publish_freshness(Freshness {
            requests: 7,
            failed_requests: 2,
            last_answer: Some(now()),
            refused: BTreeMap::from([("bad value", 3)]),
            ..Freshness::default()
        });
        let text = metrics.text();
        for line in [
            "lapi_requests_total 7",
            "lapi_requests_failures_total 2",
            "palisade_refused_decisions_total{reason=\"bad value\"} 3",
            "palisade_decisions 0.0",
            "palisade_lapi_failing 0.0",
            "palisade_last_answer_age_seconds 0",
        ] {
            assert!(text.contains(&format!("\n{line}")), "{line} in\n{text}");
        }
    }
}
