//! Computes a stream response: which rows are in force for a bouncer, and which of them to send.
//!
//! Rows with the same value, type and scope form a key; for requests with `by_address`, rows with the same prefix and
//! type, whatever their notation. Of the active rows of a key that match the filter, the longest is the winner and
//! represents the key. A key is touched when one of its matching rows was written after the cursor's commit or has
//! ended since the cursor's time.

use palisade_model::Commit;
use palisade_wire::UnixMillis;
use rustc_hash::FxHashMap;

use crate::cursor::Cursor;
use crate::filter::StreamRequest;
use crate::matcher::Matcher;
use crate::packed::Packed;
use crate::paged::Position;
use crate::tables::Tables;

/// Ends up to this long before the cursor are sent again, as in the stock server. In milliseconds.
pub(crate) const OVERLAP: i64 = 2_000;

/// Above this many changed rows, all rows are scanned: a list of ids per slow reader would cost more memory.
pub(crate) const MAX_LIST: usize = 16_384;

/// Keys with more rows than this are cached.
const REMEMBER_FROM: usize = 4;

const MAX_REMEMBER: usize = 16_384;

/// The changes for one request, generated row by row.
#[derive(Debug)]
pub(crate) struct Delta {
    tables: Tables,
    since: Option<Since>,
    now: UnixMillis,
    dedup: bool,
    by_address: bool,
    matcher: Matcher,
    keys: FxHashMap<(u64, usize), KeyState>,
    list: List,
    rows: Rows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    New,
    Deleted,
}

/// The candidate rows of a list, in ascending id.
#[derive(Debug)]
enum Rows {
    All(Position),
    Listed(std::vec::IntoIter<i64>),
}

/// The cursor in the form rows are compared with.
#[derive(Debug, Clone, Copy)]
struct Since {
    commit: Commit,
    /// Rows that ended after this time, up to `to`, have ended since the cursor. When the clock was set back, they are
    /// in force again.
    after: UnixMillis,
    to: UnixMillis,
}

#[derive(Debug, Clone, Copy)]
struct KeyState {
    /// One of its rows.
    row: i64,
    /// The winner, and whether it must be sent.
    winner: Option<(i64, bool)>,
    /// The row to send as ended.
    ended: Option<i64>,
    size: usize,
}

/// Borrows the request's fields; a macro, because the other fields are borrowed mutably at the same time.
macro_rules! query {
    ($delta:ident) => {
        DeltaQuery {
            tables: &$delta.tables,
            since: $delta.since,
            now: $delta.now,
            dedup: $delta.dedup,
            by_address: $delta.by_address,
        }
    };
}

impl Delta {
    pub(crate) fn new(
        tables: Tables,
        request: &StreamRequest,
        since: Option<Cursor>,
        now: UnixMillis,
    ) -> Self {
        let since = since.map(|cursor| Since {
            commit: cursor.commit,
            // With a clock that was set back since, `now` lies before the cursor. The interval is then taken the
            // other way round: what ended in it is in force again.
            after: UnixMillis(cursor.time.min(now).0.saturating_sub(OVERLAP)),
            to: cursor.time.max(now),
        });
        let mut delta = Self {
            now,
            since,
            dedup: request.dedup,
            by_address: request.by_address,
            matcher: Matcher::new(request.filter.clone()),
            keys: FxHashMap::default(),
            list: List::New,
            rows: Rows::All(tables.rows.start()),
            tables,
        };
        delta.rows = delta.rows_of(List::New);
        delta
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.since.is_none()
    }

    /// Switches to the second list.
    pub(crate) fn start_deleted(&mut self) {
        self.list = List::Deleted;
        self.rows = self.rows_of(List::Deleted);
    }

    pub(crate) fn next(&mut self) -> Option<&Packed> {
        loop {
            let row = match &mut self.rows {
                // A position and not an iterator, which would borrow the tables that this struct owns.
                Rows::All(at) => self.tables.rows.next(at)?,
                Rows::Listed(ids) => match self.tables.rows.get(&ids.next()?) {
                    Some(row) => row,
                    // A run may name rows that were dropped since.
                    None => continue,
                },
            };
            let query = query!(self);
            let tell = match self.list {
                List::New => query.is_new(row, &mut self.matcher, &mut self.keys),
                List::Deleted => query.is_deleted(row, &mut self.matcher, &mut self.keys),
            };
            if tell {
                return Some(row);
            }
        }
    }

    fn rows_of(&mut self, list: List) -> Rows {
        let all = Rows::All(self.tables.rows.start());
        let query = query!(self);
        let mut ids: Vec<i64> = match (self.since, list) {
            (Some(since), _) => {
                // The list of written rows does not reach back so far. Each row still has its commit number, so a
                // scan finds the same.
                if !self.tables.knows_commits_after(since.commit) {
                    return all;
                }
                let written = self.tables.written_after(since.commit);
                // Deleted rows may end after `to` if the clock was set back, and are announced in any case.
                let ended = self.tables.ending_between(since.after, since.to.max(self.tables.gone_until()));
                // One more than allowed, which shows that the list is too long without collecting all of it.
                written.chain(ended).take(MAX_LIST + 1).collect()
            }
            (None, List::New) => return all,
            (None, List::Deleted) => {
                let to = self.now.max(self.tables.gone_until());
                self.tables.ending_between(UnixMillis(i64::MIN), to).take(MAX_LIST + 1).collect()
            }
        };
        if ids.len() > MAX_LIST {
            return all;
        }
        // A changed row can make another one of its key the winner, which was not written itself.
        if list == List::New && self.dedup {
            let mut winners = Vec::new();
            for row in ids.iter().filter_map(|id| self.tables.rows.get(id)) {
                if row.shared() && self.matcher.matches(row) {
                    let key = query.key(row, &mut self.matcher, &mut self.keys);
                    winners.extend(key.winner.map(|(id, _)| id));
                }
            }
            ids.append(&mut winners);
        }
        ids.sort_unstable();
        ids.dedup();
        Rows::Listed(ids.into_iter())
    }
}

