//! A page of the IPv4 index: 64 neighbouring leaves, with keys stored apart from rows.
//!
//! ```text
//!  lines: │ 2 lines: which line is each leaf's │ leaf │ leaf │ leaf, longer │ its keys │ its keys │ ...
//!  rows:  │ of the leaf's hosts, of its first address, of its boundaries │ ...
//! ```
//! A leaf that fits is one line: its host keys, then its boundary keys, and in the last words their numbers, where its
//! rows are, and which boundaries begin a range rather than a gap. So one line shows whether an address is held. Keys
//! are the low 16 bits of an address. A longer leaf has its keys in further lines and the first key of each of these in
//! its own line. Neighbours without hosts and boundaries share one line.

use std::hint::select_unpredictable;
use std::sync::Arc;

use crate::index::v4::line::{KEYS, Line, WORDS};
use crate::index::{Entry, Found};
use crate::prefix::V4;
use crate::table::NONE;

/// Leaves in a page.
pub(crate) const LEAVES: usize = 64;
/// A leaf with more hosts and boundaries than this does not fit in a page. A /24 always does.
// Copying a page stays cheap, and two numbers fit their words: the first keys of at most 17 further lines fit into
// the leaf's own line, and 64 leaves have fewer than 2^16 rows.
pub(crate) const LEAF_MAX: usize = 512;
/// Lines with the line number of each leaf.
const INDEX: usize = LEAVES / WORDS;
/// First word of the head of a leaf that is longer than a line. In its place stand the numbers of hosts and of
/// boundaries of a leaf that fits.
// Cannot be mistaken for sizes, as a leaf that fits has at most 28 of each.
const LONG: u16 = 0xff00;
/// First word of the head of a leaf that is stored elsewhere.
const CROWDED: u16 = 0xff01;

#[derive(Debug, Clone)]
pub(crate) struct Page {
    // Apart from the rows, so that the lines of many pages fit into a processor's cache: most lookups need no row.
    lines: Arc<[Line]>,
    rows: Arc<[u32]>,
}

/// Where a search in a page ended.
pub(crate) enum Step {
    Found(Found),
    /// The leaf is longer than a line, or crowded.
    Elsewhere,
}

/// The sorted hosts and intervals of a prefix. `carried` is the range row at its first address, unless the first interval
/// begins there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) hosts: &'a [Entry<V4>],
    pub(crate) intervals: &'a [Entry<V4>],
    pub(crate) carried: u32,
}

impl Content<'_> {
    /// Splits off the entries up to `last`.
    pub(crate) fn take_up_to(&mut self, last: V4) -> Self {
        let (hosts, later_hosts) = self.hosts.split_at(self.hosts.partition_point(|entry| entry.key <= last));
        let (intervals, later_intervals) =
            self.intervals.split_at(self.intervals.partition_point(|entry| entry.key <= last));
        let taken = Self { hosts, intervals, carried: self.carried };
        self.carried = intervals.last().map_or(self.carried, |entry| entry.row);
        (self.hosts, self.intervals) = (later_hosts, later_intervals);
        taken
    }

    pub(crate) fn fits_leaf(&self) -> bool {
        self.hosts.len() + self.intervals.len() <= LEAF_MAX
    }

    /// The same with its intervals after the first address `start`, and the row there in `carried`.
    fn from(&self, start: V4) -> Self {
        match self.intervals {
            [first, rest @ ..] if first.key == start => Self { intervals: rest, carried: first.row, ..*self },
            _ => *self,
        }
    }
}

impl Page {
    /// A page without hosts and with one interval, of this row.
    pub(crate) fn uniform(row: u32) -> Self {
        let mut writer = Writer::default();
        (0..LEAVES).for_each(|_| writer.uniform(row));
        writer.page()
    }

    /// The row of a page without hosts and with one interval.
    pub(crate) fn as_uniform(&self) -> Option<u32> {
        // All leaves share one line. Its sizes are 0, unless it is the line of crowded leaves.
        let alone = self.lines.len() == INDEX + 1 && self.lines[INDEX].0[KEYS] == 0;
        alone.then(|| self.rows[0])
    }

