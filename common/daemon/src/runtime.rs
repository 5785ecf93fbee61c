//! Runs a daemon: start, readiness, reload, shutdown.
//!
//! [`run`] builds the async runtime, handles signals, and at shutdown waits for tasks up to a grace period. The
//! daemon's body gets a [`DaemonContext`]:
//!
//! ```no_run
//! use palisade_daemon::{runtime::{self, DaemonContext}, logs::Logs};
//!
//! # fn main() -> std::process::ExitCode {
//! let logs = Logs::start().expect("nothing else logs yet");
//! runtime::run(logs, async |context: DaemonContext| {
//!     let serving = context.latch();
//!     context.spawn("serve", {
//!         let stop = context.stop.clone();
//!         async move {
//!             serving.release();           // READY=1 goes out when every latch is released
//!             stop.cancelled().await;
//!             Ok(())
//!         }
//!     });
//!     context.stop.cancelled().await;
//!     Ok(())
//! })
//! # }
//! ```

mod ready;
mod signals;

use std::{
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

pub use self::ready::Latch;
use self::ready::Readiness;
use crate::{logs::Logs, metrics::Metrics};

/// How long tasks may take to end after `stop` has fired.
// Twice this, for the body and for the tasks, is less than the TimeoutStopSec of the shipped units (30 s or more).
const GRACE: Duration = Duration::from_secs(10);
/// How long threads that still block are waited for after that.
const BLOCKING_TIMEOUT: Duration = Duration::from_millis(500);

/// What a daemon's body works with; clones share it.
#[derive(Debug, Clone)]
pub struct DaemonContext {
    /// Fires when the daemon must end: on a signal, when work started by [`DaemonContext::spawn`] fails, and when the
    /// body returns.
    pub stop: CancellationToken,
    /// Tracks tasks that need no supervision; joined at shutdown.
    pub tasks: TaskTracker,
    /// Counts reload requests (SIGHUP). Acknowledge each with [`DaemonContext::reloaded`].
    pub reload: watch::Receiver<u64>,
    /// The program's log.
    pub logs: Logs,
    /// The program's metrics.
    pub metrics: Metrics,
    readiness: Readiness,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
    /// See [`DaemonContext::set_grace`]; milliseconds.
    grace: Arc<AtomicU64>,
}

impl DaemonContext {
    /// Sets how long tasks may take to end after the body has ended, for programs that let requests finish; 10 seconds
    /// unless it is longer. The unit's `TimeoutStopSec` must exceed it by 10 seconds.
    pub fn set_grace(&self, grace: Duration) {
        let millis = u64::try_from(grace.max(GRACE).as_millis()).unwrap_or(u64::MAX);
        self.grace.store(millis, Ordering::Relaxed);
    }

    /// Holds back READY=1 until the latch is released. A latch dropped without release holds it back forever.
    pub fn latch(&self) -> Latch {
        self.readiness.latch()
    }

    /// Becomes true when every latch is released.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.readiness.watch()
    }

    /// Sets the service manager's status line (`STATUS=`).
    pub fn status(&self, text: &str) {
        ready::notify(&[sd_notify::NotifyState::Status(text)]);
    }

    /// Notifies the service manager that a reload has ended, successfully or not.
    pub fn reloaded(&self) {
        self.readiness.reloaded();
    }

    /// Runs work that must continue until shutdown: if it fails or panics, the daemon stops and exits 1 with its error.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        // A second task joins the first, because a panic is reported only there.
        let handle = self.tasks.spawn(work);
        let (stop, failure) = (self.stop.clone(), self.failure.clone());
        self.tasks.spawn(async move {
            let error = match handle.await {
                Ok(Ok(())) => return debug!(task = name, "task ended"),
                Ok(Err(error)) => error,
                Err(panic) if panic.is_panic() => {
                    anyhow::anyhow!("the {name} task panicked; the log says where")
                }
                // Cancelled with the runtime.
                Err(_) => return,
            };
            // The first failure is the cause; later ones are consequences.
            warn!(task = name, "task failed, stopping");
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            stop.cancel();
        });
    }

    /// Pings the service manager's watchdog, if enabled, while `alive` returns true; called twice per period. `alive`
    /// must be quick and must not block.
    pub fn watchdog(&self, alive: impl Fn() -> bool + Send + 'static) {
        let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else { return };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut ticks = tokio::time::interval(period / 2);
            let mut was_alive = true;
            // During the grace period systemd has its own deadline.
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                let is_alive = alive();
                match (was_alive, is_alive) {
                    (_, true) => ready::notify(&[sd_notify::NotifyState::Watchdog]),
                    (true, false) => {
                        warn!(
                            period_ms = period.as_millis() as u64,
                            "the health check fails; the watchdog is not notified"
                        )
                    }
                    (false, false) => {}
                }
                was_alive = is_alive;
            }
        });
    }
}

/// Runs a daemon and returns its exit code: 0 after a regular end, 1 after an error, which is logged at fatal level
/// with all its causes.
pub fn run(logs: Logs, body: impl AsyncFnOnce(DaemonContext) -> anyhow::Result<()>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            logs.fatal(&format!("cannot start the runtime: {cause}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run_async(logs.clone(), body));
    // Dropping the runtime would wait for blocked threads without end, such as one in a name lookup.
    runtime.shutdown_timeout(BLOCKING_TIMEOUT);
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // After the runtime has ended, so that it is the last line.
            logs.fatal(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    };
    logs.flush();
    code
}

async fn run_async(
    logs: Logs,
    body: impl AsyncFnOnce(DaemonContext) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (reload_sender, reload) = watch::channel(0);
    let context = DaemonContext {
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        reload,
        logs: logs.clone(),
        metrics: Metrics::new(),
        readiness: Readiness::new(),
        failure: Arc::default(),
        grace: Arc::default(),
    };
    context.set_grace(GRACE);
    // Not one of `context.tasks`: the second signal must be handled while those are waited for.
    let signals = TaskTracker::new();
    signals.spawn(signals::listen(
        signals::open()?,
        context.stop.clone(),
        reload_sender,
        context.readiness.clone(),
        logs,
    ));

    let stop = context.stop.clone();
    // The body may hang in a call that does not watch `stop`.
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let result = tokio::select! {
        result = body(context.clone()) => result,
        () = overdue => {
            warn!("shutdown did not complete within {GRACE:?}; exiting anyway");
            Ok(())
        }
    };
    // Also when no signal was received: the body has ended by itself.
    ready::notify(&[sd_notify::NotifyState::Stopping]);
    context.stop.cancel();
    context.tasks.close();
    let grace = Duration::from_millis(context.grace.load(Ordering::Relaxed));
    if tokio::time::timeout(grace, context.tasks.wait()).await.is_err() {
        warn!(tasks = context.tasks.len(), "tasks did not end within {grace:?}; exiting anyway");
    }
    // If both have failed, the task's failure is the cause.
    let failure = context.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    failure.map_or(result, Err)
}
