//! The transaction that takes everything.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use palisade_wire::UnixMillis;

use super::known::Known;
use super::report::{ImportProgress, ImportReport};
use super::source::Source;
use crate::engine::{Kind, Tx};
use crate::{Retention, Store, StoreError};

/// Called as rows are read.
pub type OnProgress = Arc<dyn Fn(ImportProgress) + Send + Sync>;

/// An import in progress.
pub(super) struct Import<'t> {
    pub(super) tx: &'t mut Tx,
    pub(super) source: Source,
    pub(super) known: Known,
    pub(super) now: UnixMillis,
    pub(super) keep: Retention,
    pub(super) bulk: usize,
    pub(super) report: ImportReport,
    /// Alerts that were there before.
    pub(super) alerts_here: HashSet<i64>,
    progress: ImportProgress,
    on_progress: OnProgress,
}

impl Import<'_> {
    /// Counts rows that were read.
    pub(super) fn advance(&mut self, rows: usize) {
        self.progress.done = self.progress.total.min(self.progress.done + rows as u64);
        (self.on_progress)(self.progress);
    }

    async fn run(&mut self) -> Result<(), StoreError> {
        for table in
            ["machines", "bouncers", "alerts", "events", "meta", "decisions", "allow_lists", "metrics"]
        {
            if self.source.has(table) {
                self.progress.total += self.source.count(table).await?;
            }
        }
        self.refuse_another_database().await?;
        self.report.alerts.unchanged = self.source.count_until("alerts", self.known.alerts.last()).await?;
        self.report.decisions.unchanged =
            self.source.count_until("decisions", self.known.decisions.last()).await?;
        self.end_lifted().await?;
        let machines = self.machines().await?;
        let pulls = self.bouncers().await?;
        self.allowlists().await?;
        let summary = self.summarize_decisions().await?;
        // Ids are kept where they are free, so that what clients have seen stays right.
        let (last_alert, last_decision) = self.tx.last_ids();
        let alert_offset = (last_alert - self.known.alerts.last()).max(0);
        let offset = (last_decision - self.known.decisions.last()).max(0);
        let last_alert = self.source.last_id("alerts").await?;
        let last_decision = self.source.last_id("decisions").await?;
        self.tx.reserve_ids(last_alert + alert_offset, last_decision + offset);
        let alerts = self.alerts(&machines, &summary, alert_offset).await?;
        self.decisions(&summary, &alerts, &pulls, (alert_offset, offset)).await?;
        let name = self.source.name().to_owned();
        self.known.alerts.extend(self.tx, &name, "alert", last_alert, alert_offset).await?;
        self.known.decisions.extend(self.tx, &name, "decision", last_decision, offset).await?;
        self.usage().await?;
        self.known.complete(self.tx, self.now).await?;
        self.tx.bump_registry_version();
        Ok(())
    }

    /// Ids only grow: a database with lower ones is another one, or an old copy.
    async fn refuse_another_database(&mut self) -> Result<(), StoreError> {
        let lost = match self.source.kind() {
            // Sequences survive the deletion of rows, unlike the highest id.
            Kind::Sqlite => {
                let sql = self.source.session.sql(
                    "SELECT CAST(COALESCE(MAX(CASE WHEN name = 'alerts' THEN seq END), 0) AS INTEGER), \
                     CAST(COALESCE(MAX(CASE WHEN name = 'decisions' THEN seq END), 0) AS INTEGER) \
                     FROM sqlite_sequence",
                );
                let read = |row: &crate::engine::SqlRow| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?));
                let (alerts, decisions) = self.source.session.first(sql, read).await?.unwrap_or((0, 0));
                alerts < self.known.alerts.last() || decisions < self.known.decisions.last()
            }
            // Reading a sequence needs a privilege of its own.
            Kind::Postgres => false,
        };
        if lost {
            return Err(StoreError::Import {
                source_name: self.source.name().to_owned(),
                reason: "is an older copy of what was imported before, or another database at the same path; import \
                         it from another path if it is meant"
                    .to_owned(),
            });
        }
        Ok(())
    }
}

impl Store {
    /// Takes everything of a CrowdSec database that is not there yet, in one transaction. `dry_run`: only reports.
    pub(super) async fn take_all(
        &self,
        now: UnixMillis,
        source: Source,
        keep: Retention,
        dry_run: bool,
        on_progress: OnProgress,
    ) -> Result<ImportReport, StoreError> {
        let bulk = self.bulk;
        let outcome: Arc<Mutex<Option<ImportReport>>> = Arc::default();
        let done = Arc::clone(&outcome);
        let written = self
            .writer
            .write("import CrowdSec's database", move |tx| {
                Box::pin(async move {
                    let session = tx.session();
                    if session.kind() == Kind::Postgres {
                        // Between two statements of ours, much of the source may be read.
                        let sql = session.sql("SET LOCAL idle_in_transaction_session_timeout = '600s'");
                        session.run(sql).await?;
                    }
                    let known = Known::read(session, source.name()).await?;
                    let sql = session.sql("SELECT id FROM alerts");
                    let alerts_here = session.read(sql, |row| row.get(0)).await?.into_iter().collect();
                    let mut import = Import {
                        tx,
                        source,
                        known,
                        now,
                        keep,
                        bulk,
                        report: ImportReport::default(),
                        alerts_here,
                        progress: ImportProgress { done: 0, total: 0 },
                        on_progress,
                    };
                    import.run().await?;
                    let Import { tx, report, source, .. } = import;
                    source.session.close().await;
                    *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
                    // A job that fails is rolled back, which is what a dry run needs.
                    if dry_run { Err(tx.session().fails("only a trial")) } else { Ok(()) }
                })
            })
            .await;
        match (written, outcome.lock().unwrap_or_else(PoisonError::into_inner).take()) {
            (Ok(()), Some(report)) => Ok(report),
            (Err(_), Some(report)) if dry_run => Ok(report),
            (Err(error), _) => Err(error),
            (Ok(()), None) => unreachable!("a job that succeeded has reported"),
        }
    }
}
