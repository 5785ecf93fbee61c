//! An upstream: its connections, health and counters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connect::Target;
use super::error::BoxError;
use super::h1::{Announced, Connection};
use super::h2;
use super::health::{Admission, PassiveHealth, Transition};
use super::idle::IdleConnections;
use super::metrics::ServerMetrics;
use crate::config::{PoolConfig, ServerConfig};

/// An upstream of a pool.
#[derive(Debug)]
pub struct Server {
    pool: Arc<str>,
    name: Arc<str>,
    pub(crate) target: Target,
    /// `Host` for requests that do not keep the client's.
    pub(crate) host: HeaderValue,
    idle: IdleConnections,
    pub(crate) http2: h2::Connections,
    keep_alive_idle: Duration,
    /// The last connection with a choice of protocols came out as HTTP/1.1.
    pub(crate) chose_http1: AtomicBool,
    passive: PassiveHealth,
    /// What active checks found out.
    checked_down: AtomicBool,
    in_flight: AtomicUsize,
    metrics: Arc<ServerMetrics>,
}

impl Server {
    pub(crate) fn new(
        pool: &PoolConfig,
        config: &ServerConfig,
        target: Target,
        metrics: Arc<ServerMetrics>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            pool: pool.name.as_str().into(),
            name: config.url.as_str().into(),
            host: target.host_header(),
            target,
            idle: IdleConnections::new(pool.keep_alive, pool.keep_alive_idle),
            http2: h2::Connections::new(tasks),
            keep_alive_idle: pool.keep_alive_idle,
            chose_http1: AtomicBool::new(false),
            passive: PassiveHealth::new(pool.max_failures, pool.failure_pause),
            checked_down: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            metrics,
        }
    }

    /// The name of its pool.
    pub fn pool(&self) -> &Arc<str> {
        &self.pool
    }

    /// The URL, as configured.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The counters.
    pub fn metrics(&self) -> &Arc<ServerMetrics> {
        &self.metrics
    }

    /// Whether requests are sent to it.
    pub fn is_up(&self) -> bool {
        !self.checked_down.load(Ordering::Relaxed) && !self.passive.is_ejected()
    }

    /// Requests that it has not answered completely.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Connections that wait for a request.
    pub fn idle_connections(&self) -> usize {
        self.idle.len() + self.http2.idle()
    }

    /// Whether a request may be sent to it now.
    pub(crate) fn is_eligible(&self, now: Instant) -> bool {
        !self.checked_down.load(Ordering::Relaxed) && !self.passive.refuses(now)
    }

    /// Begins a request, unless the upstream was ejected meanwhile.
    pub(crate) fn admit(self: &Arc<Self>, now: Instant) -> Option<InFlight> {
        let admission = self.passive.admit(now);
        if admission == Admission::Refused {
            return None;
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(InFlight { server: Arc::clone(self), admission: Some(admission) })
    }

    pub(crate) fn take_idle(&self, announced: Option<Announced>, now: Instant) -> Option<Box<Connection>> {
        self.idle.take(announced, now)
    }

    pub(crate) fn park(&self, connection: Box<Connection>, now: Instant) {
        self.idle.park(connection, now);
    }

    pub(crate) fn sweep_idle(&self) {
        self.idle.sweep();
        self.http2.sweep(self.keep_alive_idle);
    }

    /// Takes over the result of active checks.
    pub(crate) fn set_checked(&self, up: bool, reason: Option<&BoxError>) {
        let (pool, server) = (&*self.pool, &*self.name);
        if self.checked_down.swap(!up, Ordering::Relaxed) != up {
            return;
        }
        match reason {
            Some(reason) => tracing::warn!(pool, server, %reason, "upstream is down: health checks failed"),
            None => tracing::info!(pool, server, "upstream is up: health checks succeeded"),
        }
    }
}

/// A request at an upstream, until its response has ended.
#[derive(Debug)]
pub(crate) struct InFlight {
    server: Arc<Server>,
    /// `None` when the result was reported.
    admission: Option<Admission>,
}

impl InFlight {
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// A response's head was received.
    pub(crate) fn succeeded(&mut self, status: StatusCode) {
        self.server.metrics.count_response(status);
        if let Some(admission) = self.admission.take()
            && self.server.passive.succeeded(admission) == Transition::Returned
        {
            let (pool, server) = (&*self.server.pool, &*self.server.name);
            tracing::info!(pool, server, "upstream is used again");
        }
    }

    /// No response was received, and that is the upstream's fault.
    pub(crate) fn failed(&mut self, reason: &str) {
        let Some(admission) = self.admission.take() else { return };
        if let Transition::Ejected(pause) = self.server.passive.failed(admission, Instant::now()) {
            self.server.metrics.ejections.inc();
            let (pool, server) = (&*self.server.pool, &*self.server.name);
            let pause_seconds = pause.as_secs_f64();
            tracing::warn!(
                pool,
                server,
                pause_seconds,
                reason,
                "upstream is not used: consecutive requests failed"
            );
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.server.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(admission) = self.admission {
            self.server.passive.abandoned(admission);
        }
    }
}

/// Which addresses a PROXY protocol header announces.
pub(crate) fn announced(
    client: Option<std::net::IpAddr>,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
) -> Option<Announced> {
    let local = local?;
    let source = match (client, peer) {
        (Some(client), Some(peer)) if client == peer.ip().to_canonical() => peer,
        // The port of a client behind another proxy is not known.
        (Some(client), _) => SocketAddr::new(client, 0),
        (None, peer) => peer?,
    };
    Some((source, local))
}

/// How often idle connections are looked after.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(2);
