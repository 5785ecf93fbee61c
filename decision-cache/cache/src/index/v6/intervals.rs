//! The strongest range row of each IPv6 address: sorted boundaries in cache lines, searched without a branch.
//!
//! A boundary is the first address of an interval and its row. Boundaries are filed under the upper 64 bits of their
//! address; the few /64s with boundaries *inside* are marked [`DEEP`], and these boundaries stored apart in full. Eight
//! boundaries with their rows are a line, and up to [`LINES`] lines a group, which snapshots share and a change copies.
//! The fences are the first boundaries of all lines, and a directory leads near the right fence. It divides the populated
//! part of the address space into even segments: a crowded segment costs one bisection more.

use std::hint::select_unpredictable;
use std::sync::Arc;

use crate::index::{Entry, push_interval};
use crate::prefix::{Key, V6};
use crate::table::NONE;

/// Boundaries in a line.
const LINE: usize = 8;
/// The most lines in a group.
const LINES: usize = 64;
/// Lines in a group that a new table or a split aims at.
// Some lines less than fit, so that the next range does not split the group again.
const LINES_NEW: usize = 60;
/// Groups smaller than this are laid out anew with their neighbour.
const LINES_FEW: usize = 12;
/// The most segments of the directory.
const SEGMENTS: usize = 1 << 14;
/// Fences compared from the one in the directory on; further ones only where ranges crowd.
const NEAR: usize = 8;
/// In place of a row: boundaries within this /64 are stored apart.
const DEEP: u32 = NONE - 1;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line {
    /// Sorted; a line that is not full repeats its last boundary.
    // Upper halves only: a whole address would leave room for three boundaries in a line.
    tops: [u64; LINE],
    rows: [u32; LINE],
}

#[derive(Debug, Clone)]
struct Group {
    lines: Arc<[Line]>,
    /// All boundaries of the /64s marked [`DEEP`], each /64 from its first address on.
    deep: Option<Arc<[Entry<V6>]>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Intervals(Arc<Flat>);

#[derive(Debug)]
struct Flat {
    /// In order. No groups: no ranges at all. Otherwise the first boundary is the lowest address.
    groups: Vec<Group>,
    /// [`LINES`] for each group, the last one repeated, and some more at the end so that no search leaves them.
    fences: Vec<u64>,
    /// For each segment the last fence at or before its first address.
    directory: Vec<u32>,
    base: u64,
    shift: u32,
    last_segment: u64,
}

impl Default for Intervals {
    fn default() -> Self {
        Self(Arc::new(Flat::over(Vec::new(), Vec::new())))
    }
}

impl Intervals {
    /// From sorted boundaries, the first at the lowest address.
    pub(crate) fn build(entries: &[Entry<V6>]) -> Self {
        let mut groups = Vec::new();
        if entries.iter().any(|entry| entry.row != NONE) {
            lay_out(entries, None, &mut groups);
        }
        let fences = groups.iter().flat_map(fences_of).collect();
        Self(Arc::new(Flat::over(groups, fences)))
    }

    /// About how many boundaries there are.
    pub(crate) fn weight(&self) -> usize {
        self.0.groups.len() * LINES * LINE
    }

    /// The row in force at this address, or [`NONE`].
    #[inline]
    pub(crate) fn find(&self, key: V6) -> u32 {
        let flat = &*self.0;
        let Some(last) = flat.groups.len().checked_sub(1) else { return NONE };
        let top = key.top();
        let at = flat.fence(top);
        // The fences repeated at the end and those of a short group lead past the last line. `min` instead of a
        // check, which would be a branch.
        let group = &flat.groups[(at / LINES).min(last)];
        let line = &group.lines[(at % LINES).min(group.lines.len() - 1)];
        let row = line.rows[last_up_to(&line.tops, top)];
        if row == DEEP { group.deep_row(key) } else { row }
    }

