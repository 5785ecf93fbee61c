//! Client instances: the machines that share a bouncer's key, by the name they send. For operators only; no behaviour
//! depends on it.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_model::Commit;
use palisade_wire::UnixMillis;
use sqlx::Error;

use crate::decisions::number;
use crate::engine::{Kind, Session, SqlRow, Tx, Value, json};
use crate::replay::before;
use crate::{Store, StoreError};

/// How long an instance is listed after its last request.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Instances kept per bouncer; the least recently seen are deleted.
// Clients choose their names, so a faulty one could fill the table.
const MAX_PER_BOUNCER: i64 = 10_000;

/// A client instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BouncerInstance {
    /// The bouncer whose key it uses.
    pub bouncer: String,
    /// The name it sends.
    pub instance: String,
    /// The address of its last request.
    pub ip: String,
    /// The User-Agent before the slash.
    pub kind: String,
    /// The User-Agent after the slash.
    pub version: String,
    /// When it last sent a request.
    pub last_seen: UnixMillis,
    /// The commit of its cursor then.
    pub commit: Commit,
}

/// A request of a client instance, to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceReport {
    /// The bouncer's row id.
    pub bouncer: i64,
    /// The name it sends.
    pub instance: String,
    /// The address of the request.
    pub ip: String,
    /// The User-Agent before the slash.
    pub kind: String,
    /// The User-Agent after the slash.
    pub version: String,
    /// When it sent the request.
    pub at: UnixMillis,
    /// The commit of its cursor.
    pub commit: Commit,
}

impl Store {
    /// Records requests of client instances in one transaction. Reports of deleted bouncers and reports older than the
    /// stored ones are skipped; of each bouncer the 10,000 most recently seen instances are kept.
    ///
    /// # Errors
    ///
    /// When the database fails; nothing is written then.
    pub async fn upsert_instances(&self, seen: Vec<InstanceReport>) -> Result<(), StoreError> {
        if seen.is_empty() {
            return Ok(());
        }
        self.writer
            .write("store client instances", move |tx| {
                Box::pin(async move {
                    let latest = latest(seen);
                    let mut bouncers: Vec<i64> = latest.iter().map(|one| one.bouncer).collect();
                    // Sorted by bouncer already, see `latest`.
                    bouncers.dedup();
                    upsert(tx, latest).await?;
                    forget_beyond(tx, &bouncers).await
                })
            })
            .await
    }

    /// Client instances, by bouncer in order of creation, then by name; only those of `bouncer` if given.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn bouncer_instances(&self, bouncer: Option<&str>) -> Result<Vec<BouncerInstance>, StoreError> {
        let mut session = self.snapshot("read client instances").await?;
        let mut sql = session.sql(
            "SELECT b.name, i.instance, i.ip, i.kind, i.version, i.last_seen, i.cursor_commit \
             FROM bouncer_instances i JOIN bouncers b ON b.id = i.bouncer_id",
        );
        if let Some(name) = bouncer {
            sql.push(" WHERE b.name = ").arg(name);
        }
        sql.push(" ORDER BY b.id, i.instance");
        session.read(sql, read_instance).await
    }

    /// Deletes instances not seen for a week.
    pub(crate) async fn forget_instances(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let cutoff = before(now, RETENTION);
        self.writer
            .write("delete old client instances", move |tx| {
                Box::pin(async move {
                    let session = tx.session();
                    let sql = session.sql("DELETE FROM bouncer_instances WHERE last_seen <= $1").bind(cutoff);
                    session.run(sql).await
                })
            })
            .await
    }
}

fn read_instance(row: &SqlRow) -> Result<BouncerInstance, Error> {
    let commit: i64 = row.get(6)?;
    Ok(BouncerInstance {
        bouncer: row.get(0)?,
        instance: row.get(1)?,
        ip: row.get(2)?,
        kind: row.get(3)?,
        version: row.get(4)?,
        last_seen: UnixMillis(row.get(5)?),
        commit: Commit(commit.unsigned_abs()),
    })
}

/// The latest report of each instance: one statement cannot update a row twice.
fn latest(seen: Vec<InstanceReport>) -> Vec<InstanceReport> {
    let mut by_name: BTreeMap<(i64, String), InstanceReport> = BTreeMap::new();
    for one in seen {
        let key = (one.bouncer, one.instance.clone());
        if by_name.get(&key).is_none_or(|there| there.at <= one.at) {
            by_name.insert(key, one);
        }
    }
    by_name.into_values().collect()
}

