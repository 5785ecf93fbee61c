//! Starts, reloads and ends the server.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use palisade_bouncer::control::{Effect, Subject};
use palisade_bouncer::run::{EnforcementStatus, FirstDecisions, Start};
use palisade_cache::Snapshot;
use palisade_client::LapiPool;
use palisade_daemon::listen::{Connections, Limits, OpenFiles};
use palisade_stream::CacheHandle;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::listeners::{BoundListener, OpenListeners};
use super::shared::Shared;
use super::site::{Lasting, Site};
use crate::access_log::AccessLog;
use crate::config::{Config, LimitsConfig};
use crate::explain;
use crate::metrics::{ProxyMetrics, UsageMeter};
use crate::remediation::Throttle;
use crate::remediation::open_requests::end_banned;
use crate::tls::Acme;

/// TLS handshakes in progress; further ones wait. Each takes about a millisecond of a processor.
const MAX_HANDSHAKES: usize = 256;
/// How long tasks may take to end once all connections are closed.
const TASKS_END_TIMEOUT: Duration = Duration::from_secs(2);
/// Without a request while the connection limit is reached.
const IDLE_WHEN_FULL: Duration = Duration::from_secs(2);

/// The running server.
pub(crate) struct Server {
    shared: Arc<Shared>,
    listeners: Arc<Mutex<OpenListeners>>,
    cache: CacheHandle,
    state_dir: Option<PathBuf>,
    stopping: CancellationToken,
    status: watch::Receiver<ServerStatus>,
}

/// The state of a running proxy.
#[derive(Clone)]
pub struct ServerStatus {
    /// The generation of decisions; `None` until connections are accepted.
    generation: Option<u64>,
    decisions: u64,
    /// Whether connections are accepted before decisions are known.
    is_ready_without_decisions: bool,
    shared: Arc<Shared>,
}

impl fmt::Debug for ServerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerStatus").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl EnforcementStatus for ServerStatus {
    fn generation(&self) -> Option<u64> {
        self.generation
    }

    fn elements(&self) -> u64 {
        self.decisions
    }

    fn is_ready_without_decisions(&self) -> bool {
        self.is_ready_without_decisions && self.generation.is_some()
    }

    fn details(&self) -> BTreeMap<String, String> {
        self.shared.details()
    }
}

impl Server {
    /// Binds all listeners. Connections are accepted when the returned task runs.
    ///
    /// # Errors
    /// When a file cannot be used, or an address cannot be bound.
    pub(crate) async fn start(
        start: Start<Config>,
    ) -> anyhow::Result<(Self, impl Future<Output = anyhow::Result<()>> + Send + 'static)> {
        let Start { config, lapis, cache, first_decisions, state_dir, metrics, stopping, stop } = start;
        let acme = Acme::new(config.acme.as_ref(), state_dir.as_deref())?;
        let tasks = TaskTracker::new();
        let proxy_metrics = ProxyMetrics::default();
        proxy_metrics.register(&metrics);
        let access_log = AccessLog::start()?;
        access_log.configure(config.access_log.as_ref())?;
        let lasting = Lasting {
            metrics: &proxy_metrics,
            tasks: &tasks,
            cache: &cache,
            lapis: &lapis,
            acme: &acme,
            state_dir: state_dir.as_deref(),
            stop: &stopping,
        };
        let waits = Site::waits_for_decisions(&config);
        let limits = limits(&config.limits);
        let site = Site::new(config, &lasting, None)?;
        site.measure(&proxy_metrics, &access_log);
        let listeners = OpenListeners::default();
        let bound = listeners.bind_new(&site.config).await?;
        let shared = Arc::new(Shared {
            site: arc_swap::ArcSwap::from_pointee(site),
            connections: Connections::with_metrics(limits, proxy_metrics.connections().clone()),
            tasks,
            acme,
            throttle: Throttle::default(),
            requests: Arc::default(),
            metrics: proxy_metrics,
            access_log,
        });
        let listeners = Arc::new(Mutex::new(listeners));
        let (sender, status) = watch::channel(ServerStatus {
            generation: None,
            decisions: 0,
            is_ready_without_decisions: !waits,
            shared: Arc::clone(&shared),
        });
        let task = Task {
            shared: Arc::clone(&shared),
            listeners: Arc::clone(&listeners),
            cache: cache.clone(),
            stopping: stopping.clone(),
            stop,
            status: sender,
        };
        let server = Self { shared, listeners, cache, state_dir, stopping, status };
        Ok((server, task.run(bound, waits.then_some(first_decisions))))
    }

    /// The source of usage metrics.
    pub(crate) fn meter(&self) -> UsageMeter {
        UsageMeter::new(self.shared.metrics.clone(), self.cache.clone())
    }

