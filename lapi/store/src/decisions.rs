//! Decisions: what the memory replays, ending them early, and what profiles ask about the past.

use std::time::Duration;

use ipnet::IpNet;
use palisade_active::{Change, Commit};
use palisade_wire::UnixMillis;

use crate::{Store, StoreError};

/// Decisions that were ended early.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// How many.
    pub count: u64,
    /// What happened; `None` when nothing did.
    pub commit: Option<(Commit, Vec<Change>)>,
}

impl Store {
    /// Tells everything a memory needs, in one snapshot: the decisions in force, those that ended within `history`,
    /// and those removed within it, ordered by commit, then by number. Returns the last commit the snapshot holds.
    ///
    /// # Errors
    ///
    /// When the database fails; what was told until then is then to be thrown away.
    pub async fn load(
        &self,
        now: UnixMillis,
        history: Duration,
        sink: &mut (dyn FnMut(Change) + Send),
    ) -> Result<Commit, StoreError> {
        let _ = (now, history, sink);
        todo!()
    }

    /// What happened after a commit, in order and without gaps: a commit whose rows were all written again later is
    /// there with nothing in it. Whole commits only, about `limit` changes or commits at once; ask again from the
    /// last one. Empty when nothing happened.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn changes_since(
        &self,
        after: Commit,
        limit: usize,
    ) -> Result<Vec<(Commit, Vec<Change>)>, StoreError> {
        let _ = (after, limit);
        todo!()
    }

    /// Ends those of these decisions that are still in force, in one commit.
    ///
    /// # Errors
    ///
    /// When the database fails; then nothing was ended.
    pub async fn end_decisions(&self, now: UnixMillis, ids: &[i64]) -> Result<Ended, StoreError> {
        let _ = (now, ids);
        todo!()
    }

    /// Ends one decision now, even if it had ended before. `None` when there is none of that number.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn end_decision(&self, now: UnixMillis, id: i64) -> Result<Option<Ended>, StoreError> {
        let _ = (now, id);
        todo!()
    }

    /// How many stored decisions cover this address or range: all, or only those made at or after `since`, or only
    /// those in force at `active_at`.
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
        let _ = (value, since, active_at);
        todo!()
    }

    /// How long the longest decision that covers this address or range has still to go; zero when there is none.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn active_time_left(&self, value: &IpNet, now: UnixMillis) -> Result<Duration, StoreError> {
        let _ = (value, now);
        todo!()
    }
}
