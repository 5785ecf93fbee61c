//! Ingests alerts posted by machines.
//!
//! ```text
//! body ──► read ──► validate ──► allowlists ──► profiles ──► store ──► replication ──► ids
//!                      │             │                         │
//!                   refused       dropped                   repeated: the earlier id
//! ```
//!
//! The whole batch is evaluated before anything is stored. A refused alert is logged and does not block the rest of its
//! batch: a log processor would resend a refused batch forever.

mod digest;
mod evaluate;
mod history;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use palisade_profiles::{NoHistory, Profiles};
use palisade_store::{CommitSink, Store, StoreError};
use palisade_wire::{BodyError, UnixMillis, body_text, read_alerts};
use prometheus_client::metrics::counter::Counter;

use crate::{alert_counts::AlertCounts, allowlists::Allowlists, clock::Clock, replication::Replication};
use evaluate::{EvaluatedBatch, IngestContext, evaluate};
use history::StoredHistory;

/// Request bodies longer than this, in bytes, are evaluated on a blocking thread.
const LARGE: usize = 64 * 1024;
/// How many refused or allowlisted alerts, and dropped decisions, of a request are logged individually; the rest is only
/// counted.
const MAX_LOGGED: usize = 10;

/// Ingests alerts.
#[derive(Debug)]
pub struct Ingest {
    parts: Setup,
    imports: Arc<AtomicUsize>,
}

/// What ingest needs.
#[derive(Debug)]
pub struct Setup {
    /// Keeps the alerts.
    pub store: Store,
    /// The time at which an alert arrives.
    pub clock: Clock,
    /// Replaced on reload.
    pub profiles: ArcSwap<Profiles>,
    /// Consulted for alerts without decisions of their own.
    pub allowlists: Arc<Allowlists>,
    /// Applies the commits before the response is sent.
    pub replication: Arc<Replication>,
    /// Counts the stored alerts.
    pub alert_counts: Arc<AlertCounts>,
    /// Counts the others.
    pub metrics: IngestMetrics,
}

/// What ingest counts. Clones share the values.
#[derive(Debug, Clone, Default)]
pub struct IngestMetrics {
    /// Alerts refused; others of their batch may have been stored.
    pub refused: Counter,
    /// Alerts dropped because their source is allowlisted.
    pub allowlisted: Counter,
    /// Alerts posted again and not stored again.
    pub repeated: Counter,
    /// Decisions dropped because their value is not an address.
    pub invalid_decisions: Counter,
    /// Decisions that were over when they arrived.
    pub ended_decisions: Counter,
}

/// Guard for an import in progress; retention does not delete alerts meanwhile.
#[derive(Debug)]
struct Import(Arc<AtomicUsize>);

impl Ingest {
    /// With these parts.
    pub fn new(parts: Setup) -> Self {
        Self { parts, imports: Arc::default() }
    }

    /// Later alerts are evaluated by these profiles.
    pub fn set_profiles(&self, profiles: Profiles) {
        self.parts.profiles.store(Arc::new(profiles));
    }

    /// Whether a large import is being stored now.
    pub fn import_in_progress(&self) -> bool {
        self.imports.load(Ordering::Relaxed) > 0
    }

