//! Decides what an endpoint is sent next: a state machine over the store and the current snapshot.
//!
//! Opens no socket, reads no clock, starts no task; only the store's file is accessed, and only by [`Engine::prepare`].
//!
//! ```text
//!  observe(snapshot) ─► pending ─┐                        ┌─► next() ─► message for a sink
//!                                ├─ prepare(): one commit ┤
//!              sweep ────────────┘   (attempts before     └── completed(outcome) ─► confirmed, retained, dead letter
//!                                     they are sent,                                   │
//!                                     confirmations) ◄─────────────────────────────────┘
//! ```

mod history;
mod outcomes;
mod prepare;
mod replay;
#[cfg(test)]
mod simulation;
mod view;
mod window;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use palisade_cache::{Snapshot, Timestamp};

use self::history::HistoryQueue;
pub(super) use self::outcomes::SINK_DEPTH;
use super::circuit::Circuit;
use super::pending::{Marks, Pending};
use super::shipment::Shipment;
use super::snapshots::{SnapshotRun, Stage};
use super::sweep::{Sweep, SweepKind};
use crate::config::{EndpointConfig, Initial};
use crate::event::Value;
use crate::filter::Takes;
use crate::sink::Message;
use crate::store::{DeadLetter, EndpointState, Store, ValueRecord};
use crate::view::Texts;

/// Values or queued events that are made into messages at once, with one commit, unless the receiver is fast.
pub const WINDOW: usize = 4096;

/// The same for a fast receiver.
const MAX_WINDOW: usize = 16_384;

/// Most events in messages that are ready or under way.
const MAX_PREPARED_EVENTS: usize = 65_536;

/// How long confirmations wait for a commit with new messages before they are stored on their own.
const CONFIRM_AFTER: Duration = Duration::from_millis(200);

/// How soon the store is tried again after an error.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// A message to be sent.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// To be given to [`Engine::completed`].
    pub shipment: u64,
    /// The message.
    pub message: Arc<Message>,
}

/// The deliveries of one endpoint.
pub struct Engine {
    config: Arc<EndpointConfig>,
    takes: Takes,
    store: Arc<Store>,
    random: fastrand::Rng,
    texts: Texts,
    snapshot: Snapshot,
    state: EndpointState,
    is_store_new: bool,

    pending: Pending,
    /// Values that are made into messages at once now.
    window: usize,
    last_window_at: Timestamp,
    sweep: Option<Sweep>,
    wants_reconcile: bool,
    wants_adopt: bool,
    wants_resend: bool,
    run: Option<SnapshotRun>,
    /// The shipment of a mark.
    mark: Option<u64>,
    snapshot_base: Timestamp,
    replays: VecDeque<(u64, DeadLetter)>,

    shipments: HashMap<u64, Shipment>,
    last_shipment: u64,
    ready: VecDeque<u64>,
    retained: VecDeque<u64>,
    in_flight: usize,
    /// Which kind of message the next probe is.
    probes_new: bool,
    /// Values to be sent as part of a snapshot that are in messages.
    presents: usize,
    history: Option<HistoryQueue>,
    circuit: Circuit,

    /// Confirmed and not stored yet.
    confirmed: HashMap<Value, Option<ValueRecord>>,
    dequeued: Vec<u64>,
    dead: Vec<DeadLetter>,
    unsaved_since: Option<Timestamp>,
    store_problem: Option<String>,
    store_retry_at: Option<Timestamp>,

    failed_attempts: u64,
    failures_since_success: u64,
    failing_since: Option<Timestamp>,
    last_error: Option<String>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("endpoint", &self.config.name).finish_non_exhaustive()
    }
}

