//! Input of the replica: a full load, and the changes of decisions in commit order.

use std::time::Duration;

use palisade_model::{Change, Commit, StoredDecision};
use palisade_wire::UnixMillis;

use crate::decisions::{COLUMNS, number, row_reader};
use crate::engine::Session;
use crate::head::read_head;
use crate::{Store, StoreError};

/// The end of a decision that was in force when it was deleted: the moment at which a replica applies the deletion. That may be
/// later than the deletion itself, and a bouncer that was sent the decision by another LAPI may have pulled in between.
pub(crate) const WHEN_APPLIED: UnixMillis = UnixMillis(i64::MAX);
/// The tombstones, with such ends.
const REMOVED: &str = "(SELECT commit_no, id, alert_id, simulated, uuid, origin, scenario, scope, kind, value, \
     CASE WHEN until >= removed_at THEN 9223372036854775807 ELSE until END AS until FROM tombstones) AS removed";
/// Rows per read: bounds the memory of a load.
const PAGE: usize = 10_000;

impl Store {
    /// Reads the replica's initial contents from one snapshot: decisions in force, decisions that ended within
    /// `history` and those deleted within it, ordered by commit and id. Returns the snapshot's last commit.
    ///
    /// # Errors
    ///
    /// When the database fails; the rows passed on so far must be discarded.
    pub async fn load(
        &self,
        now: UnixMillis,
        history: Duration,
        sink: &mut (dyn FnMut(Change) + Send),
    ) -> Result<Commit, StoreError> {
        let mut session = self.snapshot("load the decisions").await?;
        // In the same snapshot as the rows: changes after exactly this commit are still to be read.
        let head = read_head(&mut session).await?;
        let from = before(now, history);
        let removed = session
            .sql(&format!("SELECT {COLUMNS} FROM tombstones WHERE removed_at > $1 ORDER BY commit_no, id"))
            .bind(from);
        let mut removed = session.read(removed, row_reader()).await?.into_iter().peekable();
        // By key and not by OFFSET, which would read the skipped rows for every page.
        let mut last = (-1, -1);
        loop {
            let text = format!(
                "SELECT {COLUMNS} FROM decisions WHERE (commit_no, id) > ($1, $2) AND until > $3 \
                 ORDER BY commit_no, id LIMIT {PAGE}"
            );
            let sql = session.sql(&text).bind(last.0).bind(last.1).bind(from);
            let page = session.read(sql, row_reader()).await?;
            let whole = page.len() == PAGE;
            for row in page {
                last = (number(row.commit), row.id);
                // Both lists are ordered, so merging them needs no memory for the larger one.
                while let Some(gone) = removed.next_if(|gone| (gone.commit, gone.id) < (row.commit, row.id)) {
                    sink(Change::Removed(gone));
                }
                sink(Change::Put(row));
            }
            if !whole {
                break;
            }
        }
        removed.for_each(|gone| sink(Change::Removed(gone)));
        Ok(head.commit)
    }

    /// The changes after a commit, in order and without gaps: a commit whose rows were all overwritten later is
    /// included, empty. Only complete commits, about `limit` changes or commits per call; continue from the last one.
    /// Empty when there are none.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn changes_since(
        &self,
        after: Commit,
        limit: usize,
    ) -> Result<Vec<(Commit, Vec<Change>)>, StoreError> {
        let limit = limit.max(1);
        let mut session = self.snapshot("read changes").await?;
        let head = read_head(&mut session).await?.commit;
        if head <= after {
            return Ok(Vec::new());
        }
        // Bounds the result also where many commits have no rows left.
        let furthest = Commit(after.0.saturating_add(limit as u64)).min(head);
        // One more than wanted shows whether the list is complete.
        let mut put = between(&mut session, "decisions", after, furthest, limit + 1).await?;
        let mut removed = between(&mut session, REMOVED, after, furthest, limit + 1).await?;
        // A full list may end in the middle of a commit; that one is left to the next call.
        let mut until = furthest;
        for list in [&put, &removed] {
            if let (true, Some(last)) = (list.len() > limit, list.last()) {
                until = until.min(Commit(last.commit.0 - 1));
            }
        }
        if until <= after {
            // The first commit alone exceeds the limit.
            until = Commit(after.0 + 1);
            put = between(&mut session, "decisions", after, until, usize::MAX).await?;
            removed = between(&mut session, REMOVED, after, until, usize::MAX).await?;
        }
        Ok(by_commit(after, until, put, removed))
    }
}

/// Groups changes by commit, including commits that left nothing.
fn by_commit(
    after: Commit,
    until: Commit,
    put: Vec<StoredDecision>,
    removed: Vec<StoredDecision>,
) -> Vec<(Commit, Vec<Change>)> {
    let mut commits: Vec<(Commit, Vec<Change>)> =
        (after.0 + 1..=until.0).map(|n| (Commit(n), Vec::new())).collect();
    let put = put.into_iter().map(|row| (row.commit, Change::Put(row)));
    let removed = removed.into_iter().map(|row| (row.commit, Change::Removed(row)));
    for (commit, change) in put.chain(removed).filter(|(commit, _)| *commit <= until) {
        let place =
            usize::try_from(commit.0 - after.0 - 1).expect("no more commits than changes were asked for");
        commits[place].1.push(change);
    }
    commits
}

async fn between(
    session: &mut Session,
    table: &str,
    after: Commit,
    until: Commit,
    limit: usize,
) -> Result<Vec<StoredDecision>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM {table} WHERE commit_no > $1 AND commit_no <= $2 ORDER BY commit_no, id LIMIT $3"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = session.sql(&text).bind(number(after)).bind(number(until)).bind(limit);
    session.read(sql, row_reader()).await
}

/// The time `span` before `now`.
pub(crate) fn before(now: UnixMillis, span: Duration) -> i64 {
    now.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}
