//! Prometheus metrics, under the stock server's names where it has them.

mod client_counters;

use std::{collections::HashMap, time::Duration};

use palisade_daemon::{
    listen::ConnectionMetrics,
    metrics::{Metrics, ProcessCollector},
};
use palisade_lapi_config::MetricsLevel;
use palisade_replica::Count;
use palisade_service::{ingest::IngestMetrics, registry::Registry, replication::DatabaseMetrics};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
};

use self::client_counters::ClientCounters;

/// Bucket bounds of the duration histogram in seconds, the stock server's.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MachineLabels {
    machine: String,
    route: &'static str,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeartbeatLabels {
    machine: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BouncerRouteLabels {
    bouncer: String,
    route: &'static str,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BouncerLabels {
    bouncer: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    endpoint: &'static str,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    reason: String,
    origin: String,
    action: String,
}

/// Why a client with a cursor was sent all decisions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResyncLabels {
    /// The reason as it is sent in the header.
    pub(crate) why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabels {
    reason: String,
}

/// The LAPI's metrics. Metrics that the configured level leaves out are not collected at all.
#[derive(Debug)]
pub(crate) struct LapiMetrics {
    level: MetricsLevel,
    routes: Family<RequestLabels, Counter>,
    machines: ClientCounters<MachineLabels>,
    bouncers: ClientCounters<BouncerRouteLabels>,
    ok: ClientCounters<BouncerLabels>,
    ko: ClientCounters<BouncerLabels>,
    heartbeats: Family<HeartbeatLabels, Gauge>,
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
    active: Family<DecisionLabels, Gauge>,
    alerts: Family<AlertLabels, Gauge>,
    pub(crate) ingest: IngestMetrics,
    pub(crate) database: DatabaseMetrics,
    /// 1 while the last write to the database succeeded.
    pub(crate) writable: Gauge,
    /// Parked stream requests.
    pub(crate) waiting: Gauge,
    /// Parked requests that were answered with changes.
    pub(crate) pushed: Counter,
    /// Requests with a cursor that had to be sent all decisions, by reason.
    pub(crate) everything: Family<ResyncLabels, Counter>,
    pub(crate) panics: Counter,
    /// Requests refused with 429.
    pub(crate) throttled: Counter,
    pub(crate) connections: ConnectionMetrics,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl LapiMetrics {
    /// Creates the metrics of `level` and registers them in `metrics`.
    pub(crate) fn new(level: MetricsLevel, metrics: &Metrics) -> Self {
        let new = Self {
            level,
            routes: Family::default(),
            machines: ClientCounters::default(),
            bouncers: ClientCounters::default(),
            ok: ClientCounters::default(),
            ko: ClientCounters::default(),
            heartbeats: Family::default(),
            durations: Family::new_with_constructor(histogram),
            active: Family::default(),
            alerts: Family::default(),
            ingest: IngestMetrics::default(),
            database: DatabaseMetrics::default(),
            writable: Gauge::default(),
            waiting: Gauge::default(),
            pushed: Counter::default(),
            everything: Family::default(),
            panics: Counter::default(),
            throttled: Counter::default(),
            connections: ConnectionMetrics::default(),
        };
        metrics.register(|registry| {
            registry.register_collector(Box::<ProcessCollector>::default());
            if level == MetricsLevel::None {
                return;
            }
            let version = vec![("version", format!("v{}", env!("CARGO_PKG_VERSION")))];
            // The client library appends `_info`.
            registry.register("cs", "Information about Palisade's LAPI", Info::new(version));
            registry.register(
                "cs_lapi_route_requests",
                "Number of calls to each route per method",
                new.routes.clone(),
            );
            for (name, help, counter) in [
                ("palisade_lapi_alerts_refused", "Alerts refused as invalid", &new.ingest.refused),
                (
                    "palisade_lapi_alerts_allowlisted",
                    "Alerts dropped, source allowlisted",
                    &new.ingest.allowlisted,
                ),
                ("palisade_lapi_alerts_repeated", "Alerts posted again", &new.ingest.repeated),
                (
                    "palisade_lapi_decisions_invalid",
                    "Decisions dropped, value not an address",
                    &new.ingest.invalid_decisions,
                ),
                (
                    "palisade_lapi_decisions_ended_early",
                    "Decisions that were over when they arrived",
                    &new.ingest.ended_decisions,
                ),
                (
                    "palisade_lapi_database_failures",
                    "Polls of the database that failed",
                    &new.database.failures,
                ),
            ] {
                registry.register(name, help, counter.clone());
            }
            registry.register(
                "palisade_lapi_database_up",
                "1 while the database answers",
                new.database.up.clone(),
            );
            registry.register(
                "palisade_lapi_database_writable",
                "0 while writes are refused because the database cannot be written",
                new.writable.clone(),
            );
            registry.register("palisade_lapi_waiting", "Parked stream requests", new.waiting.clone());
            registry.register(
                "palisade_lapi_pushed",
                "Parked requests answered with changes",
                new.pushed.clone(),
            );
            registry.register(
                "palisade_lapi_everything_told",
                "Requests with a cursor answered with all decisions",
                new.everything.clone(),
            );
            registry.register("palisade_lapi_panics", "Requests whose handler panicked", new.panics.clone());
            registry.register("palisade_lapi_throttled", "Requests refused with 429", new.throttled.clone());
            registry.register("palisade_lapi_connections", "Open connections", new.connections.open.clone());
            registry.register(
                "palisade_lapi_connections_cut",
                "Connections closed because the client was idle or too slow",
                new.connections.cut.clone(),
            );
            if level == MetricsLevel::Aggregated {
                return;
            }
            registry.register(
                "cs_lapi_machine_requests",
                "Number of calls to each route per method grouped by machines",
                new.machines.family(),
            );
            registry.register(
                "cs_lapi_bouncer_requests",
                "Number of calls to each route per method grouped by bouncers",
                new.bouncers.family(),
            );
            registry.register(
                "cs_lapi_decisions_ok",
                "Number of calls to /decisions that returned non-empty result",
                new.ok.family(),
            );
            registry.register(
                "cs_lapi_decisions_ko",
                "Number of calls to /decisions that returned empty result",
                new.ko.family(),
            );
            registry.register(
                "cs_lapi_request_duration_seconds",
                "Response time of LAPI",
                new.durations.clone(),
            );
            registry.register(
                "cs_machines_last_heartbeat_timestamp",
                "Unix time of the last heartbeat of each machine",
                new.heartbeats.clone(),
            );
            registry.register("cs_active_decisions", "Number of active decisions", new.active.clone());
            registry.register("cs_alerts", "Number of alerts (excluding CAPI)", new.alerts.clone());
        });
        new
    }

    fn full(&self) -> bool {
        self.level == MetricsLevel::Full
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, route: &'static str, method: &'static str, took: Duration) {
        self.routes.get_or_create(&RequestLabels { route, method }).inc();
        if self.full() {
            self.durations
                .get_or_create(&DurationLabels { endpoint: route, method })
                .observe(took.as_secs_f64());
        }
    }

    /// Counts an authenticated request of a machine.
    pub(crate) fn machine(&self, machine: &str, route: &'static str, method: &'static str) {
        if self.full() {
            self.machines.inc(MachineLabels { machine: machine.to_owned(), route, method });
        }
    }

    /// Counts an authenticated request of a bouncer.
    pub(crate) fn bouncer(&self, bouncer: &str, route: &'static str, method: &'static str) {
        if self.full() {
            self.bouncers.inc(BouncerRouteLabels { bouncer: bouncer.to_owned(), route, method });
        }
    }

    /// Counts a live query, with or without a result.
    pub(crate) fn queried(&self, bouncer: &str, found: bool) {
        if self.full() {
            let counters = if found { &self.ok } else { &self.ko };
            counters.inc(BouncerLabels { bouncer: bouncer.to_owned() });
        }
    }

    /// Updates the heartbeats, and removes the series of machines and bouncers that do not exist any more.
    pub(crate) fn show_clients(&self, registry: &Registry) {
        if !self.full() {
            return;
        }
        self.heartbeats.clear();
        for (machine, last) in registry.heartbeats() {
            self.heartbeats.get_or_create(&HeartbeatLabels { machine }).set(last.0.div_euclid(1000));
        }
        self.machines.retain(|labels| registry.machine(&labels.machine).is_some());
        self.bouncers.retain(|labels| registry.bouncer(&labels.bouncer).is_some());
        self.ok.retain(|labels| registry.bouncer(&labels.bouncer).is_some());
        self.ko.retain(|labels| registry.bouncer(&labels.bouncer).is_some());
    }

    /// Updates the gauges of active decisions and of stored alerts by scenario.
    pub(crate) fn show(&self, active: impl IntoIterator<Item = Count>, alerts: HashMap<String, i64>) {
        if !self.full() {
            return;
        }
        self.active.clear();
        for Count { reason, origin, action, count } in active {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.active.get_or_create(&DecisionLabels { reason, origin, action }).set(count);
        }
        self.alerts.clear();
        for (reason, count) in alerts.into_iter().filter(|(_, count)| *count > 0) {
            self.alerts.get_or_create(&AlertLabels { reason }).set(count);
        }
    }
}
