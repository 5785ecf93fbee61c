//! Exports the counters to Prometheus.

use std::fmt;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::route::{CLASSES, RouteMetrics, UNAVAILABLE};
use super::{MeasuredParts, ProxyMetrics, upstream};

/// Reads the counters at each scrape.
#[derive(Debug)]
pub(super) struct ProxyCollector(pub(super) ProxyMetrics);

impl Collector for ProxyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut Encoder(&mut encoder);
        let routes = self.0.routes();
        let routes: Vec<(&str, &RouteMetrics)> =
            routes.iter().map(|(name, route)| (&**name, &**route)).collect();
        encode_routes(encoder, &routes)?;
        let refusals = self.0.0.refusals.read();
        encoder.counters(
            "palisade_proxy_refusals",
            "Requests refused other than by a decision, by reason",
            refusals.into_iter().map(|(reason, count)| ([("reason", reason)], count)),
        )?;
        encoder.counters(
            "palisade_proxy_dropped_fields",
            "Header fields that requests were forwarded without, by reason: forwarded fields of peers that are not \
             trusted, names with odd characters, fields that only the proxy writes",
            self.0.0.dropped.read_fields().into_iter().map(|(reason, count)| ([("reason", reason)], count)),
        )?;
        encoder.counters(
            "palisade_proxy_address_headers_cut",
            "Forwarded headers of trusted peers that were read only in part, by reason",
            self.0.0.dropped.read_cuts().map(|(reason, count)| ([("reason", reason)], count)),
        )?;
        let ended = self.0.0.ended.load(Ordering::Relaxed);
        encoder.counter(
            "palisade_proxy_ended_by_ban",
            "Requests and connections ended because a ban of their client arrived",
            ended,
        )?;
        self.encode_connections(encoder)?;
        encode_parts(encoder, &self.0.0.parts.load())
    }
}

impl ProxyCollector {
    fn encode_connections(&self, encoder: &mut Encoder<'_, '_>) -> fmt::Result {
        let connections = &self.0.0.connections;
        encoder.gauge("palisade_proxy_connections", "Open connections", connections.open.get() as f64)?;
        encoder.counter(
            "palisade_proxy_connections_cut",
            "Connections closed because the client was idle or stalled",
            connections.cut.get(),
        )?;
        let metric = encoder.0.encode_descriptor(
            "palisade_proxy_connections_refused",
            "Connections and requests refused before any handler, by reason",
            None,
            MetricType::Counter,
        )?;
        connections.refused.encode(metric)
    }
}

fn encode_routes(encoder: &mut Encoder<'_, '_>, routes: &[(&str, &RouteMetrics)]) -> fmt::Result {
    encoder.counters(
        "palisade_proxy_requests",
        "Requests, by route and class of status",
        routes.iter().flat_map(|(name, route)| {
            let classes = CLASSES.into_iter().zip(&route.by_class);
            classes
                .map(|(class, count)| ([("route", *name), ("status", class)], count.load(Ordering::Relaxed)))
        }),
    )?;
    encoder.gauges(
        "palisade_proxy_requests_in_flight",
        "Requests in flight, tunnels included",
        routes.iter().map(|(name, route)| ([("route", *name)], route.in_flight.load(Ordering::Relaxed))),
    )?;
    let mut durations = encoder.0.encode_descriptor(
        "palisade_proxy_request_duration_seconds",
        "From the arrival of a request to the last byte of the response",
        None,
        MetricType::Histogram,
    )?;
    for (name, route) in routes {
        let read = route.durations.read();
        durations.encode_family(&[("route", *name)])?.encode_histogram::<NoLabelSet>(
            read.sum,
            read.count,
            &read.buckets,
            None,
        )?;
    }
    let mut remediations = encoder.0.encode_descriptor(
        "palisade_proxy_remediations",
        "Remediated requests, by route, remediation, origin and family; log_only: those that were let through",
        None,
        MetricType::Counter,
    )?;
    for (name, route) in routes {
        for count in route.remediations.read() {
            let labels = [
                ("route", *name),
                ("remediation", count.kind.as_str()),
                ("origin", &*count.origin),
                ("ip_type", super::usage::ip_type(count.v6)),
                ("log_only", if count.log_only { "true" } else { "false" }),
            ];
            ConstCounter::new(count.value).encode(remediations.encode_family(&labels)?)?;
        }
    }
    encoder.counters(
        "palisade_proxy_unavailable",
        "Requests answered with 503 for lack of decisions, by route and reason",
        routes.iter().flat_map(|(name, route)| {
            let reasons = UNAVAILABLE.into_iter().zip(&route.unavailable);
            let counted = reasons.map(|(reason, count)| (reason, count.load(Ordering::Relaxed)));
            let counted = counted.filter(|(_, count)| *count > 0);
            counted.map(|(reason, count)| ([("route", *name), ("reason", reason.as_str())], count))
        }),
    )
}

