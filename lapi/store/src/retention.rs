//! Retention: deletes old rows according to `db_config.flush`.

use std::time::Duration;

use palisade_model::{Change, Commit};
use palisade_wire::UnixMillis;

use crate::alerts::remove_matching;
use crate::engine::Sql;
use crate::replay::before;
use crate::{Store, StoreError};

/// Rows per step in tables other than alerts.
const STEP: u64 = 5000;

/// Retention periods. `None` means forever, and zero means `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// The number of newest alerts to keep (`max_items`).
    pub max_items: Option<u64>,
    /// How long alerts are kept (`max_age`).
    pub max_age: Option<Duration>,
    /// How long usage metrics are kept (`metrics_max_age`).
    pub metrics_max_age: Option<Duration>,
    /// How long inactive bouncers are kept.
    pub bouncers: Autodelete,
    /// How long inactive machines are kept; machines with alerts or on this host are never deleted.
    pub machines: Autodelete,
    /// How long tombstones are kept; bouncers with older cursors get full responses.
    pub history: Option<Duration>,
    /// True while an import runs: no alerts are deleted.
    pub alerts_paused: bool,
}

/// Periods by type of authentication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Autodelete {
    /// With a certificate (`cert`).
    pub cert: Option<Duration>,
    /// With a key or password (`api_key`, `login_password`).
    pub secret: Option<Duration>,
}

/// Number of deleted rows.
#[derive(Debug, Clone, Default)]
pub struct Flushed {
    /// Alerts.
    pub alerts: u64,
    /// Usage reports.
    pub usage: u64,
    /// Bouncers.
    pub bouncers: u64,
    /// Client instances not seen for a week.
    pub instances: u64,
    /// Machines.
    pub machines: u64,
    /// Expired allowlist items.
    pub allowlist_items: u64,
    /// The changes of decisions, in commit order.
    pub commits: Vec<(Commit, Vec<Change>)>,
}

impl Store {
    /// Deletes what exceeds the retention periods, in bounded steps. Never an alert with a decision in force.
    ///
    /// # Errors
    ///
    /// When the database fails; what was deleted before stays deleted.
    pub async fn flush(&self, now: UnixMillis, keep: &Retention) -> Result<Flushed, StoreError> {
        let mut flushed = Flushed { commits: self.remove_leftovers(now).await?, ..Flushed::default() };
        if !keep.alerts_paused {
            self.flush_alerts(now, keep, &mut flushed).await?;
        }
        if let Some(age) = set(keep.metrics_max_age) {
            let cutoff = before(now, age);
            flushed.usage = self
                .delete_in_steps("delete old usage metrics", "usage_metrics", false, move |sql| {
                    sql.push("received_at <= ").arg(cutoff);
                })
                .await?;
        }
        for (auth_type, silence) in [("tls", keep.bouncers.cert), ("api-key", keep.bouncers.secret)] {
            let Some(silence) = set(silence) else { continue };
            let cutoff = before(now, silence);
            flushed.bouncers += self
                .delete_in_steps("delete silent bouncers", "bouncers", true, move |sql| {
                    // A bouncer that has never pulled has no `last_pull` and stays, as in the stock server.
                    sql.push("last_pull <= ").arg(cutoff).push(" AND auth_type = ").arg(auth_type);
                    sql.push(" AND (last_seen IS NULL OR last_seen <= ").arg(cutoff).push(")");
                    // As in `bouncers prune`: the row of an operator stays while its key is in use elsewhere.
                    sql.push(
                        " AND (auto_created OR NOT EXISTS (SELECT 1 FROM bouncers o \
                         WHERE o.key_hash = bouncers.key_hash AND o.key_hash <> '' AND o.auto_created \
                         AND (o.last_pull IS NULL OR o.last_pull > ",
                    );
                    sql.arg(cutoff).push(" OR o.last_seen > ").arg(cutoff).push(")))");
                })
                .await?;
        }
        for (auth_type, silence) in [("tls", keep.machines.cert), ("password", keep.machines.secret)] {
            let Some(silence) = set(silence) else { continue };
            let cutoff = before(now, silence);
            flushed.machines += self
                .delete_in_steps("delete silent machines", "machines", true, move |sql| {
                    sql.push("last_heartbeat <= ").arg(cutoff).push(" AND auth_type = ").arg(auth_type);
                    sql.push(" AND (last_seen IS NULL OR last_seen <= ").arg(cutoff).push(")");
                    sql.push(
                        // As in the stock server: the machine of the LAPI's own host must not lose its account.
                        " AND ip NOT IN ('127.0.0.1', '::1') \
                         AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.machine_id = machines.id)",
                    );
                })
                .await?;
        }
        flushed.instances = self.forget_instances(now).await?;
        flushed.allowlist_items = self
            .delete_in_steps("delete what ran out on allowlists", "allowlist_items", true, move |sql| {
                sql.push("expires_at <= ").arg(now.0);
            })
            .await?;
        if let Some(history) = set(keep.history) {
            self.forget_removals(before(now, history)).await?;
        }
        Ok(flushed)
    }

