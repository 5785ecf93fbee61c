//! Converts OpenMetrics text to the older Prometheus text format, which every scraper reads.

/// In the older format counters have `_total` in their `HELP` and `TYPE` lines, and there is no `UNIT` and `EOF`.
/// Exemplars, which it does not support either, are not used.
pub(super) fn prometheus(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len() + 64);
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest.split_once(' ').unwrap_or((rest, "")));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            // HELP precedes TYPE, which alone shows that the name in both needs a suffix.
            if let Some((_, text)) = help.take().filter(|(named, _)| *named == name) {
                out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if line.starts_with('#') {
            // `# UNIT` and `# EOF`.
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

    use super::super::Metrics;

    #[test]
    fn stock_names_come_out_exactly() {
        let metrics = Metrics::new();
        let requests: Counter = Counter::default();
        let failures: Counter = Counter::default();
        let dropped: Family<Vec<(String, String)>, Gauge<u64, AtomicU64>> = Family::default();
        metrics.register(|registry| {
            registry.register("lapi_requests", "Requests", requests.clone());
            registry.register("lapi_requests_failures", "Failed requests", failures.clone());
            registry.register("fw_bouncer_dropped_packets", "Dropped packets", dropped.clone());
        });
        requests.inc();
        let labels = |origin: &str| {
            vec![("origin".to_owned(), origin.to_owned()), ("ip_type".to_owned(), "ipv4".to_owned())]
        };
        dropped.get_or_create(&labels("lists:a \"b\"")).set(7);
        assert_eq!(
            metrics.text(),
            "# HELP lapi_requests_total Requests.\n# TYPE lapi_requests_total counter\nlapi_requests_total 1\n\
             # HELP lapi_requests_failures_total Failed requests.\n# TYPE lapi_requests_failures_total counter\n\
             lapi_requests_failures_total 0\n\
             # HELP fw_bouncer_dropped_packets Dropped packets.\n# TYPE fw_bouncer_dropped_packets gauge\n\
             fw_bouncer_dropped_packets{origin=\"lists:a \\\"b\\\"\",ip_type=\"ipv4\"} 7\n"
        );
        assert!(metrics.openmetrics().ends_with("# EOF\n"));
    }
}
