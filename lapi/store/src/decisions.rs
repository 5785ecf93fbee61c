//! Decisions: reads rows, ends decisions early, and counts them for profiles.

use std::time::Duration;

use ipnet::IpNet;
use palisade_model::{Change, Commit, SharedTexts, StoredDecision, Target};
use palisade_wire::UnixMillis;
use sqlx::Error;
use uuid::Uuid;

use crate::engine::{Session, SqlRow, Tx};
use crate::prefix_bounds::push_covers;
use crate::{Store, StoreError};

/// The columns of [`palisade_model::StoredDecision`], in both `decisions` and `tombstones`.
pub(crate) const COLUMNS: &str =
    "id, commit_no, until, alert_id, simulated, uuid, origin, scenario, scope, kind, value";

/// Decisions per statement.
pub(crate) const STEP: usize = 2000;

/// Decisions that were ended early.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// How many.
    pub count: u64,
    /// The commit; `None` when nothing changed.
    pub commit: Option<(Commit, Vec<Change>)>,
}

/// Reads rows of [`COLUMNS`] whose common texts share their memory.
pub(crate) fn row_reader() -> impl FnMut(&SqlRow) -> Result<StoredDecision, Error> + Send {
    let mut texts = SharedTexts::default();
    move |row| {
        let commit: i64 = row.get(1)?;
        let uuid: Option<Vec<u8>> = row.get(5)?;
        let mut shared = |column| row.get::<String>(column).map(|text| texts.get(&text));
        Ok(StoredDecision {
            id: row.get(0)?,
            commit: Commit(commit.unsigned_abs()),
            until: UnixMillis(row.get(2)?),
            alert: row.get(3)?,
            simulated: row.get(4)?,
            uuid: uuid.and_then(|bytes| Uuid::from_slice(&bytes).ok()),
            origin: shared(6)?,
            scenario: shared(7)?,
            target: Target::stored(&row.get::<String>(8)?, &row.get::<String>(10)?),
            remediation: shared(9)?,
        })
    }
}

/// A commit number as the database stores it.
pub(crate) fn number(commit: Commit) -> i64 {
    // Neither database has unsigned integers.
    i64::try_from(commit.0).unwrap_or(i64::MAX)
}

/// Ends those of these decisions that are in force.
pub(crate) async fn end(tx: &mut Tx, now: UnixMillis, ids: &[i64]) -> Result<Ended, StoreError> {
    let commit = tx.next_commit();
    let mut changes = Vec::new();
    for step in ids.chunks(STEP) {
        let session = tx.session();
        let mut sql = session
            // A new commit number on the old row is how the replica learns of the end. `until > $1` leaves out
            // decisions that have ended: they would be announced once more.
            .sql("UPDATE decisions SET until = $1, commit_no = $2, lifted = TRUE WHERE until > $1 AND id")
            .bind(now.0)
            .bind(number(commit));
        sql.in_ints(step).push(" RETURNING ").push(COLUMNS);
        changes.extend(session.read(sql, row_reader()).await?);
    }
    Ok(ended(tx, commit, changes))
}

/// No commit is made when nothing changed.
fn ended(tx: &mut Tx, commit: Commit, mut rows: Vec<StoredDecision>) -> Ended {
    if rows.is_empty() {
        // The number was taken before the statement, which writes it; given back, commits stay without gaps.
        tx.undo_commit(commit);
        return Ended::default();
    }
    rows.sort_unstable_by_key(|row| row.id);
    let changes: Vec<Change> = rows.into_iter().map(Change::Put).collect();
    Ended { count: changes.len() as u64, commit: Some((commit, changes)) }
}

impl Store {
    /// Ends those of these decisions that are in force, in one commit.
    ///
    /// # Errors
    ///
    /// When the database fails; nothing is ended then.
    pub async fn end_decisions(&self, now: UnixMillis, ids: &[i64]) -> Result<Ended, StoreError> {
        if ids.is_empty() {
            return Ok(Ended::default());
        }
        let ids = ids.to_vec();
        self.writer.write("end decisions", move |tx| Box::pin(async move { end(tx, now, &ids).await })).await
    }

    /// Ends one decision now, even if it had ended before. `None` when it does not exist.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn end_decision(&self, now: UnixMillis, id: i64) -> Result<Option<Ended>, StoreError> {
        self.writer
            .write("end a decision", move |tx| {
                Box::pin(async move {
                    let commit = tx.next_commit();
                    let session = tx.session();
                    let mut sql = session
                        // Without `until > $1`: the stock server lets an ended decision end again, which announces it
                        // again.
                        .sql("UPDATE decisions SET until = $1, commit_no = $2, lifted = TRUE WHERE id = $3")
                        .bind(now.0)
                        .bind(number(commit))
                        .bind(id);
                    sql.push(" RETURNING ").push(COLUMNS);
                    let rows = session.read(sql, row_reader()).await?;
                    let ended = ended(tx, commit, rows);
                    Ok((ended.count > 0).then_some(ended))
                })
            })
            .await
    }

    /// Counts stored decisions that cover this address or range: all, those created at or after `since`, or those in
    /// force at `active_at`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn decision_counts(
        &self,
        value: &IpNet,
        since: Option<UnixMillis>,
        active_at: Option<UnixMillis>,
    ) -> Result<i64, StoreError> {
        let mut session = self.snapshot("count decisions").await?;
        let mut sql = session.sql("SELECT COUNT(*) FROM decisions WHERE ");
        push_covers(&mut sql, "", value);
        if let Some(since) = since {
            sql.push(" AND created_at >= ").arg(since.0);
        }
        if let Some(moment) = active_at {
            sql.push(" AND until > ").arg(moment.0);
        }
        Ok(session.first(sql, |row| row.get(0)).await?.unwrap_or(0))
    }

    /// The time left of the longest decision that covers this address or range; zero when there is none.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn active_time_left(&self, value: &IpNet, now: UnixMillis) -> Result<Duration, StoreError> {
        let mut session = self.snapshot("find decisions").await?;
        let mut sql = session.sql("SELECT MAX(until) FROM decisions WHERE ");
        push_covers(&mut sql, "", value);
        // `MAX` of no rows is one row with NULL.
        let last: Option<i64> = session.first(sql, |row| row.get(0)).await?.flatten();
        let left = last.map_or(0, |until| until.saturating_sub(now.0).max(0));
        Ok(Duration::from_millis(left.unsigned_abs()))
    }
}

/// The ids of decisions in force that lie within `net` or cover it.
pub(crate) async fn touching(
    session: &mut Session,
    net: &IpNet,
    now: UnixMillis,
) -> Result<Vec<i64>, StoreError> {
    let mut sql = session.sql("SELECT id FROM decisions WHERE until > ");
    sql.arg(now.0).push(" AND (");
    crate::prefix_bounds::push_within(&mut sql, "", net);
    // `UNION` and not `OR`, which would use no index.
    sql.push(") UNION SELECT id FROM decisions WHERE until > ").arg(now.0).push(" AND (");
    push_covers(&mut sql, "", net);
    sql.push(")");
    session.read(sql, |row| row.get(0)).await
}
