//! Alerts: adds them with their decisions, finds and deletes them.

mod add;
mod alert_row;
mod find;
mod remove;
mod staged;

use std::sync::Arc;

use palisade_model::{Change, Commit, NewDecision};
use palisade_wire::{Alert, UnixMillis};
use tokio::sync::mpsc;

pub(crate) use remove::remove_matching;

use crate::{AlertQuery, Store, StoreError};
use alert_row::{AlertRow, prepare};
pub(crate) use alert_row::{go_time, is_list};

/// An alert with more decisions is treated as an import and written in steps of this size.
pub(crate) const STAGED_FROM: usize = 10_000;

/// An alert to store.
#[derive(Debug, Clone)]
pub struct NewAlert {
    /// The alert. Decisions, id, machine and creation time inside are ignored; a missing `uuid` is generated.
    pub alert: Alert,
    /// Its decisions.
    pub decisions: Vec<NewDecision>,
    /// SHA-256 over the machine and the alert as posted. An alert with the digest of one that was stored within the
    /// last hour and still has a decision in force is not stored again. `None`: always store.
    pub digest: Option<[u8; 32]>,
}

/// The result of adding alerts.
#[derive(Debug, Clone, Default)]
pub struct Added {
    /// One per alert, in order.
    pub ids: Vec<Stored>,
    /// The changes of decisions, in commit order.
    pub commits: Vec<(Commit, Vec<Change>)>,
}

/// Takes the changes of each commit as soon as it is written, in commit order.
pub type CommitSink = Arc<dyn Fn(Commit, Vec<Change>) + Send + Sync>;

/// A stored alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub alert: i64,
    /// Whether it was stored before; nothing was written then.
    pub repeated: bool,
}

/// The result of deleting alerts.
#[derive(Debug, Clone, Default)]
pub struct Deleted {
    /// Number of alerts.
    pub count: u64,
    /// The changes of decisions, in commit order.
    pub commits: Vec<(Commit, Vec<Change>)>,
}

