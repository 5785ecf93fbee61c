//! Runs the daemon: connects the parts, reports readiness, reloads, and ends in order.
//!
//! ```text
//!  LAPI ◄── Subscription ──CacheHandle──► Enforcement (Bouncer::start)
//!               ▲ Change                     ▲ Bouncer::reload
//!               └────────── reload ──────────┘
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use palisade_client::{LapiPool, PushError};
use palisade_daemon::metrics::{ProcessCollector, serve as serve_metrics};
use palisade_daemon::runtime::{DaemonContext, Latch};
use palisade_stream::{CacheHandle, now};
use palisade_wire::UsageMetrics;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::bouncer::{Bouncer, EnforcementStatus as _, FirstDecisions, Start};
use super::config::{Loaded, Overrides};
use super::connect::connect_daemon;
use super::load::{load, log_messages};
use crate::control::{Control, View};
use crate::settings::LapiSettings;
use crate::usage::{Identity, Receiver, Reporter, os_info};
use crate::{Change, StreamMetrics, Subscription, instance_lock};

/// Time between two rounds of the main loop: status line, watchdog, [`Bouncer::tick`].
const TICK_INTERVAL: Duration = Duration::from_secs(1);
/// Time without a round after which the main loop counts as hung.
// The service manager then restarts the daemon. A reload resolves host names and may take some seconds.
const HUNG_AFTER: Duration = Duration::from_secs(30);

/// Enforces until the context is stopped.
///
/// # Errors
/// The configuration is invalid, another instance runs, the LAPI refuses the client from the start, or the enforcement
/// fails.
pub(super) async fn serve<B: Bouncer>(
    loaded: Loaded<B::Config>,
    overrides: Overrides,
    context: DaemonContext,
) -> anyhow::Result<()> {
    let is_dry_run = B::is_dry_run(&loaded.config);
    let (settings, lapis) = connect_daemon::<B>(&loaded)?;
    // Before anything is read or changed: a second daemon must not touch the state of the first.
    let claimed = settings.state_dir.as_deref().filter(|_| !is_dry_run).map(instance_lock::claim);
    let _instance_lock = claimed.transpose()?;
    let subscription = Subscription::open(&settings, lapis.clone(), types::<B>(&loaded), B::policy());
    let cache = subscription.cache.clone();
    // Before the subscription runs: afterwards the cache may hold decisions of the LAPI.
    let is_persisted = !cache.read().is_empty();

    // The enforcement ends last: the final usage report still reads its counters.
    let enforcing = CancellationToken::new();
    // Also when this function returns early with an error, or the enforcement would never end.
    let _enforcing_ends = enforcing.clone().drop_guard();
    let refused = CancellationToken::new();
    serve_prometheus(&context, &loaded, &cache);
    let start = Start {
        config: loaded.config.clone(),
        lapis: lapis.clone(),
        cache: cache.clone(),
        first_decisions: FirstDecisions {
            cache: cache.clone(),
            stop: enforcing.clone(),
            refused: refused.clone(),
        },
        state_dir: settings.state_dir.clone(),
        metrics: context.metrics.clone(),
        stopping: context.stop.clone(),
        stop: enforcing.clone(),
    };
    context.set_grace(B::grace(&loaded.config));
    let (bouncer, enforcement) = B::start(start).await?;
    let bouncer = Arc::new(bouncer);
    context.spawn("enforce", enforcement);
    let (changes, changed) = mpsc::channel(1);
    context.spawn("follow", {
        let stop = context.stop.clone();
        async move {
            let followed = subscription.run(changed, stop).await;
            // Before the daemon stops: an enforcement that still waits for decisions must then leave everything as it
            // is.
            if followed.is_err() {
                refused.cancel();
            }
            Ok(followed?)
        }
    });
    // Reports use the client of the current configuration, also after a reload.
    let (clients, current_client) = watch::channel(lapis.clone());
    let reporter = Reporter {
        identity: identity::<B>(&loaded.config),
        meter: bouncer.meter(),
        receiver: CurrentLapis(current_client),
        // A dry run enforces nothing, so it has nothing to report.
        interval: if is_dry_run { Duration::ZERO } else { settings.usage_interval },
    };
    let reports = context.tasks.spawn(reporter.run(context.stop.clone()));
    serve_control_socket(&context, &settings, &lapis, &cache, &bouncer);

    let path = loaded.document.path().to_owned();
    let status = bouncer.status();
    let daemon = Daemon { context, overrides, path, lapis, changes, clients, cache, bouncer, status };
    daemon.run(is_persisted).await;
    // In this order: the final report reads counters that the end of the enforcement removes.
    let _ = reports.await;
    enforcing.cancel();
    Ok(())
}

