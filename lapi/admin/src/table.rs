//! Lays out tables as `cscli` does: in a frame, or as columns between two lines. Pure.
//!
//! ```text
//! +-------------+      ----------------
//! | Title       |       Name  Version
//! +------+------+      ----------------
//! | Name | Hits |       fw-1  v0.0.34
//! +------+------+      ----------------
//! | x    |    1 |
//! +------+------+
//! ```

use std::{iter, ops::Range};

use unicode_width::UnicodeWidthChar as _;

use crate::output::one_line;

#[cfg(test)]
mod tests;

/// Where a cell's text stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Align {
    #[default]
    Left,
    Center,
    Right,
}

/// How a column is shown.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Column {
    pub(crate) header: Align,
    pub(crate) body: Align,
    pub(crate) footer: Align,
    /// Longer texts are wrapped between words.
    pub(crate) max_width: Option<usize>,
    /// Whether a cell that equals the one above it is left empty.
    pub(crate) once: bool,
}

impl Column {
    /// For numbers.
    pub(crate) const RIGHT: Self =
        Self { header: Align::Right, body: Align::Right, footer: Align::Right, ..Self::LEFT };
    pub(crate) const LEFT: Self =
        Self { header: Align::Left, body: Align::Left, footer: Align::Left, max_width: None, once: false };
}

/// A table; neither its order nor its texts are changed, but for what a terminal would obey.
#[derive(Debug, Default)]
pub(crate) struct Table {
    fancy: bool,
    framed: bool,
    /// Whether there is a line between rows.
    ruled: bool,
    title: String,
    headers: Vec<Row>,
    rows: Vec<Row>,
    footer: Option<Row>,
    columns: Vec<Column>,
}

#[derive(Debug, Default)]
struct Row {
    cells: Vec<String>,
    /// Whether equal neighbours are one cell.
    merged: bool,
}

impl Row {
    fn new(cells: Vec<String>, merged: bool) -> Self {
        Self { cells: cells.iter().map(|cell| cell_text(cell)).collect(), merged }
    }

    fn cell(&self, column: usize) -> &str {
        self.cells.get(column).map_or("", String::as_str)
    }

    /// Whether this cell and the next one are one.
    fn joins(&self, column: usize) -> bool {
        self.merged && self.cells.get(column + 1).is_some_and(|next| next == &self.cells[column])
    }
}

/// A cell as it is laid out: escaped first, as escapes take space.
fn cell_text(text: &str) -> String {
    one_line(&text.replace('\t', "    ")).into_owned()
}

impl Table {
    /// A table in a frame; of box-drawing characters if `fancy`.
    pub(crate) fn framed(fancy: bool) -> Self {
        Self { fancy, framed: true, ..Self::default() }
    }

    /// A table without a frame.
    pub(crate) fn plain(fancy: bool) -> Self {
        Self { fancy, ..Self::default() }
    }

    pub(crate) fn title(self, title: &str) -> Self {
        Self { title: cell_text(title), ..self }
    }

    pub(crate) fn ruled(self) -> Self {
        Self { ruled: true, ..self }
    }

    /// Columns that are not mentioned are as the last one that is.
    pub(crate) fn columns(self, columns: Vec<Column>) -> Self {
        Self { columns, ..self }
    }

    pub(crate) fn header(mut self, cells: &[&str]) -> Self {
        self.headers.push(Row::new(cells.iter().map(|cell| (*cell).to_owned()).collect(), false));
        self
    }

    /// A header whose equal neighbours become one cell.
    pub(crate) fn merged_header(mut self, cells: Vec<String>) -> Self {
        self.headers.push(Row::new(cells, true));
        self
    }

    pub(crate) fn rows(mut self, rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        self.rows.extend(rows.into_iter().map(|cells| Row::new(cells, false)));
        self
    }

    pub(crate) fn footer(self, cells: Vec<String>) -> Self {
        Self { footer: Some(Row::new(cells, false)), ..self }
    }

