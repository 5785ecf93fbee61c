//! Starts, reloads and ends the listener.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use palisade_daemon::listen::tls::{ClientVerification, TlsFiles, TlsServer};
use palisade_daemon::listen::{Connections, Limits, ListenSocket, Listener, OpenFiles, bind, check_bind};
use palisade_daemon::metrics::Metrics;
use palisade_stream::CacheHandle;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use super::access_log::AccessLog;
use super::handler::{Handler, Shared};
use super::site::Site;
use crate::config::MirrorConfig;

/// The most connections; fewer where there are not enough file descriptors.
const MAX_CONNECTIONS: usize = 10_000;

/// The running listener. Clones share it.
#[derive(Debug, Clone)]
pub struct Mirror(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    connections: Connections,
    tls: Arc<ArcSwapOption<TlsServer>>,
    requests: Family<RouteLabels, Counter>,
    /// Ends accepting on the current address.
    accepting: Mutex<Accepting>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Accepting {
    listen: String,
    stop: CancellationToken,
}

/// Labels of the stock program's counter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    /// The path of the list.
    route: String,
}

/// Counters, for `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorStatus {
    /// Where lists are served.
    pub listen: String,
    /// Open connections.
    pub connections: usize,
    /// By path.
    pub lists: BTreeMap<String, ListStatus>,
}

/// Counters of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListStatus {
    /// Requests that were not refused.
    pub requests: u64,
    /// How often it was rendered.
    pub rendered: u64,
    /// How many variants of it are kept.
    pub variants: usize,
}

impl Mirror {
    /// Binds the address and prepares the lists. Requests are answered by the returned future, until `stop` fires and those
    /// in flight have ended.
    ///
    /// # Errors
    /// When the address, the certificate, the access log or a filter cannot be used.
    pub async fn start(
        config: Arc<MirrorConfig>,
        cache: CacheHandle,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> anyhow::Result<(Self, impl Future<Output = ()> + Send + 'static)> {
        // First, so that a second instance fails before it writes anything.
        let socket = bind(&config.listen).await?;
        let requests: Family<RouteLabels, Counter> = Family::default();
        let tls = Arc::new(ArcSwapOption::new(load_tls(&config)?));
        let site = Site::new(Arc::clone(&config), None, |path| requests.get_or_create_owned(&labels(path)))?;
        let access_log = AccessLog::default();
        access_log.configure(config.access_log.as_deref())?;
        let limits = Limits {
            connections: OpenFiles::raise().connections(0).min(MAX_CONNECTIONS),
            ..Limits::default()
        };
        let connections = Connections::new(limits);
        register(metrics, &requests, &connections, &cache);
        let shared = Arc::new(Shared {
            site: ArcSwap::from_pointee(site),
            cache,
            metrics: metrics.clone(),
            access_log,
        });
        let accepting = Accepting { listen: config.listen.clone(), stop: stop.child_token() };
        let mirror = Self(Arc::new(Inner {
            shared,
            connections,
            tls,
            requests,
            accepting: Mutex::new(accepting),
            tasks: TaskTracker::new(),
            stop,
        }));
        let running = mirror.clone();
        let first = mirror.0.accepting.lock().await.stop.clone();
        Ok((mirror, async move {
            running.accept(ListenSocket::Tcp(socket), first, &config.listen);
            running.0.connections.run(running.0.stop.clone()).await;
            running.0.tasks.close();
            running.0.tasks.wait().await;
            running.0.shared.access_log.flush();
        }))
    }

    /// Finds what would make a start fail whatever else runs on this host.
    ///
    /// # Errors
    /// The first reason.
    pub async fn check(config: &Arc<MirrorConfig>) -> anyhow::Result<()> {
        check_bind(&config.listen).await?;
        load_tls(config)?;
        Site::new(Arc::clone(config), None, |_| Counter::default())?;
        Ok(())
    }

    /// Continues with another configuration. Certificates are read and the access log is opened anew, also when nothing
    /// else has changed.
    ///
    /// # Errors
    /// When it cannot be used; then everything goes on as before.
    pub async fn reload(&self, config: Arc<MirrorConfig>) -> anyhow::Result<()> {
        let Inner { shared, tls, requests, accepting, stop, .. } = &*self.0;
        let mut accepting = accepting.lock().await;
        let server = load_tls(&config)?;
        let before = shared.site.load_full();
        let site = Site::new(Arc::clone(&config), Some(&before), |path| {
            requests.get_or_create_owned(&labels(path))
        })?;
        let moved = match accepting.listen == config.listen {
            true => None,
            false => Some(bind(&config.listen).await?),
        };
        // The last step that can fail.
        shared.access_log.configure(config.access_log.as_deref())?;
        tls.store(server);
        shared.site.store(Arc::new(site));
        if let Some(socket) = moved {
            let next = Accepting { listen: config.listen.clone(), stop: stop.child_token() };
            self.accept(ListenSocket::Tcp(socket), next.stop.clone(), &config.listen);
            std::mem::replace(&mut *accepting, next).stop.cancel();
        }
        Ok(())
    }

    /// The current counters.
    pub fn status(&self) -> MirrorStatus {
        let site = self.0.shared.site.load();
        let list = |list: &super::site::List| ListStatus {
            requests: list.requests.get(),
            rendered: list.renderings.rendered.load(Ordering::Relaxed),
            variants: list.renderings.kept(),
        };
        MirrorStatus {
            listen: site.config.listen.clone(),
            connections: self.0.connections.len(),
            lists: site.lists.iter().map(|one| (one.config.path.clone(), list(one))).collect(),
        }
    }

    fn accept(&self, socket: ListenSocket, stop: CancellationToken, address: &str) {
        info!(address, "serving lists");
        let listener = Listener { tls: Arc::clone(&self.0.tls), ..Listener::new(socket) };
        let (connections, handler) = (self.0.connections.clone(), Handler(Arc::clone(&self.0.shared)));
        self.0.tasks.spawn(async move { connections.accept(listener, handler, stop).await });
    }
}

fn labels(path: &str) -> RouteLabels {
    RouteLabels { route: path.to_owned() }
}

fn load_tls(config: &MirrorConfig) -> anyhow::Result<Option<Arc<TlsServer>>> {
    let Some((certificate, key)) = &config.tls else { return Ok(None) };
    let files = TlsFiles {
        certificate: certificate.clone(),
        key: key.clone(),
        client_authorities: None,
        client_verification: ClientVerification::None,
    };
    Ok(Some(Arc::new(TlsServer::load(&files).context("TLS of the lists")?)))
}

fn register(
    metrics: &Metrics,
    requests: &Family<RouteLabels, Counter>,
    connections: &Connections,
    cache: &CacheHandle,
) {
    let active: Gauge = Gauge::default();
    metrics.register(|registry| {
        registry.register("blocklist_requests", "Number of calls to each blocklist", requests.clone());
        registry.register(
            "active_decision_count",
            "Total number of decisions served by any blocklist",
            active.clone(),
        );
        let open = connections.metrics().open.clone();
        registry.register("palisade_mirror_connections", "Open connections for blocklists", open);
    });
    let cache = cache.clone();
    metrics.before_scrape(move || {
        let values = cache.load().targets_from(0).count();
        active.set(i64::try_from(values).unwrap_or(i64::MAX));
        std::future::ready(())
    });
}