fn types<B: Bouncer>(loaded: &Loaded<B::Config>) -> Option<Vec<String>> {
    B::types(&loaded.config).map(<[String]>::to_vec)
}

struct Daemon<B: Bouncer> {
    context: DaemonContext,
    overrides: Overrides,
    path: PathBuf,
    lapis: LapiPool,
    changes: mpsc::Sender<Change>,
    clients: watch::Sender<LapiPool>,
    cache: CacheHandle,
    bouncer: Arc<B>,
    status: watch::Receiver<B::Status>,
}

impl<B: Bouncer> Daemon<B> {
    /// Handles each change, and every [`TICK_INTERVAL`] the rest, until the daemon is stopped.
    async fn run(mut self, is_persisted: bool) {
        let mut latch = Some(self.context.latch());
        // With persisted decisions READY does not wait for the LAPI.
        let mut target = is_persisted.then(|| self.cache.read().generation());
        let (mut reload, mut status) = (self.context.reload.clone(), self.status.clone());
        let mut generations = self.cache.changed();
        let last_round = Arc::new(AtomicI64::new(now().as_millis()));
        self.context.watchdog({
            let last_round = Arc::clone(&last_round);
            move || now().as_millis() - last_round.load(Ordering::Relaxed) < HUNG_AFTER.as_millis() as i64
        });
        let mut ticks = tokio::time::interval(TICK_INTERVAL);
        // After a long round the missed ticks are not made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_line = String::new();
        loop {
            last_round.store(now().as_millis(), Ordering::Relaxed);
            tokio::select! {
                // `stop` first: a reload that arrives during the shutdown is not begun.
                biased;
                () = self.context.stop.cancelled() => return,
                Ok(()) = reload.changed() => {
                    self.reload().await;
                    self.context.reloaded();
                }
                Ok(()) = status.changed() => {}
                // Only needed for readiness; later every change would wake this task for nothing.
                Ok(_) = generations.changed(), if latch.is_some() => {}
                _ = ticks.tick() => {
                    self.bouncer.tick(&self.lapis).await;
                    let line = self.status_line();
                    if line != last_line {
                        self.context.status(&line);
                        last_line = line;
                    }
                }
            }
            self.notify_if_ready(&mut latch, &mut target);
        }
    }

    /// Ready is when known decisions are in force: persisted ones, or those of the LAPI's first response.
    fn notify_if_ready(&self, latch: &mut Option<Latch>, target: &mut Option<u64>) {
        let published = self.cache.published();
        // The first response may be empty and publish no generation. The one it belongs to is the current one.
        if target.is_none() && published.freshness.is_complete() {
            *target = Some(published.snapshot.generation());
        }
        let (generation, elements, without) = {
            let status = self.status.borrow();
            (status.generation(), status.elements(), status.is_ready_without_decisions())
        };
        // `None` is less than any number: nothing is in force yet.
        let in_force = target.is_some() && generation >= *target;
        if (in_force || without)
            && let Some(latch) = latch.take()
        {
            match in_force {
                true => info!(elements, "decisions are in force"),
                false => info!("ready; decisions are not known yet"),
            }
            latch.release();
        }
    }

    /// Loads the configuration again and continues with it, or with the old one when the new one is invalid.
    async fn reload(&mut self) {
        if let Err(error) = self.apply_new_configuration(&self.path.clone()).await {
            error!("{error:#}; the configuration is not taken; the old one stays in force");
        }
    }

