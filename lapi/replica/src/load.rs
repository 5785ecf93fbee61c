//! Initial load of a set from the store.

use palisade_model::{Change, Commit};
use palisade_wire::UnixMillis;

use crate::label::Labels;
use crate::packed::Packed;
use crate::paged::Paged;
use crate::tables::{Run, Tables};

/// Rows being loaded, packed as they arrive, so that a million rows never exist as text at once. Fastest in ascending
/// order of commit and id, correct in any order.
#[derive(Debug)]
pub struct Loading {
    now: UnixMillis,
    keep_runs: usize,
    rows: Paged<Packed>,
    labels: Labels,
    runs: Vec<Run>,
    runs_after: Commit,
}

impl Loading {
    pub(crate) fn new(now: UnixMillis, keep_runs: usize) -> Self {
        Self {
            now,
            keep_runs,
            rows: Paged::default(),
            labels: Labels::default(),
            runs: Vec::new(),
            runs_after: Commit(0),
        }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.now
    }

    /// Adds a row or tombstone; of several with one id the last counts.
    pub fn push(&mut self, change: Change) {
        let packed = match change {
            Change::Put(row) => Packed::new(&row, self.labels.of(&row, false)),
            Change::Removed(row) => {
                let mut packed = Packed::new(&row, self.labels.of(&row, true));
                // A deletion by another server's clock may lie in the future, but a deleted decision has ended.
                packed.set_until(row.until.min(self.now));
                packed
            }
        };
        let (commit, id) = (packed.commit(), packed.id);
        self.rows.insert(packed);
        match self.runs.last_mut() {
            Some(run) if run.commit == commit && run.last + 1 == id => run.last = id,
            _ => self.runs.push(Run { commit, first: id, last: id }),
        }
        // Not on every push: a load may have a run for each row, and sorted this seldom each costs a constant.
        if self.runs.len() > 1024 + self.keep_runs.saturating_mul(2) {
            self.prune_runs();
        }
    }

    pub(crate) fn finish(mut self) -> (Tables, Labels) {
        self.prune_runs();
        (Tables::index(self.rows, self.runs, self.runs_after), self.labels)
    }

    /// Keeps the runs of the latest commits, sorted.
    fn prune_runs(&mut self) {
        self.runs.sort_unstable_by_key(|run| (run.commit, run.first, run.last));
        self.runs.dedup_by(|later, earlier| {
            let same = (later.commit, later.first) == (earlier.commit, earlier.first);
            if same {
                earlier.last = later.last;
            }
            same
        });
        let forget = self.runs.len().saturating_sub(self.keep_runs);
        if let Some(last) = forget.checked_sub(1).and_then(|at| self.runs.get(at)) {
            // A commit of which one run was dropped counts as unknown, and its other runs are dropped below.
            self.runs_after = self.runs_after.max(last.commit);
            self.runs.drain(..forget);
        }
        self.runs.retain(|run| run.commit > self.runs_after);
    }
}
