//! The life of a daemon: start, ready, reload, stop.
//!
//! [`run`] builds the runtime, listens for signals, and waits for the body with the patience of a grace period. The body
//! gets a [`DaemonContext`] and does its work through it:
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
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

pub use self::ready::Latch;
use self::ready::Readiness;
use crate::{logs::Logs, metrics::Metrics};

/// How long tasks may take to end once they are told to.
const GRACE: Duration = Duration::from_secs(10);
/// How long what still blocks a thread is waited for after that.
const FINAL_LOG_TIMEOUT: Duration = Duration::from_millis(500);

/// Everything a daemon's body works with. Clones are the same life.
#[derive(Debug, Clone)]
pub struct DaemonContext {
    /// Fires when the daemon must end: on a signal, on [`DaemonContext::spawn`]ed work that failed, and when the body is done.
    pub stop: CancellationToken,
    /// Owner of tasks that need no supervision; joined at the end.
    pub tasks: TaskTracker,
    /// Counts the requests to reload (SIGHUP). Answer each with [`DaemonContext::reloaded`].
    pub reload: watch::Receiver<u64>,
    /// The program's log.
    pub logs: Logs,
    /// The program's metrics.
    pub metrics: Metrics,
    readiness: Readiness,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl DaemonContext {
    /// Holds back READY=1 until the latch is released. A latch that is dropped unreleased holds it back for ever.
    pub fn latch(&self) -> Latch {
        self.readiness.latch()
    }

    /// Becomes true when every latch is released.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.readiness.watch()
    }

    /// Tells the service manager, in one line, how things are (`STATUS=`).
    pub fn status(&self, text: &str) {
        ready::notify(&[sd_notify::NotifyState::Status(text)]);
    }

    /// Tells the service manager that a reload is done, whether the new configuration was taken or the old one kept.
    pub fn reloaded(&self) {
        self.readiness.reloaded();
    }

    /// Runs work that must go on until the end: if it fails or panics the daemon stops and exits 1 with its error.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let handle = self.tasks.spawn(work);
        let (stop, failure) = (self.stop.clone(), self.failure.clone());
        self.tasks.spawn(async move {
            let error = match handle.await {
                Ok(Ok(())) => return debug!(task = name, "task ended"),
                Ok(Err(error)) => error,
                Err(panic) if panic.is_panic() => {
                    anyhow::anyhow!("the {name} task panicked; the log says where")
                }
                Err(_) => return,
            };
            // The first failure is the cause, the ones after it are consequences.
            warn!(task = name, "task failed, stopping");
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            stop.cancel();
        });
    }

    /// Pings the service manager's watchdog, if it has one, as long as `alive` says so: asked twice per period.
    /// `alive` must be quick and must not block.
    pub fn watchdog(&self, alive: impl Fn() -> bool + Send + 'static) {
        let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else { return };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut ticks = tokio::time::interval(period / 2);
            let mut was_alive = true;
            // To the end of the grace period systemd has its own deadline.
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                let is_alive = alive();
                match (was_alive, is_alive) {
                    (_, true) => ready::notify(&[sd_notify::NotifyState::Watchdog]),
                    (true, false) => {
                        warn!(?period, "the health check fails; the watchdog is not told to wait")
                    }
                    (false, false) => {}
                }
                was_alive = is_alive;
            }
        });
    }
}

/// Runs a daemon from here to its end and returns what to exit with: 0 after a regular end, 1 after an error, which is
/// logged at fatal level with all its causes.
pub fn run(logs: Logs, body: impl AsyncFnOnce(DaemonContext) -> anyhow::Result<()>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            logs.fatal(&format!("cannot start the runtime: {cause}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run_async(logs.clone(), body));
    runtime.shutdown_timeout(FINAL_LOG_TIMEOUT);
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
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
    };
    // Not one of `life.tasks`: it must still hear the second signal while those are waited for.
    let signals = TaskTracker::new();
    signals.spawn(signals::listen(
        signals::open()?,
        context.stop.clone(),
        reload_sender,
        context.readiness.clone(),
        logs,
    ));

    let stop = context.stop.clone();
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let result = tokio::select! {
        result = body(context.clone()) => result,
        () = overdue => {
            warn!("not everything ended within {GRACE:?}; leaving all the same");
            Ok(())
        }
    };
    ready::notify(&[sd_notify::NotifyState::Stopping]);
    context.stop.cancel();
    context.tasks.close();
    if tokio::time::timeout(GRACE, context.tasks.wait()).await.is_err() {
        warn!(tasks = context.tasks.len(), "tasks did not end within {GRACE:?}; leaving all the same");
    }
    // The failure of a task is why the body ended, if both have one.
    let failure = context.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    failure.map_or(result, Err)
}
