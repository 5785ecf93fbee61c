//! Which range row holds from an address on: sorted boundaries in cache lines, found without a branch.
//!
//! A boundary says "from here on this row holds", up to the next one. Boundaries are filed under the upper
//! 64 bits of their address (all of an IPv4 address); the few places with boundaries *below* that are marked
//! [`DEEP`] and kept apart in full. Eight boundaries and their rows make a line, up to [`LINES`] lines a group,
//! which is what snapshots share and what a change copies. Over all groups lie the fences, the first boundary
//! of each line, and a directory that says near which fence to look. The directory divides the populated
//! part of the address space evenly: a crowded place costs a bisection more, never a wrong answer.

use std::hint::select_unpredictable;
use std::sync::Arc;

use crate::index::{Cell, push_span};
use crate::prefix::Wide;
use crate::table::NONE;

/// Boundaries in a line.
const LINE: usize = 8;
/// The most lines in a group.
const LINES: usize = 64;
/// Lines in a group that a new table or a split aims at.
const LINES_NEW: usize = 60;
/// Groups smaller than this are laid out anew with their neighbour.
const LINES_FEW: usize = 12;
/// The most cells of the directory.
const CELLS: usize = 1 << 14;
/// Fences looked at together from the directory's word on; more only where ranges crowd.
const NEAR: usize = 8;
/// In place of a row: boundaries within this /64 are kept apart.
const DEEP: u32 = NONE - 1;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line<T> {
    /// Sorted; a line that is not full repeats its last boundary.
    tops: [T; LINE],
    rows: [u32; LINE],
}

