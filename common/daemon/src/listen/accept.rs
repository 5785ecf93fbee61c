//! Accepts connections, each under a permit that bounds their number.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::logs::LogLimit;

use super::{
    connection::{self, Serve},
    connections::{Connections, Shared, given_up},
    eviction::ClientGroup,
    handshake::{self, Encrypted},
    limits::Limits,
    metrics::ConnectionMetrics,
    open_connection::OpenConnection,
    options::{ListenSocket, Listener, ListenerOptions},
    peer::{ConnectionInfo, Peer, unmapped},
    proxy_header,
    proxy_protocol::ProxyHeader,
    service::HttpService,
    tls::TlsServer,
};

/// Delay after `accept` failed: the process is usually out of descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long a connection that is closed for another one may take before the next one is chosen.
const EVICTION_TIMEOUT: Duration = Duration::from_millis(200);
/// At most one log line per kind of failure in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

static NO_HEADER: LogLimit = LogLimit::new("connections without PROXY protocol header");

/// The sockets of a server with one set of options, the default one.
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

impl Listeners {
    /// Serves until `stop` fires; then waits, up to the drain timeout, for requests in flight.
    pub async fn serve<S: HttpService>(self, serving: Serving<S>, stop: CancellationToken) {
        let Serving { service, tls, limits, metrics } = serving;
        let connections = Connections::with_metrics(limits, metrics);
        let accept = async |socket: Option<ListenSocket>| {
            let Some(socket) = socket else { return };
            let listener = Listener { tls: tls.clone(), ..Listener::new(socket) };
            connections.accept(listener, service.clone(), stop.clone()).await;
        };
        let (tcp, unix) = (self.tcp.map(ListenSocket::Tcp), self.unix.map(ListenSocket::Unix));
        // The loops first, so that `run` finds them.
        tokio::join!(accept(tcp), accept(unix), connections.run(stop.clone()));
    }
}

/// What the tasks of a listener's connections share.
struct AcceptContext<S> {
    shared: Arc<Shared>,
    service: S,
    index: usize,
    tls: Arc<ArcSwapOption<TlsServer>>,
    options: Arc<ArcSwap<ListenerOptions>>,
    stop: CancellationToken,
}

/// Accepts connections until `stop` fires.
pub(super) async fn accept<S: HttpService>(
    shared: Arc<Shared>,
    listener: Listener,
    service: S,
    stop: CancellationToken,
) {
    let _tracked = shared.tracker.token();
    let Listener { index, socket, tls, options } = listener;
    let context = Arc::new(AcceptContext { shared, service, index, tls, options, stop });
    match socket {
        ListenSocket::Tcp(listener) => accept_tcp(&context, &listener).await,
        ListenSocket::Unix(listener) => accept_unix(&context, &listener).await,
    }
}

async fn accept_tcp<S: HttpService>(context: &Arc<AcceptContext<S>>, listener: &TcpListener) {
    let mut log = ThrottledLog::default();
    while let Some(accepted) = context.stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, address)) => {
                let (address, options) = (unmapped(address), context.options.load_full());
                // Before a permit is taken: other clients do not lose connections for one that is refused.
                if !options.expects_header(address.ip()) && options.refuses(address.ip()) {
                    context.refuse(&stream, "refused_address");
                    continue;
                }
                let group = ClientGroup::of_peer(address);
                let Some(permit) = context.permit(&mut log, group).await else { return };
                // Responses are small; Nagle's algorithm would only delay them.
                // Ignored on failure, because the connection works without it.
                let _ = stream.set_nodelay(true);
                let open = context.open(permit, Some(address));
                context.spawn(&open, tcp(context.clone(), options, stream, address, open.clone()));
            }
            Err(cause) => context.accept_failed(&mut log, &cause, "TCP").await,
        }
    }
}

async fn accept_unix<S: HttpService>(context: &Arc<AcceptContext<S>>, listener: &UnixListener) {
    let mut log = ThrottledLog::default();
    while let Some(accepted) = context.stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let Some(permit) = context.permit(&mut log, ClientGroup::of(None)).await else { return };
                let open = context.open(permit, None);
                let serve = context.serve_with(context.options.load_full());
                let info = ConnectionInfo { listener: context.index, ..ConnectionInfo::default() };
                let peer = Peer::plain(None);
                context.spawn(&open, connection::serve(stream, peer, info, open.clone(), serve));
            }
            Err(cause) => context.accept_failed(&mut log, &cause, "unix socket").await,
        }
    }
}

