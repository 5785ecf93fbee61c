//! What is exported of requests.

use std::time::Instant;

use http::StatusCode;
use palisade_bouncer::usage::{Kind, Meter as _};
use palisade_cache::Timestamp;
use palisade_stream::{Freshness, channel_with};

use super::*;
use crate::remediation::{DecisionInfo, Remediation, RemediationKind, Unavailable};

fn remediation(kind: RemediationKind, origin: &str, scenario: &str, log_only: bool) -> Remediation {
    let decision = DecisionInfo {
        id: 1,
        origin: origin.into(),
        scenario: scenario.into(),
        scope: "Ip".into(),
        value: "192.0.2.7".into(),
        remediation: kind.as_str().into(),
        until: Timestamp::from_millis(0),
    };
    Remediation { kind, decision: Arc::new(decision), log_only }
}

/// Three requests of IPv4 and two of IPv6, of which one is in flight.
fn counted() -> (ProxyMetrics, InFlight) {
    let metrics = ProxyMetrics::default();
    let route = metrics.route("app");
    let (four, six) = (Some("::ffff:192.0.2.7".parse().unwrap()), Some("2001:db8::1".parse().unwrap()));
    let mut passed = route.begin(four, Instant::now());
    passed.responded(StatusCode::OK);
    drop(passed);
    let mut banned = route.begin(four, Instant::now());
    banned.responded(StatusCode::FORBIDDEN);
    banned.remediated(&remediation(RemediationKind::Ban, "lists", "tor", false));
    drop(banned);
    let mut logged = route.begin(four, Instant::now());
    logged.responded(StatusCode::OK);
    logged.remediated(&remediation(RemediationKind::Ban, "cscli", "x", true));
    drop(logged);
    let mut captcha = route.begin(six, Instant::now());
    captcha.remediated(&remediation(RemediationKind::Captcha, "crowdsec", "x", false));
    captcha.responded(StatusCode::OK);
    drop(captcha);
    route.unavailable(Unavailable::Stale);
    metrics.refused("no_host");
    (metrics.clone(), route.begin(six, Instant::now()))
}

#[test]
fn everything_is_exported_under_documented_names() {
    let (metrics, in_flight) = counted();
    let registry = Metrics::new();
    metrics.register(&registry);
    metrics.measure(MeasuredParts { access_log: AccessLog::start().ok(), ..MeasuredParts::default() });
    let text = registry.text();
    for line in [
        "palisade_proxy_requests_total{route=\"app\",status=\"2xx\"} 3",
        "palisade_proxy_requests_total{route=\"app\",status=\"4xx\"} 1",
        "palisade_proxy_requests_in_flight{route=\"app\"} 1",
        "palisade_proxy_request_duration_seconds_count{route=\"app\"} 4",
        "palisade_proxy_request_duration_seconds_bucket{le=\"+Inf\",route=\"app\"} 4",
        "palisade_proxy_remediations_total{route=\"app\",remediation=\"ban\",origin=\"lists:tor\",ip_type=\"ipv4\",log_only=\"false\"} 1",
        "palisade_proxy_remediations_total{route=\"app\",remediation=\"ban\",origin=\"cscli\",ip_type=\"ipv4\",log_only=\"true\"} 1",
        "palisade_proxy_unavailable_total{route=\"app\",reason=\"decisions_stale\"} 1",
        "palisade_proxy_refusals_total{reason=\"no_host\"} 1",
        "palisade_proxy_ended_by_ban_total 0",
        "palisade_proxy_connections 0",
        "palisade_proxy_access_log_lost_total 0",
    ] {
        assert!(text.contains(&format!("\n{line}")), "{line} in\n{text}");
    }
    drop(in_flight);
    assert!(registry.text().contains("status=\"none\"} 1"), "it ended without a response");
    assert!(registry.text().contains("palisade_proxy_requests_in_flight{route=\"app\"} 0"));
    assert!(Arc::ptr_eq(&metrics.route("app"), &metrics.route("app")), "a reload goes on with the counters");
}

#[tokio::test]
async fn usage_metrics_have_the_items_that_cscli_shows() {
    let (metrics, _in_flight) = counted();
    let (_, cache) = channel_with(Default::default(), Freshness::default());
    let readings = UsageMeter::new(metrics, cache).read().await;
    let shown: Vec<String> = readings
        .iter()
        .map(|reading| {
            assert_eq!((reading.kind, reading.unit), (Kind::Counter, "request"));
            let labels: Vec<_> =
                reading.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {} {}", reading.name, labels.join(","), reading.value)
        })
        .collect();
    // A route that only logs drops nothing.
    assert_eq!(
        shown,
        [
            "processed ip_type=ipv4 3",
            "processed ip_type=ipv6 2",
            "dropped ip_type=ipv6,origin=crowdsec,remediation=captcha 1",
            "dropped ip_type=ipv4,origin=lists:tor,remediation=ban 1",
        ]
    );
}

#[test]
fn ever_new_origins_are_counted_together() {
    let metrics = ProxyMetrics::default();
    let request = metrics.route("app").begin(None, Instant::now());
    for list in 0..1000 {
        request.remediated(&remediation(RemediationKind::Ban, "lists", &list.to_string(), false));
    }
    let counts = metrics.route("app").remediations.read();
    assert!(counts.len() <= 201, "{}", counts.len());
    assert_eq!(counts.iter().map(|count| count.value).sum::<u64>(), 1000);
}

#[test]
fn dropped_fields_and_cut_headers_are_counted_by_reason() {
    let metrics = ProxyMetrics::default();
    metrics.dropped_fields(Dropped { forwarded: 2, odd_names: 1, own: 0 });
    metrics.dropped_fields(Dropped { forwarded: 1, ..Dropped::default() });
    metrics.address_cut(Cut::TooManyHops);
    assert_eq!(metrics.0.dropped.read_fields(), [("forwarded", 3), ("odd_name", 1), ("own", 0)]);
    let cuts: Vec<_> = metrics.0.dropped.read_cuts().filter(|(_, count)| *count > 0).collect();
    assert_eq!(cuts, [("too_many_hops", 1)]);
}
