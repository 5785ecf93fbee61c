//! The daemon: connects the parts, reports readiness, reloads, and ends in order.
//!
//! ```text
//!  LAPI ◄── Subscription ──CacheHandle──► Enforcer ──► kernel
//!               ▲ Change                     ▲ EnforcerConfig
//!               └────────── reload ──────────┘
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use palisade_bouncer::control::{About, Control, View};
use palisade_bouncer::settings::{LapiSettings, ProcessEnv};
use palisade_bouncer::usage::{Identity, Receiver, Reporter, os_info};
use palisade_bouncer::{Change, StreamMetrics, Subscription};
use palisade_cache::Policy;
use palisade_client::{Client, LapiPool, PushError, UserAgent};
use palisade_daemon::metrics::{ProcessCollector, serve as serve_metrics};
use palisade_daemon::runtime::{DaemonContext, Latch};
use palisade_stream::{CacheHandle, now};
use palisade_wire::UsageMetrics;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::cli::VERSION;
use crate::config::{self, Config, Loaded, Mode, Note, Overrides};
use crate::effect::effect;
use crate::exposition::Counters;
use crate::{Enforcer, EnforcerConfig, LocalNetwork, Status, dry_run, instance_lock};

/// What the program calls itself, and its state folder.
const PROGRAM: &str = "palisade-firewall";
/// The rhythm of the loop: status line, watchdog.
const BEAT: Duration = Duration::from_secs(1);
/// A loop that has not come round for so long hangs.
const HANGS: Duration = Duration::from_secs(30);

/// How often is looked whether the LAPI's first answer has come.
const FIRST_ANSWER: Duration = Duration::from_millis(50);

/// Enforces until the context is stopped.
///
/// # Errors
/// The configuration is no good, the key is refused from the start, or the kernel may not be changed.
pub async fn serve(loaded: Loaded, overrides: Overrides, life: DaemonContext) -> anyhow::Result<()> {
    let dry_run = loaded.config.mode == Mode::DryRun;
    if dry_run {
        dry_run::init();
    }
    let (settings, lapis) = connect_as_daemon(&loaded)?;
    let claimed = settings.state_dir.as_deref().filter(|_| !dry_run).map(instance_lock::claim);
    let _instance_lock = claimed.transpose()?;
    let types = Some(loaded.config.types.clone());
    // Every remediation that is admitted is enforced alike, so the one that ends last counts.
    let subscription = Subscription::open(&settings, lapis.clone(), types, Policy::longest_wins());
    let cache = subscription.cache.clone();
    let remembered = !cache.read().is_empty();

    let (enforcer_config, current_config) = watch::channel(enforcer_config(&loaded, &lapis).await);
    let (mut enforcer, status) = Enforcer::new(current_config.clone(), cache.clone());
    let counters = Counters::new(current_config, status.clone());
    let (clients, current_client) = watch::channel(lapis.clone());

    // The enforcer outlives everything else: the last report still reads its counters.
    let enforcing = CancellationToken::new();
    let _ends_it = enforcing.clone().drop_guard();
    let refused = CancellationToken::new();
    life.spawn("enforce", {
        let (enforcing, refused, cache) = (enforcing.clone(), refused.clone(), cache.clone());
        async move {
            enforcer.prepare().await;
            // Until something is known, what an earlier process left in the kernel is all there is to hold on to.
            let known = wait_for_decisions(&cache, &enforcing).await;
            if !known && refused.is_cancelled() {
                return Ok(());
            }
            Ok(enforcer.run(enforcing).await?)
        }
    });
    let (changes, changed) = mpsc::channel(1);
    life.spawn("follow", {
        let stop = life.stop.clone();
        async move {
            let followed = subscription.run(changed, stop).await;
            if followed.is_err() {
                refused.cancel();
            }
            Ok(followed?)
        }
    });
    let reporter = Reporter {
        identity: identity(&loaded.config),
        meter: counters.clone(),
        receiver: Current(current_client),
        interval: if dry_run { Duration::ZERO } else { settings.usage_interval },
    };
    let reports = life.tasks.spawn(reporter.run(life.stop.clone()));
    expose(&life, &loaded, &cache, counters);
    serve_control_socket(&life, &settings, &lapis, &cache, (status.clone(), enforcer_config.subscribe()));

    let daemon =
        Daemon { life: life.clone(), overrides, lapis, enforcer_config, changes, clients, cache, status };
    daemon.run(loaded, remembered).await;
    // In this order: the last report, then the rules.
    let _ = reports.await;
    enforcing.cancel();
    Ok(())
}

