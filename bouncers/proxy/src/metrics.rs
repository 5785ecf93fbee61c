//! Counts requests, and exports counters to Prometheus and as usage metrics.
//!
//! ```text
//!  request ─► InFlight ─► RouteMetrics ─┬─► collector.rs ─► /metrics
//!             (route.rs: atomics)       └─► usage.rs ─────► LAPI (`cscli metrics`)
//! ```
//!
//! Each route has a handle of its own, made once, so that a request looks nothing up. Names and labels are listed in
//! `docs/proxy-metrics.md`; labels come from the configuration or are bounded in number.

mod collector;
mod dropped;
mod durations;
mod refusals;
mod remediations;
mod route;
mod upstream;
mod usage;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use palisade_daemon::listen::ConnectionMetrics;
use palisade_daemon::metrics::Metrics;

use self::collector::ProxyCollector;
use self::dropped::DroppedCounters;
use self::refusals::Refusals;
pub use self::route::{InFlight, RouteMetrics};
pub use self::usage::UsageMeter;
use crate::access_log::AccessLog;
use crate::captcha::Captcha;
use crate::client_address::Cut;
use crate::headers::Dropped;
use crate::remediation::live::Live;
use crate::tls::Certificates;
use crate::upstream::Pools;

/// Routes whose counters are kept, at most, over all reloads.
const MAX_ROUTES: usize = 10_000;

/// All counters of the proxy. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ProxyMetrics(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// By name. Those of routes that a reload removed stay, as Prometheus expects of counters.
    routes: Mutex<BTreeMap<Arc<str>, Arc<RouteMetrics>>>,
    refusals: Refusals,
    dropped: DroppedCounters,
    ended: Arc<AtomicU64>,
    connections: ConnectionMetrics,
    parts: ArcSwap<MeasuredParts>,
}

/// Parts that count for themselves, as the configuration has them.
#[derive(Debug, Default)]
pub struct MeasuredParts {
    /// Live queries.
    pub live: Option<Arc<Live>>,
    /// Captchas.
    pub captcha: Option<Arc<Captcha>>,
    /// The upstreams.
    pub pools: Option<Arc<Pools>>,
    /// The access log.
    pub access_log: Option<AccessLog>,
    /// Certificates of all listeners.
    pub certificates: Vec<Certificates>,
}

impl ProxyMetrics {
    /// The counters of a route; those it had before a reload.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        let mut routes = self.0.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = routes.get(name) {
            return Arc::clone(route);
        }
        let route = Arc::new(RouteMetrics::default());
        // Beyond the limit it counts for nobody: that many names come of a configuration that is generated and reloaded
        // for days.
        if routes.len() < MAX_ROUTES {
            routes.insert(name.into(), Arc::clone(&route));
        }
        route
    }

    /// Counts a request that was refused other than by a decision. `reason` is of a fixed set.
    pub fn refused(&self, reason: &'static str) {
        self.0.refusals.count(reason);
    }

    /// Counts the fields that a request was forwarded without.
    pub fn dropped_fields(&self, dropped: Dropped) {
        self.0.dropped.fields(dropped);
    }

    /// Counts a forwarded header that was read only in part.
    pub fn address_cut(&self, cut: Cut) {
        self.0.dropped.cut(cut);
    }

    /// Requests and connections that were ended because their client was banned meanwhile.
    pub fn ended_by_ban(&self) -> &Arc<AtomicU64> {
        &self.0.ended
    }

    /// To be given to [`Connections`](palisade_daemon::listen::Connections).
    pub fn connections(&self) -> &ConnectionMetrics {
        &self.0.connections
    }

    /// Exports the counters of these parts from now on.
    pub fn measure(&self, parts: MeasuredParts) {
        self.0.parts.store(Arc::new(parts));
    }

    /// Exports everything to Prometheus. To be called once.
    pub fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register_collector(Box::new(ProxyCollector(self.clone())));
        });
    }

    fn routes(&self) -> Vec<(Arc<str>, Arc<RouteMetrics>)> {
        let routes = self.0.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.iter().map(|(name, route)| (Arc::clone(name), Arc::clone(route))).collect()
    }
}

#[cfg(test)]
mod tests;
