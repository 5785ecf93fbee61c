//! The active set: applies commits and expires decisions.

use std::time::Duration;

use palisade_model::{Change, Commit, StoredDecision};
use palisade_wire::UnixMillis;

use crate::delta::MAX_LIST as MAX_RUNS;
use crate::filter::Filter;
use crate::label::Labels;
use crate::load::Loading;
use crate::packed::Packed;
use crate::tables::Tables;
use crate::view::{Count, HistoryFloor, View};

/// Expired rows are dropped in batches of this size, so that the end of a large list does not delay commits.
const FORGET_AT_ONCE: usize = 4096;

/// All decisions in force, and those that ended within the history.
///
/// It receives every commit in order ([`Self::apply`]) and the current time now and then ([`Self::expire`]). It
/// reads no clock, so its responses depend on their arguments alone.
#[derive(Debug)]
pub struct ActiveSet {
    tables: Tables,
    labels: Labels,
    head: Commit,
    floor: HistoryFloor,
    /// In milliseconds.
    history: i64,
    max_history_entries: usize,
    /// The next id for a row that was overwritten by a different decision with its id.
    tombstone: i64,
}

impl ActiveSet {
    /// An empty set before the first commit. Ended rows are kept for `history` (a bouncer that pulls less often gets
    /// full responses), and at most `max_history_entries` of them.
    pub fn new(history: Duration, max_history_entries: usize) -> Self {
        Self {
            tables: Tables::default(),
            labels: Labels::default(),
            head: Commit(0),
            floor: HistoryFloor::default(),
            history: i64::try_from(history.as_millis()).unwrap_or(i64::MAX),
            max_history_entries,
            tombstone: -1,
        }
    }

    /// Replaces the contents by the store's: rows that are active or ended within the history, and tombstones within
    /// the history, as of commit `head`. To load without collecting rows first, see [`Self::loading`].
    pub fn load(&mut self, now: UnixMillis, rows: impl Iterator<Item = Change>, head: Commit) {
        let mut loading = self.loading(now);
        rows.for_each(|change| loading.push(change));
        self.replace(loading, head);
    }

    /// Starts a load, row by row, while this set continues to serve.
    pub fn loading(&self, now: UnixMillis) -> Loading {
        Loading::new(now, MAX_RUNS)
    }

    /// Replaces the contents by a completed load, as of commit `head`.
    pub fn replace(&mut self, loading: Loading, head: Commit) {
        let now = loading.now();
        (self.tables, self.labels) = loading.finish();
        self.head = head;
        // One millisecond after the oldest row's end: a bouncer may have pulled in that millisecond, before the end.
        let reaches = now.0.saturating_sub(self.history).saturating_add(1);
        self.floor = HistoryFloor { commit: Commit(0), time: UnixMillis(reaches) };
        // The history in the store may be longer than `max_history_entries`.
        self.expire(now);
    }

    /// Applies a commit.
    ///
    /// # Errors
    ///
    /// When it is not the successor of [`Self::head`]; nothing is changed then.
    pub fn apply(&mut self, now: UnixMillis, commit: Commit, changes: Vec<Change>) -> Result<(), OutOfOrder> {
        if self.head.0.checked_add(1) != Some(commit.0) {
            return Err(OutOfOrder { head: self.head, commit });
        }
        for change in changes {
            match change {
                Change::Put(row) => self.put(now, commit, &row),
                Change::Removed(row) => self.removed(now, commit, &row),
            }
        }
        // Once per commit: an import of 10,000 rows writes each page of the indexes once.
        self.tables.index_pending();
        self.head = commit;
        self.expire(now);
        Ok(())
    }

    /// Drops rows that ended before the history begins. Whether a row is in force is computed for every response and
    /// does not depend on this.
    pub fn expire(&mut self, now: UnixMillis) {
        let oldest = UnixMillis(now.0.saturating_sub(self.history));
        // Even if nothing is dropped: rows that end before it may be missing, for example after a load.
        self.floor.time = self.floor.time.max(oldest);
        let too_old = self.tables.ended(oldest);
        let too_many = self.tables.ended(now).saturating_sub(self.max_history_entries);
        let forget = too_old.max(too_many).min(FORGET_AT_ONCE);
        let ids: Vec<i64> = self.tables.ends.iter().take(forget).map(|(_, id)| *id).collect();
        for id in ids {
            if let Some(row) = self.tables.take(id) {
                self.floor.time = self.floor.time.max(row.until());
                // A cursor before this commit may never have received the row, and can no longer be sent its end.
                self.floor.commit = self.floor.commit.max(row.commit());
            }
        }
    }