    /// The number of hosts and boundaries, or up to one more per leaf.
    pub(crate) fn weight(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    fn line_of(&self, leaf: usize) -> usize {
        self.lines[leaf / WORDS].0[leaf % WORDS].into()
    }

    pub(crate) fn is_crowded(&self, leaf: usize) -> bool {
        self.lines[self.line_of(leaf)].0[KEYS] == CROWDED
    }

    #[inline]
    fn row(&self, at: u16) -> u32 {
        // Without a panic the compiler can leave out the read of a row that the caller does not use.
        self.rows.get(usize::from(at)).copied().unwrap_or(NONE)
    }

    #[inline]
    pub(crate) fn find(&self, leaf: usize, key: u16) -> Step {
        let number = self.line_of(leaf);
        let line = &self.lines[number];
        let [.., sizes, rows, covered, covered_above] = line.0;
        if sizes >= LONG {
            return Step::Elsewhere;
        }
        let (hosts, boundaries) = (sizes & 0xff, sizes >> 8);
        let (place, passed) = line.search(hosts, key);
        // Unused words are 0xffff, which is not above the last address of a /16, so there they count as passed.
        let passed = passed.min(boundaries);
        // A bit for each of up to 28 boundaries and one for what precedes them, so two words.
        let covered = u32::from(covered) | u32::from(covered_above) << 16;
        Step::Found(Found {
            // `|` and select instead of `||` and `if`: whether an address is held cannot be predicted. Without a host
            // some other row is read, which costs less than a mispredicted branch.
            is_held: (place != 0) | (covered >> (passed & 31) & 1 != 0),
            host: select_unpredictable(place == 0, NONE, self.row(rows + place.saturating_sub(1))),
            range: self.row(rows + hosts + passed),
        })
    }

    /// The rows of a host and an interval in a leaf longer than a line.
    pub(crate) fn find_long(&self, leaf: usize, key: u16) -> (u32, u32) {
        let number = self.line_of(leaf);
        let head = &self.lines[number];
        let [.., rows, hosts, boundaries] = head.0;
        // The leaf's own line holds the first key of each further line: first of those with hosts, then of the
        // others.
        let (host_lines, all_lines) = lines_for(hosts, boundaries);
        let host = match head.count_up_to(0, host_lines, key) {
            0 => NONE,
            passed => {
                let before = (passed - 1) * WORDS as u16;
                let place = self.lines[number + usize::from(passed)].place_of(hosts - before, key);
                if place == 0 { NONE } else { self.row(rows + before + place - 1) }
            }
        };
        let passed = match head.count_up_to(host_lines, all_lines, key) {
            0 => 0,
            passed => {
                let before = (passed - 1) * WORDS as u16;
                let line = &self.lines[number + usize::from(host_lines + passed)];
                before + line.count_up_to(0, boundaries - before, key)
            }
        };
        (host, self.row(rows + hosts + passed))
    }

    /// The hosts and intervals of a leaf that starts at `start`, the first interval there.
    pub(crate) fn read(&self, leaf: usize, start: V4) -> (Vec<Entry<V4>>, Vec<Entry<V4>>) {
        let number = self.line_of(leaf);
        let Extent { hosts, boundaries, rows, keys, .. } = self.extent(number);
        // A key is the low 16 bits of an address, also in a leaf that is a /24.
        let high = start & 0xffff_0000;
        let words = self.lines[number + keys..].iter().flat_map(|line| line.0);
        // In a leaf longer than a line the boundaries begin on a line of their own.
        let boundaries_at = if keys == 0 { hosts } else { hosts.next_multiple_of(WORDS) };
        let entry = |(word, row): (u16, &u32)| Entry { key: high | u32::from(word), row: *row };
        let (host_rows, rows) = self.rows[rows..].split_at(hosts);
        let mut intervals = vec![Entry { key: start, row: rows[0] }];
        intervals.extend(words.clone().skip(boundaries_at).zip(&rows[1..]).take(boundaries).map(entry));
        (words.zip(host_rows).map(entry).collect(), intervals)
    }

    fn extent(&self, number: usize) -> Extent {
        let [.., sizes, rows, third, fourth] = self.lines[number].0;
        let (hosts, boundaries, keys, lines) = match sizes {
            // Nothing but its head is stored in this page.
            CROWDED => return Extent { hosts: 0, boundaries: 0, rows: 0, keys: 0, lines: 1 },
            LONG => (third, fourth, 1, 1 + lines_for(third, fourth).1),
            _ => (sizes & 0xff, sizes >> 8, 0, 1),
        };
        let [hosts, boundaries, rows, lines] = [hosts, boundaries, rows, lines].map(usize::from);
        Extent { hosts, boundaries, rows, keys, lines }
    }
}

struct Extent {
    hosts: usize,
    boundaries: usize,
    /// Where its rows begin.
    rows: usize,
    /// Lines before its keys.
    keys: usize,
    lines: usize,
}

/// How many lines of their own the hosts take, and hosts and boundaries together.
fn lines_for(hosts: u16, boundaries: u16) -> (u16, u16) {
    let host_lines = hosts.div_ceil(WORDS as u16);
    (host_lines, host_lines + boundaries.div_ceil(WORDS as u16))
}

/// A page being written, leaf by leaf.
pub(crate) struct Writer {
    lines: Vec<Line>,
    rows: Vec<u32>,
    leaf: usize,
    /// The row of the last leaf without hosts and boundaries, and the line that such leaves share.
    uniform: Option<(u32, u16)>,
    crowded: Option<u16>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { lines: vec![Line::of([]); INDEX], rows: Vec::new(), leaf: 0, uniform: None, crowded: None }
    }
}