async fn tcp<S: HttpService>(
    context: Arc<AcceptContext<S>>,
    options: Arc<ListenerOptions>,
    mut stream: TcpStream,
    socket_address: SocketAddr,
    open: Arc<OpenConnection>,
) {
    let mut address = socket_address;
    let mut local_address = stream.local_addr().ok().map(unmapped);
    if options.expects_header(address.ip()) {
        let Some(header) = context.proxy_header(&mut stream, address, &open).await else { return };
        if let Some(proxied) = header.addresses {
            (address, local_address) = (proxied.source, Some(proxied.destination));
            open.activity().announce(Some(address.ip()));
        }
        if options.refuses(address.ip()) {
            return context.refuse(&stream, "refused_address");
        }
    }
    if !context.admit(&options, address, &open) {
        return context.refuse(&stream, "connections_per_address");
    }
    let info = ConnectionInfo {
        socket_address: Some(socket_address),
        local_address,
        listener: context.index,
        ..ConnectionInfo::default()
    };
    let peer = Peer::plain(Some(address));
    let serve = context.serve_with(options);
    // Read for each connection, so that a reloaded certificate is used without a restart.
    let Some(tls) = context.tls.load_full() else {
        // Boxed, so that a plain connection's task does not reserve the space of the TLS handshake.
        return Box::pin(connection::serve(stream, peer, info, open, serve)).await;
    };
    let handshake = Box::pin(handshake::encrypt(&context.shared, stream, &tls, &open));
    let encrypted = tokio::select! {
        encrypted = handshake => encrypted,
        () = given_up(&context.stop) => None,
    };
    let Some(Encrypted { stream, server_name, certificates }) = encrypted else { return };
    let info = ConnectionInfo { server_name, tls: true, ..info };
    let peer = Peer { certificates, verified: tls.verifies, ..peer };
    Box::pin(connection::serve(stream, peer, info, open, serve)).await;
}

impl<S: HttpService> AcceptContext<S> {
    fn serve_with(&self, options: Arc<ListenerOptions>) -> Serve<S> {
        Serve { service: self.service.clone(), shared: self.shared.clone(), options, stop: self.stop.clone() }
    }

    /// The header of a peer that must send one; `None` if it does not.
    async fn proxy_header(
        &self,
        stream: &mut TcpStream,
        proxy: SocketAddr,
        open: &OpenConnection,
    ) -> Option<ProxyHeader> {
        let within = self.shared.limits.load().proxy_header;
        let read = tokio::select! {
            read = proxy_header::read(stream, within) => read,
            () = given_up(&self.stop) => return None,
            () = open.activity().immediate_close() => return None,
        };
        match read {
            Ok(header) => Some(header),
            Err(error) => {
                // Also a configuration in which the peer does not send one.
                if NO_HEADER.allows() {
                    let error = &error as &dyn std::error::Error;
                    warn!(%proxy, error, "closed a connection without usable PROXY protocol header");
                }
                self.refuse(stream, "proxy_header");
                None
            }
        }
    }

    /// A permit for a connection that was accepted; `None` when stopping. At the connection limit another one is closed
    /// for it.
    async fn permit(&self, log: &mut ThrottledLog, group: ClientGroup) -> Option<OwnedSemaphorePermit> {
        let Shared { reaper, metrics, limits, .. } = &*self.shared;
        if let Ok(permit) = reaper.permits.clone().try_acquire_owned() {
            return Some(permit);
        }
        // Idle connections of authenticated clients are then closed after seconds.
        reaper.set_full(true);
        let mut permit = Box::pin(self.stop.run_until_cancelled(reaper.permits.clone().acquire_owned()));
        let permit = loop {
            if reaper.evict_for(group) {
                metrics.cut.inc();
                log.closed += 1;
            }
            log.full(limits.load().connections);
            // Again when it does not come: the connection may have been one that had to be waited for anyway.
            if let Ok(permit) = timeout(EVICTION_TIMEOUT, permit.as_mut()).await {
                break permit;
            }
        };
        reaper.set_full(false);
        permit?.ok()
    }

    /// Counts and registers a connection.
    fn open(&self, permit: OwnedSemaphorePermit, address: Option<SocketAddr>) -> Arc<OpenConnection> {
        let Shared { reaper, metrics, tracker, end, .. } = &*self.shared;
        let registered = reaper.register(address.map(|address| address.ip()));
        Arc::new(OpenConnection::new(registered, &metrics.open, permit, tracker.token(), end.clone()))
    }

    /// Whether a client may have another connection, which is then counted.
    fn admit(&self, options: &ListenerOptions, client: SocketAddr, open: &OpenConnection) -> bool {
        let Some(per_address) = &options.per_address else { return true };
        if per_address.exempt.contains(client.ip()) {
            return true;
        }
        let place = self.shared.reaper.group_place(ClientGroup::of_peer(client), per_address.connections);
        place.is_some_and(|place| open.group_place.set(place).is_ok())
    }

    fn refuse(&self, stream: &TcpStream, reason: &'static str) {
        self.shared.metrics.refused(reason);
        // A reset instead of an orderly end, after which the kernel would keep the connection for a minute.
        let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
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
            self.shared.reaper.evict_for(ClientGroup::of(None));
        }
        log.accept_failed(cause, over).await;
    }

    fn spawn(&self, open: &OpenConnection, work: impl Future<Output = ()> + Send + 'static) {
        let end = open.end.clone();
        self.shared.tracker.spawn(async move {
            // Dropping the work closes the connection, whatever it is doing.
            end.run_until_cancelled(work).await;
        });
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