    async fn flush_alerts(
        &self,
        now: UnixMillis,
        keep: &Retention,
        flushed: &mut Flushed,
    ) -> Result<(), StoreError> {
        // By id and not by count, as in the stock server: counting rows would read the whole table each minute.
        let last = match keep.max_items {
            Some(_) => {
                let mut session = self.snapshot("count alerts").await?;
                let sql = session.sql("SELECT last_alert_id FROM head WHERE one = 1");
                session.first(sql, |row| row.get(0)).await?.unwrap_or(0)
            }
            None => 0,
        };
        let (age, items) = cutoffs(now, keep, last);
        if age.is_none() && items.is_none() {
            return Ok(());
        }
        let removed = remove_matching(self, now, "delete old alerts", move |sql| {
            sql.push("NOT a.staged AND (");
            if let Some(cutoff) = age {
                sql.push("a.created_at <= ").arg(cutoff);
            }
            if let Some(first) = items {
                sql.push(if age.is_some() { " OR a.id < " } else { "a.id < " }).arg(first);
            }
            // The stock server deleted such alerts up to 1.7.8, which ended long bans without an announcement.
            sql.push(") AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.alert_id = a.id AND d.until >= ");
            sql.arg(now.0).push(")");
        })
        .await?;
        flushed.alerts = removed.count;
        flushed.commits.extend(removed.commits);
        Ok(())
    }

    /// Deletes the rows of a table that `select` finds, in steps.
    async fn delete_in_steps(
        &self,
        doing: &'static str,
        table: &'static str,
        in_registry: bool,
        select: impl Fn(&mut Sql) + Clone + Send + Sync + 'static,
    ) -> Result<u64, StoreError> {
        let mut total = 0;
        loop {
            let select = select.clone();
            let deleted = self
                .writer
                .write(doing, move |tx| {
                    Box::pin(async move {
                        let session = tx.session();
                        let mut sql = session
                            // A subquery, because neither PostgreSQL nor a default build of SQLite has `DELETE …
                            // LIMIT`.
                            .sql(&format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE "));
                        select(&mut sql);
                        sql.push(&format!(" LIMIT {STEP})"));
                        let deleted = session.run(sql).await?;
                        if in_registry && deleted > 0 {
                            tx.bump_registry_version();
                        }
                        Ok(deleted)
                    })
                })
                .await?;
            total += deleted;
            if deleted < STEP {
                return Ok(total);
            }
        }
    }

    async fn forget_removals(&self, cutoff: i64) -> Result<(), StoreError> {
        loop {
            let deleted = self
                .writer
                .write("delete old tombstones", move |tx| {
                    Box::pin(async move {
                        let session = tx.session();
                        let text = format!(
                            "DELETE FROM tombstones WHERE (commit_no, id) IN (SELECT commit_no, id FROM tombstones \
                             WHERE removed_at <= $1 ORDER BY commit_no, id LIMIT {STEP})"
                        );
                        let sql = session.sql(&text).bind(cutoff);
                        session.run(sql).await
                    })
                })
                .await?;
            if deleted < STEP {
                return Ok(());
            }
        }
    }
}

/// The time up to which alerts are deleted, and the first id that is kept; `last` is the highest id.
pub(crate) fn cutoffs(now: UnixMillis, keep: &Retention, last: i64) -> (Option<i64>, Option<i64>) {
    let age = set(keep.max_age).map(|age| before(now, age));
    let items = keep.max_items.filter(|&items| items > 0);
    (age, items.map(|items| last.saturating_sub(i64::try_from(items).unwrap_or(i64::MAX))))
}

/// Zero means `None`.
fn set(span: Option<Duration>) -> Option<Duration> {
    span.filter(|span| !span.is_zero())
}
