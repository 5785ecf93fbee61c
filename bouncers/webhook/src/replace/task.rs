//! Keeps one receiver's list up to date.
//!
//! ```text
//!  new generation ─► rest of the interval, back-off ─► list ─ same digest as accepted? ─► nothing
//!        ▲                                               └─► forget what was accepted ─► upload ─► accepted (on disk)
//!        └──────────────────────── failure ──────────────────────────────────────────────┘
//! ```
//!
//! One update at a time, always with the newest decisions. Nothing is uploaded before the first decisions are known. An
//! upload whose outcome is not known is repeated.

use std::fmt::Write as _;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palisade_cache::Timestamp;
use palisade_stream::CacheHandle;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::accepted::{Accepted, AcceptedFile};
use super::list::{List, Shape};
use super::status::ReplaceStatus;
use crate::config::{EndpointConfig, ReplaceConfig};
use crate::delivery::circuit::{Circuit, CircuitState, Permit};
use crate::filter::Takes;
use crate::sink::Failure;

/// Uploads whole lists.
pub trait Replacer: Send + 'static {
    /// What the receiver can represent.
    fn shape(&self, max_entries: usize, aggregate: bool) -> Shape;

    /// A digest of the list as the receiver gets it.
    fn digest(&self, list: &List) -> [u8; 32];

    /// Uploads a list and waits until the receiver has accepted it.
    fn replace(&mut self, list: &List) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A running receiver of whole lists.
#[derive(Debug)]
pub struct ReplaceEndpoint {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

#[derive(Debug, Default)]
struct Shared {
    status: Mutex<ReplaceStatus>,
    wake: Notify,
    resume: AtomicBool,
    snapshot: AtomicBool,
}

impl Shared {
    fn update(&self, change: impl FnOnce(&mut ReplaceStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What an endpoint starts with.
pub struct ReplaceStart<R> {
    /// The endpoint.
    pub config: Arc<EndpointConfig>,
    /// Its list.
    pub replace: Arc<ReplaceConfig>,
    /// The receiver.
    pub replacer: R,
    /// Which decisions it takes.
    pub takes: Takes,
    /// The decisions.
    pub cache: CacheHandle,
    /// Where is kept what it has accepted.
    pub state_file: PathBuf,
    /// Ends the task.
    pub stop: CancellationToken,
}

impl ReplaceEndpoint {
    /// Starts the task. `first_decisions` resolves when decisions are known, or with `false` when they never will be.
    pub fn start<R: Replacer>(
        start: ReplaceStart<R>,
        first_decisions: impl Future<Output = bool> + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let stop = start.stop.child_token();
        let tracker = TaskTracker::new();
        let task = Task::new(start, Arc::clone(&shared));
        let stopped = stop.clone();
        tracker.spawn(async move {
            // An upload that is abandoned counts as unknown, and is repeated after the next start.
            let _ = stopped.run_until_cancelled_owned(task.run(first_decisions)).await;
        });
        tracker.close();
        Self { shared, stop, tracker }
    }

    /// Its state.
    pub fn status(&self) -> ReplaceStatus {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tries again at once, also after the receiver asked never to be called again.
    pub fn resume(&self) {
        self.shared.resume.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }

    /// Uploads the list although the receiver has accepted it before.
    pub fn snapshot(&self) {
        self.shared.snapshot.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }

    /// Ends the task.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.wait().await;
    }
}

/// Timestamps of tokio's clock, which the waits use too.
#[derive(Debug, Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> Timestamp {
        Timestamp::default().saturating_add(self.0.elapsed())
    }
}

struct Task<R> {
    config: Arc<EndpointConfig>,
    interval: Duration,
    shape: Shape,
    replacer: R,
    takes: Takes,
    cache: CacheHandle,
    generations: watch::Receiver<u64>,
    file: AcceptedFile,
    accepted: Accepted,
    circuit: Circuit,
    clock: Clock,
    shared: Arc<Shared>,
    last_update: Option<Instant>,
    /// Upload whatever has been accepted.
    forced: bool,
    logged: Logged,
}

/// What has been logged, once until it is over.
#[derive(Debug, Default)]
struct Logged {
    failing: bool,
    omitted: bool,
    unusable: bool,
    disk: bool,
}

impl<R: Replacer> Task<R> {
    fn new(start: ReplaceStart<R>, shared: Arc<Shared>) -> Self {
        let ReplaceStart { config, replace, replacer, takes, cache, state_file, .. } = start;
        let file = AcceptedFile::new(state_file);
        let accepted = file.read().unwrap_or_else(|error| {
            let path = file.path().display();
            warn!(endpoint = config.name, %path, %error, "cannot read which list was accepted; it is uploaded again");
            Accepted::default()
        });
        Self {
            interval: replace.interval,
            shape: replacer.shape(replace.max_entries, replace.aggregate),
            replacer,
            takes,
            generations: cache.changed(),
            cache,
            circuit: Circuit::new(config.retry, accepted.stopped),
            clock: Clock(Instant::now()),
            config,
            file,
            accepted,
            shared,
            last_update: None,
            forced: false,
            logged: Logged::default(),
        }
    }

    async fn run(mut self, first_decisions: impl Future<Output = bool>) {
        self.shared.update(|status| status.state = self.circuit.state());
        // An empty list before the first decisions would lift every ban at the receiver.
        if !first_decisions.await {
            return;
        }
        self.shared.update(|status| (status.ready, status.waiting) = (true, true));
        loop {
            self.until_due().await;
            self.generations.mark_unchanged();
            let list = self.build().await;
            if self.upload_if_new(&list).await {
                self.shared.update(|status| status.waiting = false);
                drop(list);
                self.until_changed().await;
                self.shared.update(|status| status.waiting = true);
            }
        }
    }

