//! The connections of one or several listeners, under common limits.

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::{
    accept, connection_reaper::ConnectionReaper, limits::Limits, metrics::ConnectionMetrics,
    options::Listener, service::HttpService,
};

/// All connections of one or several listeners. Clones share them.
///
/// [`Connections::run`] must run for as long as [`Connections::accept`] does: it closes idle and stalled connections, and
/// waits for the others at the end.
#[derive(Debug, Clone)]
pub struct Connections(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) reaper: Arc<ConnectionReaper>,
    pub(super) limits: ArcSwap<Limits>,
    pub(super) metrics: ConnectionMetrics,
    /// Permits for TLS handshakes.
    pub(super) handshakes: Semaphore,
    /// Accept loops, connections and tunnels.
    pub(super) tracker: TaskTracker,
    /// Fires when the drain timeout has passed.
    pub(super) end: CancellationToken,
}

impl Connections {
    /// No connections yet.
    pub fn new(limits: Limits) -> Self {
        Self::with_metrics(limits, ConnectionMetrics::default())
    }

    /// The same, with metrics that are registered elsewhere.
    pub fn with_metrics(limits: Limits, metrics: ConnectionMetrics) -> Self {
        Self(Arc::new(Shared {
            reaper: Arc::new(ConnectionReaper::new(limits.connections)),
            handshakes: Semaphore::new(limits.handshakes.min(Semaphore::MAX_PERMITS)),
            limits: ArcSwap::from_pointee(limits),
            metrics,
            tracker: TaskTracker::new(),
            end: CancellationToken::new(),
        }))
    }

    /// What is counted.
    pub fn metrics(&self) -> &ConnectionMetrics {
        &self.0.metrics
    }

    /// The number of open connections, tunnels included.
    pub fn len(&self) -> usize {
        self.0.reaper.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces the timeouts, for open connections too. The numbers of connections and of handshakes stay.
    pub fn set_limits(&self, limits: Limits) {
        self.0.limits.store(Arc::new(limits));
    }

    /// Closes the connections of all direct peers that `is_meant`, at once and with all their requests and tunnels;
    /// returns their number. The address is that of [`Peer::address`](super::Peer::address).
    pub fn close_where(&self, is_meant: impl Fn(IpAddr) -> bool) -> usize {
        self.0.reaper.close_where(is_meant)
    }

    /// Accepts connections until `stop` fires. Those that are open then finish the requests in flight.
    pub async fn accept<S: HttpService>(&self, listener: Listener, service: S, stop: CancellationToken) {
        accept::accept(self.0.clone(), listener, service, stop).await;
    }

    /// Closes idle and stalled connections until `stop` fires; then waits, up to the drain timeout, for accept loops,
    /// requests in flight and tunnels. Loops given the same token end at once.
    pub async fn run(&self, stop: CancellationToken) {
        let Shared { reaper, limits, metrics, tracker, end, .. } = &*self.0;
        let sweeping = reaper.run(limits, end.clone(), &metrics.cut);
        let draining = async {
            stop.cancelled().await;
            // `wait` returns only for a closed tracker.
            tracker.close();
            let drain = limits.load().drain;
            if timeout(drain, tracker.wait()).await.is_err() {
                warn!(
                    connections = self.len(),
                    drain_seconds = drain.as_secs(),
                    "requests did not end in time; closing their connections"
                );
            }
            // Ends the connections that are left, and the reaper after them: until here it still has to close stalled
            // ones.
            end.cancel();
            // Holders of tunnels are other tasks, which cannot be ended from here.
            let _ = timeout(HELD_END_TIMEOUT, tracker.wait()).await;
        };
        tokio::join!(sweeping, draining);
    }
}

/// How long a connection that was accepted before the stop may take until its first request.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(2);

/// Fires when a connection without a request is to be given up because of `stop`: not at once, because its client may be
/// in the middle of the handshake, and expects an answer from a server that has accepted.
pub(super) async fn given_up(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(FIRST_REQUEST_GRACE).await;
}

/// How long tunnels may take to end after the drain timeout.
const HELD_END_TIMEOUT: Duration = Duration::from_secs(2);
