//! Accepts connections, each under a permit that bounds their number.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    connection,
    connection_reaper::ConnectionReaper,
    eviction::ClientGroup,
    limits::Limits,
    peer::{Peer, unmapped},
    refusal::refuse_plain_http,
    service::HttpService,
    tls::TlsServer,
};

/// Delay after `accept` failed: the process is usually out of descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long a connection that is closed for another one may take before the next one is chosen.
const EVICTION_TIMEOUT: Duration = Duration::from_millis(200);
/// At most one log line per kind of failure in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The sockets to listen on.
#[derive(Debug, Default)]
pub struct Listeners {
    /// TCP, with TLS when [`Serving::tls`] is set.
    pub tcp: Option<TcpListener>,
    /// Unix socket, never with TLS.
    pub unix: Option<UnixListener>,
}

/// What connections are served with.
#[derive(Debug, Clone)]
pub struct Serving<S> {
    /// Answers the requests.
    pub service: S,
    /// Replaced on reload, for later connections.
    pub tls: Arc<ArcSwapOption<TlsServer>>,
    /// Timeouts and the maximum number of connections.
    pub limits: Limits,
    /// Kept up to date by the listener.
    pub metrics: ConnectionMetrics,
}

/// Metrics of the connections. Clones share the values; the owner registers them under names of its own.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    /// Open connections.
    pub open: Gauge,
    /// Connections closed because the client was idle or stalled.
    pub cut: Counter,
}

/// State shared by the tasks of all connections.
struct AcceptContext<S> {
    serving: Serving<S>,
    reaper: Arc<ConnectionReaper>,
    connections: TaskTracker,
    stop: CancellationToken,
    /// Fires when the drain timeout has passed.
    end: CancellationToken,
}

impl Listeners {
    /// Serves until `stop` fires; then waits, up to the drain timeout, for requests in flight.
    pub async fn serve<S: HttpService>(self, serving: Serving<S>, stop: CancellationToken) {
        let context = Arc::new(AcceptContext {
            reaper: Arc::new(ConnectionReaper::new(serving.limits.connections)),
            connections: TaskTracker::new(),
            end: CancellationToken::new(),
            stop: stop.clone(),
            serving,
        });
        let limits = context.serving.limits;
        let cut = &context.serving.metrics.cut;
        let reaper = context.reaper.run(limits, context.end.clone(), cut);
        let accept = async {
            tokio::join!(accept_tcp(&context, self.tcp), accept_unix(&context, self.unix));
            // `wait` returns only for a closed tracker.
            context.connections.close();
            if timeout(limits.drain, context.connections.wait()).await.is_err() {
                warn!(
                    connections = context.connections.len(),
                    drain_seconds = limits.drain.as_secs(),
                    "requests did not end in time; closing their connections"
                );
            }
            // Ends the connections that are left, and the reaper after them: until here it still has to close stalled
            // ones.
            context.end.cancel();
            context.connections.wait().await;
        };
        tokio::join!(reaper, accept);
    }
}

async fn accept_tcp<S: HttpService>(context: &Arc<AcceptContext<S>>, listener: Option<TcpListener>) {
    let Some(listener) = listener else { return };
    let mut log = ThrottledLog::default();
    while let Some(accepted) = context.stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, address)) => {
                let group = ClientGroup::of_peer(address);
                let Some(permit) = context.permit(&mut log, group).await else { return };
                // Responses are small; Nagle's algorithm would only delay them.
                // Ignored on failure, because the connection works without it.
                let _ = stream.set_nodelay(true);
                context.spawn(permit, tcp(context.clone(), stream, unmapped(address)));
            }
            Err(cause) => context.accept_failed(&mut log, &cause, "TCP").await,
        }
    }
}

async fn accept_unix<S: HttpService>(context: &Arc<AcceptContext<S>>, listener: Option<UnixListener>) {
    let Some(listener) = listener else { return };
    let mut log = ThrottledLog::default();
    while let Some(accepted) = context.stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let group = ClientGroup::of(None);
                let Some(permit) = context.permit(&mut log, group).await else { return };
                let (inner, entry) = (context.clone(), context.reaper.register(group));
                context.spawn(permit, async move {
                    let (service, stop) = (inner.serving.service.clone(), inner.stop.clone());
                    connection::serve(stream, Peer::plain(None), service, entry, stop).await;
                });
            }
            Err(cause) => context.accept_failed(&mut log, &cause, "unix socket").await,
        }
    }
}

