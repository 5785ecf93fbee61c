//! Commits: the order of all changes of decisions.

use crate::StoredDecision;

/// A commit number. Every write that changes decisions takes the next one inside its transaction, so numbers are in
/// commit order without gaps. 0 is before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(pub u64);

/// A timeline of a database (as in PostgreSQL): the commits after `from`, until the next timeline begins.
///
/// After a database was restored to an earlier state, the same commit numbers count other changes. Each start of a
/// LAPI begins a timeline, so a cursor from before the restore is recognised: it lies beyond the end of its timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    /// Random.
    pub token: u64,
    /// The last commit before it.
    pub from: Commit,
}

/// The effect of a commit on a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The decision was added or changed. Ended early when `until` is not in the future.
    Put(StoredDecision),
    /// The row was deleted, with its alert or by retention. Kept so that bouncers receive the end; `until` is its
    /// former end, `commit` the one that deleted it.
    Removed(StoredDecision),
}
