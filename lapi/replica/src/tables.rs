//! The rows and their indexes: one consistent state, cheap to clone.

use std::hash::RandomState;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_model::{Commit, Value};
use palisade_wire::UnixMillis;

use smallvec::SmallVec;

use crate::addresses::Addresses;
use crate::label::Label;
use crate::packed::{Packed, hash_value};
use crate::paged::{Keyed, Paged};

impl Keyed for Packed {
    type Key = i64;
    fn key(&self) -> i64 {
        self.id
    }
}

/// Rows by end: `(until, id)`.
impl Keyed for (i64, i64) {
    type Key = Self;
    fn key(&self) -> Self {
        *self
    }
}

/// Rows by value: `(hash, id)`.
impl Keyed for (u64, i64) {
    type Key = Self;
    fn key(&self) -> Self {
        *self
    }
}

/// Rows with consecutive ids written by one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) commit: Commit,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Keyed for Run {
    type Key = (Commit, i64);
    fn key(&self) -> Self::Key {
        (self.commit, self.first)
    }
}

/// All rows, active or ended, and their indexes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    pub(crate) rows: Paged<Packed>,
    pub(crate) ends: Paged<(i64, i64)>,
    values: Paged<(u64, i64)>,
    addresses: Addresses,
    /// The rows that the latest commits wrote: a shortcut to what the rows themselves record.
    runs: Paged<Run>,
    /// Commits up to this one are no longer in `runs`.
    runs_after: Commit,
    /// No deleted row ends later.
    gone_until: UnixMillis,
    state: RandomState,
    /// Rows that are not indexed yet; empty in every published state.
    // Indexing many rows at once sorts them and copies each page once.
    unindexed: Vec<i64>,
}