    fn begin_import(&self) -> Import {
        self.imports.fetch_add(1, Ordering::Relaxed);
        Import(Arc::clone(&self.imports))
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why no alert of a batch was stored.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The body cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Every alert was refused; the reason of the first.
    #[error("{0}")]
    Refused(String),
    /// Every alert was refused, the first because a text of it is too long.
    #[error("{0}")]
    TooLong(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blocking task that evaluates the batch panicked.
    #[error("the alerts could not be evaluated")]
    Broken,
}

impl Ingest {
    /// Ingests a batch posted by a machine. Returns the alert ids in order: allowlisted alerts have none, repeated
    /// alerts have their earlier id.
    ///
    /// # Errors
    ///
    /// When the body cannot be read, every alert is refused, or the database fails. Nothing is stored then, except
    /// when the database fails in the middle of a very large import.
    pub async fn ingest(self: &Arc<Self>, machine: &str, body: Bytes) -> Result<Vec<i64>, IngestError> {
        let now = self.parts.clock.now();
        // Both would block a worker of the runtime: a large body by computing, history by waiting for the database.
        let large = body.len() > LARGE || self.parts.profiles.load().needs_history();
        let (posted, batch) = if large {
            let (ingest, machine) = (self.clone(), machine.to_owned());
            let evaluate = move || ingest.evaluate(now, &machine, &body);
            tokio::task::spawn_blocking(evaluate).await.map_err(|_| IngestError::Broken)??
        } else {
            self.evaluate(now, machine, &body)?
        };
        // Before anything can fail below: what is refused is logged even if the rest cannot be stored.
        self.log_rejections(machine, &batch);
        if let Some(refusal) = batch.all_refused(posted) {
            let reason = refusal.reason.clone();
            let refused = if refusal.is_too_long { IngestError::TooLong } else { IngestError::Refused };
            return Err(refused(reason));
        }
        // All alerts were allowlisted or lost their decisions: a success without ids.
        if batch.alerts.is_empty() {
            return Ok(Vec::new());
        }
        // Held until the alerts are stored: as in the stock server, no alerts are deleted by retention during an
        // import.
        let _import = batch.import.then(|| self.begin_import());
        // Copied because storing consumes the alerts, and only afterwards it is known which ones were new.
        let scenarios: Vec<String> = batch.alerts.iter().map(|new| new.alert.scenario.clone()).collect();
        let replication = Arc::clone(&self.parts.replication);
        let sink: CommitSink = Arc::new(move |commit, changes| replication.queue_local(commit, changes));
        let (alerts, last) = self.parts.store.add_alerts_to(now, Some(machine), batch.alerts, sink).await?;
        for (stored, scenario) in alerts.iter().zip(&scenarios) {
            if stored.repeated {
                self.parts.metrics.repeated.inc();
            } else {
                self.parts.alert_counts.add(scenario);
            }
        }
        // Before the response, so that the machine's next request sees its own decisions.
        self.parts.replication.wait_until_applied(last).await;
        Ok(alerts.into_iter().map(|stored| stored.alert).collect())
    }

    /// Parses and evaluates a batch. May query the database for history, and then blocks.
    fn evaluate(
        &self,
        now: UnixMillis,
        machine: &str,
        body: &[u8],
    ) -> Result<(usize, EvaluatedBatch), IngestError> {
        let text = body_text(body);
        let posted = read_alerts(&text)?;
        let count = posted.len();
        let profiles = self.parts.profiles.load();
        let allowlists = self.parts.allowlists.index();
        // Declared here, as `history` borrows it beyond the block that sets it.
        let stored;
        let history: &dyn palisade_profiles::History = if profiles.needs_history() {
            stored = StoredHistory::new(self.parts.store.clone(), now);
            &stored
        } else {
            stored = StoredHistory::unused();
            &NoHistory
        };
        let context = IngestContext { now, machine, allowlists: &allowlists, profiles: &profiles, history };
        let batch = evaluate(posted, &context);
        // An alert must not count as refused when only the history query failed: the log processor would not send it
        // again.
        match stored.into_failure() {
            Some(error) => Err(error.into()),
            None => Ok((count, batch)),
        }
    }

    /// Logs and counts alerts and decisions that are not stored.
    fn log_rejections(&self, machine: &str, batch: &EvaluatedBatch) {
        // All are counted, but one request must not fill the log.
        self.parts.metrics.refused.inc_by(batch.refused.len() as u64);
        for refusal in batch.refused.iter().take(MAX_LOGGED) {
            tracing::error!(
                machine,
                index = refusal.index,
                alert = refusal.alert,
                reason = refusal.reason,
                "alert refused"
            );
        }
        if let Some(more) = batch.refused.len().checked_sub(MAX_LOGGED).filter(|more| *more > 0) {
            tracing::error!(machine, more, "more alerts refused");
        }
        self.parts.metrics.allowlisted.inc_by(batch.allowlisted.len() as u64);
        for passed in batch.allowlisted.iter().take(MAX_LOGGED) {
            tracing::info!(
                machine,
                alert = passed.alert,
                reason = passed.reason,
                "alert passed over: allowlisted"
            );
        }
        if let Some(more) = batch.allowlisted.len().checked_sub(MAX_LOGGED).filter(|more| *more > 0) {
            tracing::info!(machine, more, "more alerts passed over: allowlisted");
        }
        self.parts.metrics.invalid_decisions.inc_by(batch.invalid.len() as u64);
        for invalid in batch.invalid.iter().take(MAX_LOGGED) {
            tracing::error!(
                machine,
                index = invalid.index,
                value = invalid.value,
                "decision dropped: no address"
            );
        }
        if batch.invalid.len() > MAX_LOGGED {
            let more = batch.invalid.len() - MAX_LOGGED;
            tracing::error!(machine, more, "more decisions dropped: no address");
        }
        self.parts.metrics.ended_decisions.inc_by(batch.ended.count);
        if let Some(first) = &batch.ended.example {
            tracing::warn!(
                machine,
                decisions = batch.ended.count,
                value = first.value,
                scenario = first.scenario,
                alert_stopped = %first.stopped,
                until = %first.until,
                "decisions were over when they arrived and are not enforced; their duration is not positive, the alert \
                 is old, or the sender's clock is behind"
            );
        }
        if batch.emptied > 0 {
            tracing::error!(
                machine,
                alerts = batch.emptied,
                "alerts dropped: none of their decisions can be kept"
            );
        }
    }
}