impl Writer {
    pub(crate) fn page(self) -> Page {
        Page { lines: self.lines.into(), rows: self.rows.into() }
    }

    /// Writes the next leaf, which starts at `start` and fits.
    pub(crate) fn leaf(&mut self, start: V4, content: &Content<'_>) {
        let Content { hosts, intervals, carried } = content.from(start);
        if hosts.is_empty() && intervals.is_empty() {
            return self.uniform(carried);
        }
        let number = self.next_line();
        // Fits, see LEAF_MAX.
        let rows = self.rows.len() as u16;
        self.rows.extend(hosts.iter().map(|entry| entry.row));
        self.rows.push(carried);
        self.rows.extend(intervals.iter().map(|entry| entry.row));
        let keys = |entries: &[Entry<V4>]| entries.iter().map(|entry| entry.key as u16).collect::<Vec<_>>();
        let (hosts, boundaries) = (keys(hosts), keys(intervals));
        let [host_count, boundary_count] = [&hosts, &boundaries].map(|keys| keys.len() as u16);
        let (line, head);
        if hosts.len() + boundaries.len() <= KEYS {
            line = Line::of([hosts, boundaries].concat());
            let held = std::iter::once(carried).chain(intervals.iter().map(|entry| entry.row));
            let covered = held.enumerate().fold(0, |bits, (at, row)| bits | u32::from(row != NONE) << at);
            head = [host_count | boundary_count << 8, rows, covered as u16, (covered >> 16) as u16];
            self.lines.push(line);
        } else {
            let parts: Vec<_> = hosts.chunks(WORDS).chain(boundaries.chunks(WORDS)).collect();
            line = Line::of(parts.iter().map(|part| part[0]));
            head = [LONG, rows, host_count, boundary_count];
            self.lines.push(line);
            self.lines.extend(parts.into_iter().map(|part| Line::of(part.iter().copied())));
        }
        self.head(number, head);
        self.place(number);
    }

    /// Writes the next leaf, without hosts and boundaries.
    fn uniform(&mut self, row: u32) {
        let number = match self.uniform {
            Some((shared, number)) if shared == row => number,
            _ => {
                let number = self.next_line();
                self.lines.push(Line::of([]));
                self.head(number, [0, self.rows.len() as u16, u16::from(row != NONE), 0]);
                self.rows.push(row);
                number
            }
        };
        self.uniform = Some((row, number));
        self.place(number);
    }

    /// Marks the next leaf as stored elsewhere.
    pub(crate) fn crowded(&mut self) {
        let number = self.crowded.unwrap_or_else(|| {
            let number = self.next_line();
            self.lines.push(Line::of([]));
            self.head(number, [CROWDED, 0, 0, 0]);
            number
        });
        self.crowded = Some(number);
        self.place(number);
    }

    /// Copies the next leaf from `page`.
    pub(crate) fn copy(&mut self, page: &Page) {
        let from = page.line_of(self.leaf);
        let Extent { hosts, boundaries, rows, lines, .. } = page.extent(from);
        if page.is_crowded(self.leaf) {
            return self.crowded();
        }
        if hosts + boundaries == 0 {
            return self.uniform(page.rows[rows]);
        }
        let number = self.next_line();
        self.lines.extend_from_slice(&page.lines[from..from + lines]);
        // Keys are the same anywhere. Of a copied leaf only the place of its rows differs.
        self.lines[usize::from(number)].0[KEYS + 1] = self.rows.len() as u16;
        self.rows.extend_from_slice(&page.rows[rows..=rows + hosts + boundaries]);
        self.place(number);
    }

    fn next_line(&self) -> u16 {
        self.lines.len() as u16
    }

    fn head(&mut self, number: u16, head: [u16; WORDS - KEYS]) {
        self.lines[usize::from(number)].0[KEYS..].copy_from_slice(&head);
    }

    fn place(&mut self, number: u16) {
        self.lines[self.leaf / WORDS].0[self.leaf % WORDS] = number;
        self.leaf += 1;
    }
}
