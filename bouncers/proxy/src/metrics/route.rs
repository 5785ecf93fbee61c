//! The counters of one route.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use http::StatusCode;

use super::durations::Durations;
use super::remediations::Remediations;
use crate::remediation::{Remediation, Unavailable};

/// Classes of statuses; the last one is for requests that ended without a response.
pub(super) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
/// Reasons for 503, in the order of the counters.
pub(super) const UNAVAILABLE: [Unavailable; 3] =
    [Unavailable::NotStarted, Unavailable::Stale, Unavailable::QueryFailed];

/// The counters of a route. To be made once, by [`ProxyMetrics::route`](super::ProxyMetrics::route).
#[derive(Debug, Default)]
pub struct RouteMetrics {
    /// By the client's family.
    pub(super) processed: [AtomicU64; 2],
    pub(super) in_flight: AtomicI64,
    pub(super) by_class: [AtomicU64; CLASSES.len()],
    pub(super) durations: Durations,
    pub(super) remediations: Remediations,
    pub(super) unavailable: [AtomicU64; UNAVAILABLE.len()],
}

impl RouteMetrics {
    /// Counts a request, until the result is dropped.
    #[inline]
    pub fn begin(self: &Arc<Self>, client: Option<IpAddr>, began: Instant) -> InFlight {
        // A client without an address, over a unix socket, is none of IPv6.
        let v6 = client.is_some_and(|client| client.to_canonical().is_ipv6());
        self.processed[usize::from(v6)].fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { route: Arc::clone(self), began, status: None, v6 }
    }

    /// Counts a request that was answered with 503 for lack of decisions.
    pub fn unavailable(&self, reason: Unavailable) {
        let position = UNAVAILABLE.iter().position(|other| *other == reason).unwrap_or_default();
        self.unavailable[position].fetch_add(1, Ordering::Relaxed);
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct InFlight {
    route: Arc<RouteMetrics>,
    began: Instant,
    status: Option<StatusCode>,
    v6: bool,
}

impl InFlight {
    /// Notes the status of the response. Without one, the request counts as one without a response.
    #[inline]
    pub fn responded(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Counts what was done finally: not a captcha that was solved already, nor a throttle whose limit was not exceeded.
    /// With [`Remediation::log_only`] it is counted as what would have been done.
    pub fn remediated(&self, remediation: &Remediation) {
        self.route.remediations.count(remediation, self.v6);
    }

    /// When the request arrived.
    pub fn began(&self) -> Instant {
        self.began
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let class = self.status.map_or(CLASSES.len() - 1, |status| {
            usize::from(status.as_u16() / 100).saturating_sub(1).min(CLASSES.len() - 2)
        });
        self.route.by_class[class].fetch_add(1, Ordering::Relaxed);
        self.route.durations.observe(self.began.elapsed());
        self.route.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
