//! A snapshot of the active set, from which responses are generated.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_model::{Commit, StoredDecision};
use palisade_wire::UnixMillis;
use rustc_hash::FxHashMap;

use crate::answer::{Answer, LiveAnswer};
use crate::cursor::Cursor;
use crate::delta::{Delta, OVERLAP};
use crate::filter::{Filter, StreamRequest};
use crate::label::Label;
use crate::matcher::{Matcher, Selection};
use crate::tables::Tables;

/// Where the history begins.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HistoryFloor {
    /// Some rows written by commits up to this one have been dropped.
    pub(crate) commit: Commit,
    /// Rows that ended at or before this time may have been dropped.
    pub(crate) time: UnixMillis,
}

/// An immutable snapshot. It keeps only those pages alive that have changed since.
#[derive(Debug, Clone)]
pub struct View {
    tables: Tables,
    head: Commit,
    floor: HistoryFloor,
}

/// The position of a client's cursor relative to a snapshot, as far as commits are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorStatus {
    /// No matching decision was written since: the request may be parked.
    UpToDate,
    /// Matching decisions were written since.
    Behind,
    /// The snapshot is older than the cursor: more must be fetched from the database first.
    Ahead,
    /// The history does not reach back to the cursor: a full response is needed.
    TooOld,
}

/// A number of decisions in force, one time series of `cs_active_decisions`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// The scenario, list or reason.
    pub reason: String,
    /// The decision's origin.
    pub origin: String,
    /// The decision's type.
    pub action: String,
    /// The number of decisions.
    pub count: u64,
}

impl View {
    pub(crate) fn new(tables: Tables, head: Commit, floor: HistoryFloor) -> Self {
        Self { tables, head, floor }
    }

    /// Its last commit.
    pub fn head(&self) -> Commit {
        self.head
    }

    /// The body of a stream response, generated as it is read.
    ///
    /// Full when the request has `startup` set, when there is no cursor, when the history does not reach back to the
    /// cursor, or when the cursor is ahead of this snapshot (another database); otherwise the changes since the cursor.
    /// [`Answer::next`] is the cursor to keep after the body was sent.
    pub fn answer(&self, request: &StreamRequest, cursor: Option<Cursor>, now: UnixMillis) -> Answer {
        // A full response is correct for every cursor, so whatever does not fit becomes one.
        let since = cursor.filter(|cursor| !request.startup && self.reaches_back_to(*cursor, now));
        let delta = Delta::new(self.tables.clone(), request, since, now);
        Answer::new(delta, Cursor { commit: self.head, time: now })
    }

    /// The status of a cursor. Ends that come with time do not count as changes: the client was sent the end with the
    /// decision.
    pub fn status(&self, request: &StreamRequest, cursor: Cursor, now: UnixMillis) -> CursorStatus {
        if cursor.commit > self.head {
            return CursorStatus::Ahead;
        }
        if !self.reaches_back_to(cursor, now) {
            return CursorStatus::TooOld;
        }
        if cursor.commit == self.head {
            return CursorStatus::UpToDate;
        }
        if !self.tables.knows_commits_after(cursor.commit) {
            // Finding out would take a scan of all rows; the response scans them anyway.
            return CursorStatus::Behind;
        }
        let mut matcher = Matcher::new(request.filter.clone());
        let mut written = self.tables.written_after(cursor.commit);
        let concerned = |id: i64| self.tables.rows.get(&id).is_some_and(|row| matcher.matches(row));
        if written.any(concerned) { CursorStatus::Behind } else { CursorStatus::UpToDate }
    }

    /// The body of `GET /v1/decisions`: all matching rows in force, or `null`. Bans come first, then captchas, and of equal
    /// remediations the longest; pages and more than a thousand rows are in ascending id.
    pub fn live(&self, filter: &Filter, now: UnixMillis) -> LiveAnswer {
        LiveAnswer::new(Selection::ranked(self.tables.clone(), filter, now), now)
    }

    /// As [`ActiveSet::query`](crate::ActiveSet::query).
    pub fn query(&self, filter: &Filter, now: UnixMillis) -> Vec<StoredDecision> {
        let mut selection = Selection::new(self.tables.clone(), filter, now);
        std::iter::from_fn(|| selection.next().map(crate::packed::Packed::row)).collect()
    }

    /// As [`ActiveSet::ids`](crate::ActiveSet::ids).
    pub fn ids(&self, filter: &Filter, now: UnixMillis) -> Vec<i64> {
        let mut selection = Selection::new(self.tables.clone(), filter, now);
        std::iter::from_fn(|| selection.next().map(|row| row.id)).collect()
    }

    /// As [`ActiveSet::counts`](crate::ActiveSet::counts).
    pub fn counts(&self, now: UnixMillis) -> Vec<Count> {
        let mut labels: FxHashMap<usize, (&Label, u64)> = FxHashMap::default();
        for row in self.tables.rows.iter().filter(|row| !row.label.simulated && row.active(now)) {
            // Counted by label first: comparing an address per row is cheaper than three texts.
            labels.entry(Arc::as_ptr(&row.label).addr()).or_insert((&row.label, 0)).1 += 1;
        }
        let mut counts: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
        for (label, count) in labels.values() {
            *counts.entry((&label.scenario, &label.origin, &label.kind)).or_default() += count;
        }
        let owned = |((reason, origin, action), count): ((&str, &str, &str), u64)| Count {
            reason: reason.to_owned(),
            origin: origin.to_owned(),
            action: action.to_owned(),
            count,
        };
        counts.into_iter().map(owned).collect()
    }

    fn reaches_back_to(&self, cursor: Cursor, now: UnixMillis) -> bool {
        // `now` as well: after the clock was set back, rows that were dropped would be in force again.
        let kept = cursor.commit >= self.floor.commit && cursor.time.min(now) >= self.floor.time;
        kept && cursor.commit <= self.head
    }
}

// The overlap only repeats ends; nothing would be lost without it.
const _: () = assert!(OVERLAP > 0);