/// One statement for all reports, to save round trips.
async fn upsert(tx: &mut Tx, seen: Vec<InstanceReport>) -> Result<(), StoreError> {
    let session = tx.session();
    let mut sql = session.sql(
        "INSERT INTO bouncer_instances (bouncer_id, instance, ip, kind, version, last_seen, cursor_commit) \
         SELECT s.bouncer, s.instance, s.ip, s.kind, s.version, s.at, s.commit_no FROM ",
    );
    match session.kind() {
        Kind::Sqlite => {
            let rows = seen.iter().map(|one| {
                let InstanceReport { bouncer, instance, ip, kind, version, at, commit } = one;
                (bouncer, instance, ip, kind, version, at.0, number(*commit))
            });
            sql.push(
                "(SELECT value->>0 AS bouncer, value->>1 AS instance, value->>2 AS ip, value->>3 AS kind, \
                 value->>4 AS version, value->>5 AS at, value->>6 AS commit_no FROM json_each(",
            );
            sql.arg(json(rows)).push(")) AS s")
        }
        Kind::Postgres => {
            let texts = |of: fn(&InstanceReport) -> &String| {
                Value::Texts(seen.iter().map(|one| of(one).clone()).collect())
            };
            sql.push("UNNEST(").arg(Value::Ints(seen.iter().map(|one| one.bouncer).collect()));
            sql.push("::bigint[], ").arg(texts(|one| &one.instance)).push("::text[], ");
            sql.arg(texts(|one| &one.ip)).push("::text[], ").arg(texts(|one| &one.kind)).push("::text[], ");
            sql.arg(texts(|one| &one.version)).push("::text[], ");
            sql.arg(Value::Ints(seen.iter().map(|one| one.at.0).collect())).push("::bigint[], ");
            sql.arg(Value::Ints(seen.iter().map(|one| number(one.commit)).collect()));
            sql.push("::bigint[]) AS s (bouncer, instance, ip, kind, version, at, commit_no)")
        }
    };
    sql.push(
        // The join drops reports of deleted bouncers, which would violate the foreign key. `WHERE true` is needed by
        // SQLite's parser: without it `ON` of the conflict clause would belong to the join.
        " JOIN bouncers b ON b.id = s.bouncer WHERE true \
         ON CONFLICT (bouncer_id, instance) DO UPDATE SET ip = excluded.ip, kind = excluded.kind, \
         version = excluded.version, last_seen = excluded.last_seen, cursor_commit = excluded.cursor_commit \
         WHERE bouncer_instances.last_seen <= excluded.last_seen",
    );
    session.run(sql).await.map(drop)
}

/// Deletes the oldest instances of bouncers with too many. Few bouncers reach the limit; which do is found from the
/// index alone.
async fn forget_beyond(tx: &mut Tx, bouncers: &[i64]) -> Result<(), StoreError> {
    let session = tx.session();
    // Counting is cheap and nearly always finds none, so the expensive statement is rare.
    let full = full_ones(session, bouncers).await?;
    if full.is_empty() {
        return Ok(());
    }
    let mut sql = session.sql(
        "DELETE FROM bouncer_instances WHERE (bouncer_id, instance) IN (SELECT bouncer_id, instance FROM \
         (SELECT bouncer_id, instance, ROW_NUMBER() OVER (PARTITION BY bouncer_id \
         ORDER BY last_seen DESC, instance) AS place FROM bouncer_instances WHERE bouncer_id",
    );
    sql.in_ints(&full).push(") AS ranked WHERE place > ").arg(MAX_PER_BOUNCER).push(")");
    session.run(sql).await.map(drop)
}

async fn full_ones(session: &mut Session, bouncers: &[i64]) -> Result<Vec<i64>, StoreError> {
    let mut sql = session.sql("SELECT bouncer_id FROM bouncer_instances WHERE bouncer_id");
    sql.in_ints(bouncers).push(" GROUP BY bouncer_id HAVING COUNT(*) > ").arg(MAX_PER_BOUNCER);
    session.read(sql, |row| row.get(0)).await
}