/// Waits for decisions: remembered ones, or the LAPI's first answer, which may be that there are none. `false` when
/// stopped before.
async fn wait_for_decisions(cache: &CacheHandle, stop: &CancellationToken) -> bool {
    let mut generations = cache.changed();
    let mut ticks = tokio::time::interval(FIRST_ANSWER);
    loop {
        let published = cache.published();
        if !published.snapshot.is_empty() || published.freshness.is_complete() {
            return true;
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            Ok(_) = generations.changed() => {}
            // An answer without any decision makes no new generation.
            _ = ticks.tick() => {}
        }
    }
}

/// The LAPI's settings and clients for them. Touches no network.
///
/// # Errors
/// A key is missing or wrong.
pub fn connect(loaded: &Loaded) -> anyhow::Result<(LapiSettings, LapiPool)> {
    connect_with(loaded, |_| ())
}

/// The same for the daemon: under the persisted name of this instance.
fn connect_as_daemon(loaded: &Loaded) -> anyhow::Result<(LapiSettings, LapiPool)> {
    connect_with(loaded, |settings| {
        if loaded.config.mode != Mode::DryRun {
            settings.assign_instance();
        }
    })
}

fn connect_with(
    loaded: &Loaded,
    prepare: impl FnOnce(&mut LapiSettings),
) -> anyhow::Result<(LapiSettings, LapiPool)> {
    let mut settings = LapiSettings::of(&loaded.document, &ProcessEnv::of_process(PROGRAM))?;
    settings.log_warnings();
    prepare(&mut settings);
    let agent =
        UserAgent::new(loaded.config.present_as.as_str(), VERSION).context("unable to configure bouncer")?;
    let lapis = settings.connect(&agent)?;
    Ok((settings, lapis))
}

struct Daemon {
    life: DaemonContext,
    overrides: Overrides,
    lapis: LapiPool,
    enforcer_config: watch::Sender<EnforcerConfig>,
    changes: mpsc::Sender<Change>,
    clients: watch::Sender<LapiPool>,
    cache: CacheHandle,
    status: watch::Receiver<Status>,
}

impl Daemon {
    /// Comes round at every change and every [`BEAT`] until the life ends.
    async fn run(mut self, loaded: Loaded, remembered: bool) {
        let mut path = loaded.document.path().to_owned();
        let mut latch = Some(self.life.latch());
        let mut target = remembered.then(|| self.cache.read().generation());
        let (mut reload, mut status) = (self.life.reload.clone(), self.status.clone());
        let mut generations = self.cache.changed();
        let beat = Arc::new(AtomicI64::new(now().as_millis()));
        self.life.watchdog({
            let beat = Arc::clone(&beat);
            move || now().as_millis() - beat.load(Ordering::Relaxed) < HANGS.as_millis() as i64
        });
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut said = String::new();
        loop {
            beat.store(now().as_millis(), Ordering::Relaxed);
            tokio::select! {
                biased;
                () = self.life.stop.cancelled() => return,
                Ok(()) = reload.changed() => {
                    if let Some(newer) = self.reload(&path).await {
                        path = newer.document.path().to_owned();
                    }
                    self.life.reloaded();
                }
                Ok(()) = status.changed() => {}
                Ok(_) = generations.changed(), if latch.is_some() => {}
                _ = ticks.tick() => {
                    self.update_protected().await;
                    let line = self.line();
                    if line != said {
                        self.life.status(&line);
                        said = line;
                    }
                }
            }
            self.notify_if_ready(&mut latch, &mut target);
        }
    }

