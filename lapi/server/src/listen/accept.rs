//! Accepts connections, one place each.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use axum::Router;
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
    tls::TlsServer,
    warden::{Limits, Warden},
};
use crate::{auth::Peer, state::Lapi};

/// How long to wait after the system refused to give a connection: it has none left.
const BREATHE: Duration = Duration::from_millis(100);
/// How often the same trouble is told.
const REPEAT: Duration = Duration::from_secs(60);

/// What is listened on.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Over TCP, with TLS when [`Serving::tls`] is set.
    pub tcp: Option<TcpListener>,
    /// Over a unix socket, never with TLS.
    pub unix: Option<UnixListener>,
}

/// What connections are served with.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The LAPI, for its counters.
    pub lapi: Lapi,
    /// Answers requests.
    pub router: Router,
    /// TLS; replaced at a reload, for the connections that come after.
    pub tls: Arc<ArcSwapOption<TlsServer>>,
    /// How long clients may take, and how many there may be.
    pub limits: Limits,
}

/// What the tasks of all connections share.
struct Hall {
    serving: Serving,
    places: Arc<Semaphore>,
    warden: Arc<Warden>,
    connections: TaskTracker,
    stop: CancellationToken,
    /// Fires when the time for farewells is over.
    end: CancellationToken,
}

impl Listeners {
    /// Serves until `stop` fires and the requests under way are answered, or their time is over.
    pub async fn serve(self, serving: Serving, stop: CancellationToken) {
        let hall = Arc::new(Hall {
            places: Arc::new(Semaphore::new(serving.limits.connections.min(Semaphore::MAX_PERMITS))),
            warden: Arc::new(Warden::new()),
            connections: TaskTracker::new(),
            end: CancellationToken::new(),
            stop: stop.clone(),
            serving,
        });
        let limits = hall.serving.limits;
        let metrics = hall.serving.lapi.clone();
        let watch = hall.warden.watch(limits, hall.end.clone(), |count| {
            metrics.metrics.cut.inc_by(count);
        });
        let accept = async {
            tokio::join!(accept_tcp(&hall, self.tcp), accept_unix(&hall, self.unix));
            hall.connections.close();
            if timeout(limits.farewell, hall.connections.wait()).await.is_err() {
                warn!(
                    connections = hall.connections.len(),
                    "requests did not end within {:?}; their connections are closed", limits.farewell
                );
            }
            hall.end.cancel();
            hall.connections.wait().await;
        };
        tokio::join!(watch, accept);
    }
}

async fn accept_tcp(hall: &Arc<Hall>, listener: Option<TcpListener>) {
    let Some(listener) = listener else { return };
    let mut trouble = Trouble::default();
    while let Some((place, accepted)) = hall.next(&mut trouble, listener.accept()).await {
        match accepted {
            Ok((stream, address)) => {
                // Answers are small and many; waiting for more of them to send together only delays.
                let _ = stream.set_nodelay(true);
                hall.spawn(place, tcp(hall.clone(), stream, address));
            }
            Err(cause) => trouble.tell(&cause, "TCP").await,
        }
    }
}

async fn accept_unix(hall: &Arc<Hall>, listener: Option<UnixListener>) {
    let Some(listener) = listener else { return };
    let mut trouble = Trouble::default();
    while let Some((place, accepted)) = hall.next(&mut trouble, listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let (inner, entry) = (hall.clone(), hall.warden.enter());
                hall.spawn(place, async move {
                    let (router, stop) = (inner.serving.router.clone(), inner.stop.clone());
                    connection::serve(stream, Peer::plain(None), router, entry, stop).await;
                });
            }
            Err(cause) => trouble.tell(&cause, "unix socket").await,
        }
    }
}

async fn tcp(hall: Arc<Hall>, stream: TcpStream, address: SocketAddr) {
    let entry = hall.warden.enter();
    let (router, stop) = (hall.serving.router.clone(), hall.stop.clone());
    let Some(tls) = hall.serving.tls.load_full() else {
        // In a box: who does not encrypt does not carry the room encryption would need.
        return Box::pin(connection::serve(stream, Peer::plain(Some(address)), router, entry, stop)).await;
    };
    let handshake = Box::pin(TlsAcceptor::from(tls.config.clone()).accept(stream));
    let stream = tokio::select! {
        () = stop.cancelled() => return,
        done = timeout(hall.serving.limits.handshake, handshake) => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => {
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
    Box::pin(connection::serve(stream, peer, router, entry, stop)).await;
}

impl Hall {
    /// A place and whoever takes it, or `None` when it is time to stop.
    async fn next<T>(
        &self,
        trouble: &mut Trouble,
        accept: impl Future<Output = io::Result<T>>,
    ) -> Option<(OwnedSemaphorePermit, io::Result<T>)> {
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                self.warden.set_full(true);
                trouble.full(self.serving.limits.connections);
                let place = self.stop.run_until_cancelled(self.places.clone().acquire_owned()).await?.ok()?;
                self.warden.set_full(false);
                place
            }
        };
        let accepted = self.stop.run_until_cancelled(accept).await?;
        Some((place, accepted))
    }

    fn spawn(&self, place: OwnedSemaphorePermit, work: impl Future<Output = ()> + Send + 'static) {
        let (end, lapi) = (self.end.clone(), self.serving.lapi.clone());
        self.connections.spawn(async move {
            let _place = place;
            lapi.metrics.connections.inc();
            let counted = Counted(lapi);
            end.run_until_cancelled(work).await;
            drop(counted);
        });
    }
}

/// Counts a connection out, even when its task panics.
struct Counted(Lapi);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

/// Tells of trouble, and not too often.
#[derive(Debug, Default)]
struct Trouble {
    full: Option<Instant>,
    refused: Option<Instant>,
}

impl Trouble {
    fn is_due(last: &mut Option<Instant>) -> bool {
        let due = last.is_none_or(|last| last.elapsed() >= REPEAT);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    fn full(&mut self, connections: usize) {
        if Self::is_due(&mut self.full) {
            warn!(
                connections,
                "all connections are taken; idle ones are closed, new ones wait; raise LimitNOFILE to allow more"
            );
        }
    }

    async fn tell(&mut self, cause: &io::Error, over: &str) {
        // The client is gone already.
        if cause.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        if Self::is_due(&mut self.refused) {
            warn!(over, %cause, "the system gives no connection; trying again");
        }
        tokio::time::sleep(BREATHE).await;
    }
}