    /// Replaces the boundaries within `prefixes`, which are sorted and disjoint first and last addresses. `intervals`
    /// computes those of the prefix with this number: sorted, the first at its first address.
    pub(crate) fn patch(
        &mut self,
        prefixes: &[(V6, V6)],
        intervals: &mut dyn FnMut(usize) -> Vec<Entry<V6>>,
    ) {
        if prefixes.is_empty() {
            return;
        }
        let flat = &*self.0;
        if flat.groups.is_empty() {
            let nothing = [Entry { key: V6::FIRST, row: NONE }];
            *self = Self::build(&edit(&nothing, prefixes, 0, intervals));
            return;
        }
        let (mut groups, mut fences) = (Vec::with_capacity(flat.groups.len() + 8), Vec::new());
        fences.reserve(flat.fences.len() + 8 * LINES);
        let (mut done, mut next) = (0, 0);
        let (mut edited_groups, mut same_places) = (Vec::new(), true);
        while let Some((first, last)) = prefixes.get(next) {
            let from = flat.group_of(first.top());
            // Up to the address after the prefix: the row in force there may need a boundary of its own, or lose it.
            let mut to = flat.group_of(last.next().unwrap_or(*last).top());
            let mine = next;
            next += 1;
            // Prefixes that touch one group are edited together.
            while let Some((first, last)) = prefixes.get(next)
                && flat.group_of(first.top()) <= to
            {
                to = flat.group_of(last.next().unwrap_or(*last).top());
                next += 1;
            }
            let mut entries = flat.entries(from, to + 1);
            let mut edited = edit(&entries, &prefixes[mine..next], mine, intervals);
            let next_starts = prefixes.get(next).map(|(first, _)| flat.group_of(first.top()));
            // Ranges that go one by one would leave many small groups. A neighbour that is to be edited itself is
            // left alone, as it would be laid out twice.
            if edited.len() < LINES_FEW * LINE
                && to + 1 < flat.groups.len()
                && next_starts.is_none_or(|start| start > to + 1)
            {
                to += 1;
                entries = flat.entries(to, to + 1);
                entries.into_iter().for_each(|entry| push_interval(&mut edited, entry));
            }
            groups.extend_from_slice(&flat.groups[done..from]);
            fences.extend_from_slice(&flat.fences[done * LINES..from * LINES]);
            let start = groups.len();
            let end = flat.groups.get(to + 1).map(|group| group.lines[0].tops[0]);
            lay_out(&edited, end, &mut groups);
            groups[start..].iter().for_each(|group| fences.extend(fences_of(group)));
            done = to + 1;
            edited_groups.push((from, to));
            same_places &= groups.len() == done;
        }
        groups.extend_from_slice(&flat.groups[done..]);
        fences.extend_from_slice(&flat.fences[done * LINES..flat.groups.len() * LINES]);
        // Without groups a lookup returns at once.
        let is_empty = groups.len() == 1 && groups[0].entries().all(|entry| entry.row == NONE);
        if is_empty {
            (groups, fences) = (Vec::new(), Vec::new());
        }
        // If no group was added or removed, all other fences keep their numbers and most of the directory stays.
        self.0 = Arc::new(if same_places {
            flat.with(groups, fences, &edited_groups)
        } else {
            Flat::over(groups, fences)
        });
    }

    /// The intervals of `[first, last]`: sorted, the first at `first`, neighbours different; [`NONE`] marks gaps.
    pub(crate) fn within(&self, first: V6, last: V6) -> Vec<Entry<V6>> {
        let flat = &*self.0;
        let mut out = vec![Entry { key: first, row: NONE }];
        if flat.groups.is_empty() {
            return out;
        }
        for group in &flat.groups[flat.group_of(first.top())..=flat.group_of(last.top())] {
            for entry in group.entries().filter(|entry| entry.key <= last) {
                push_interval(&mut out, Entry { key: entry.key.max(first), ..entry });
            }
        }
        out
    }
}

impl Flat {
    fn over(groups: Vec<Group>, mut fences: Vec<u64>) -> Self {
        let (count, mut directory) = (fences.len(), vec![0]);
        let Some(last) = fences.last().copied() else {
            return Self { groups, fences, directory, base: 0, shift: 0, last_segment: 0 };
        };
        // Two segments per fence, so that the right one is mostly among the first compared.
        let segments = (count * 2).next_power_of_two().clamp(1, SEGMENTS);
        // Without the outermost fences: one range far away must not stretch the segments. The first fence never
        // counts, as it is always the lowest address. There are at least LINES fences.
        let trim = (count / 64).min(8);
        let (base, end) = (fences[1 + trim], fences[count - 1 - trim]);
        let width = u64::BITS - end.saturating_sub(base).leading_zeros();
        let shift = width.saturating_sub(segments.trailing_zeros());
        let mut at = 0;
        for segment in 1..segments as u64 {
            let start = base.saturating_add(segment << shift);
            while at + 1 < count && fences[at + 1] <= start {
                at += 1;
            }
            directory.push(at as u32);
        }
        fences.extend([last; NEAR]);
        Self { groups, fences, directory, base, shift, last_segment: segments as u64 - 1 }
    }