impl Engine {
    /// Continues from what is stored. `snapshot` must be the decisions in force: what it lacks is lifted.
    pub fn new(
        config: Arc<EndpointConfig>,
        takes: Takes,
        store: Arc<Store>,
        snapshot: Snapshot,
        now: Timestamp,
        seed: u64,
    ) -> Self {
        let state = store.state();
        let is_stopped = state.paused.as_ref().is_some_and(|paused| paused.gone);
        // A clock that was set back must not put the next snapshot off.
        let snapshot_base = state.last_snapshot_at.unwrap_or(now).min(now);
        let mut engine = Self {
            circuit: Circuit::new(config.retry, is_stopped),
            // What was queued before `keep_history` was removed counts as held already. It is delivered first, and in
            // order with what follows, until the next start.
            history: (config.history.is_some() || store.counts().queued > 0).then(HistoryQueue::default),
            last_error: state.paused.as_ref().map(|paused| paused.reason.clone()),
            config,
            takes,
            is_store_new: store.is_new(),
            store,
            random: fastrand::Rng::with_seed(seed),
            texts: Texts::default(),
            snapshot,
            state,
            pending: Pending::default(),
            window: WINDOW,
            last_window_at: now,
            sweep: None,
            wants_reconcile: false,
            wants_adopt: false,
            wants_resend: false,
            run: None,
            mark: None,
            snapshot_base,
            replays: VecDeque::new(),
            shipments: HashMap::new(),
            last_shipment: 0,
            ready: VecDeque::new(),
            retained: VecDeque::new(),
            in_flight: 0,
            probes_new: false,
            presents: 0,
            confirmed: HashMap::new(),
            dequeued: Vec::new(),
            dead: Vec::new(),
            unsaved_since: None,
            store_problem: None,
            store_retry_at: None,
            failed_attempts: 0,
            failures_since_success: 0,
            failing_since: None,
        };
        engine.begin(now);
        engine
    }

    fn begin(&mut self, now: Timestamp) {
        if self.state.sequence == 0 {
            // A new store must not give the ids of the one before it to other changes.
            self.state.sequence = u64::try_from(now.as_millis()).unwrap_or(0).saturating_mul(1000);
        }
        self.wants_resend = self.state.lost;
        // Before a crash some values may have been sent, or taken for known, that are gone since.
        self.wants_reconcile = self.state.initialised || self.store.counts().records > 0;
        match (self.state.initialised, self.config.initial) {
            (true, _) => {}
            (false, Initial::Snapshot) => self.snapshot_wanted(),
            (false, Initial::Skip) => self.wants_adopt = true,
        }
    }

    /// Takes note of newer decisions.
    pub fn observe(&mut self, snapshot: &Snapshot, now: Timestamp) {
        if snapshot.generation() == self.snapshot.generation() {
            return;
        }
        let (pending, mut is_full) = (&mut self.pending, false);
        snapshot.changed_targets(&self.snapshot, |scope, target| {
            is_full |= pending.push(Value::of(scope, target), Marks::default(), now).is_err();
        });
        self.wants_reconcile |= is_full;
        self.snapshot = snapshot.clone();
    }

    /// Sends everything in force soon, between the marks of a snapshot. One that is under way already is enough only
    /// if it has not begun.
    pub fn snapshot_wanted(&mut self) {
        if self.run.is_none_or(|run| run.stage != Stage::Wanted) {
            // What an earlier one has pushed is sent all the same.
            self.state.snapshot += 1;
            self.state.sequence += 1;
            let (number, sequence) = (self.state.snapshot, self.state.sequence);
            self.run = Some(SnapshotRun { number, sequence, stage: Stage::Wanted, events: 0 });
        }
    }

    /// The receiver has lost its state.
    pub fn lost(&mut self, reason: &str, now: Timestamp) {
        tracing::info!(
            endpoint = %self.config.name,
            reason = %super::status::escaped(reason),
            "the receiver has lost its state; it is sent again"
        );
        self.state.lost = true;
        // A snapshot that has not come to the decisions yet sends them all.
        self.wants_resend = !self.run.is_some_and(|run| run.is_ahead());
        if self.sweep.as_ref().is_some_and(|sweep| sweep.kind == SweepKind::Present) && self.run.is_none() {
            self.sweep = None;
        }
        self.unsaved_since.get_or_insert(now);
    }

    /// Sends again at once, whatever the receiver answered before.
    pub fn resume(&mut self, now: Timestamp) {
        self.circuit.resume();
        self.state.paused = None;
        self.unsaved_since.get_or_insert(now);
        for id in &self.retained {
            if let Some(shipment) = self.shipments.get_mut(id) {
                shipment.not_before = now;
            }
        }
    }
}