    /// Ready is when something that was known is in force: what was remembered, or the LAPI's first answer.
    fn notify_if_ready(&self, latch: &mut Option<Latch>, target: &mut Option<u64>) {
        let published = self.cache.published();
        if target.is_none() && published.freshness.is_complete() {
            *target = Some(published.snapshot.generation());
        }
        let in_force = {
            let status = self.status.borrow();
            status.is_ready() && target.is_some_and(|target| status.generation >= target)
        };
        if in_force && let Some(latch) = latch.take() {
            info!(elements = self.status.borrow().total(), "decisions are in force");
            latch.release();
        }
    }

    /// Reads the configuration again and goes on with it; with the old one when the new one is no good.
    async fn reload(&mut self, path: &Path) -> Option<Loaded> {
        let loaded = match config::load(path, self.overrides) {
            Ok(loaded) => loaded,
            Err(error) => {
                error!(
                    error = &error as &dyn std::error::Error,
                    "the configuration is not taken; the old one stays in force"
                );
                return None;
            }
        };
        let (settings, lapis) = match connect_as_daemon(&loaded) {
            Ok(connected) => connected,
            Err(error) => {
                error!("{error:#}; the configuration is not taken; the old one stays in force");
                return None;
            }
        };
        if let Err(error) = self.life.logs.configure(&loaded.logs) {
            warn!(error = &error as &dyn std::error::Error, "logging goes on as before");
        }
        loaded.document.announce();
        loaded.notes.iter().for_each(Note::log);
        self.lapis = lapis.clone();
        self.clients.send_replace(lapis.clone());
        let types = Some(loaded.config.types.clone());
        if self.changes.send(Change { settings, lapis, types }).await.is_err() {
            return None; // everything is ending
        }
        let config = Arc::new(loaded.config.clone());
        let protected = protected(&config, &self.lapis).await;
        let local = local_network().await.unwrap_or_else(|| self.enforcer_config.borrow().local.clone());
        self.enforcer_config.send_replace(EnforcerConfig { config, protected, local });
        info!("configuration reloaded");
        Some(loaded)
    }

    /// Passes new addresses of the LAPI and of this host to the enforcer.
    async fn update_protected(&self) {
        let config = Arc::clone(&self.enforcer_config.borrow().config);
        if let Some(local) = local_network().await {
            self.enforcer_config.send_if_modified(|enforcer_config| {
                let changed = enforcer_config.local != local;
                enforcer_config.local = local;
                changed
            });
        }
        if !config.protect_lapi {
            return;
        }
        let known = |peer: &SocketAddr| self.enforcer_config.borrow().protected.contains(&peer.ip());
        if !self.lapis.peer_addresses().all(|peer| known(&peer)) {
            let protected = protected(&config, &self.lapis).await;
            self.enforcer_config.send_modify(|enforcer_config| enforcer_config.protected = protected);
        }
    }

    /// How things are, for `systemctl status`.
    fn line(&self) -> String {
        let (fresh, status) = (self.cache.freshness(), self.status.borrow().clone());
        let lapi = match (&fresh.failing, fresh.last_answer) {
            (Some(failing), _) => format!("LAPI away: {failing}"),
            (None, Some(_)) => "LAPI answers".to_owned(),
            (None, None) => "waiting for the LAPI".to_owned(),
        };
        let kernel =
            status.failing.map_or_else(String::new, |failing| format!("; kernel refuses: {failing}"));
        format!("{} decisions held; {lapi}{kernel}", self.cache.read().len())
    }
}

/// This host's addresses and neighbourhood; `None` when the kernel does not list them.
async fn local_network() -> Option<LocalNetwork> {
    match tokio::task::spawn_blocking(LocalNetwork::read).await {
        Ok(Ok(local)) => Some(local),
        Ok(Err(error)) => {
            debug!(%error, "the addresses of this host cannot be read");
            None
        }
        Err(_) => None, // the runtime is going down
    }
}