    /// Replaces the groups by as many others that differ only in the ranges of numbers `edited` (first and last), so that
    /// only these parts of the directory change.
    fn with(&self, groups: Vec<Group>, mut fences: Vec<u64>, edited: &[(usize, usize)]) -> Self {
        let mut directory = self.directory.clone();
        for (from, to) in edited {
            let (first, after) = (from * LINES, (to + 1) * LINES);
            let segment = |at: usize| fences.get(at).map_or(self.last_segment, |fence| self.segment(*fence));
            for segment in segment(first).max(1)..=segment(after) {
                let start = self.base.saturating_add(segment << self.shift);
                let window = &fences[first..after.min(fences.len())];
                let passed = window.partition_point(|fence| *fence <= start);
                let next_passed = fences.get(after).is_some_and(|fence| *fence <= start);
                // Otherwise the segment's fence belongs to a group that was not edited, and its number holds.
                if passed > 0 && !next_passed {
                    directory[segment as usize] = (first + passed - 1) as u32;
                }
            }
        }
        let last = fences.last().copied();
        fences.extend(last.into_iter().cycle().take(NEAR));
        let Self { base, shift, last_segment, .. } = *self;
        Self { groups, fences, directory, base, shift, last_segment }
    }

    /// The segment of the directory for these upper bits.
    #[inline]
    fn segment(&self, top: u64) -> u64 {
        (top.saturating_sub(self.base) >> self.shift).min(self.last_segment)
    }

    /// The last fence at or before `top`.
    // Inlined, because a call would cost as much as the search.
    #[inline(always)]
    fn fence(&self, top: u64) -> usize {
        let segment = self.segment(top);
        let at = self.directory[segment as usize] as usize;
        let near: &[u64; NEAR] = self.fences[at..].first_chunk().expect("the last fences are repeated");
        let passed = last_up_to(near, top);
        if passed == NEAR - 1 { self.far_fence(at, segment, top) } else { at + passed }
    }

    #[cold]
    fn far_fence(&self, at: usize, segment: u64, top: u64) -> usize {
        let end = self
            .directory
            .get(segment as usize + 1)
            .map_or(self.groups.len() * LINES - 1, |end| *end as usize);
        let window = &self.fences[at..=end.max(at)];
        at + window.partition_point(|fence| *fence <= top) - 1
    }

    fn group_of(&self, top: u64) -> usize {
        self.fence(top) / LINES
    }

    /// The boundaries of these groups, neighbours different.
    fn entries(&self, from: usize, to: usize) -> Vec<Entry<V6>> {
        let mut out = Vec::with_capacity((to - from) * LINES_NEW * LINE);
        self.groups[from..to]
            .iter()
            .flat_map(Group::entries)
            .for_each(|entry| push_interval(&mut out, entry));
        out
    }
}

/// The place of the last of these that is not above `top`; the first one is not.
// A bisection without a branch: fewer instructions than to compare all, so that a processor has more lookups in
// flight while it waits for memory.
#[inline]
fn last_up_to(tops: &[u64; 8], top: u64) -> usize {
    let mut at = 0;
    for step in [4, 2, 1] {
        at = select_unpredictable(tops[at + step] <= top, at + step, at);
    }
    at
}

impl Group {
    fn deep(&self) -> &[Entry<V6>] {
        self.deep.as_deref().unwrap_or_default()
    }

    #[cold]
    fn deep_row(&self, key: V6) -> u32 {
        let deep = self.deep();
        let after = deep.partition_point(|entry| entry.key <= key);
        after.checked_sub(1).map_or(NONE, |at| deep[at].row)
    }