fn encode_parts(encoder: &mut Encoder<'_, '_>, parts: &MeasuredParts) -> fmt::Result {
    if let Some(live) = &parts.live {
        let counters = live.counters();
        let results = [
            ("remembered", &counters.remembered),
            ("sent", &counters.sent),
            ("failed", &counters.failed),
            ("paused", &counters.paused),
        ];
        encoder.counters(
            "palisade_proxy_live_lookups",
            "Lookups of routes in live mode: answered from memory, queries sent, those of them that failed, and not sent \
             because the last ones failed",
            results.into_iter().map(|(result, count)| ([("result", result)], count.load(Ordering::Relaxed))),
        )?;
        encoder.gauge(
            "palisade_proxy_live_paused",
            "1 while no query is sent because the last ones failed",
            f64::from(u8::from(live.is_paused())),
        )?;
    }
    if let Some(captcha) = &parts.captcha {
        let counts = captcha.counts();
        let failures: u64 = counts.failures.iter().map(|(_, count)| count).sum();
        let results = [
            ("shown", counts.shown),
            ("solved", counts.solved),
            ("refused", counts.refused),
            ("provider_failed", failures),
        ];
        encoder.counters(
            "palisade_proxy_captchas",
            "Captchas shown, solved, solved wrongly, and not checked because the provider failed",
            results.into_iter().map(|(result, count)| ([("result", result)], count)),
        )?;
    }
    if let Some(pools) = &parts.pools {
        upstream::encode(encoder, pools)?;
    }
    if let Some(log) = &parts.access_log {
        encoder.counter(
            "palisade_proxy_access_log_lost",
            "Lines of the access log that were lost: the queue was full or the disk did not take them",
            log.lost(),
        )?;
    }
    encode_certificates(encoder, parts)
}

fn encode_certificates(encoder: &mut Encoder<'_, '_>, parts: &MeasuredParts) -> fmt::Result {
    let all: Vec<_> = parts.certificates.iter().flat_map(|listener| listener.status()).collect();
    if all.is_empty() {
        return Ok(());
    }
    let mut expiry = encoder.0.encode_descriptor(
        "palisade_proxy_certificate_expiry_timestamp_seconds",
        "When a certificate expires, in seconds since 1970",
        None,
        MetricType::Gauge,
    )?;
    let mut seen = Vec::new();
    for certificate in &all {
        let name = certificate.names.first().map_or("", String::as_str);
        // Two listeners may present the same one.
        if seen.contains(&(&certificate.source, name)) {
            continue;
        }
        seen.push((&certificate.source, name));
        let Ok(at) = certificate.expires.parse::<Timestamp>() else { continue };
        let labels = [("source", certificate.source.as_str()), ("name", name)];
        ConstGauge::new(at.as_second()).encode(expiry.encode_family(&labels)?)?;
    }
    Ok(())
}

/// The encoder, with the shapes that are used here.
pub(super) struct Encoder<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Encoder<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    pub(super) fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(super) fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, i64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
