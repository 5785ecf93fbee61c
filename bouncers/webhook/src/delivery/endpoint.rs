//! Runs the deliveries of one endpoint: the task that connects the engine with its clock, its store and its sinks.
//!
//! ```text
//!  cache ── new generation ─┐                          ┌─► sink ─► receiver
//!  commands ────────────────┼─► task (engine, store) ──┼─► sink    one for each message at once
//!  clock ── wake_at ────────┘          ▲               └─► sink
//!                                      └─── outcomes, receivers that lost their state
//! ```
//!
//! The task ends in order: messages under way are given a bounded time, then what is confirmed is stored. What is
//! abandoned counts as perhaps received, and is sent again after the next start.

use std::future::Future;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use palisade_cache::{Snapshot, Timestamp};
use palisade_stream::{CacheHandle, now};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet, block_in_place, yield_now};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::engine::{Dispatch, Engine, SINK_DEPTH};
use super::status::{EndpointStatus, escaped};
use crate::config::EndpointConfig;
use crate::filter::Takes;
use crate::sink::{Connector, Outcome, Sink};
use crate::store::{Commit, DeadLetter, Store, StoreError, StoreLimits};

/// How long messages under way may take to end when the endpoint is stopped.
pub const DRAIN_TIME: Duration = Duration::from_secs(5);

/// How soon the store is opened again after it could not be.
const OPEN_RETRY: Duration = Duration::from_secs(2);

/// How often the status is published while there is work.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);

/// Commands that may wait for the task.
const MAX_COMMANDS: usize = 16;

/// Longest sleep of the task without a look at the clock.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// What an endpoint starts with.
pub struct EndpointStart<C> {
    /// The endpoint.
    pub config: Arc<EndpointConfig>,
    /// Makes its sinks.
    pub connector: C,
    /// Which decisions it takes.
    pub takes: Takes,
    /// The decisions.
    pub cache: CacheHandle,
    /// The file of its store.
    pub store: PathBuf,
    /// Memory for pages of that file.
    pub cache_bytes: usize,
    /// Is sent the name of the endpoint if its task ends by a fault of the program.
    pub faults: mpsc::Sender<Fault>,
    /// Ends the task.
    pub stop: CancellationToken,
}

/// The task of an endpoint has panicked, which ends the daemon: the service manager starts it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the deliveries of the endpoint {0} panicked; the log says where")]
pub struct Fault(pub String);

/// A running endpoint.
#[derive(Debug)]
pub struct Endpoint {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// A command cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The store is not open yet.
    #[error("the endpoint has not opened its store yet{}", .0.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default())]
    NotReady(Option<String>),
    /// Earlier commands wait.
    #[error("the endpoint is busy with earlier commands; try again in a moment")]
    Busy,
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Default)]
struct Shared {
    status: Mutex<EndpointStatus>,
    store: OnceLock<Arc<Store>>,
}

impl Shared {
    fn status(&self) -> EndpointStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, status: EndpointStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

#[derive(Debug)]
enum Command {
    Resume,
    Snapshot,
    Replay(Vec<(u64, DeadLetter)>),
}

impl Endpoint {
    /// Starts the task. `first_decisions` resolves when decisions are known, or with `false` when they never will be:
    /// then nothing is sent.
    pub fn start<C: Connector>(
        start: EndpointStart<C>,
        first_decisions: impl Future<Output = bool> + Send + 'static,
    ) -> Self {
        let (shared, stop) = (Arc::new(Shared::default()), start.stop.child_token());
        let (commands, received) = mpsc::channel(MAX_COMMANDS);
        let tracker = TaskTracker::new();
        let (name, faults) = (start.config.name.clone(), start.faults.clone());
        let task = tracker.spawn(run(start, Arc::clone(&shared), received, stop.clone(), first_decisions));
        tracker.spawn(async move {
            if task.await.is_err_and(|error| error.is_panic()) {
                // A full channel ends the daemon already.
                let _ = faults.try_send(Fault(name));
            }
        });
        tracker.close();
        Self { shared, commands, stop, tracker }
    }

    /// Its state.
    pub fn status(&self) -> EndpointStatus {
        self.shared.status()
    }

    /// Sends again at once, whatever the receiver responded before.
    ///
    /// # Errors
    /// When it is busy with earlier commands.
    pub fn resume(&self) -> Result<(), CommandError> {
        self.command(Command::Resume)
    }

    /// Sends everything in force.
    ///
    /// # Errors
    /// When it is busy with earlier commands.
    pub fn snapshot(&self) -> Result<(), CommandError> {
        self.command(Command::Snapshot)
    }

    /// At most `limit` dead letters with a number above `after`, oldest first. Reads the disk.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn dead_letters(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, DeadLetter)>, CommandError> {
        Ok(self.store()?.dead_letters(after, limit)?)
    }