    /// The text, with a newline at its end.
    pub(crate) fn render(mut self) -> String {
        let count = self.all().map(|row| row.cells.len()).max().unwrap_or(0);
        self.columns.resize(count, self.columns.last().copied().unwrap_or_default());
        self.wrap();
        self.blank_repeats();
        let layout = Layout { widths: self.widths(), fancy: self.fancy, framed: self.framed };
        let mut text = String::new();
        if !self.title.is_empty() {
            layout.title(&mut text, &self.title);
        }
        let edge = if self.title.is_empty() { Edge::Top } else { Edge::Inner };
        layout.line(&mut text, edge, None, self.all().next());
        let header = |column: &Column| column.header;
        for row in &self.headers {
            layout.row(&mut text, row, &self.columns, header);
        }
        if let Some(last) = self.headers.last() {
            let below = self.rows.first().or(self.footer.as_ref()).unwrap_or(last);
            layout.line(&mut text, Edge::Inner, Some(last), Some(below));
        }
        for (number, row) in self.rows.iter().enumerate() {
            if self.ruled && number > 0 {
                layout.line(&mut text, Edge::Inner, Some(row), Some(row));
            }
            layout.row(&mut text, row, &self.columns, |column| column.body);
        }
        if let Some(footer) = &self.footer {
            // The header's line serves if there is nothing in between.
            if let Some(last) = self.rows.last() {
                layout.line(&mut text, Edge::Inner, Some(last), Some(footer));
            }
            layout.row(&mut text, footer, &self.columns, |column| column.footer);
        }
        layout.line(&mut text, Edge::Bottom, self.all().last(), None);
        text
    }

    fn all(&self) -> impl Iterator<Item = &Row> {
        self.headers.iter().chain(&self.rows).chain(&self.footer)
    }

    fn wrap(&mut self) {
        for row in &mut self.rows {
            for (cell, column) in row.cells.iter_mut().zip(&self.columns) {
                if let Some(max) = column.max_width.filter(|max| width(cell) > *max) {
                    *cell = wrapped(cell, max);
                }
            }
        }
    }

    fn blank_repeats(&mut self) {
        for (number, _) in self.columns.iter().enumerate().filter(|(_, column)| column.once) {
            let mut above = None;
            for cell in self.rows.iter_mut().filter_map(|row| row.cells.get_mut(number)) {
                if above.as_ref() == Some(cell) {
                    cell.clear();
                } else {
                    above = Some(cell.clone());
                }
            }
        }
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.columns.len()];
        for row in self.all() {
            for group in groups(row, widths.len()).filter(|group| group.len() == 1) {
                let longest = row.cell(group.start).lines().map(width).max().unwrap_or(0);
                widths[group.start] = widths[group.start].max(longest);
            }
        }
        // A cell over several columns widens them evenly if its text is longer.
        for row in self.all() {
            for group in groups(row, widths.len()).filter(|group| group.len() > 1) {
                let missing = width(row.cell(group.start)).saturating_sub(group_width(&widths, &group));
                for column in group.cycle().take(missing) {
                    widths[column] += 1;
                }
            }
        }
        widths
    }
}

/// The columns of each cell of a row.
fn groups(row: &Row, columns: usize) -> impl Iterator<Item = Range<usize>> {
    let mut column = 0;
    iter::from_fn(move || {
        let first = (column < columns).then_some(column)?;
        while row.joins(column) {
            column += 1;
        }
        column += 1;
        Some(first..column)
    })
}

/// The width of a cell over some columns, with the space between them.
fn group_width(widths: &[usize], group: &Range<usize>) -> usize {
    widths[group.clone()].iter().map(|width| width + 3).sum::<usize>().saturating_sub(3)
}

/// Columns that a text takes. Counted by character, as `cscli` does: a mark such as `✔️` takes one.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The text in lines of at most `max`, broken between words where possible.
fn wrapped(text: &str, max: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always one");
        let space = usize::from(!last.is_empty());
        if width(last) + space + width(word) <= max {
            last.push_str(if space == 0 { "" } else { " " });
            last.push_str(word);
            continue;
        }
        if last.is_empty() {
            lines.pop();
        }
        lines.extend(pieces(word, max));
    }
    lines.join("\n")
}