/// The request, without the caches.
#[derive(Clone, Copy)]
struct DeltaQuery<'a> {
    tables: &'a Tables,
    since: Option<Since>,
    now: UnixMillis,
    dedup: bool,
    by_address: bool,
}

impl DeltaQuery<'_> {
    fn is_new(
        &self,
        row: &Packed,
        matcher: &mut Matcher,
        keys: &mut FxHashMap<(u64, usize), KeyState>,
    ) -> bool {
        if !row.active(self.now) || !matcher.matches(row) {
            return false;
        }
        // Most rows are alone on their target, and need no look-up of the others.
        if !self.dedup || !row.shared() {
            return self.touched(row);
        }
        self.key(row, matcher, keys).winner == Some((row.id, true))
    }

    fn is_deleted(
        &self,
        row: &Packed,
        matcher: &mut Matcher,
        keys: &mut FxHashMap<(u64, usize), KeyState>,
    ) -> bool {
        let active = row.active(self.now);
        // With `by_address` an active row may have to be ended too: see the end of `key`.
        if (active && !self.by_address) || !self.touched(row) || !matcher.matches(row) {
            return false;
        }
        if self.dedup {
            return if row.shared() { self.key(row, matcher, keys).ended == Some(row.id) } else { !active };
        }
        if active {
            return false;
        }
        // Sent by id, the repeated end of a tombstone would end the row that has its id now.
        let now_is = if row.id < 0 { self.tables.rows.get(&row.shown_id()) } else { None };
        !now_is.is_some_and(|other| other.active(self.now) && !self.touched(other) && matcher.matches(other))
    }

    /// Whether a row was written or has ended since the cursor; when the clock was set back, whether it is in force
    /// again.
    fn touched(&self, row: &Packed) -> bool {
        self.since.is_none_or(|since| {
            let until = row.until();
            row.commit() > since.commit || (until > since.after && (until <= since.to || row.label.gone))
        })
    }

    /// The result for the key of a matching row.
    fn key(
        &self,
        row: &Packed,
        matcher: &mut Matcher,
        keys: &mut FxHashMap<(u64, usize), KeyState>,
    ) -> KeyState {
        // Rows of one key with different labels are cached separately; that costs a little, but is correct.
        // By address of the label: the tables hold it for as long as this response lives.
        let name = (self.tables.hash(&row.value), std::sync::Arc::as_ptr(&row.label).addr());
        if let Some(key) = keys.get(&name)
            && self.tables.rows.get(&key.row).is_some_and(|other| other.same_key(row, self.by_address))
        {
            return *key;
        }
        let mut key = KeyState { row: row.id, winner: None, ended: None, size: 0 };
        let (mut longest, mut last_end) = ((i64::MIN, i64::MIN), (i64::MIN, i64::MIN));
        let mut any_touched = false;
        let (mut touched_first, mut touched_second) = (None, None);
        // All notations of a prefix have one hash, so this finds the rows for both meanings of a key.
        for other in self.tables.with_value_hash(&row.value) {
            key.size += 1;
            if !other.same_key(row, self.by_address) || !matcher.matches(other) {
                continue;
            }
            let (touched, rank) = (self.touched(other), (other.until().0, other.id));
            any_touched |= touched;
            if touched {
                (touched_second, touched_first) = (touched_first, Some(other.id));
            }
            if other.active(self.now) {
                if rank >= longest {
                    longest = rank;
                    key.winner = Some((other.id, false));
                }
            // Of several ends the latest: clients act on the target, and one end is enough.
            } else if touched && rank >= last_end {
                last_end = rank;
                key.ended = Some(other.id);
            }
        }
        if let Some((winner, news)) = &mut key.winner {
            // Even when the winner itself is unchanged: a longer row may have preceded it.
            *news = any_touched;
            // A client that goes by address may hold a changed row other than the winner, of another origin and with a
            // later end. End that row and send the winner again.
            let other = [touched_first, touched_second].into_iter().flatten().find(|id| id != winner);
            key.ended = other.filter(|_| self.by_address);
        }
        // For short keys computing is as quick as looking up. A long one would be computed for each of its rows, in
        // quadratic time.
        if key.size > REMEMBER_FROM {
            if keys.len() >= MAX_REMEMBER {
                // Bounds the memory of a response. Rows of one key often follow each other, so losing the others
                // costs little.
                keys.clear();
            }
            keys.insert(name, key);
        }
        key
    }
}