    /// Sends dead letters again.
    ///
    /// # Errors
    /// When it is busy with earlier commands.
    pub fn replay(&self, letters: Vec<(u64, DeadLetter)>) -> Result<(), CommandError> {
        self.command(Command::Replay(letters))
    }

    /// Removes dead letters, by number. Writes the disk.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn drop_dead_letters(&self, numbers: Vec<u64>) -> Result<(), CommandError> {
        let commit = Commit { undead: numbers, durable: true, ..Commit::default() };
        self.store()?.commit(&commit, now())?;
        Ok(())
    }

    /// Ends the task: see the module. It takes at most [`DRAIN_TIME`] and the time that the sinks take to close.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.wait().await;
    }

    fn command(&self, command: Command) -> Result<(), CommandError> {
        self.store()?;
        self.commands.try_send(command).map_err(|_| CommandError::Busy)
    }

    fn store(&self) -> Result<&Store, CommandError> {
        let store = self.shared.store.get().map(|store| &**store);
        store.ok_or_else(|| CommandError::NotReady(self.status().store_problem))
    }
}

async fn run<C: Connector>(
    start: EndpointStart<C>,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    stop: CancellationToken,
    first_decisions: impl Future<Output = bool>,
) {
    // Together: dead letters and the state are shown while the LAPI has not answered yet.
    let begin = async { tokio::join!(first_decisions, open(&start, &shared)) };
    let Some((true, store)) = stop.run_until_cancelled(begin).await else { return };
    let (config, cache, takes) = (&start.config, start.cache.clone(), Arc::clone(&start.takes));
    let generations = cache.changed();
    let snapshot = cache.load();
    let is_continued = store.state().initialised;
    let mut engine = Engine::new(Arc::clone(config), takes, store, snapshot, now(), fastrand::u64(..));
    if config.replay_at_start && is_continued {
        engine.lost("it may have lost its state while this program was not running", now());
    }
    let sinks = Sinks::start(&start.connector, config.parallel);
    let config = Arc::clone(config);
    let task = Task { config, engine, cache, generations, commands, sinks, shared, published: None };
    task.run(&stop).await;
}

/// Opens the store, as soon as that succeeds.
async fn open<C>(start: &EndpointStart<C>, shared: &Shared) -> Arc<Store> {
    let limits = StoreLimits {
        // Also for events that were queued before `keep_history` was removed.
        history: Some(start.config.history.unwrap_or_default()),
        max_dead_letters: start.config.max_dead_letters,
        cache_bytes: start.cache_bytes,
    };
    let mut is_logged = false;
    loop {
        match block_in_place(|| Store::open(&start.store, limits.clone())) {
            Ok(store) => {
                let store = Arc::new(store);
                if is_logged {
                    info!(endpoint = start.config.name, "the store is open");
                }
                return Arc::clone(shared.store.get_or_init(|| store));
            }
            Err(error) => {
                let problem = escaped(&palisade_go_compat::with_causes(&error));
                if !std::mem::replace(&mut is_logged, true) {
                    error!(
                        endpoint = start.config.name,
                        error = problem,
                        "cannot open the store; nothing is delivered until that succeeds"
                    );
                }
                shared.publish(EndpointStatus { store_problem: Some(problem), ..EndpointStatus::default() });
                sleep(OPEN_RETRY).await;
            }
        }
    }
}

struct Task {
    config: Arc<EndpointConfig>,
    engine: Engine,
    cache: CacheHandle,
    generations: watch::Receiver<u64>,
    commands: mpsc::Receiver<Command>,
    sinks: Sinks,
    shared: Arc<Shared>,
    published: Option<Instant>,
}