    /// Waits until an upload is allowed: by the interval and by the circuit.
    async fn until_due(&mut self) {
        loop {
            self.take_commands();
            let rest = self.last_update.map(|last| self.interval.saturating_sub(last.elapsed()));
            let back_off = match self.circuit.permit(self.clock.now()) {
                Permit::Many | Permit::One => Some(Duration::ZERO),
                Permit::Wait(time) => Some(time.saturating_duration_since(self.clock.now())),
                Permit::Never => None,
            };
            let wait = back_off.map(|back_off| back_off.max(rest.unwrap_or_default()));
            if wait == Some(Duration::ZERO) {
                return;
            }
            tokio::select! {
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                () = self.shared.wake.notified() => {}
            }
        }
    }

    /// Waits for new decisions, a command, or the next full snapshot.
    async fn until_changed(&mut self) {
        let snapshot_due = async {
            match self.config.snapshot_interval {
                Some(interval) => sleep(interval).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Fails only when the writer is gone, which is when the program ends.
            changed = self.generations.changed() => if changed.is_err() { std::future::pending::<()>().await },
            () = self.shared.wake.notified() => {}
            () = snapshot_due => self.forced = true,
        }
        self.take_commands();
    }

    fn take_commands(&mut self) {
        self.forced |= self.shared.snapshot.swap(false, Ordering::AcqRel);
        if self.shared.resume.swap(false, Ordering::AcqRel) {
            self.circuit.resume();
            self.shared.update(|status| status.state = self.circuit.state());
        }
    }

    /// The list of the newest decisions. Off the runtime: a million of them take a while.
    async fn build(&mut self) -> List {
        let (snapshot, takes, shape) = (self.cache.load(), Arc::clone(&self.takes), self.shape.clone());
        let built = spawn_blocking(move || List::build(&snapshot, &takes, &shape)).await;
        let list = match built {
            Ok(list) => list,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends.
                Err(_) => std::future::pending().await,
            },
        };
        let (entries, omitted, unusable) = (list.items.len(), list.omitted, list.unusable);
        self.shared.update(|status| {
            (status.entries, status.omitted, status.unusable) = (entries, omitted, unusable);
        });
        let endpoint = &*self.config.name;
        if omitted > 0 && !self.logged.omitted {
            warn!(endpoint, entries, omitted, "the list is full: decisions that end first are left out");
        }
        if unusable > 0 && !self.logged.unusable {
            warn!(endpoint, unusable, "values that the receiver cannot represent are left out");
        }
        (self.logged.omitted, self.logged.unusable) = (omitted > 0, unusable > 0);
        list
    }

    /// Uploads a list unless the receiver has accepted it already. Whether nothing remains to be done.
    async fn upload_if_new(&mut self, list: &List) -> bool {
        let digest = hex(&self.replacer.digest(list));
        if !self.forced && self.accepted.digest.as_ref() == Some(&digest) {
            return true;
        }
        // Before the first byte is sent: after a crash it must be known that the receiver may hold another list.
        self.store(Accepted::default()).await;
        let sent = self.circuit.sent();
        let outcome = self.replacer.replace(list).await;
        match &outcome {
            Ok(()) => {
                self.last_update = Some(Instant::now());
                self.forced = false;
                self.circuit.delivered(sent);
                self.store(Accepted { digest: Some(digest), stopped: false }).await;
                self.note_success(list);
            }
            Err(failure) => {
                self.circuit.failed(sent, failure, self.clock.now(), fastrand::f64());
                if self.circuit.state() == CircuitState::Stopped {
                    self.store(Accepted { digest: None, stopped: true }).await;
                }
                self.note_failure(failure);
            }
        }
        outcome.is_ok()
    }

    async fn store(&mut self, accepted: Accepted) {
        if self.accepted == accepted {
            return;
        }
        self.accepted = accepted.clone();
        let file = self.file.clone();
        let written = spawn_blocking(move || match accepted == Accepted::default() {
            true => file.forget(),
            false => file.write(&accepted),
        });
        match written.await {
            Ok(Ok(())) => self.logged.disk = false,
            // Only a restart is affected: it uploads once more than needed.
            Ok(Err(error)) if !self.logged.disk => {
                self.logged.disk = true;
                let path = self.file.path().display();
                warn!(endpoint = self.config.name, %path, %error, "cannot store which list was accepted");
            }
            _ => {}
        }
    }

    fn note_success(&mut self, list: &List) {
        self.logged.failing = false;
        let state = self.circuit.state();
        self.shared.update(|status| {
            status.state = state;
            status.accepted += 1;
            status.last_accepted = Some(palisade_stream::now());
            status.failing_since = None;
        });
        info!(endpoint = self.config.name, entries = list.items.len(), "list accepted");
    }

    fn note_failure(&mut self, failure: &Failure) {
        let state = self.circuit.state();
        self.shared.update(|status| {
            status.state = state;
            status.failed += 1;
            status.failing_since.get_or_insert_with(palisade_stream::now);
            status.last_error = Some(failure.reason.clone());
        });
        if !std::mem::replace(&mut self.logged.failing, true) {
            let (endpoint, reason) = (&*self.config.name, &*failure.reason);
            warn!(endpoint, reason, state = state.as_str(), "the list was not accepted");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