    /// The last commit applied.
    pub fn head(&self) -> Commit {
        self.head
    }

    /// Whether the clock was set back so far that dropped rows would be in force again: the set must be reloaded.
    pub fn needs_reload(&self, now: UnixMillis) -> bool {
        now < self.floor.time
    }

    /// The number of rows, active and ended.
    pub fn len(&self) -> usize {
        self.tables.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A snapshot. Costs a few reference counts.
    pub fn view(&self) -> View {
        View::new(self.tables.clone(), self.head, self.floor)
    }

    /// The rows in force that match, in ascending id, with `limit`, `offset` and `id_gt` applied. Filters on an address
    /// or value use an index, all others scan. To respond without collecting rows, see [`View::live`].
    pub fn query(&self, filter: &Filter, now: UnixMillis) -> Vec<StoredDecision> {
        self.view().query(filter, now)
    }

    /// The ids of the rows [`Self::query`] returns.
    pub fn ids(&self, filter: &Filter, now: UnixMillis) -> Vec<i64> {
        self.view().ids(filter, now)
    }

    /// The number of decisions in force by reason, origin and type, without simulated ones. A scan: use a [`View`]
    /// where a lock is held.
    pub fn counts(&self, now: UnixMillis) -> Vec<Count> {
        self.view().counts(now)
    }

    fn put(&mut self, now: UnixMillis, commit: Commit, row: &StoredDecision) {
        let mut packed = Packed::new(row, self.labels.of(row, false));
        packed.set_commit(commit);
        let forgotten = packed.until().0 <= now.0.saturating_sub(self.history);
        if let Some(old) = self.tables.rows.get(&row.id) {
            let shorter = packed.until() < old.until() && packed.until() > now;
            // It ended longer ago than the history goes back, so it is kept only as the end of what clients were
            // sent.
            if forgotten {
                return self.removed(now, commit, row);
            }
            if shorter || !old.same_words(&packed) {
                // The store does neither, but what was sent to bouncers must be ended.
                let old = old.clone();
                self.keep_old_version(now, commit, &old);
            }
        } else if forgotten {
            return;
        }
        self.tables.put(packed);
        self.tables.record_write(commit, row.id, MAX_RUNS);
    }

    fn removed(&mut self, now: UnixMillis, commit: Commit, row: &StoredDecision) {
        if let Some(held) = self.tables.rows.get(&row.id) {
            // A label of its own marks the deletion, which costs a row no byte.
            let label = self.labels.as_deleted(&held.label);
            self.tables.mark_gone(row.id, label, commit, now);
        } else if row.until > now {
            // This LAPI has not sent the row to any bouncer, but another LAPI may have.
            let mut packed = Packed::new(row, self.labels.of(row, true));
            packed.set_commit(commit);
            packed.set_until(row.until.min(now));
            self.tables.put(packed);
        }
        self.tables.record_write(commit, row.id, MAX_RUNS);
    }

    fn keep_old_version(&mut self, now: UnixMillis, commit: Commit, old: &Packed) {
        let id = self.tombstone;
        // By the time the numbers begin again, the row with this id has been dropped.
        self.tombstone = self.tombstone.checked_sub(1).unwrap_or(-1);
        let label = self.labels.as_deleted(&old.label);
        self.tables.put(old.tombstone(id));
        self.tables.mark_gone(id, label, commit, now);
        self.tables.record_write(commit, id, MAX_RUNS);
    }
}

/// A commit that is not the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot apply commit {} after commit {}: read the changes since the latter", commit.0, head.0)]
pub struct OutOfOrder {
    /// The last commit applied.
    pub head: Commit,
    /// The commit refused.
    pub commit: Commit,
}