impl Task {
    async fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let time = now();
            let snapshot = self.generations.has_changed().unwrap_or(false).then(|| {
                self.generations.mark_unchanged();
                self.cache.load()
            });
            self.advance(snapshot.as_ref(), time);
            while let Some(dispatch) = self.engine.next(time) {
                self.sinks.send(dispatch);
            }
            let wake = self.publish(time);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                // Few, and before outcomes, of which there may always be one.
                Some(command) = self.commands.recv() => self.obey(command),
                Some(report) = self.sinks.reports.recv() => {
                    self.take(report);
                    // All that are there: each look at the store serves many.
                    while let Ok(report) = self.sinks.reports.try_recv() {
                        self.take(report);
                    }
                }
                // Fails only when the writer is gone, which is when the program ends.
                Ok(()) = self.generations.changed() => self.generations.mark_changed(),
                Some(ended) = self.sinks.tasks.join_next() => propagate(ended),
                () = pause(wake) => {}
            }
        }
        self.end().await;
    }

    /// Lets the engine compare and store. Its work is bounded for each call, and may wait for the disk.
    fn advance(&mut self, snapshot: Option<&Snapshot>, time: Timestamp) {
        if snapshot.is_none() && !self.engine.needs_prepare(time) {
            return;
        }
        block_in_place(|| {
            if let Some(snapshot) = snapshot {
                self.engine.observe(snapshot, time);
            }
            if self.engine.needs_prepare(time) {
                self.engine.prepare(time);
            }
        });
    }

    fn take(&mut self, report: Report) {
        let time = now();
        match report {
            Report::Completed { sink, shipment, outcome } => {
                self.sinks.loads[sink] -= 1;
                self.engine.completed(shipment, outcome, time);
            }
            Report::Lost(reason) => self.engine.lost(&reason, time),
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Resume => self.engine.resume(now()),
            Command::Snapshot => self.engine.snapshot_wanted(),
            Command::Replay(letters) => self.engine.replay(letters),
        }
    }

    /// Publishes the status if it is time. How long the task may sleep.
    fn publish(&mut self, time: Timestamp) -> Duration {
        let wake = self.engine.wake_at(time).map(|wake| wake.saturating_duration_since(time));
        let wake = wake.unwrap_or(MAX_SLEEP).min(MAX_SLEEP);
        let since = self.published.map_or(PUBLISH_INTERVAL, |published| published.elapsed());
        let is_idle = wake > PUBLISH_INTERVAL && self.engine.in_flight() == 0;
        if is_idle || since >= PUBLISH_INTERVAL {
            self.shared.publish(self.engine.status(time));
            self.published = Some(Instant::now());
            return wake;
        }
        wake.min(PUBLISH_INTERVAL - since)
    }

    async fn end(mut self) {
        let deadline = Instant::now() + DRAIN_TIME;
        let mut closed = self.sinks.close();
        while let Ok(Some(report)) = timeout_at(deadline, self.sinks.reports.recv()).await {
            self.take(report);
        }
        if self.engine.in_flight() > 0 {
            warn!(
                endpoint = self.config.name,
                messages = self.engine.in_flight(),
                "messages under way did not end in time; they are sent again after the next start"
            );
            self.sinks.abandon.cancel();
        }
        while closed.join_next().await.is_some() {}
        let time = now();
        block_in_place(|| self.engine.flush(time));
        self.shared.publish(self.engine.status(time));
    }
}

/// A timer may take a millisecond even for no time at all.
async fn pause(time: Duration) {
    match time.is_zero() {
        true => yield_now().await,
        false => sleep(time).await,
    }
}

fn propagate(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
}

/// What the tasks of the sinks report.
enum Report {
    Completed { sink: usize, shipment: u64, outcome: Outcome },
    Lost(String),
}

/// The sinks of an endpoint, each with a task of its own.
struct Sinks {
    queues: Vec<mpsc::Sender<Dispatch>>,
    /// Messages given to each and not completed.
    loads: Vec<usize>,
    reports: mpsc::Receiver<Report>,
    tasks: JoinSet<()>,
    /// Abandons the messages under way; the sinks are then closed in order.
    abandon: CancellationToken,
}

impl Sinks {
    fn start(connector: &impl Connector, parallel: usize) -> Self {
        let (report, reports) = mpsc::channel(parallel * (SINK_DEPTH + 1));
        let (mut queues, mut tasks, abandon) = (Vec::new(), JoinSet::new(), CancellationToken::new());
        for index in 0..parallel {
            let (queue, work) = mpsc::channel(parallel * SINK_DEPTH);
            queues.push(queue);
            tasks.spawn(serve(connector.sink(), index, work, report.clone(), abandon.clone()));
        }
        Self { loads: vec![0; parallel], queues, reports, tasks, abandon }
    }

    /// Gives a message to the sink with the fewest.
    fn send(&mut self, dispatch: Dispatch) {
        let fewest = self.loads.iter().enumerate().min_by_key(|(_, load)| **load);
        let Some((sink, _)) = fewest else { return };
        self.loads[sink] += 1;
        // Each queue has room for all messages that the engine gives out at once. When the task of the sink is gone,
        // a panic is about to end the endpoint.
        let _ = self.queues[sink].try_send(dispatch);
    }

    /// Ends the tasks after their last message. `reports` ends with them.
    fn close(&mut self) -> JoinSet<()> {
        self.queues.clear();
        std::mem::take(&mut self.tasks)
    }
}

async fn serve<S: Sink>(
    mut sink: S,
    index: usize,
    mut work: mpsc::Receiver<Dispatch>,
    reports: mpsc::Sender<Report>,
    abandon: CancellationToken,
) {
    loop {
        let report = tokio::select! {
            // First: a message reports a lost state too.
            biased;
            dispatch = work.recv() => {
                let Some(Dispatch { shipment, message }) = dispatch else { break };
                let Some(outcome) = abandon.run_until_cancelled(sink.deliver(&message)).await else { break };
                Report::Completed { sink: index, shipment, outcome }
            }
            reason = sink.lost() => Report::Lost(reason),
        };
        if reports.send(report).await.is_err() {
            break;
        }
    }
    // Before the receiver is waited for: the engine need not.
    drop(reports);
    sink.close().await;
}

#[cfg(test)]
mod tests;
