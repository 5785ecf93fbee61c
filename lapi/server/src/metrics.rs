//! Counters under the stock server's names.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use palisade_daemon::metrics::{Metrics, ProcessCollector};
use palisade_lapi_config::MetricsLevel;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
};

/// Upper bounds of the duration histogram, in seconds: the stock server's.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

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

/// Why everything was told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResyncLabels {
    /// The word on the wire.
    pub why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabels {
    reason: String,
}

/// The LAPI's counters. What the level leaves out is not counted at all.
#[derive(Debug)]
pub struct LapiMetrics {
    level: MetricsLevel,
    routes: Family<RequestLabels, Counter>,
    machines: Family<MachineLabels, Counter>,
    bouncers: Family<BouncerRouteLabels, Counter>,
    ok: Family<BouncerLabels, Counter>,
    ko: Family<BouncerLabels, Counter>,
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
    active: Family<DecisionLabels, Gauge>,
    alerts: Family<AlertLabels, Gauge>,
    alert_counts: Mutex<HashMap<String, i64>>,
    /// Alerts that were refused while others of their batch may have been taken.
    pub alerts_refused: Counter,
    /// Alerts that were passed over because their source is allowlisted.
    pub alerts_allowlisted: Counter,
    /// Alerts that were posted again and not stored again.
    pub alerts_repeated: Counter,
    /// Decisions that were dropped because their value is no address.
    pub decisions_invalid: Counter,
    /// Looks at the database that failed.
    pub database_failures: Counter,
    /// 1 while the database answers.
    pub database_up: Gauge,
    /// Stream requests that are held until there is something for them.
    pub waiting: Gauge,
    /// Held requests that were answered because there was something.
    pub pushed: Counter,
    /// Clients with a cursor that had to be told everything, by reason.
    pub everything: Family<ResyncLabels, Counter>,
    /// Requests whose handler panicked.
    pub panics: Counter,
    /// Requests refused because their address asked too often.
    pub throttled: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections closed because the client was too slow or idle for too long.
    pub cut: Counter,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl LapiMetrics {
    /// Counters that tell as much as `level` says, registered in `metrics`.
    pub fn new(level: MetricsLevel, metrics: &Metrics) -> Self {
        let new = Self {
            level,
            routes: Family::default(),
            machines: Family::default(),
            bouncers: Family::default(),
            ok: Family::default(),
            ko: Family::default(),
            durations: Family::new_with_constructor(histogram),
            active: Family::default(),
            alerts: Family::default(),
            alert_counts: Mutex::default(),
            alerts_refused: Counter::default(),
            alerts_allowlisted: Counter::default(),
            alerts_repeated: Counter::default(),
            decisions_invalid: Counter::default(),
            database_failures: Counter::default(),
            database_up: Gauge::default(),
            waiting: Gauge::default(),
            pushed: Counter::default(),
            everything: Family::default(),
            panics: Counter::default(),
            throttled: Counter::default(),
            connections: Gauge::default(),
            cut: Counter::default(),
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
                ("palisade_lapi_alerts_refused", "Alerts refused as invalid", &new.alerts_refused),
                (
                    "palisade_lapi_alerts_allowlisted",
                    "Alerts passed over, allowlisted",
                    &new.alerts_allowlisted,
                ),
                ("palisade_lapi_alerts_repeated", "Alerts posted again", &new.alerts_repeated),
                ("palisade_lapi_decisions_invalid", "Decisions dropped, no address", &new.decisions_invalid),
                (
                    "palisade_lapi_database_failures",
                    "Looks at the database that failed",
                    &new.database_failures,
                ),
            ] {
                registry.register(name, help, counter.clone());
            }
            registry.register(
                "palisade_lapi_database_up",
                "1 while the database answers",
                new.database_up.clone(),
            );
            registry.register("palisade_lapi_waiting", "Held stream requests", new.waiting.clone());
            registry.register(
                "palisade_lapi_pushed",
                "Held requests that were told something",
                new.pushed.clone(),
            );
            registry.register(
                "palisade_lapi_everything_told",
                "Requests with a cursor that were told everything",
                new.everything.clone(),
            );
            registry.register("palisade_lapi_panics", "Requests whose handler panicked", new.panics.clone());
            registry.register("palisade_lapi_throttled", "Requests refused with 429", new.throttled.clone());
            registry.register("palisade_lapi_connections", "Open connections", new.connections.clone());
            registry.register(
                "palisade_lapi_connections_cut",
                "Connections closed because the client was idle or too slow",
                new.cut.clone(),
            );
            if level == MetricsLevel::Aggregated {
                return;
            }
            registry.register(
                "cs_lapi_machine_requests",
                "Number of calls to each route per method grouped by machines",
                new.machines.clone(),
            );
            registry.register(
                "cs_lapi_bouncer_requests",
                "Number of calls to each route per method grouped by bouncers",
                new.bouncers.clone(),
            );
            registry.register(
                "cs_lapi_decisions_ok",
                "Number of calls to /decisions that returned non-empty result",
                new.ok.clone(),
            );
            registry.register(
                "cs_lapi_decisions_ko",
                "Number of calls to /decisions that returned empty result",
                new.ko.clone(),
            );
            registry.register(
                "cs_lapi_request_duration_seconds",
                "Response time of LAPI",
                new.durations.clone(),
            );
            registry.register("cs_active_decisions", "Number of active decisions", new.active.clone());
            registry.register("cs_alerts", "Number of alerts (excluding CAPI)", new.alerts.clone());
        });
        new
    }

    fn full(&self) -> bool {
        self.level == MetricsLevel::Full
    }

    /// A request was answered.
    pub fn answered(&self, route: &'static str, method: &'static str, took: Duration) {
        self.routes.get_or_create(&RequestLabels { route, method }).inc();
        if self.full() {
            self.durations
                .get_or_create(&DurationLabels { endpoint: route, method })
                .observe(took.as_secs_f64());
        }
    }

    /// A machine proved who it is.
    pub fn machine(&self, machine: &str, route: &'static str, method: &'static str) {
        if self.full() {
            self.machines.get_or_create(&MachineLabels { machine: machine.to_owned(), route, method }).inc();
        }
    }

    /// A bouncer proved who it is.
    pub fn bouncer(&self, bouncer: &str, route: &'static str, method: &'static str) {
        if self.full() {
            self.bouncers
                .get_or_create(&BouncerRouteLabels { bouncer: bouncer.to_owned(), route, method })
                .inc();
        }
    }

    /// A live query of a bouncer was answered, with decisions or without.
    pub fn queried(&self, bouncer: &str, found: bool) {
        if self.full() {
            let family = if found { &self.ok } else { &self.ko };
            family.get_or_create(&BouncerLabels { bouncer: bouncer.to_owned() }).inc();
        }
    }

    /// So many alerts of this scenario came (or, negative, went).
    pub fn alerts_changed(&self, scenario: &str, by: i64) {
        let mut counts = self.alert_counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(scenario.to_owned()).or_default();
        *count = count.saturating_add(by).max(0);
    }

    /// How many alerts there are by scenario, counted anew.
    pub fn alerts_counted(&self, counts: impl IntoIterator<Item = (String, i64)>) {
        *self.alert_counts.lock().unwrap_or_else(PoisonError::into_inner) = counts.into_iter().collect();
    }

    /// Shows the active decisions by reason, origin and action, and the alerts. For just before a scrape.
    pub fn show(&self, active: impl IntoIterator<Item = ((String, String, String), i64)>) {
        if !self.full() {
            return;
        }
        self.active.clear();
        for ((reason, origin, action), count) in active {
            self.active.get_or_create(&DecisionLabels { reason, origin, action }).set(count);
        }
        self.alerts.clear();
        for (reason, count) in &*self.alert_counts.lock().unwrap_or_else(PoisonError::into_inner) {
            if *count > 0 {
                self.alerts.get_or_create(&AlertLabels { reason: reason.clone() }).set(*count);
            }
        }
    }
}