/// The LAPIs' own addresses, as far as they are known now.
async fn protected(config: &Config, lapis: &LapiPool) -> Vec<IpAddr> {
    if !config.protect_lapi {
        return Vec::new();
    }
    let mut found: Vec<IpAddr> = lapis.peer_addresses().map(|peer| peer.ip()).collect();
    // Side by side: a name server that does not answer costs its time once, not once for each.
    let mut lookups = JoinSet::new();
    for (host, port) in lapis.all().iter().filter_map(Client::host_and_port) {
        let host = host.to_owned();
        lookups.spawn(async move {
            let lookup = tokio::net::lookup_host((host, port));
            let addresses = tokio::time::timeout(Duration::from_secs(2), lookup).await.ok()?.ok()?;
            Some(addresses.map(|address| address.ip()).collect::<Vec<_>>())
        });
    }
    found.extend(lookups.join_all().await.into_iter().flatten().flatten());
    found.sort_unstable();
    found.dedup();
    found
}

fn identity(config: &Config) -> Identity {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Identity {
        kind: config.present_as.as_str().to_owned(),
        version: VERSION.to_owned(),
        os: os_info(),
        started: i64::try_from(started.as_secs()).unwrap_or(0),
    }
}

/// Sends reports through whichever client is current.
#[derive(Debug)]
struct Current(watch::Receiver<LapiPool>);

impl Receiver for Current {
    async fn push(&self, metrics: &UsageMetrics) -> Result<(), PushError> {
        let lapis = self.0.borrow().clone();
        lapis.push_usage_metrics(metrics).await
    }
}

fn expose(life: &DaemonContext, loaded: &Loaded, cache: &CacheHandle, counters: Counters) {
    let Some(listen) = loaded.config.prometheus.clone() else { return };
    life.metrics.register(|registry| {
        registry.register_collector(Box::new(StreamMetrics::new(cache.clone())));
        registry.register_collector(Box::new(ProcessCollector::default()));
        if loaded.config.mode != Mode::DryRun {
            registry.register_collector(Box::new(counters.clone()));
        }
    });
    life.metrics.before_scrape(move || {
        let counters = counters.clone();
        async move { counters.refresh().await }
    });
    life.tasks.spawn(serve_metrics(listen, life.metrics.clone(), life.stop.clone()));
}

fn serve_control_socket(
    life: &DaemonContext,
    settings: &LapiSettings,
    lapis: &LapiPool,
    cache: &CacheHandle,
    (status, enforcer_config): (watch::Receiver<Status>, watch::Receiver<EnforcerConfig>),
) {
    let Some(path) = settings.control_socket() else { return };
    let control = match Control::bind(&path) {
        Ok(control) => control,
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "going on without a control socket");
            return;
        }
    };
    let reported = status.clone();
    let view = View {
        about: about(lapis),
        cache: cache.clone(),
        enforcer: Box::new(move || describe(&reported.borrow())),
        // Copied out: a walk over all decisions must not keep a reload or a report waiting.
        effect: Box::new(move |subject, snapshot| {
            let (enforcer_config, status) = (enforcer_config.borrow().clone(), status.borrow().clone());
            effect(&enforcer_config, &status, snapshot, subject)
        }),
    };
    life.tasks.spawn(control.serve(view, life.stop.clone()));
}

/// What a daemon with this configuration would be given to enforce. Asks name servers for the LAPI's addresses.
pub async fn enforcer_config(loaded: &Loaded, lapis: &LapiPool) -> EnforcerConfig {
    EnforcerConfig {
        protected: protected(&loaded.config, lapis).await,
        config: Arc::new(loaded.config.clone()),
        local: local_network().await.unwrap_or_default(),
    }
}

/// The description of this process in answers to `lookup` and `status`.
pub fn about(lapis: &LapiPool) -> About {
    About { program: PROGRAM.to_owned(), version: VERSION.to_owned(), lapi: lapis.urls() }
}

fn describe(status: &Status) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let mut say = |key: &str, value: String| lines.insert(key.to_owned(), value);
    say("elements in force", status.total().to_string());
    say("generation in force", status.generation.to_string());
    say("transactions", status.transactions.to_string());
    say("repairs", status.repairs.to_string());
    say("failures", status.failures.to_string());
    if status.refused_now > 0 {
        say("elements the kernel refuses", status.refused_now.to_string());
    }
    if status.unenforceable_ranges > 0 {
        say("ranges the set cannot hold", status.unenforceable_ranges.to_string());
    }
    if let Some(failing) = &status.failing {
        say("failing", failing.clone());
    }
    lines
}