async fn tcp<S: HttpService>(context: Arc<AcceptContext<S>>, mut stream: TcpStream, address: SocketAddr) {
    let entry = context.reaper.register(ClientGroup::of_peer(address));
    let (service, stop) = (context.serving.service.clone(), context.stop.clone());
    // Read for each connection, so that a reloaded certificate is used without a restart.
    let Some(tls) = context.serving.tls.load_full() else {
        // Boxed, so that a plain connection's task does not reserve the space of the TLS handshake.
        return Box::pin(connection::serve(stream, Peer::plain(Some(address)), service, entry, stop)).await;
    };
    // The reaper does not time the handshake, which therefore has a timeout of its own.
    let acceptor = TlsAcceptor::from(tls.config.clone());
    let handshake = Box::pin(async move {
        match refuse_plain_http(&mut stream).await {
            Some(false) => Some(acceptor.accept(stream).await),
            Some(true) | None => None,
        }
    });
    let stream = tokio::select! {
        () = stop.cancelled() => return,
        () = entry.activity.immediate_close() => return,
        done = timeout(context.serving.limits.handshake, handshake) => match done {
            Ok(Some(Ok(stream))) => stream,
            Ok(None) => return debug!(client = %address, "plain HTTP, or nothing, where TLS is expected"),
            Ok(Some(Err(cause))) => {
                // At debug level: any scanner can cause it.
                return debug!(client = %address, error = &cause as &dyn std::error::Error, "TLS handshake failed");
            }
            Err(_) => return debug!(client = %address, "TLS handshake took too long"),
        },
    };
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = Peer {
        certificates: shown.iter().map(|certificate| certificate.to_vec()).collect(),
        verified: tls.verifies,
        ..Peer::plain(Some(address))
    };
    Box::pin(connection::serve(stream, peer, service, entry, stop)).await;
}

impl<S> AcceptContext<S> {
    /// A permit for a connection that was accepted; `None` when stopping. At the connection limit another one is closed
    /// for it.
    async fn permit(&self, log: &mut ThrottledLog, group: ClientGroup) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.reaper.permits.clone().try_acquire_owned() {
            return Some(permit);
        }
        // Idle connections of authenticated clients are then closed after seconds.
        self.reaper.set_full(true);
        let mut permit = Box::pin(self.stop.run_until_cancelled(self.reaper.permits.clone().acquire_owned()));
        let permit = loop {
            if self.reaper.evict_for(group) {
                self.serving.metrics.cut.inc();
                log.closed += 1;
            }
            log.full(self.serving.limits.connections);
            // Again when it does not come: the connection may have been one that had to be waited for anyway.
            if let Ok(permit) = timeout(EVICTION_TIMEOUT, permit.as_mut()).await {
                break permit;
            }
        };
        self.reaper.set_full(false);
        permit?.ok()
    }

    async fn accept_failed(&self, log: &mut ThrottledLog, cause: &io::Error, over: &str) {
        // The client closed the connection before it was accepted: nothing is wrong here, so there is no delay
        // either.
        if cause.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        // Out of descriptors, whatever takes them.
        let out = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
        if cause.raw_os_error().is_some_and(|code| out.contains(&code)) {
            self.reaper.evict_for(ClientGroup::of(None));
        }
        log.accept_failed(cause, over).await;
    }

    fn spawn(&self, permit: OwnedSemaphorePermit, work: impl Future<Output = ()> + Send + 'static) {
        let (end, open) = (self.end.clone(), self.serving.metrics.open.clone());
        self.connections.spawn(async move {
            let _permit = permit;
            open.inc();
            let counted = Counted(open);
            // Dropping the work closes the connection, whatever it is doing.
            end.run_until_cancelled(work).await;
            drop(counted);
        });
    }
}

/// Decrements the connection gauge, also when the task panics.
struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Logs failures to accept, each kind at most once per [`LOG_INTERVAL`].
#[derive(Debug, Default)]
struct ThrottledLog {
    full: Option<Instant>,
    refused: Option<Instant>,
    /// Connections closed for others since the last line.
    closed: u64,
}

impl ThrottledLog {
    fn is_due(last: &mut Option<Instant>) -> bool {
        let due = last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    fn full(&mut self, connections: usize) {
        if Self::is_due(&mut self.full) {
            warn!(
                connections,
                closed = std::mem::take(&mut self.closed),
                "the connection limit is reached: the oldest connections of the client with the most are closed for new ones; raise LimitNOFILE to allow more"
            );
        }
    }

    async fn accept_failed(&mut self, cause: &io::Error, over: &str) {
        if Self::is_due(&mut self.refused) {
            warn!(over, %cause, "cannot accept a connection; trying again");
        }
        tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
    }
}
