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
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    connection,
    connection_reaper::ConnectionReaper,
    limits::Limits,
    peer::{Peer, unmapped},
    service::HttpService,
    tls::TlsServer,
};

/// Delay after `accept` failed: the process is usually out of descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
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
    permits: Arc<Semaphore>,
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
            // `Semaphore::new` panics above its maximum.
            permits: Arc::new(Semaphore::new(serving.limits.connections.min(Semaphore::MAX_PERMITS))),
            reaper: Arc::new(ConnectionReaper::new()),
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
    while let Some((permit, accepted)) = context.next(&mut log, listener.accept()).await {
        match accepted {
            Ok((stream, address)) => {
                // Responses are small; Nagle's algorithm would only delay them.
                // Ignored on failure, because the connection works without it.
                let _ = stream.set_nodelay(true);
                context.spawn(permit, tcp(context.clone(), stream, unmapped(address)));
            }
            Err(cause) => log.accept_failed(&cause, "TCP").await,
        }
    }
}

async fn accept_unix<S: HttpService>(context: &Arc<AcceptContext<S>>, listener: Option<UnixListener>) {
    let Some(listener) = listener else { return };
    let mut log = ThrottledLog::default();
    while let Some((permit, accepted)) = context.next(&mut log, listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let (inner, entry) = (context.clone(), context.reaper.register());
                context.spawn(permit, async move {
                    let (service, stop) = (inner.serving.service.clone(), inner.stop.clone());
                    connection::serve(stream, Peer::plain(None), service, entry, stop).await;
                });
            }
            Err(cause) => log.accept_failed(&cause, "unix socket").await,
        }
    }
}

async fn tcp<S: HttpService>(context: Arc<AcceptContext<S>>, stream: TcpStream, address: SocketAddr) {
    let entry = context.reaper.register();
    let (service, stop) = (context.serving.service.clone(), context.stop.clone());
    // Read for each connection, so that a reloaded certificate is used without a restart.
    let Some(tls) = context.serving.tls.load_full() else {
        // Boxed, so that a plain connection's task does not reserve the space of the TLS handshake.
        return Box::pin(connection::serve(stream, Peer::plain(Some(address)), service, entry, stop)).await;
    };
    // The reaper does not watch the handshake, which therefore has a timeout of its own.
    let handshake = Box::pin(TlsAcceptor::from(tls.config.clone()).accept(stream));
    let stream = tokio::select! {
        () = stop.cancelled() => return,
        done = timeout(context.serving.limits.handshake, handshake) => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => {
                // At debug level: any scanner can cause it.
                return debug!(client = %address, error = &cause as &dyn std::error::Error, "TLS handshake failed");
            }
            Err(_) => return debug!(client = %address, "TLS handshake took too long"),
        },
    };
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = Peer {
        address: Some(address),
        certificates: shown.iter().map(|certificate| certificate.to_vec()).collect(),
        verified: tls.verifies,
    };
    Box::pin(connection::serve(stream, peer, service, entry, stop)).await;
}

impl<S> AcceptContext<S> {
    /// A permit together with an accepted connection; `None` when stopping.
    async fn next<T>(
        &self,
        log: &mut ThrottledLog,
        accept: impl Future<Output = io::Result<T>>,
    ) -> Option<(OwnedSemaphorePermit, io::Result<T>)> {
        // Before `accept`: without a permit the connection stays in the kernel's queue and takes no descriptor.
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                // Idle connections are then closed after seconds, so that waiting ones get their turn.
                self.reaper.set_full(true);
                log.full(self.serving.limits.connections);
                let permit =
                    self.stop.run_until_cancelled(self.permits.clone().acquire_owned()).await?.ok()?;
                self.reaper.set_full(false);
                permit
            }
        };
        let accepted = self.stop.run_until_cancelled(accept).await?;
        Some((permit, accepted))
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
                "the connection limit is reached: new connections wait until idle ones are closed; raise LimitNOFILE to allow more"
            );
        }
    }

    async fn accept_failed(&mut self, cause: &io::Error, over: &str) {
        // The client closed the connection before it was accepted: nothing is wrong here, so there is no delay
        // either.
        if cause.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        if Self::is_due(&mut self.refused) {
            warn!(over, %cause, "cannot accept a connection; trying again");
        }
        tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
    }
}