    fn entries(&self) -> impl Iterator<Item = Entry<V6>> {
        let pairs = self.lines.iter().flat_map(|line| line.tops.iter().copied().zip(line.rows));
        let mut previous = None;
        let mut deep = self.deep();
        pairs.flat_map(move |(top, row)| {
            let again = previous.replace(top) == Some(top);
            let count = match row {
                DEEP if !again => deep.partition_point(|entry| entry.key.top() <= top),
                _ => 0,
            };
            let (mine, rest) = deep.split_at(count);
            deep = rest;
            let plain = (row != DEEP && !again).then(|| Entry { key: V6::from_top(top), row });
            plain.into_iter().chain(mine.iter().copied())
        })
    }
}

fn fences_of(group: &Group) -> impl Iterator<Item = u64> {
    (0..LINES).map(|at| group.lines[at.min(group.lines.len() - 1)].tops[0])
}

/// Boundaries with those in `prefixes` replaced; `number` is the number of the first prefix.
fn edit(
    entries: &[Entry<V6>],
    prefixes: &[(V6, V6)],
    number: usize,
    intervals: &mut dyn FnMut(usize) -> Vec<Entry<V6>>,
) -> Vec<Entry<V6>> {
    let mut out = Vec::with_capacity(entries.len() + 4 * prefixes.len());
    let (mut rest, mut held) = (entries, NONE);
    for (at, (first, last)) in prefixes.iter().enumerate() {
        let (before, tail) = rest.split_at(rest.partition_point(|entry| entry.key < *first));
        let (inside, after) = tail.split_at(tail.partition_point(|entry| entry.key <= *last));
        before.iter().for_each(|entry| push_interval(&mut out, *entry));
        // What was in force at the end of the prefix continues after it, and now needs a boundary there.
        held = inside.last().or(before.last()).map_or(held, |entry| entry.row);
        intervals(number + at).into_iter().for_each(|entry| push_interval(&mut out, entry));
        if let Some(next) = last.next()
            && after.first().is_none_or(|entry| entry.key > next)
        {
            push_interval(&mut out, Entry { key: next, row: held });
        }
        rest = after;
    }
    rest.iter().for_each(|entry| push_interval(&mut out, *entry));
    out
}

/// Groups over sorted boundaries, the first of which starts a /64. `end` is the boundary after the last one.
fn lay_out(entries: &[Entry<V6>], end: Option<u64>, groups: &mut Vec<Group>) {
    let mut pairs: Vec<(u64, u32)> = Vec::with_capacity(entries.len());
    let (mut deep, mut held) = (Vec::new(), NONE);
    let mut runs = entries.chunk_by(|a, b| a.key.top() == b.key.top()).peekable();
    while let Some(run) = runs.next() {
        let (top, last) = (run[0].key.top(), run[run.len() - 1]);
        let starts_below = run[0].key > V6::from_top(top);
        if run.len() == 1 && !starts_below {
            pairs.push((top, last.row));
        } else {
            pairs.push((top, DEEP));
            if starts_below {
                deep.push(Entry { key: V6::from_top(top), row: held });
            }
            deep.extend_from_slice(run);
            // The last row of this /64 continues after it.
            let follows = runs.peek().map(|run| run[0].key.top()).or(end);
            if let Some(next) = top.checked_add(1)
                && follows.is_none_or(|follows| follows > next)
            {
                pairs.push((next, last.row));
            }
        }
        held = last.row;
    }
    let parts = if pairs.len() <= LINES * LINE { 1 } else { pairs.len().div_ceil(LINES_NEW * LINE) };
    let mut deep = deep.as_slice();
    for part in pairs.chunks(pairs.len().div_ceil(parts).next_multiple_of(LINE).max(LINE)) {
        let last = part[part.len() - 1].0;
        let (mine, rest) = deep.split_at(deep.partition_point(|entry| entry.key.top() <= last));
        deep = rest;
        let line = |pairs: &[(u64, u32)]| {
            let at = |n: usize| pairs[n.min(pairs.len() - 1)];
            Line { tops: std::array::from_fn(|n| at(n).0), rows: std::array::from_fn(|n| at(n).1) }
        };
        groups.push(Group {
            lines: part.chunks(LINE).map(line).collect(),
            deep: (!mine.is_empty()).then(|| mine.into()),
        });
    }
}