#[derive(Debug, Clone)]
struct Group<K: Wide> {
    lines: Arc<[Line<K::Top>]>,
    /// All boundaries of the /64s marked [`DEEP`], each /64 from its first address on.
    deep: Option<Arc<[Cell<K>]>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Spans<K: Wide>(Arc<Flat<K>>);

#[derive(Debug)]
struct Flat<K: Wide> {
    /// In order. No groups: no ranges at all. Otherwise the first boundary is the lowest address.
    groups: Vec<Group<K>>,
    /// [`LINES`] for each group, the last one repeated, and some more at the end so that no search leaves them.
    fences: Vec<K::Top>,
    /// For each cell the last fence at or before its first address.
    directory: Vec<u32>,
    base: u64,
    shift: u32,
    last_cell: u64,
}

impl<K: Wide> Default for Spans<K> {
    fn default() -> Self {
        Self(Arc::new(Flat::over(Vec::new(), Vec::new())))
    }
}

impl<K: Wide> Spans<K> {
    /// From sorted boundaries, the first at the lowest address.
    pub(crate) fn build(cells: &[Cell<K>]) -> Self {
        let mut groups = Vec::new();
        if cells.iter().any(|cell| cell.row != NONE) {
            lay_out(cells, None, &mut groups);
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
    pub(crate) fn find(&self, key: K) -> u32 {
        let flat = &*self.0;
        let Some(last) = flat.groups.len().checked_sub(1) else { return NONE };
        let top = key.top();
        let at = flat.fence(top);
        let group = &flat.groups[(at / LINES).min(last)];
        let line = &group.lines[(at % LINES).min(group.lines.len() - 1)];
        let row = line.rows[last_up_to(&line.tops, top)];
        if row == DEEP { group.deep_row(key) } else { row }
    }

    /// Replaces what lies within `blocks`, which are sorted and disjoint, by what `spans` says of each: sorted
    /// boundaries, the first at the block's first address.
    pub(crate) fn patch(&mut self, blocks: &[(K, K)], spans: &mut dyn FnMut(usize) -> Vec<Cell<K>>) {
        if blocks.is_empty() {
            return;
        }
        let flat = &*self.0;
        if flat.groups.is_empty() {
            let nothing = [Cell { key: K::FIRST, row: NONE }];
            *self = Self::build(&edit(&nothing, blocks, 0, spans));
            return;
        }
        let (mut groups, mut fences) = (Vec::with_capacity(flat.groups.len() + 8), Vec::new());
        fences.reserve(flat.fences.len() + 8 * LINES);
        let (mut done, mut next) = (0, 0);
        let (mut edited_groups, mut same_places) = (Vec::new(), true);
        while let Some((first, last)) = blocks.get(next) {
            let from = flat.group_of(first.top());
            let mut to = flat.group_of(last.next().unwrap_or(*last).top());
            let mine = next;
            next += 1;
            // Blocks that touch one group are edited together.
            while let Some((first, last)) = blocks.get(next)
                && flat.group_of(first.top()) <= to
            {
                to = flat.group_of(last.next().unwrap_or(*last).top());
                next += 1;
            }
            let mut cells = flat.cells(from, to + 1);
            let mut edited = edit(&cells, &blocks[mine..next], mine, spans);
            let next_starts = blocks.get(next).map(|(first, _)| flat.group_of(first.top()));
            if edited.len() < LINES_FEW * LINE
                && to + 1 < flat.groups.len()
                && next_starts.is_none_or(|start| start > to + 1)
            {
                to += 1;
                cells = flat.cells(to, to + 1);
                cells.into_iter().for_each(|cell| push_span(&mut edited, cell));
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
        let says_nothing = groups.len() == 1 && groups[0].cells().all(|cell| cell.row == NONE);
        if says_nothing {
            (groups, fences) = (Vec::new(), Vec::new());
        }
        self.0 = Arc::new(if same_places {
            flat.with(groups, fences, &edited_groups)
        } else {
            Flat::over(groups, fences)
        });
    }

    /// The spans of `[first, last]`: sorted, the first at `first`, neighbours different; [`NONE`] marks gaps.
    pub(crate) fn within(&self, first: K, last: K) -> Vec<Cell<K>> {
        let flat = &*self.0;
        let mut out = vec![Cell { key: first, row: NONE }];
        if flat.groups.is_empty() {
            return out;
        }
        for group in &flat.groups[flat.group_of(first.top())..=flat.group_of(last.top())] {
            for cell in group.cells().filter(|cell| cell.key <= last) {
                push_span(&mut out, Cell { key: cell.key.max(first), ..cell });
            }
        }
        out
    }
}

impl<K: Wide> Flat<K> {
    fn over(groups: Vec<Group<K>>, mut fences: Vec<K::Top>) -> Self {
        let (count, mut directory) = (fences.len(), vec![0]);
        let Some(last) = fences.last().copied() else {
            return Self { groups, fences, directory, base: 0, shift: 0, last_cell: 0 };
        };
        let cells = (count * 2).next_power_of_two().clamp(1, CELLS);
        // The outermost fences do not count: one stray range far away must not stretch the cells.
        let trim = (count / 64).min(8);
        let (base, end) = (fences[1 + trim].into(), fences[count - 1 - trim].into());
        let width = u64::BITS - end.saturating_sub(base).leading_zeros();
        let shift = width.saturating_sub(cells.trailing_zeros());
        let mut at = 0;
        for cell in 1..cells as u64 {
            let start = base.saturating_add(cell << shift);
            while at + 1 < count && fences[at + 1].into() <= start {
                at += 1;
            }
            directory.push(at as u32);
        }
        fences.extend([last; NEAR]);
        Self { groups, fences, directory, base, shift, last_cell: cells as u64 - 1 }
    }

    /// This with as many other groups, of which only those numbered `edited` (first and last) are not the same:
    /// the directory changes no further than they reach.
    fn with(&self, groups: Vec<Group<K>>, mut fences: Vec<K::Top>, edited: &[(usize, usize)]) -> Self {
        let mut directory = self.directory.clone();
        for (from, to) in edited {
            let (first, after) = (from * LINES, (to + 1) * LINES);
            let cell = |at: usize| fences.get(at).map_or(self.last_cell, |fence| self.cell((*fence).into()));
            for cell in cell(first).max(1)..=cell(after) {
                let start = self.base.saturating_add(cell << self.shift);
                let window = &fences[first..after.min(fences.len())];
                let passed = window.partition_point(|fence| (*fence).into() <= start);
                let next_passed = fences.get(after).is_some_and(|fence| (*fence).into() <= start);
                if passed > 0 && !next_passed {
                    directory[cell as usize] = (first + passed - 1) as u32;
                }
            }
        }
        let last = fences.last().copied();
        fences.extend(last.into_iter().cycle().take(NEAR));
        let Self { base, shift, last_cell, .. } = *self;
        Self { groups, fences, directory, base, shift, last_cell }
    }

    /// The cell of the directory that knows of these upper bits.
    #[inline]
    fn cell(&self, top: u64) -> u64 {
        (top.saturating_sub(self.base) >> self.shift).min(self.last_cell)
    }

    /// The last fence at or before `top`.
    // A call would cost as much as the search.
    #[inline(always)]
    fn fence(&self, top: K::Top) -> usize {
        let cell = self.cell(top.into());
        let at = self.directory[cell as usize] as usize;
        let near: &[K::Top; NEAR] = self.fences[at..].first_chunk().expect("the last fences are repeated");
        let passed = last_up_to(near, top);
        if passed == NEAR - 1 { self.far_fence(at, cell, top) } else { at + passed }
    }

    #[cold]
    fn far_fence(&self, at: usize, cell: u64, top: K::Top) -> usize {
        let end =
            self.directory.get(cell as usize + 1).map_or(self.groups.len() * LINES - 1, |end| *end as usize);
        let window = &self.fences[at..=end.max(at)];
        at + window.partition_point(|fence| *fence <= top) - 1
    }

    fn group_of(&self, top: K::Top) -> usize {
        self.fence(top) / LINES
    }

    /// The boundaries of these groups, neighbours different.
    fn cells(&self, from: usize, to: usize) -> Vec<Cell<K>> {
        let mut out = Vec::with_capacity((to - from) * LINES_NEW * LINE);
        self.groups[from..to].iter().flat_map(Group::cells).for_each(|cell| push_span(&mut out, cell));
        out
    }
}

/// The place of the last of these that is at or before `top`, as the first one is.
// A bisection without a branch: fewer instructions than to compare all, so that a processor has more look-ups under
// way while it waits for memory.
#[inline]
fn last_up_to<T: Copy + Ord>(tops: &[T; 8], top: T) -> usize {
    let mut at = 0;
    for step in [4, 2, 1] {
        at = select_unpredictable(tops[at + step] <= top, at + step, at);
    }
    at
}

impl<K: Wide> Group<K> {
    fn deep(&self) -> &[Cell<K>] {
        self.deep.as_deref().unwrap_or_default()
    }

    #[cold]
    fn deep_row(&self, key: K) -> u32 {
        let deep = self.deep();
        let after = deep.partition_point(|cell| cell.key <= key);
        after.checked_sub(1).map_or(NONE, |at| deep[at].row)
    }

    fn cells(&self) -> impl Iterator<Item = Cell<K>> {
        let entries = self.lines.iter().flat_map(|line| line.tops.iter().copied().zip(line.rows));
        let mut previous = None;
        let mut deep = self.deep();
        entries.flat_map(move |(top, row)| {
            let again = previous.replace(top) == Some(top);
            let count = match row {
                DEEP if !again => deep.partition_point(|cell| cell.key.top() <= top),
                _ => 0,
            };
            let (mine, rest) = deep.split_at(count);
            deep = rest;
            let plain = (row != DEEP && !again).then(|| Cell { key: K::from_top(top), row });
            plain.into_iter().chain(mine.iter().copied())
        })
    }
}

fn fences_of<K: Wide>(group: &Group<K>) -> impl Iterator<Item = K::Top> {
    (0..LINES).map(|at| group.lines[at.min(group.lines.len() - 1)].tops[0])
}

/// Boundaries with what lies in `blocks` replaced; `number` is the number of the first block.
fn edit<K: Wide>(
    cells: &[Cell<K>],
    blocks: &[(K, K)],
    number: usize,
    spans: &mut dyn FnMut(usize) -> Vec<Cell<K>>,
) -> Vec<Cell<K>> {
    let mut out = Vec::with_capacity(cells.len() + 4 * blocks.len());
    let (mut rest, mut held) = (cells, NONE);
    for (at, (first, last)) in blocks.iter().enumerate() {
        let (before, tail) = rest.split_at(rest.partition_point(|cell| cell.key < *first));
        let (inside, after) = tail.split_at(tail.partition_point(|cell| cell.key <= *last));
        before.iter().for_each(|cell| push_span(&mut out, *cell));
        held = inside.last().or(before.last()).map_or(held, |cell| cell.row);
        spans(number + at).into_iter().for_each(|cell| push_span(&mut out, cell));
        if let Some(next) = last.next()
            && after.first().is_none_or(|cell| cell.key > next)
        {
            push_span(&mut out, Cell { key: next, row: held });
        }
        rest = after;
    }
    rest.iter().for_each(|cell| push_span(&mut out, *cell));
    out
}

/// Groups over sorted boundaries, the first of which starts a /64. `end` is the boundary after the last one.
fn lay_out<K: Wide>(cells: &[Cell<K>], end: Option<K::Top>, groups: &mut Vec<Group<K>>) {
    let mut entries: Vec<(K::Top, u32)> = Vec::with_capacity(cells.len());
    let (mut deep, mut held) = (Vec::new(), NONE);
    let mut runs = cells.chunk_by(|a, b| a.key.top() == b.key.top()).peekable();
    while let Some(run) = runs.next() {
        let (top, last) = (run[0].key.top(), run[run.len() - 1]);
        let starts_below = run[0].key > K::from_top(top);
        if run.len() == 1 && !starts_below {
            entries.push((top, last.row));
        } else {
            entries.push((top, DEEP));
            if starts_below {
                deep.push(Cell { key: K::from_top(top), row: held });
            }
            deep.extend_from_slice(run);
            // After this /64 its last row goes on.
            let follows = runs.peek().map(|run| run[0].key.top()).or(end);
            if let Some(next) = K::top_after(top)
                && follows.is_none_or(|follows| follows > next)
            {
                entries.push((next, last.row));
            }
        }
        held = last.row;
    }
    let parts = if entries.len() <= LINES * LINE { 1 } else { entries.len().div_ceil(LINES_NEW * LINE) };
    let mut deep = deep.as_slice();
    for part in entries.chunks(entries.len().div_ceil(parts).next_multiple_of(LINE).max(LINE)) {
        let last = part[part.len() - 1].0;
        let (mine, rest) = deep.split_at(deep.partition_point(|cell| cell.key.top() <= last));
        deep = rest;
        let line = |entries: &[(K::Top, u32)]| {
            let at = |n: usize| entries[n.min(entries.len() - 1)];
            Line { tops: std::array::from_fn(|n| at(n).0), rows: std::array::from_fn(|n| at(n).1) }
        };
        groups.push(Group {
            lines: part.chunks(LINE).map(line).collect(),
            deep: (!mine.is_empty()).then(|| mine.into()),
        });
    }
}