    async fn apply_new_configuration(&mut self, path: &Path) -> anyhow::Result<()> {
        // Everything that can fail comes first; then nothing of the old configuration has changed yet.
        let loaded = load::<B>(path, self.overrides)?;
        let (settings, lapis) = connect_daemon::<B>(&loaded)?;
        self.bouncer.reload(loaded.config.clone(), &lapis).await?;
        self.context.set_grace(B::grace(&loaded.config));
        if let Err(error) = self.context.logs.configure(&loaded.logs) {
            // A log that cannot be opened is no reason to keep old bans or allowlists.
            warn!(error = &error as &dyn std::error::Error, "logging goes on as before");
        }
        log_messages(&loaded);
        self.lapis = lapis.clone();
        self.clients.send_replace(lapis.clone());
        if self.changes.send(Change { settings, lapis, types: types::<B>(&loaded) }).await.is_err() {
            return Ok(()); // the daemon is ending
        }
        self.path = loaded.document.path().to_owned();
        info!("configuration reloaded");
        Ok(())
    }

    /// The service manager's status line.
    fn status_line(&self) -> String {
        let (freshness, failure) = (self.cache.freshness(), self.status.borrow().failure());
        let lapi = match (&freshness.failing, freshness.last_answer) {
            (Some(failing), _) => format!("LAPI away: {failing}"),
            (None, Some(_)) => "LAPI answers".to_owned(),
            (None, None) => "waiting for the LAPI".to_owned(),
        };
        let failure = failure.map_or_else(String::new, |failure| format!("; {failure}"));
        format!("{} decisions held; {lapi}{failure}", self.cache.read().len())
    }
}

fn identity<B: Bouncer>(config: &B::Config) -> Identity {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Identity {
        kind: B::present_as(config).to_owned(),
        version: B::INFO.version.to_owned(),
        os: os_info(),
        started: i64::try_from(started.as_secs()).unwrap_or(0),
    }
}

/// Sends reports through the clients of the current configuration.
#[derive(Debug)]
struct CurrentLapis(watch::Receiver<LapiPool>);

impl Receiver for CurrentLapis {
    async fn push(&self, metrics: &UsageMetrics) -> Result<(), PushError> {
        let lapis = self.0.borrow().clone();
        lapis.push_usage_metrics(metrics).await
    }
}

fn serve_prometheus<C>(context: &DaemonContext, loaded: &Loaded<C>, cache: &CacheHandle) {
    let Some(listen) = loaded.prometheus.clone() else { return };
    context.metrics.register(|registry| {
        registry.register_collector(Box::new(StreamMetrics::new(cache.clone())));
        registry.register_collector(Box::new(ProcessCollector::default()));
    });
    context.tasks.spawn(serve_metrics(listen, context.metrics.clone(), context.stop.clone()));
}

fn serve_control_socket<B: Bouncer>(
    context: &DaemonContext,
    settings: &LapiSettings,
    lapis: &LapiPool,
    cache: &CacheHandle,
    bouncer: &Arc<B>,
) {
    let Some(path) = settings.control_socket() else { return };
    let control = match Control::bind(&path) {
        Ok(control) => control,
        Err(error) => {
            // `lookup` and `status` are a convenience; enforcing does not depend on them.
            warn!(error = &error as &dyn std::error::Error, "going on without a control socket");
            return;
        }
    };
    let (observed, acting) = (Arc::clone(bouncer), Arc::clone(bouncer));
    let (details, report) = (bouncer.status(), bouncer.status());
    let view = View {
        about: B::INFO.about(lapis),
        cache: cache.clone(),
        enforcer: Box::new(move || details.borrow().details()),
        report: Box::new(move || report.borrow().report()),
        effect: Box::new(move |subject, snapshot| observed.effect(subject, snapshot)),
        act: Box::new(move |name, arguments| acting.act(name, arguments)),
    };
    context.tasks.spawn(control.serve(view, context.stop.clone()));
}
