//! Deletes alerts in bounded steps, so that other writes get their turn.

use std::sync::Arc;

use palisade_model::{Change, Commit, StoredDecision};
use palisade_wire::UnixMillis;

use super::Deleted;
use crate::decisions::{COLUMNS, number, row_reader};
use crate::engine::{Column, Sql, Tx, insert};
use crate::replay::WHEN_APPLIED;
use crate::{Store, StoreError};

/// Alerts per step.
// A step is one transaction, and all other writes wait for it.
const ALERTS: usize = 200;
/// Decisions per step.
const DECISIONS: usize = 10_000;
/// Decisions that ended longer ago than this, in milliseconds, need no tombstone: bouncers have dropped them.
const RECENT: i64 = 24 * 3_600_000;

/// What is left after a step.
struct Step {
    /// Alerts that still have decisions.
    unfinished: Vec<i64>,
    deleted: u64,
    commit: Option<(Commit, Vec<Change>)>,
}

/// Deletes the alerts that `select` finds, until it finds no more. `select` completes `SELECT a.id FROM alerts a WHERE
/// …`.
pub(crate) async fn remove_matching(
    store: &Store,
    now: UnixMillis,
    doing: &'static str,
    select: impl Fn(&mut Sql) + Clone + Send + Sync + 'static,
) -> Result<Deleted, StoreError> {
    let mut deleted = Deleted::default();
    let mut unfinished = Vec::new();
    let bulk = store.bulk;
    loop {
        let (select, known) = (select.clone(), std::mem::take(&mut unfinished));
        let step = store
            .writer
            .write(doing, move |tx| {
                Box::pin(async move {
                    // An alert with more decisions than a step takes is finished first. It may no longer match by
                    // then, for example because its last active decision is gone.
                    let ids = if known.is_empty() { find(tx, select).await? } else { known };
                    if ids.is_empty() {
                        return Ok(None);
                    }
                    remove_step(tx, now, ids, bulk).await.map(Some)
                })
            })
            .await?;
        let Some(step) = step else { return Ok(deleted) };
        deleted.count += step.deleted;
        deleted.commits.extend(step.commit);
        unfinished = step.unfinished;
    }
}

async fn find(tx: &mut Tx, select: impl Fn(&mut Sql) + Send) -> Result<Vec<i64>, StoreError> {
    let session = tx.session();
    let mut sql = session.sql("SELECT a.id FROM alerts a WHERE ");
    select(&mut sql);
    sql.push(&format!(" ORDER BY a.id LIMIT {ALERTS}"));
    session.read(sql, |row| row.get(0)).await
}

/// Deletes decisions of these alerts, and alerts that have none left.
async fn remove_step(
    tx: &mut Tx,
    now: UnixMillis,
    alerts: Vec<i64>,
    bulk: usize,
) -> Result<Step, StoreError> {
    let session = tx.session();
    let mut sql = session.sql("DELETE FROM decisions WHERE id IN (SELECT id FROM decisions WHERE alert_id");
    sql.in_ints(&alerts).push(&format!(" LIMIT {DECISIONS}) RETURNING {COLUMNS}"));
    let rows = session.read(sql, row_reader()).await?;
    // If the limit was reached there may be more, and an alert must not be deleted before its decisions: the cascade
    // would leave no tombstones.
    let whole = rows.len() == DECISIONS;
    let recent = rows.into_iter().filter(|row| row.until.0 > now.0 - RECENT).collect();
    let commit = insert_tombstones(tx, now, recent, bulk).await?;
    if whole {
        return Ok(Step { unfinished: alerts, deleted: 0, commit });
    }
    let session = tx.session();
    let mut sql = session.sql("DELETE FROM alerts WHERE id");
    sql.in_ints(&alerts);
    let deleted = session.run(sql).await?;
    Ok(Step { unfinished: Vec::new(), deleted, commit })
}

/// Adds tombstones for deleted decisions, so that bouncers receive the ends.
async fn insert_tombstones(
    tx: &mut Tx,
    now: UnixMillis,
    mut rows: Vec<StoredDecision>,
    bulk: usize,
) -> Result<Option<(Commit, Vec<Change>)>, StoreError> {
    if rows.is_empty() {
        return Ok(None);
    }
    let commit = tx.next_commit();
    // `RETURNING` has no order, and changes within a commit are ordered by id.
    rows.sort_unstable_by_key(|row| row.id);
    rows.iter_mut().for_each(|row| row.commit = commit);
    let texts = |of: fn(&StoredDecision) -> String| Column::Texts(rows.iter().map(of).collect());
    let shared = |of: fn(&StoredDecision) -> &Arc<str>| {
        Column::Shared(rows.iter().map(|row| Arc::clone(of(row))).collect())
    };
    let ints = |of: fn(&StoredDecision) -> i64| Column::Ints(rows.iter().map(of).collect());
    let columns = vec![
        ("commit_no", Column::Ints(vec![number(commit); rows.len()])),
        ("removed_at", Column::Ints(vec![now.0; rows.len()])),
        ("id", ints(|row| row.id)),
        // A deleted decision ends with its deletion: a client without a cursor is sent what ended after its last request,
        // and must not be sent it again because a process has restarted.
        ("until", Column::Ints(rows.iter().map(|row| row.until.min(now).0).collect())),
        ("alert_id", ints(|row| row.alert)),
        ("simulated", Column::Bools(rows.iter().map(|row| row.simulated).collect())),
        (
            "uuid",
            Column::Blobs(rows.iter().map(|row| row.uuid.map(|uuid| uuid.as_bytes().to_vec())).collect()),
        ),
        ("origin", shared(|row| &row.origin)),
        ("scenario", shared(|row| &row.scenario)),
        ("scope", texts(|row| row.target.scope.as_str().to_owned())),
        ("kind", shared(|row| &row.remediation)),
        ("value", texts(|row| row.target.value.text())),
    ];
    insert(tx, "tombstones", columns, bulk).await?;
    for row in rows.iter_mut().filter(|row| row.until >= now) {
        row.until = WHEN_APPLIED;
    }
    Ok(Some((commit, rows.into_iter().map(Change::Removed).collect())))
}
