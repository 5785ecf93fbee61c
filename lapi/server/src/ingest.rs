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

use axum::http::StatusCode;
use bytes::Bytes;
use palisade_profiles::NoHistory;
use palisade_store::StoreError;
use palisade_wire::{BodyError, UnixMillis, read_alerts};

use crate::error::ApiError;
use crate::{Lapi, registry};
use evaluate::{EvaluatedBatch, IngestContext, evaluate};
use history::StoredHistory;

/// Request bodies longer than this, in bytes, are evaluated on a blocking thread.
const LARGE: usize = 64 * 1024;
/// How many dropped decisions of a request are logged individually; the rest is only counted.
const MAX_LOGGED: usize = 10;

/// Ingest state shared by all requests.
#[derive(Debug, Default)]
pub(crate) struct Ingest {
    imports: Arc<AtomicUsize>,
}

/// Guard for an import in progress; retention does not delete alerts meanwhile.
#[derive(Debug)]
struct Import(Arc<AtomicUsize>);

impl Ingest {
    pub(crate) fn import_in_progress(&self) -> bool {
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
pub(crate) enum IngestError {
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Every alert was refused; the reason of the first.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blocking task that evaluates the batch panicked.
    #[error("the alerts could not be judged")]
    Broken,
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Body(error) => Self::bad_request(error.to_string()),
            IngestError::Refused(reason) => Self::internal(reason),
            IngestError::Store(error) => {
                Self::store(&error, "unable to create alerts: unable to insert bulk")
            }
            IngestError::Broken => Self::empty(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl Lapi {
    /// Ingests a batch posted by a machine. Returns the alert ids in order: allowlisted alerts have none, repeated
    /// alerts have their earlier id.
    ///
    /// # Errors
    ///
    /// When the body cannot be read, every alert is refused, or the database fails. Nothing is stored then, except
    /// when the database fails in the middle of a very large import.
    pub(crate) async fn ingest(
        &self,
        from: &registry::Machine,
        body: Bytes,
    ) -> Result<Vec<i64>, IngestError> {
        let now = self.clock.now();
        let large = body.len() > LARGE || self.profiles.load().needs_history();
        let (posted, batch) = if large {
            let (lapi, machine) = (self.clone(), from.name.clone());
            let evaluate = move || lapi.evaluate(now, &machine, &body);
            tokio::task::spawn_blocking(evaluate).await.map_err(|_| IngestError::Broken)??
        } else {
            self.evaluate(now, &from.name, &body)?
        };
        self.log_rejections(&from.name, &batch);
        if let Some(reason) = batch.all_refused(posted) {
            return Err(IngestError::Refused(reason.to_owned()));
        }
        if batch.alerts.is_empty() {
            return Ok(Vec::new());
        }
        let _import = batch.import.then(|| self.ingest.begin_import());
        let scenarios: Vec<String> = batch.alerts.iter().map(|new| new.alert.scenario.clone()).collect();
        let added = self.store.add_alerts(now, Some(&from.name), batch.alerts).await?;
        for (stored, scenario) in added.ids.iter().zip(&scenarios) {
            if stored.repeated {
                self.metrics.alerts_repeated.inc();
            } else {
                self.metrics.alerts_changed(scenario, 1);
            }
        }
        self.replication.apply_local(added.commits).await;
        Ok(added.ids.into_iter().map(|stored| stored.alert).collect())
    }

    /// Parses and evaluates a batch. May query the database for history, and then blocks.
    fn evaluate(
        &self,
        now: UnixMillis,
        machine: &str,
        body: &[u8],
    ) -> Result<(usize, EvaluatedBatch), IngestError> {
        let posted = read_alerts(body)?;
        let count = posted.len();
        let profiles = self.profiles.load();
        let allowlists = self.allowlists.index();
        let stored;
        let history: &dyn palisade_profiles::History = if profiles.needs_history() {
            stored = StoredHistory::new(self.store.clone(), now);
            &stored
        } else {
            stored = StoredHistory::unused();
            &NoHistory
        };
        let context = IngestContext { now, machine, allowlists: &allowlists, profiles: &profiles, history };
        let batch = evaluate(posted, &context);
        // An alert must not count as refused when only the history query failed.
        match stored.into_failure() {
            Some(error) => Err(error.into()),
            None => Ok((count, batch)),
        }
    }

    /// Logs and counts alerts and decisions that are not stored.
    fn log_rejections(&self, machine: &str, batch: &EvaluatedBatch) {
        for refusal in &batch.refused {
            self.metrics.alerts_refused.inc();
            tracing::error!(
                machine,
                index = refusal.index,
                alert = refusal.alert,
                reason = refusal.reason,
                "alert refused"
            );
        }
        for passed in &batch.allowlisted {
            self.metrics.alerts_allowlisted.inc();
            tracing::info!(
                machine,
                alert = passed.alert,
                reason = passed.reason,
                "alert passed over: allowlisted"
            );
        }
        self.metrics.decisions_invalid.inc_by(batch.invalid.len() as u64);
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
        if batch.emptied > 0 {
            tracing::error!(
                machine,
                alerts = batch.emptied,
                "alerts dropped: none of their decisions can be kept"
            );
        }
    }
}
