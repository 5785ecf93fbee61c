//! Persisted decisions in memory, and what they belong to.

use palisade_cache::{Batch, Ledger, Mode, Timestamp};

/// The persisted state, loaded.
#[derive(Debug, Default)]
pub struct PersistedState {
    pub(super) base: Batch,
    /// The records of the journal, in order.
    pub(super) changes: Vec<Batch>,
    /// When it was written.
    pub written: Timestamp,
    /// The cursor that belongs to exactly this state; empty without one.
    pub cursor: String,
}

impl PersistedState {
    /// Replaces the contents of a ledger by the decisions that are in force at `now`.
    pub fn restore(self, ledger: &mut Ledger, now: Timestamp) {
        ledger.apply(Mode::Everything, self.base);
        // Including ended decisions, which may have replaced decisions with a later end.
        for changes in self.changes {
            ledger.apply(Mode::Changes, changes);
        }
        ledger.expire(now);
    }
}

/// Identifies a written file to its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(super) checksum: u32,
    pub(super) bytes: u64,
}

/// What the decisions belong to: any of these LAPIs, and this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) lapis: Vec<String>,
    pub(super) kind: String,
}

impl Identity {
    pub(super) fn text(&self) -> String {
        format!("{} ({})", self.lapis.join(" "), self.kind)
    }

    pub(super) fn is_ours(&self, theirs: &str) -> bool {
        let Some((lapis, kind)) = theirs.strip_suffix(')').and_then(|text| text.rsplit_once(" (")) else {
            return false;
        };
        // One LAPI in common is enough: the lists of interchangeable LAPIs hold the same decisions, and adding one to
        // the list must not discard the state.
        kind == self.kind && lapis.split(' ').any(|lapi| self.lapis.iter().any(|ours| ours == lapi))
    }
}
