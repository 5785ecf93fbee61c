//! Exports the firewall's counters: to Prometheus under the stock names, and as usage metrics. Reads the kernel through
//! [`read_counters`]; its only state is the last reading.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use palisade_bouncer::usage::{Meter, Reading};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;
use tracing::warn;

use crate::config::{IpFamily, Mode};
use crate::{EnforcerConfig, FamilyCounters, Status, Traffic, read_counters};

/// Reads the counters and remembers them. Clones share the last reading.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    enforcer_config: watch::Receiver<EnforcerConfig>,
    status: watch::Receiver<Status>,
    last: Arc<Mutex<Vec<FamilyCounters>>>,
}

impl Counters {
    pub(crate) fn new(
        enforcer_config: watch::Receiver<EnforcerConfig>,
        status: watch::Receiver<Status>,
    ) -> Self {
        Self { enforcer_config, status, last: Arc::default() }
    }

    pub(crate) async fn refresh(&self) {
        let config = Arc::clone(&self.enforcer_config.borrow().config);
        if config.mode == Mode::DryRun {
            return;
        }
        match tokio::task::spawn_blocking(move || read_counters(&config)).await {
            // The lock is held for an assignment only, so a poisoned one still protects whole values.
            Ok(Ok(counters)) => *self.last.lock().unwrap_or_else(PoisonError::into_inner) = counters,
            Ok(Err(error)) => {
                // The last reading stays. The kernel keeps counting, so the next one includes what is missing here.
                warn!(error = &error as &dyn std::error::Error, "the kernel's counters cannot be read");
            }
            Err(_) => {} // the runtime is going down
        }
    }

    fn last(&self) -> Vec<FamilyCounters> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn word(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "ipv4",
        IpFamily::V6 => "ipv6",
    }
}

impl Meter for Counters {
    async fn read(&mut self) -> Vec<Reading> {
        self.refresh().await;
        let mut readings = Vec::new();
        let mut traffic = |name, labels: &[(&'static str, &str)], traffic: Traffic| {
            readings.push(Reading::counter(name, "byte", labels.iter().copied(), traffic.bytes));
            readings.push(Reading::counter(name, "packet", labels.iter().copied(), traffic.packets));
        };
        for family in self.last() {
            let ip_type = ("ip_type", word(family.family));
            traffic("processed", &[ip_type], family.processed);
            for (origin, dropped) in &family.dropped {
                traffic("dropped", &[("origin", origin), ip_type], *dropped);
            }
        }
        for part in &self.status.borrow().in_force {
            let labels = [("origin", part.source.as_str()), ("ip_type", word(part.family))];
            readings.push(Reading::gauge("active_decisions", "ip", labels, part.hosts + part.ranges));
        }
        readings
    }
}

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counted = self.last();
        type Pick = fn(Traffic) -> u64;
        let units: [(&str, &str, &str, Pick); 2] = [
            ("fw_bouncer_dropped_packets", "fw_bouncer_processed_packets", "Packets", |traffic| {
                traffic.packets
            }),
            ("fw_bouncer_dropped_bytes", "fw_bouncer_processed_bytes", "Bytes", |traffic| traffic.bytes),
        ];
        for (dropped, processed, unit, pick) in units {
            let help = format!("{unit} denied, by origin");
            // Gauges, although they only grow: the stock bouncer exports them so, and the name of a counter would end
            // in `_total`.
            let mut gauge = encoder.encode_descriptor(dropped, &help, None, MetricType::Gauge)?;
            for family in &counted {
                for (origin, traffic) in &family.dropped {
                    let labels = [("origin", origin.as_str()), ("ip_type", word(family.family))];
                    ConstGauge::new(as_float(pick(*traffic))).encode(gauge.encode_family(&labels)?)?;
                }
            }
            let help = format!("{unit} that entered our chains");
            let mut gauge = encoder.encode_descriptor(processed, &help, None, MetricType::Gauge)?;
            for family in &counted {
                let labels = [("ip_type", word(family.family))];
                ConstGauge::new(as_float(pick(family.processed))).encode(gauge.encode_family(&labels)?)?;
            }
        }
        let status = self.status.borrow().clone();
        let help = "Addresses and ranges in the kernel's sets, by origin";
        let mut banned = encoder.encode_descriptor("fw_bouncer_banned_ips", help, None, MetricType::Gauge)?;
        for part in &status.in_force {
            let labels = [("origin", part.source.as_str()), ("ip_type", word(part.family))];
            ConstGauge::new(as_float(part.hosts + part.ranges)).encode(banned.encode_family(&labels)?)?;
        }
        for (name, help, value) in [
            (
                "palisade_firewall_failures",
                "Attempts to change the kernel's rules that failed",
                status.failures,
            ),
            ("palisade_firewall_transactions", "Transactions committed", status.transactions),
            ("palisade_firewall_repairs", "Times that others' changes were put right", status.repairs),
            ("palisade_firewall_refused_elements", "Elements the kernel refused", status.refused),
            (
                "palisade_firewall_flows_dropped",
                "Connections of banned addresses removed",
                status.flows_dropped,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        for (name, help, value) in [
            (
                "palisade_firewall_failing",
                "1 while the last change could not be made",
                u64::from(status.failing.is_some()),
            ),
            (
                "palisade_firewall_refused_now",
                "Elements the kernel does not take at present",
                status.refused_now,
            ),
            (
                "palisade_firewall_unenforceable_ranges",
                "Ranges an operator's set cannot hold",
                status.unenforceable_ranges,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(as_float(value)).encode(metric)?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric; exact up to 2^53")]
fn as_float(value: u64) -> f64 {
    value as f64
}
