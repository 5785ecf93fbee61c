//! Alerts: taking them in with their decisions, finding and deleting them.

mod add;
mod alert_row;
mod find;
mod remove;
mod staged;

use palisade_active::{Change, Commit};
use palisade_wire::{Alert, UnixMillis};
use uuid::Uuid;

pub(crate) use remove::remove_matching;

use crate::{AlertQuery, Store, StoreError};
use alert_row::{AlertRow, prepare};

/// An alert with more decisions is an import, written in steps of so many.
pub(crate) const STAGED_FROM: usize = 10_000;

/// An alert to be stored.
#[derive(Debug, Clone)]
pub struct NewAlert {
    /// What happened. The decisions, id, machine and creation time inside are ignored; without a `uuid` it gets one.
    pub alert: Alert,
    /// What is to be done about it.
    pub decisions: Vec<NewDecision>,
    /// SHA-256 over the machine and the alert as posted. An alert of the same machine with the same digest, stored
    /// within the last hour and not lifted altogether, is not stored again. `None`: always stored.
    pub digest: Option<[u8; 32]>,
}

/// A decision to be stored.
#[derive(Debug, Clone)]
pub struct NewDecision {
    /// When it ends; may lie in the past.
    pub until: UnixMillis,
    /// `crowdsec`, `cscli`, ….
    pub origin: String,
    /// The scenario, or a reason.
    pub scenario: String,
    /// `Ip`, `Range`, `Country`, `AS`, or any other word, normalised.
    pub scope: String,
    /// `ban`, `captcha`, ….
    pub kind: String,
    /// As it was posted. With scope `Ip` or `Range` it must be an address or a prefix.
    pub value: String,
    /// Only a rehearsal.
    pub simulated: bool,
    /// Its public name.
    pub uuid: Option<Uuid>,
}

/// What became of the alerts of one call.
#[derive(Debug, Clone, Default)]
pub struct Added {
    /// One for each alert, in their order.
    pub ids: Vec<Stored>,
    /// What happened to decisions, in commit order.
    pub commits: Vec<(Commit, Vec<Change>)>,
}

/// An alert that is stored now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub alert: i64,
    /// It was there already: nothing was written.
    pub repeated: bool,
}

/// Alerts that are gone.
#[derive(Debug, Clone, Default)]
pub struct Deleted {
    /// How many alerts.
    pub count: u64,
    /// What happened to their decisions, in commit order.
    pub commits: Vec<(Commit, Vec<Change>)>,
}

impl Store {
    /// Stores alerts with their decisions, all or nothing. Only an alert of more than 10,000 decisions is written in
    /// several transactions, after the others; a reader sees it once it is whole, and if the process dies halfway,
    /// what it left is taken back at the next opening.
    ///
    /// A machine of that name has its `last_push` set to `now`; alerts of unknown machines are unowned.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when a decision's value does not fit its scope; else when the database fails.
    pub async fn add_alerts(
        &self,
        now: UnixMillis,
        machine: Option<&str>,
        alerts: Vec<NewAlert>,
    ) -> Result<Added, StoreError> {
        let prepared = alerts.into_iter().map(|new| prepare(now, new)).collect::<Result<Vec<_>, _>>()?;
        let imports: Vec<bool> = prepared.iter().map(|one| one.decisions.len() > STAGED_FROM).collect();
        let (large, small): (Vec<_>, Vec<_>) =
            prepared.into_iter().partition(|one| one.decisions.len() > STAGED_FROM);
        let mut added = Added::default();
        let mut small_ids = Vec::new();
        if !small.is_empty() {
            let (ids, commit) = self.add_small(now, machine, small).await?;
            small_ids = ids;
            added.commits.extend(commit);
        }
        let mut large_ids = Vec::new();
        for one in large {
            let (id, commits) = self.import(now, machine, one).await?;
            large_ids.push(id);
            added.commits.extend(commits);
        }
        // Back into the order they came in.
        let (mut small_ids, mut large_ids) = (small_ids.into_iter(), large_ids.into_iter());
        added.ids = imports
            .into_iter()
            .filter_map(|import| if import { large_ids.next() } else { small_ids.next() })
            .collect();
        Ok(added)
    }

    /// The alerts that match, each with all its decisions and their remaining time at `now`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn alerts(&self, query: &AlertQuery, now: UnixMillis) -> Result<Vec<Alert>, StoreError> {
        let mut session = self.snapshot("read alerts").await?;
        find::find(&mut session, query, now).await
    }

    /// One alert; `None` when there is none of that number.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn alert(&self, id: i64, now: UnixMillis) -> Result<Option<Alert>, StoreError> {
        let mut session = self.snapshot("read an alert").await?;
        find::find_one(&mut session, id, now).await
    }

    /// Deletes every alert that matches, whatever the query's limit, in bounded steps.
    ///
    /// # Errors
    ///
    /// When the database fails; what was deleted until then stays deleted.
    pub async fn delete_alerts(&self, now: UnixMillis, query: &AlertQuery) -> Result<Deleted, StoreError> {
        let query = query.clone();
        remove_matching(self, now, "delete alerts", move |sql| find::push_conditions(sql, &query, now)).await
    }

    /// Deletes one alert; `count` is 0 when there is none of that number.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn delete_alert(&self, now: UnixMillis, id: i64) -> Result<Deleted, StoreError> {
        remove_matching(self, now, "delete an alert", move |sql| {
            sql.push("NOT a.staged AND a.id = ").arg(id);
        })
        .await
    }

    /// How many alerts each scenario has, without those of community lists: `cs_alerts`.
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
    ) -> Result<(Stored, Vec<(Commit, Vec<Change>)>), StoreError> {
        let (store, machine) = (self.clone(), machine.map(str::to_owned));
        // Seen through to its end even when the caller goes away: half an import is worse than one nobody waits for.
        self.writer
            .write_to_completion("import decisions", async move {
                let lock = store.lock_for_import().await?;
                let outcome = staged::import(&store, now, machine, alert).await;
                drop(lock);
                if outcome.is_err() {
                    // If the database is away now, the next opening or retention does it.
                    store.remove_leftovers(now).await.ok();
                }
                outcome
            })
            .await
    }
}