impl Tables {
    /// Indexes rows that were loaded without indexes.
    pub(crate) fn index(rows: Paged<Packed>, runs: Vec<Run>, runs_after: Commit) -> Self {
        // Keyed anew at each load, so that an attacker cannot choose values that collide.
        let state = RandomState::new();
        let mut rows = rows;
        let mut ends: Vec<_> = rows.iter().map(|row| (row.until().0, row.id)).collect();
        ends.sort_unstable();
        let ends = Paged::from_sorted(ends);
        let mut values: Vec<_> = rows.iter().map(|row| (hash_value(&state, &row.value), row.id)).collect();
        values.sort_unstable();
        for same in values.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            for (_, id) in same {
                rows.modify(id, Packed::set_shared);
            }
        }
        let values = Paged::from_sorted(values);
        let mut addresses = Addresses::default();
        addresses.insert(rows.iter().filter_map(|row| Some((row.prefix()?, row.id))));
        let gone = rows.iter().filter(|row| row.label.gone).map(Packed::until);
        let gone_until = gone.max().unwrap_or_default();
        let runs = Paged::from_sorted(runs);
        Self { rows, ends, values, addresses, runs, runs_after, gone_until, state, unindexed: Vec::new() }
    }

    /// Adds or replaces a row. It can be found by index only after [`Self::index_pending`].
    pub(crate) fn put(&mut self, row: Packed) {
        let (id, until) = (row.id, row.until().0);
        if row.label.gone {
            self.gone_until = self.gone_until.max(row.until());
        }
        let Some(old) = self.rows.get(&id) else {
            self.rows.insert(row);
            return self.unindexed.push(id);
        };
        let (shared, before) = (old.shared(), old.until().0);
        // Mostly a changed end: then only the index of ends has to be written.
        let same_place = old.value == row.value && old.label.addressed == row.label.addressed;
        // The old row may still be pending, and its index entries are changed below.
        self.index_pending();
        if !same_place {
            self.take(id);
            self.rows.insert(row);
            return self.unindexed.push(id);
        }
        self.rows.insert(row);
        // The mark is never removed. A wrong one costs a look-up, a missing one would send a wrong row.
        if shared || self.rows.get(&id).is_some_and(|row| self.with_value_hash(&row.value).nth(1).is_some()) {
            self.rows.modify(&id, Packed::set_shared);
        }
        if before != until {
            self.ends.remove(&(before, id));
            self.ends.insert((until, id));
        }
    }

    /// Adds pending rows to the indexes; much cheaper for many rows at once.
    pub(crate) fn index_pending(&mut self) {
        let fresh = std::mem::take(&mut self.unindexed);
        let rows = || fresh.iter().filter_map(|id| self.rows.get(id));
        let mut ends: Vec<_> = rows().map(|row| (row.until().0, row.id)).collect();
        let mut values: Vec<_> = rows().map(|row| (self.hash(&row.value), row.id)).collect();
        self.addresses.insert(rows().filter_map(|row| Some((row.prefix()?, row.id))));
        ends.sort_unstable();
        values.sort_unstable();
        for same in values.chunk_by(|a, b| a.0 == b.0) {
            let hash = same[0].0;
            let others = self.values.from((hash, i64::MIN)).take_while(|(other, _)| *other == hash);
            // With two or more others, all are marked already.
            let others: SmallVec<[i64; 2]> = others.take(2).map(|(_, id)| *id).collect();
            if others.len() + same.len() < 2 {
                continue;
            }
            for id in others.iter().chain(same.iter().map(|(_, id)| id)) {
                if self.rows.get(id).is_some_and(|row| !row.shared()) {
                    self.rows.modify(id, Packed::set_shared);
                }
            }
        }
        self.ends.insert_sorted(ends);
        self.values.insert_sorted(values);
    }

    pub(crate) fn take(&mut self, id: i64) -> Option<Packed> {
        self.index_pending();
        let row = self.rows.remove(&id)?;
        self.ends.remove(&(row.until().0, id));
        self.values.remove(&(hash_value(&self.state, &row.value), id));
        if let Some(prefix) = row.prefix() {
            self.addresses.remove(prefix, id);
        }
        Some(row)
    }

    /// Marks a row as deleted from the store: ended by `commit` at `now` unless it had ended before, and never in force
    /// again.
    pub(crate) fn mark_gone(&mut self, id: i64, label: Arc<Label>, commit: Commit, now: UnixMillis) {
        self.index_pending();
        let ended = self.rows.modify(&id, |row| {
            let before = row.until();
            row.label = label;
            if before > now {
                row.set_until(now);
                // Not for a row that had ended before: its end was announced already, and a new commit number would
                // announce it again.
                row.set_commit(commit);
            }
            before
        });
        let Some(before) = ended else { return };
        self.gone_until = self.gone_until.max(before.min(now));
        if before > now {
            self.ends.remove(&(before.0, id));
            self.ends.insert((now.0, id));
        }
    }

    /// Records that a commit wrote a row, for deltas; keeps the last `keep` runs.
    pub(crate) fn record_write(&mut self, commit: Commit, id: i64, keep: usize) {
        match self.runs.last().copied() {
            // An import has consecutive ids, so thousands of rows are one run.
            Some(run) if run.commit == commit && id == run.last + 1 => {
                self.runs.modify(&run.key(), |run| run.last = id);
            }
            _ if self.runs.get(&(commit, id)).is_none() => {
                self.runs.insert(Run { commit, first: id, last: id });
            }
            _ => {}
        }
        while self.runs.len() > keep {
            let Some(first) = self.runs.first().copied() else { break };
            self.runs_after = self.runs_after.max(first.commit);
            self.runs.remove(&first.key());
        }
    }

    /// Whether [`Self::written_after`] covers all commits after this one.
    pub(crate) fn knows_commits_after(&self, commit: Commit) -> bool {
        commit >= self.runs_after
    }

    /// Ids of rows that commits after this one may have written.
    pub(crate) fn written_after(&self, commit: Commit) -> impl Iterator<Item = i64> {
        let from = (Commit(commit.0.saturating_add(1)), i64::MIN);
        // A row in between may have been written again by a later commit; it is then listed twice and sorted out by
        // the caller.
        self.runs.from(from).flat_map(|run| run.first..=run.last)
    }

    /// Ids of rows that end after the first time and not after the second.
    pub(crate) fn ending_between(&self, after: UnixMillis, to: UnixMillis) -> impl Iterator<Item = i64> {
        let from = (after.0.saturating_add(1), i64::MIN);
        self.ends.from(from).take_while(move |(until, _)| *until <= to.0).map(|(_, id)| *id)
    }

    /// The latest end of a deleted row; in the future only after the clock was set back.
    pub(crate) fn gone_until(&self) -> UnixMillis {
        self.gone_until
    }

    /// The number of rows that end at or before this time.
    pub(crate) fn ended(&self, now: UnixMillis) -> usize {
        self.ends.rank(&(now.0.saturating_add(1), i64::MIN))
    }

    /// Rows with this value, of any type and scope, in ascending id.
    pub(crate) fn with_value(&self, value: &Value) -> impl Iterator<Item = &Packed> {
        self.with_value_hash(value).filter(move |row| row.value == *value)
    }

    /// Also rows with another notation of the same prefix, and possibly hash collisions.
    pub(crate) fn with_value_hash(&self, value: &Value) -> impl Iterator<Item = &Packed> {
        let hash = hash_value(&self.state, value);
        let same = self.values.from((hash, i64::MIN)).take_while(move |(other, _)| *other == hash);
        same.filter_map(|(_, id)| self.rows.get(id))
    }

    /// Ids of rows that cover `net`, unordered.
    pub(crate) fn covering(&self, net: IpNet) -> Vec<i64> {
        self.addresses.covering(net)
    }

    /// Ids of rows within `net`, unordered.
    pub(crate) fn within(&self, net: IpNet) -> Vec<i64> {
        self.addresses.within(net)
    }

    pub(crate) fn hash(&self, value: &Value) -> u64 {
        hash_value(&self.state, value)
    }
}
