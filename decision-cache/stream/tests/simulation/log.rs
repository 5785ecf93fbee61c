//! The database: what is stored, and every state it ever had.

use std::collections::BTreeMap;

use palisade_model::{Change, Commit, StoredDecision, Timeline};
use palisade_replica::{ActiveSet, CursorScope};
use palisade_wire::UnixMillis;
use uuid::Uuid;

use crate::HISTORY;

/// Rows by number.
pub(crate) type Rows = BTreeMap<i64, StoredDecision>;

/// Every commit that was made, and what was stored after each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) commits: Vec<Vec<Change>>,
    /// One more than there are commits: the first is empty.
    states: Vec<Rows>,
    removed: Vec<(UnixMillis, StoredDecision)>,
    timelines: Vec<Timeline>,
    last_id: i64,
    last_token: u64,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { states: vec![Rows::new()], ..Self::default() }
    }

    pub(crate) fn head(&self) -> Commit {
        Commit(self.commits.len() as u64)
    }

    pub(crate) fn rows(&self) -> &Rows {
        self.at(self.head()).expect("the last state is there")
    }

    pub(crate) fn at(&self, commit: Commit) -> Option<&Rows> {
        self.states.get(usize::try_from(commit.0).ok()?)
    }

    /// One commit: rows to put (new ones have the number 0), and numbers to remove.
    pub(crate) fn commit(&mut self, now: UnixMillis, put: Vec<StoredDecision>, remove: &[i64]) {
        let commit = Commit(self.head().0 + 1);
        let mut rows = self.rows().clone();
        let mut changes = Vec::new();
        for mut row in put {
            if row.id == 0 {
                self.last_id += 1;
                row.id = self.last_id;
            }
            row.commit = commit;
            rows.insert(row.id, row.clone());
            changes.push(Change::Put(row));
        }
        for id in remove {
            if let Some(mut row) = rows.remove(id) {
                row.commit = commit;
                self.removed.push((now, row.clone()));
                changes.push(Change::Removed(row));
            }
        }
        self.commits.push(changes);
        self.states.push(rows);
    }

    /// A LAPI starts: a line of history begins.
    pub(crate) fn begin(&mut self, chance: &mut fastrand::Rng) {
        self.last_token = chance.u64(1..);
        self.timelines.push(Timeline { token: self.last_token, from: self.head() });
    }

    pub(crate) fn scope(&self) -> CursorScope {
        CursorScope { database: Uuid::from_u128(1), timelines: self.timelines.clone() }
    }

    /// What a LAPI reads when it starts.
    pub(crate) fn load(&self, now: UnixMillis) -> ActiveSet {
        let mut set = ActiveSet::new(HISTORY, 10_000);
        let oldest = now.0 - i64::try_from(HISTORY.as_millis()).expect("a short time");
        let held = self.rows().values().filter(|row| row.until.0 > oldest).cloned().map(Change::Put);
        let removed = self.removed.iter().filter(|(at, _)| at.0 > oldest);
        let removed = removed.map(|(_, row)| Change::Removed(row.clone()));
        let mut all: Vec<Change> = held.chain(removed).collect();
        all.sort_by_key(|change| match change {
            Change::Put(row) | Change::Removed(row) => (row.commit, row.id),
        });
        set.load(now, all.into_iter(), self.head());
        set
    }
}