impl Store {
    /// Stores alerts with their decisions in one transaction. Only an alert of more than 10,000 decisions is written in
    /// several transactions, after the others; readers see it when it is complete, and if the process dies before, the
    /// remains are removed at the next start.
    ///
    /// Sets `last_push` of the machine to `now`. Alerts of unknown machines have no owner.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn add_alerts(
        &self,
        now: UnixMillis,
        machine: Option<&str>,
        alerts: Vec<NewAlert>,
    ) -> Result<Added, StoreError> {
        let (sender, mut written) = mpsc::unbounded_channel();
        let sink: CommitSink = Arc::new(move |commit, changes| {
            // The receiver outlives the call.
            let _ = sender.send((commit, changes));
        });
        let (ids, _) = self.add_alerts_to(now, machine, alerts, sink).await?;
        let mut commits = Vec::new();
        while let Ok(commit) = written.try_recv() {
            commits.push(commit);
        }
        Ok(Added { ids, commits })
    }

    /// The same, but passes each commit on as soon as it is written. Returns the alerts and the last commit.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn add_alerts_to(
        &self,
        now: UnixMillis,
        machine: Option<&str>,
        alerts: Vec<NewAlert>,
        sink: CommitSink,
    ) -> Result<(Vec<Stored>, Option<Commit>), StoreError> {
        // Before anything is queued, so that conversion takes no time from other writes.
        let prepared: Vec<AlertRow> = alerts.into_iter().map(|new| prepare(now, new)).collect();
        let imports: Vec<bool> = prepared.iter().map(|one| one.decisions.len() > STAGED_FROM).collect();
        // A large alert would hold up all other writes for as long as it takes, so it does not share a transaction
        // with the rest.
        let (large, small): (Vec<_>, Vec<_>) =
            prepared.into_iter().partition(|one| one.decisions.len() > STAGED_FROM);
        let mut last = None;
        let mut small_ids = Vec::new();
        if !small.is_empty() {
            let (ids, commit) = self.add_small(now, machine, small).await?;
            small_ids = ids;
            if let Some((commit, changes)) = commit {
                last = Some(commit);
                sink(commit, changes);
            }
        }
        let mut large_ids = Vec::new();
        for one in large {
            let (id, commit) = self.import(now, machine, one, Arc::clone(&sink)).await?;
            large_ids.push(id);
            last = commit.or(last);
        }
        // Restore the original order.
        let (mut small_ids, mut large_ids) = (small_ids.into_iter(), large_ids.into_iter());
        let ids = imports.into_iter();
        let ids = ids.filter_map(|import| if import { large_ids.next() } else { small_ids.next() });
        Ok((ids.collect(), last))
    }

    /// The alerts that match, each with all its decisions and their time left at `now`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn alerts(&self, query: &AlertQuery, now: UnixMillis) -> Result<Vec<Alert>, StoreError> {
        let mut session = self.snapshot("read alerts").await?;
        find::find(&mut session, query, now).await
    }

    /// The alert with this id.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn alert(&self, id: i64, now: UnixMillis) -> Result<Option<Alert>, StoreError> {
        let mut session = self.snapshot("read an alert").await?;
        find::find_one(&mut session, id, now).await
    }

    /// Deletes all alerts that match, whatever the query's limit, in bounded steps.
    ///
    /// # Errors
    ///
    /// When the database fails; what was deleted before stays deleted.
    pub async fn delete_alerts(&self, now: UnixMillis, query: &AlertQuery) -> Result<Deleted, StoreError> {
        let query = query.clone();
        remove_matching(self, now, "delete alerts", move |sql| find::push_conditions(sql, &query, now)).await
    }

    /// Deletes the alert with this id; `count` is 0 when there is none.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn delete_alert(&self, now: UnixMillis, id: i64) -> Result<Deleted, StoreError> {
        remove_matching(self, now, "delete an alert", move |sql| {
            // An import that is not complete does not exist for readers.
            sql.push("NOT a.staged AND a.id = ").arg(id);
        })
        .await
    }

    /// The number of alerts by scenario, without those of community lists: `cs_alerts`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn alert_counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let mut session = self.snapshot("count alerts").await?;
        let sql = session.sql(
            "SELECT scenario, COUNT(*) FROM alerts WHERE NOT community AND NOT staged \
             GROUP BY scenario ORDER BY scenario",
        );
        session.read(sql, |row| Ok((row.get(0)?, row.get::<i64>(1)?.unsigned_abs()))).await
    }

    async fn add_small(
        &self,
        now: UnixMillis,
        machine: Option<&str>,
        alerts: Vec<AlertRow>,
    ) -> Result<(Vec<Stored>, Option<(Commit, Vec<Change>)>), StoreError> {
        let (machine, bulk) = (machine.map(str::to_owned), self.bulk);
        self.writer
            .write("store alerts", move |tx| {
                Box::pin(async move {
                    let machine = match machine {
                        Some(name) => add::record_push(tx, now, &name).await?,
                        None => None,
                    };
                    add::add_whole(tx, now, machine, alerts, bulk).await
                })
            })
            .await
    }

    async fn import(
        &self,
        now: UnixMillis,
        machine: Option<&str>,
        alert: AlertRow,
        sink: CommitSink,
    ) -> Result<(Stored, Option<Commit>), StoreError> {
        let (store, machine) = (self.clone(), machine.map(str::to_owned));
        // Completed even when the caller is dropped, as when its connection closes: half an import would have to be
        // removed again.
        self.writer
            .write_to_completion("import decisions", async move {
                let lock = store.lock_for_import().await?;
                let outcome = staged::import(&store, now, machine, alert, &sink).await;
                // Before the remains are removed, which takes the same lock exclusively.
                drop(lock);
                if outcome.is_err() {
                    // If the database is unavailable now, the next start or retention removes the rest.
                    store.remove_leftovers(now).await.ok();
                }
                outcome
            })
            .await
    }
}
