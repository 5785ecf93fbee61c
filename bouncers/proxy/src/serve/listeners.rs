//! Opens and closes listeners as the configuration says.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use http::{Method, Uri, Version};
use palisade_daemon::listen::tls::TlsServer;
use palisade_daemon::listen::{
    ListenSocket, Listener, ListenerOptions, OnRefused, Peer, PerAddress, Refusing, SocketAccess, SocketFile,
    StrictHttp, bind, bind_socket, check_bind, check_socket, inherited,
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::handler::Handler;
use super::shared::Shared;
use super::site::Site;
use crate::access_log::{AccessEntry, AccessLog};
use crate::config::{Config, ListenAddress, ListenerConfig};
use crate::tls::Certificates;

/// What requests of a listener are served with.
pub(crate) struct ListenerState {
    pub(crate) config: ListenerConfig,
    /// `None` without TLS.
    pub(crate) certificates: Option<Certificates>,
}

/// The listeners that are open.
#[derive(Default)]
pub(crate) struct OpenListeners(HashMap<ListenAddress, OpenListener>);

struct OpenListener {
    stop: CancellationToken,
    tls: Arc<ArcSwapOption<TlsServer>>,
    options: Arc<ArcSwap<ListenerOptions>>,
    state: Arc<ArcSwap<ListenerState>>,
    /// Removes the socket's file at the end.
    _file: Option<SocketFile>,
}

/// A listener that is bound and does not accept yet.
pub(crate) struct BoundListener {
    address: ListenAddress,
    sockets: Vec<ListenSocket>,
    file: Option<SocketFile>,
}

impl OpenListeners {
    /// Binds what the configuration adds; nothing is accepted yet.
    ///
    /// # Errors
    /// When an address cannot be bound; then nothing has changed.
    pub(crate) async fn bind_new(&self, config: &Config) -> anyhow::Result<Vec<BoundListener>> {
        let mut bound = Vec::new();
        for listener in &config.listeners {
            if !self.0.contains_key(&listener.address) {
                bound.push(open(&listener.address).await?);
            }
        }
        Ok(bound)
    }

    /// Accepts on new listeners, replaces the settings of those that stay, and closes the others: their connections
    /// finish their requests.
    pub(crate) fn apply(
        &mut self,
        shared: &Arc<Shared>,
        site: &Site,
        bound: Vec<BoundListener>,
        stopping: &CancellationToken,
    ) {
        let mut bound: HashMap<_, _> = bound.into_iter().map(|one| (one.address.clone(), one)).collect();
        let mut open = std::mem::take(&mut self.0);
        for (config, tls) in site.config.listeners.iter().zip(&site.tls) {
            let state = Arc::new(ListenerState {
                config: config.clone(),
                certificates: tls.as_ref().map(|tls| tls.certificates.clone()),
            });
            let server = tls.as_ref().map(|tls| Arc::clone(&tls.server));
            let options = Arc::new(options(shared, site, config));
            if let Some(listener) = open.remove(&config.address) {
                listener.tls.store(server);
                listener.options.store(options);
                listener.state.store(state);
                self.0.insert(config.address.clone(), listener);
            } else if let Some(new) = bound.remove(&config.address) {
                let listener = OpenListener {
                    stop: stopping.child_token(),
                    tls: Arc::new(ArcSwapOption::new(server)),
                    options: Arc::new(ArcSwap::new(options)),
                    state: Arc::new(ArcSwap::new(state)),
                    _file: new.file,
                };
                for socket in new.sockets {
                    listener.accept(shared, socket);
                }
                self.0.insert(config.address.clone(), listener);
            }
        }
        for (address, listener) in open {
            info!(address = %shown(&address), "listener closed");
            listener.stop.cancel();
        }
    }
}

impl OpenListener {
    fn accept(&self, shared: &Arc<Shared>, socket: ListenSocket) {
        let handler = Handler { shared: Arc::clone(shared), listener: Arc::clone(&self.state) };
        let listener = Listener {
            tls: Arc::clone(&self.tls),
            options: Arc::clone(&self.options),
            ..Listener::new(socket)
        };
        let (connections, stop) = (shared.connections.clone(), self.stop.clone());
        shared.tasks.spawn(async move { connections.accept(listener, handler, stop).await });
    }
}

/// Finds what would make the start fail whatever else runs on this host.
///
/// # Errors
/// The first reason.
pub(crate) async fn check(config: &Config) -> anyhow::Result<()> {
    for listener in &config.listeners {
        match &listener.address {
            ListenAddress::Tcp(text) => check_bind(text).await?,
            ListenAddress::Unix(path) => check_socket(path, &SocketAccess::default())?,
            // Known only to the service that is started.
            ListenAddress::Inherited(_) => {}
        }
    }
    Ok(())
}

async fn open(address: &ListenAddress) -> anyhow::Result<BoundListener> {
    let (sockets, file) = match address {
        ListenAddress::Tcp(text) => (vec![ListenSocket::Tcp(bind(text).await?)], None),
        ListenAddress::Unix(path) => {
            let (socket, file) = bind_socket(path, &SocketAccess::default())?;
            (vec![ListenSocket::Unix(socket)], Some(file))
        }
        ListenAddress::Inherited(name) => {
            (inherited(name).with_context(|| format!("listening on systemd:{name}"))?, None)
        }
    };
    info!(address = %shown(address), "listening");
    Ok(BoundListener { address: address.clone(), sockets, file })
}

fn shown(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(text) => text.clone(),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
        ListenAddress::Inherited(name) => format!("systemd:{name}"),
    }
}

fn options(shared: &Shared, site: &Site, config: &ListenerConfig) -> ListenerOptions {
    let limits = &site.config.limits;
    let trusted = &site.config.client_address.trusted_proxies;
    let mut options = ListenerOptions::default();
    options.http2 = config.http2;
    options.connect_protocol = true;
    options.proxy_protocol_from = config.proxy_protocol_from.clone();
    options.per_address =
        Some(PerAddress { connections: limits.connections_per_address, exempt: trusted.clone() });
    options.strict = Some(StrictHttp { head_bytes: limits.head_bytes, target_bytes: limits.target_bytes });
    options.on_refused = Some(log_refused(shared.access_log.clone()));
    if config.refuse_at_accept {
        let scope = Arc::clone(&site.sweep);
        let refuse: Refusing = Arc::new(move |peer: IpAddr| scope.is_useless(peer));
        options.refuse = Some(refuse);
    }
    options
}

/// Writes the requests that a listener refuses to the access log. Nothing is known of them but the peer.
fn log_refused(log: AccessLog) -> OnRefused {
    let unknown = Method::from_bytes(b"-").unwrap_or_default();
    Arc::new(move |peer: &Peer, status, reason| {
        if !log.is_on() {
            return;
        }
        log.write(AccessEntry {
            at: SystemTime::now(),
            client: peer.address.map(|peer| peer.ip()),
            peer: peer.address,
            method: unknown.clone(),
            host: None,
            target: Uri::from_static("-"),
            version: Version::HTTP_11,
            status,
            bytes_in: 0,
            bytes_out: 0,
            took: Duration::ZERO,
            upstream: None,
            route: None,
            request_id: None,
            user_agent: None,
            referer: None,
            remediation: None,
            blocked: false,
            refusal: Some(reason),
        });
    })
}
