//! Process metrics, under the names common to Prometheus client libraries.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Clock ticks per second in `/proc`: fixed at 100 on every architecture Linux has a stable interface for.
const TICKS: f64 = 100.0;
/// Bytes per kilobyte in `/proc/self/status`.
const KIB: u64 = 1024;

/// Reads `/proc/self` at each scrape: memory, CPU time, open files, start time.
#[derive(Debug, Default)]
pub struct ProcessCollector {}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Without /proc, as in some sandboxes, these metrics are missing and the others are still served.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let mut gauge = |name: &str, help: &str, value: Option<f64>| match value {
            Some(value) => {
                ConstGauge::new(value).encode(metric(&mut encoder, name, help, MetricType::Gauge)?)
            }
            None => Ok(()),
        };
        gauge("process_resident_memory_bytes", "Resident memory size in bytes", kib(&status, "VmRSS:"))?;
        gauge("process_virtual_memory_bytes", "Virtual memory size in bytes", kib(&status, "VmSize:"))?;
        gauge("process_open_fds", "Number of open file descriptors", open_files())?;
        gauge(
            "process_threads",
            "Number of threads",
            field(&status, "Threads:").and_then(|text| text.parse().ok()),
        )?;
        gauge(
            "process_start_time_seconds",
            "Start of the process since the Unix epoch in seconds",
            start(&stat),
        )?;
        match ticks(&stat, 11).zip(ticks(&stat, 12)) {
            Some((user, system)) => ConstCounter::new((user + system) / TICKS).encode(metric(
                &mut encoder,
                "process_cpu_seconds",
                "User and system processor time in seconds",
                MetricType::Counter,
            )?),
            None => Ok(()),
        }
    }
}

fn metric<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, kind)
}

fn field<'s>(status: &'s str, name: &str) -> Option<&'s str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn kib(status: &str, name: &str) -> Option<f64> {
    let kib: u64 = field(status, name)?.strip_suffix("kB")?.trim().parse().ok()?;
    as_float(kib * KIB)
}

#[expect(clippy::cast_precision_loss, reason = "a metric; exact up to 2^53")]
fn as_float(value: u64) -> Option<f64> {
    Some(value as f64)
}

fn open_files() -> Option<f64> {
    as_float(u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?)
}

/// A field of `/proc/self/stat`, counted from the closing parenthesis of the name, which may contain anything.
fn ticks(stat: &str, after_name: usize) -> Option<f64> {
    // The last parenthesis: the name of the program may contain some.
    let rest = &stat[stat.rfind(')')? + 1..];
    rest.split_whitespace().nth(after_name)?.parse().ok()
}

fn start(stat: &str) -> Option<f64> {
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks(stat, 19)? / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn process_metrics_are_plausible() {
        let metrics = Metrics::new();
        metrics.register(|registry| registry.register_collector(Box::<ProcessCollector>::default()));
        let text = metrics.text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is missing in {text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let age = jiff::Timestamp::now().as_second() as f64 - value("process_start_time_seconds");
        assert!((-5.0..3600.0).contains(&age), "{age}");
    }

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let stat = "1 (a) b (c)) S 1 1 1 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 777 1 1";
        assert_eq!(
            (ticks(stat, 11), ticks(stat, 12), ticks(stat, 19)),
            (Some(250.0), Some(50.0), Some(777.0))
        );
    }
}
