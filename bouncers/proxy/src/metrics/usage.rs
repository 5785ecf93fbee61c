//! Reads the counters for usage metrics, as `cscli metrics` shows them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use palisade_bouncer::usage::{Meter, Reading};
use palisade_stream::CacheHandle;

use super::ProxyMetrics;

/// The source of usage metrics.
#[derive(Debug)]
pub struct UsageMeter {
    metrics: ProxyMetrics,
    cache: CacheHandle,
}

impl UsageMeter {
    /// Reads these counters, and counts these decisions.
    pub fn new(metrics: ProxyMetrics, cache: CacheHandle) -> Self {
        Self { metrics, cache }
    }
}

impl Meter for UsageMeter {
    async fn read(&mut self) -> Vec<Reading> {
        let mut processed = [0u64; 2];
        let mut dropped: BTreeMap<(String, &'static str, bool), u64> = BTreeMap::new();
        for (_, route) in self.metrics.routes() {
            for (sum, counter) in processed.iter_mut().zip(&route.processed) {
                *sum += counter.load(Ordering::Relaxed);
            }
            // What was only logged was not dropped.
            for count in route.remediations.read().into_iter().filter(|count| !count.log_only) {
                *dropped.entry((count.origin, count.kind.as_str(), count.v6)).or_default() += count.value;
            }
        }
        let mut readings = Reading::active_decisions(&self.cache.load());
        for (v6, value) in [false, true].into_iter().zip(processed) {
            readings.push(Reading::counter("processed", "request", [("ip_type", ip_type(v6))], value));
        }
        for ((origin, remediation, v6), value) in dropped {
            let labels = [("origin", &*origin), ("remediation", remediation), ("ip_type", ip_type(v6))];
            readings.push(Reading::counter("dropped", "request", labels, value));
        }
        readings
    }
}

pub(super) fn ip_type(v6: bool) -> &'static str {
    if v6 { "ipv6" } else { "ipv4" }
}
