//! The transaction that jobs of the writer share, and the numbers they take from it.

use palisade_active::Commit;

use super::session::Session;

/// The counters of the row `head`, as the transaction leaves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) commit: i64,
    pub(super) registry_version: i64,
    pub(super) alert: i64,
    pub(super) decision: i64,
}

/// An open transaction. No other process writes while it is.
#[derive(Debug)]
pub(crate) struct Tx {
    pub(super) session: Session,
    pub(super) counters: Counters,
}

impl Tx {
    pub(crate) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The number of the commit that this job makes.
    pub(crate) fn next_commit(&mut self) -> Commit {
        self.counters.commit += 1;
        Commit(self.counters.commit.unsigned_abs())
    }

    /// The last commit, this transaction's own included.
    pub(crate) fn last_commit(&self) -> Commit {
        Commit(self.counters.commit.unsigned_abs())
    }

    /// Gives back the number of a commit that turned out to change nothing. Only the last one can be.
    pub(crate) fn take_back(&mut self, commit: Commit) {
        debug_assert_eq!(self.counters.commit.unsigned_abs(), commit.0);
        self.counters.commit -= 1;
    }

    /// A number for an alert.
    pub(crate) fn next_alert(&mut self) -> i64 {
        self.counters.alert += 1;
        self.counters.alert
    }

    /// The first of so many numbers for decisions.
    pub(crate) fn next_decisions(&mut self, count: usize) -> i64 {
        let first = self.counters.decision + 1;
        self.counters.decision += i64::try_from(count).expect("a count of rows in memory fits");
        first
    }

    /// Says that machines, bouncers or allowlists changed.
    pub(crate) fn bump_registry_version(&mut self) {
        self.counters.registry_version += 1;
    }
}
