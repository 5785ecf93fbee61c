//! The transaction shared by a group of write jobs, and the numbers it allocates.

use palisade_model::Commit;

use super::session::Session;
use super::sql::Sql;
use crate::StoreError;

/// The counters of the row `head` as this transaction will leave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) commit: i64,
    pub(super) registry_version: i64,
    pub(super) alert: i64,
    pub(super) decision: i64,
}

/// An open write transaction. It excludes all other writers.
#[derive(Debug)]
pub(crate) struct Tx {
    pub(super) session: Session,
    pub(super) counters: Counters,
}

impl Tx {
    pub(crate) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Allocates the commit number of this job.
    pub(crate) fn next_commit(&mut self) -> Commit {
        self.counters.commit += 1;
        Commit(self.counters.commit.unsigned_abs())
    }

    /// The last commit, including this transaction's.
    pub(crate) fn last_commit(&self) -> Commit {
        Commit(self.counters.commit.unsigned_abs())
    }

    /// Returns the last commit number when the commit turned out to change nothing.
    pub(crate) fn undo_commit(&mut self, commit: Commit) {
        debug_assert_eq!(self.counters.commit.unsigned_abs(), commit.0);
        // Only the last number can be given back, which is the one that this job has just taken.
        self.counters.commit -= 1;
    }

    pub(crate) fn next_alert(&mut self) -> i64 {
        self.counters.alert += 1;
        self.counters.alert
    }

    /// The last alert id and the last decision id.
    pub(crate) fn last_ids(&self) -> (i64, i64) {
        (self.counters.alert, self.counters.decision)
    }

    /// Reserves all alert and decision ids up to these, for rows that bring their own.
    pub(crate) fn reserve_ids(&mut self, alert: i64, decision: i64) {
        self.counters.alert = self.counters.alert.max(alert);
        self.counters.decision = self.counters.decision.max(decision);
    }

    /// Allocates consecutive decision ids; returns the first.
    pub(crate) fn next_decisions(&mut self, count: usize) -> i64 {
        let first = self.counters.decision + 1;
        self.counters.decision += i64::try_from(count).expect("a count of rows in memory fits");
        first
    }

    /// Runs an `INSERT … RETURNING id`.
    pub(crate) async fn returned_id(&mut self, sql: Sql) -> Result<i64, StoreError> {
        let id = self.session.first(sql, |row| row.get(0)).await?;
        id.ok_or_else(|| self.session.fails("the row that was made did not come back"))
    }

    /// Marks machines, bouncers or allowlists as changed.
    pub(crate) fn bump_registry_version(&mut self) {
        self.counters.registry_version += 1;
    }
}
