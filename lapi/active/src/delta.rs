//! What a stream answer tells: which rows hold for a bouncer, and which of them it must hear about.
//!
//! All rows with the same value, type and scope are one key; for clients that ask so, all with the same addresses and
//! type, however their values are written. Of those that match the filter and are active, the
//! longest is the winner; it stands for the key. A key is touched when a matching row of it was written after the
//! cursor's commit or has ended since the cursor's time.

use palisade_wire::UnixMillis;
use rustc_hash::FxHashMap;

use crate::filter::StreamRequest;
use crate::matcher::Matcher;
use crate::packed::Packed;
use crate::paged::Position;
use crate::row::Commit;
use crate::tables::Tables;
use crate::view::Cursor;

/// Ends up to this long before the cursor are told again, as the stock server does. In milliseconds.
pub(crate) const OVERLAP: i64 = 2_000;

/// A change of more rows than this is found by looking at every row: a list of ids per slow reader would cost more.
pub(crate) const MAX_LIST: usize = 16_384;

/// Keys with more rows than this are worth remembering.
const REMEMBER_FROM: usize = 4;

/// How many are remembered.
const MAX_REMEMBER: usize = 16_384;

/// What changed for one bouncer, read row by row.
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

/// Which of the two lists is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    New,
    Deleted,
}

/// Where the rows of a list are to be found, in ascending id.
#[derive(Debug)]
enum Rows {
    All(Position),
    Listed(std::vec::IntoIter<i64>),
}

/// A cursor, as rows are compared with it.
#[derive(Debug, Clone, Copy)]
struct Since {
    commit: Commit,
    /// Rows that ended after this moment and up to the next one have ended since. When the clock was set back, they
    /// hold again since.
    after: UnixMillis,
    to: UnixMillis,
}

/// What a key has to tell.
#[derive(Debug, Clone, Copy)]
struct KeyState {
    /// One of its rows.
    row: i64,
    /// The winner, and whether it is news.
    winner: Option<(i64, bool)>,
    /// The row to tell as ended.
    ended: Option<i64>,
    size: usize,
}

/// The question a delta answers: a macro because its other fields are borrowed for change meanwhile.
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

    /// Goes on to the second list.
    pub(crate) fn start_deleted(&mut self) {
        self.list = List::Deleted;
        self.rows = self.rows_of(List::Deleted);
    }

    /// The next row to tell of the list at hand.
    pub(crate) fn next(&mut self) -> Option<&Packed> {
        loop {
            let row = match &mut self.rows {
                Rows::All(at) => self.tables.rows.next(at)?,
                Rows::Listed(ids) => match self.tables.rows.get(&ids.next()?) {
                    Some(row) => row,
                    None => continue,
                },
            };
            let asked = query!(self);
            let tell = match self.list {
                List::New => asked.is_new(row, &mut self.matcher, &mut self.keys),
                List::Deleted => asked.is_deleted(row, &mut self.matcher, &mut self.keys),
            };
            if tell {
                return Some(row);
            }
        }
    }

    fn rows_of(&mut self, list: List) -> Rows {
        let all = Rows::All(self.tables.rows.start());
        let asked = query!(self);
        let mut ids: Vec<i64> = match (self.since, list) {
            (Some(since), _) => {
                if !self.tables.knows_commits_after(since.commit) {
                    return all;
                }
                let written = self.tables.written_after(since.commit);
                let ended = self.tables.ending_between(since.after, since.to.max(self.tables.gone_until()));
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
        if list == List::New && self.dedup {
            let mut winners = Vec::new();
            for row in ids.iter().filter_map(|id| self.tables.rows.get(id)) {
                if row.shared() && self.matcher.matches(row) {
                    let key = asked.key(row, &mut self.matcher, &mut self.keys);
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

/// The question, apart from what is remembered while answering it.
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
        if (active && !self.by_address) || !self.touched(row) || !matcher.matches(row) {
            return false;
        }
        if self.dedup {
            return if row.shared() { self.key(row, matcher, keys).ended == Some(row.id) } else { !active };
        }
        if active {
            return false;
        }
        // Told by id, a tombstone's repeated end would take back what its id is now.
        let now_is = if row.id < 0 { self.tables.rows.get(&row.shown_id()) } else { None };
        !now_is.is_some_and(|other| other.active(self.now) && !self.touched(other) && matcher.matches(other))
    }

    /// Whether a row was written or has ended since the cursor; when the clock was set back, whether it holds again.
    fn touched(&self, row: &Packed) -> bool {
        self.since.is_none_or(|since| {
            let until = row.until();
            row.commit() > since.commit || (until > since.after && (until <= since.to || row.label.gone))
        })
    }

    /// What a matching row's key has to tell.
    fn key(
        &self,
        row: &Packed,
        matcher: &mut Matcher,
        keys: &mut FxHashMap<(u64, usize), KeyState>,
    ) -> KeyState {
        // Rows of one key with different labels are remembered apart, which only costs a little.
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
            } else if touched && rank >= last_end {
                last_end = rank;
                key.ended = Some(other.id);
            }
        }
        if let Some((winner, news)) = &mut key.winner {
            // Also when it did not change itself: a longer one may have stood before it.
            *news = any_touched;
            // Who goes by addresses may hold what changed beside the winner, as another origin's and for longer than
            // is true now: that is lifted, and the winner told again.
            let other = [touched_first, touched_second].into_iter().flatten().find(|id| id != winner);
            key.ended = other.filter(|_| self.by_address);
        }
        if key.size > REMEMBER_FROM {
            if keys.len() >= MAX_REMEMBER {
                keys.clear();
            }
            keys.insert(name, key);
        }
        key
    }
}