/// Pieces of a text of at most `max` columns each.
fn pieces(text: &str, max: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in text.chars() {
        let last = pieces.last_mut().expect("there is always one");
        if !last.is_empty() && width(last) + c.width().unwrap_or(0) > max {
            pieces.push(c.to_string());
        } else {
            last.push(c);
        }
    }
    pieces
}

/// Which line of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Top,
    Inner,
    Bottom,
}

/// The widths of the columns, and what lines are made of.
struct Layout {
    widths: Vec<usize>,
    fancy: bool,
    framed: bool,
}

impl Layout {
    fn bar(&self) -> &'static str {
        match (self.framed, self.fancy) {
            (false, _) => "",
            (true, false) => "|",
            (true, true) => "│",
        }
    }

    fn dash(&self) -> &'static str {
        if self.fancy { "─" } else { "-" }
    }

    /// The corners of a line.
    fn corners(&self, edge: Edge) -> (&'static str, &'static str) {
        match (self.framed, self.fancy, edge) {
            (false, ..) => ("", ""),
            (true, false, _) => ("+", "+"),
            (true, true, Edge::Top) => ("╭", "╮"),
            (true, true, Edge::Inner) => ("├", "┤"),
            (true, true, Edge::Bottom) => ("╰", "╯"),
        }
    }

    /// What joins two columns in a line, by whether a bar meets it from above and from below.
    fn junction(&self, above: bool, below: bool) -> &'static str {
        match (self.fancy, above, below) {
            (_, false, false) => self.dash(),
            (false, ..) => "+",
            (true, true, true) => "┼",
            (true, true, false) => "┴",
            (true, false, true) => "┬",
        }
    }

    /// Everything between the left and the right bar.
    fn inner_width(&self) -> usize {
        let bars = if self.framed { self.widths.len().saturating_sub(1) } else { 0 };
        self.widths.iter().map(|width| width + 2).sum::<usize>() + bars
    }

    fn line(&self, text: &mut String, edge: Edge, above: Option<&Row>, below: Option<&Row>) {
        let (left, right) = self.corners(edge);
        text.push_str(left);
        let meets = |row: Option<&Row>, column| row.is_some_and(|row| !row.joins(column));
        for (column, width) in self.widths.iter().enumerate() {
            text.push_str(&self.dash().repeat(width + 2));
            if self.framed && column + 1 < self.widths.len() {
                text.push_str(self.junction(meets(above, column), meets(below, column)));
            }
        }
        text.push_str(right);
        text.push('\n');
    }

    fn title(&self, text: &mut String, title: &str) {
        let (left, right) = self.corners(Edge::Top);
        let inner = self.inner_width();
        text.push_str(&format!("{left}{}{right}\n", self.dash().repeat(inner)));
        let room = inner.saturating_sub(2).max(1);
        for piece in title.lines().flat_map(|line| pieces(line, room)) {
            let padded = pad(piece.trim(), room, Align::Left);
            text.push_str(&format!("{bar} {padded} {bar}\n", bar = self.bar()));
        }
    }

    fn row(&self, text: &mut String, row: &Row, columns: &[Column], align: impl Fn(&Column) -> Align) {
        let cells: Vec<(Vec<&str>, usize, Align)> = groups(row, self.widths.len())
            .map(|group| {
                let lines = row.cell(group.start).lines().collect();
                (lines, group_width(&self.widths, &group), align(&columns[group.start]))
            })
            .collect();
        let height = cells.iter().map(|(lines, ..)| lines.len()).max().unwrap_or(0).max(1);
        for number in 0..height {
            text.push_str(self.bar());
            for (lines, width, align) in &cells {
                let shown = pad(lines.get(number).copied().unwrap_or(""), *width, *align);
                text.push_str(&format!(" {shown} {}", self.bar()));
            }
            text.push('\n');
        }
    }
}

fn pad(text: &str, to: usize, align: Align) -> String {
    let missing = to.saturating_sub(width(text));
    let right = match align {
        Align::Left => missing,
        Align::Center => missing / 2,
        Align::Right => 0,
    };
    format!("{}{text}{}", " ".repeat(missing - right), " ".repeat(right))
}
