//! The set itself: what commits and the clock do to it.

use std::time::Duration;

use palisade_wire::UnixMillis;

use crate::delta::MAX_LIST as MAX_RUNS;
use crate::filter::Filter;
use crate::label::Labels;
use crate::load::Loading;
use crate::packed::Packed;
use crate::row::{Change, Commit, ReplicaRow};
use crate::tables::Tables;
use crate::view::{Count, HistoryFloor, View};

/// Rows that ended too long ago are forgotten in portions of this many, so that a large list that runs out at once
/// does not hold up commits.
const FORGET_AT_ONCE: usize = 4096;

/// All decisions in force, and those that ended lately.
///
/// It is fed every commit in order ([`Self::apply`]) and, from time to time, the clock ([`Self::expire`]). It never
/// looks at a clock itself, so what it answers depends on its arguments alone.
#[derive(Debug)]
pub struct ActiveSet {
    tables: Tables,
    labels: Labels,
    head: Commit,
    floor: HistoryFloor,
    /// In milliseconds.
    history: i64,
    max_history_entries: usize,
    /// The next id for a row that was overwritten by something else under its own id.
    tombstone: i64,
}

impl ActiveSet {
    /// An empty set before the first commit. Rows that have ended are kept for `history` (a bouncer that pulls less
    /// often gets everything), but not more than `max_history_entries` of them.
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

    /// Puts what a store tells in the place of all that was held: rows that are active or ended within the history,
    /// tombstones within the history, as of commit `head`. For rows that are not all in memory already, see
    /// [`Self::loading`].
    pub fn load(&mut self, now: UnixMillis, rows: impl Iterator<Item = Change>, head: Commit) {
        let mut loading = self.loading(now);
        rows.for_each(|change| loading.push(change));
        self.replace(loading, head);
    }

    /// Begins to collect what a store tells, row by row, while this set goes on answering.
    pub fn loading(&self, now: UnixMillis) -> Loading {
        Loading::new(now, MAX_RUNS)
    }

    /// Puts what was collected, as of commit `head`, in the place of all that was held.
    pub fn replace(&mut self, loading: Loading, head: Commit) {
        let now = loading.now();
        (self.tables, self.labels) = loading.finish();
        self.head = head;
        // A moment later than the oldest row's end: a bouncer may have pulled in the same millisecond, before it.
        let reaches = now.0.saturating_sub(self.history).saturating_add(1);
        self.floor = HistoryFloor { commit: Commit(0), time: UnixMillis(reaches) };
        self.expire(now);
    }

    /// Applies one commit.
    ///
    /// # Errors
    ///
    /// When it is not the one after [`Self::head`]; nothing is changed then.
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
        self.tables.index_pending();
        self.head = commit;
        self.expire(now);
        Ok(())
    }

    /// Forgets rows that ended before the history begins. Call it every now and then; whether a row is in force is
    /// computed for every answer and does not depend on it.
    pub fn expire(&mut self, now: UnixMillis) {
        let oldest = UnixMillis(now.0.saturating_sub(self.history));
        self.floor.time = self.floor.time.max(oldest);
        let too_old = self.tables.ended(oldest);
        let too_many = self.tables.ended(now).saturating_sub(self.max_history_entries);
        let forget = too_old.max(too_many).min(FORGET_AT_ONCE);
        let ids: Vec<i64> = self.tables.ends.iter().take(forget).map(|(_, id)| *id).collect();
        for id in ids {
            if let Some(row) = self.tables.take(id) {
                self.floor.time = self.floor.time.max(row.until());
                self.floor.commit = self.floor.commit.max(row.commit());
            }
        }
    }

    /// The last commit applied.
    pub fn head(&self) -> Commit {
        self.head
    }

    /// Whether the clock was set back so far that rows hold again which have been forgotten: the set must be loaded
    /// anew.
    pub fn needs_reload(&self, now: UnixMillis) -> bool {
        now < self.floor.time
    }

    /// How many rows are held: active ones and the history.
    pub fn len(&self) -> usize {
        self.tables.rows.len()
    }

    /// Whether no row is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state as it is now, to be read while this set goes on. It costs a few counters.
    pub fn view(&self) -> View {
        View::new(self.tables.clone(), self.head, self.floor)
    }

    /// The rows in force that match, each by itself, in ascending id; `limit`, `offset` and `id_gt` are honoured.
    /// An address or a value is looked up, everything else is a scan. To answer a request without collecting rows,
    /// see [`View::live`].
    pub fn query(&self, filter: &Filter, now: UnixMillis) -> Vec<ReplicaRow> {
        self.view().query(filter, now)
    }

    /// The ids of the rows [`Self::query`] gives.
    pub fn ids(&self, filter: &Filter, now: UnixMillis) -> Vec<i64> {
        self.view().ids(filter, now)
    }

    /// How many decisions are in force for each reason, origin and type, simulated ones left out. A scan: take a
    /// [`View`] for it when a lock is held.
    pub fn counts(&self, now: UnixMillis) -> Vec<Count> {
        self.view().counts(now)
    }

    fn put(&mut self, now: UnixMillis, commit: Commit, row: &ReplicaRow) {
        let mut packed = Packed::new(row, self.labels.of(row, false));
        packed.set_commit(commit);
        let forgotten = packed.until().0 <= now.0.saturating_sub(self.history);
        if let Some(old) = self.tables.rows.get(&row.id) {
            let shorter = packed.until() < old.until() && packed.until() > now;
            if forgotten {
                return self.removed(now, commit, row);
            }
            if shorter || !old.same_words(&packed) {
                // The store does neither, but what bouncers were told must be taken back.
                let old = old.clone();
                self.keep_old_version(now, commit, &old);
            }
        } else if forgotten {
            return;
        }
        self.tables.put(packed);
        self.tables.record_write(commit, row.id, MAX_RUNS);
    }

    fn removed(&mut self, now: UnixMillis, commit: Commit, row: &ReplicaRow) {
        if let Some(held) = self.tables.rows.get(&row.id) {
            let label = self.labels.gone(&held.label);
            self.tables.mark_gone(row.id, label, commit, now);
        } else if row.until > now {
            // Nobody was told of it from here; perhaps from elsewhere.
            let mut packed = Packed::new(row, self.labels.of(row, true));
            packed.set_commit(commit);
            packed.set_until(row.until.min(now));
            self.tables.put(packed);
        }
        self.tables.record_write(commit, row.id, MAX_RUNS);
    }

    fn keep_old_version(&mut self, now: UnixMillis, commit: Commit, old: &Packed) {
        let id = self.tombstone;
        self.tombstone = self.tombstone.checked_sub(1).unwrap_or(-1);
        let label = self.labels.gone(&old.label);
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
    /// The one refused.
    pub commit: Commit,
}