    pub(crate) fn status(&self) -> watch::Receiver<ServerStatus> {
        self.status.clone()
    }

    /// The effect of decisions on requests of a subject.
    pub(crate) fn effect(&self, subject: &Subject, snapshot: &Snapshot) -> Effect {
        let site = self.shared.site();
        explain::effect(&site.decider, &site.config.routes, subject, snapshot)
    }

    /// Continues with a new configuration; requests that have begun finish with the old one.
    ///
    /// # Errors
    /// When a file cannot be used, or an address cannot be bound: then nothing has changed.
    pub(crate) async fn reload(&self, config: Config, lapis: &LapiPool) -> anyhow::Result<()> {
        let mut listeners = self.listeners.lock().await;
        let lasting = Lasting {
            metrics: &self.shared.metrics,
            tasks: &self.shared.tasks,
            cache: &self.cache,
            lapis,
            acme: &self.shared.acme,
            state_dir: self.state_dir.as_deref(),
            stop: &self.stopping,
        };
        let site = Site::new(config, &lasting, Some(&self.shared.site()))?;
        let bound = listeners.bind_new(&site.config).await?;
        self.shared.access_log.configure(site.config.access_log.as_ref())?;
        self.shared.acme.reconfigure(site.config.acme.as_ref())?;
        self.shared.connections.set_limits(limits(&site.config.limits));
        let site = Arc::new(site);
        site.measure(&self.shared.metrics, &self.shared.access_log);
        self.shared.site.store(Arc::clone(&site));
        listeners.apply(&self.shared, &site, bound, &self.stopping);
        Ok(())
    }
}

/// Everything that runs until the end.
struct Task {
    shared: Arc<Shared>,
    listeners: Arc<Mutex<OpenListeners>>,
    cache: CacheHandle,
    stopping: CancellationToken,
    stop: CancellationToken,
    status: watch::Sender<ServerStatus>,
}

impl Task {
    async fn run(self, bound: Vec<BoundListener>, wait_for: Option<FirstDecisions>) -> anyhow::Result<()> {
        if let Some(first_decisions) = wait_for {
            let decided = tokio::select! {
                decided = first_decisions.wait() => decided,
                () = self.stopping.cancelled() => false,
            };
            if !decided {
                self.stop.cancelled().await;
                return Ok(());
            }
        }
        // Before the first connection, so that each of them is checked against what is reported.
        let published = self.publish();
        self.listeners.lock().await.apply(&self.shared, &self.shared.site(), bound, &self.stopping);
        self.status.send_modify(|status| {
            (status.generation, status.decisions) = published;
        });
        let connections = self.shared.connections.clone();
        tokio::join!(
            connections.run(self.stopping.clone()),
            self.shared.acme.run(self.stopping.clone()),
            self.follow(),
            end_banned(
                || Arc::clone(&self.shared.site().sweep),
                Arc::clone(&self.shared.requests),
                connections.clone(),
                Arc::clone(self.shared.metrics.ended_by_ban()),
                self.stopping.clone(),
            ),
        );
        self.shared.tasks.close();
        if timeout(TASKS_END_TIMEOUT, self.shared.tasks.wait()).await.is_err() {
            warn!(tasks = self.shared.tasks.len(), "tasks did not end in time");
        }
        self.shared.access_log.flush();
        // The final usage report still reads the counters.
        self.stop.cancelled().await;
        Ok(())
    }

    /// Reports which decisions are in force: those that are published, from the next request on.
    async fn follow(&self) {
        let mut generations = self.cache.changed();
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                changed = generations.changed() => if changed.is_err() { return },
            }
            let (generation, decisions) = self.publish();
            self.status.send_modify(|status| {
                (status.generation, status.decisions) = (generation, decisions);
            });
        }
    }

    fn publish(&self) -> (Option<u64>, u64) {
        let snapshot = self.cache.read();
        (Some(snapshot.generation()), u64::try_from(snapshot.len()).unwrap_or(u64::MAX))
    }
}

/// The limits of connections.
fn limits(config: &LimitsConfig) -> Limits {
    Limits {
        connections: config.connections.unwrap_or_else(|| {
            // Each request may have a connection to an upstream beside the client's.
            OpenFiles::raise().connections(0) / 2
        }),
        handshake: config.handshake,
        handshakes: MAX_HANDSHAKES,
        first_byte: config.head_timeout,
        headers: config.head_timeout,
        idle: config.keep_alive,
        idle_when_full: config.keep_alive.min(IDLE_WHEN_FULL),
        body_idle: config.body_idle,
        body_rate: config.body_rate,
        body_grace: config.body_grace,
        write_stalled: config.write_stalled,
        drain: config.drain,
        ..Limits::default()
    }
}
