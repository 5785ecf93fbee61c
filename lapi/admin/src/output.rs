//! Prints results: tables, JSON and CSV on standard output, log lines on standard error.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use palisade_go_compat::quote;
use palisade_wire::Source;
use serde::Serialize;

use crate::failure::Failure;
use crate::table::{Align, Column, Table};
use crate::yaml;

/// Prints to standard output. A closed pipe ends the command silently, as for any tool in a pipe.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    if let Some(last) = text.as_bytes().last() {
        printed().last = Some(*last);
    }
    let mut out = io::stdout().lock();
    match out.write_all(visible(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// What a command has printed and logged so far.
#[derive(Default)]
struct Printed {
    /// The last byte on standard output.
    last: Option<u8>,
    /// At most [`MAX_MESSAGES`].
    messages: Vec<String>,
}

/// Maximum number of messages that are kept for [`end_json`].
const MAX_MESSAGES: usize = 100;

fn printed() -> MutexGuard<'static, Printed> {
    static PRINTED: Mutex<Printed> = Mutex::new(Printed { last: None, messages: Vec::new() });
    PRINTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the JSON of a command that has succeeded. A command that only logs gets an object with its messages, so that what
/// reads standard output always finds JSON; and the line is ended.
pub(crate) fn end_json() -> Result<(), Failure> {
    let (last, messages) = {
        let mut printed = printed();
        (printed.last, std::mem::take(&mut printed.messages))
    };
    match last {
        None => line(&json(&serde_json::json!({ "messages": messages }), 2)),
        Some(b'\n') => Ok(()),
        Some(_) => print("\n"),
    }
}

pub(crate) fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Prints a line to standard error that is not a log line, whatever the output format.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(text));
}

/// Escapes what a terminal would obey or hide. Clients of the LAPI choose names, and an operator's terminal shows them.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let escape = |c: char| match c {
        c if !is_obeyed(c) => c.to_string(),
        c if u32::from(c) < 0x100 => format!("\\x{:02x}", u32::from(c)),
        c => format!("\\u{:04x}", u32::from(c)),
    };
    text.chars().map(escape).collect::<String>().into()
}

/// Whether a terminal obeys or hides a character. Line breaks and tabs are part of the layout.
fn is_obeyed(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // These reorder the text around them.
        '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

/// As [`visible`], for a text that is part of one line.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    let shown = visible(text);
    if shown.contains(['\n', '\t']) {
        return shown.replace('\n', "\\n").replace('\t', "\\t").into();
    }
    shown
}

/// JSON as Go's encoder writes it, with the given indentation, without a final newline.
pub(crate) fn json(value: &impl Serialize, indent: usize) -> String {
    let mut bytes = Vec::new();
    let spaces = " ".repeat(indent);
    let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
    let mut to = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut to).expect("what is printed has texts for names");
    let text = String::from_utf8(bytes).expect("JSON is UTF-8");
    // These occur only in strings. Go escapes the first so that browsers do not interpret them; what a terminal obeys has
    // to be escaped here, as JSON has no other form of it.
    let is_escaped = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') || is_obeyed(c);
    if !text.contains(is_escaped) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if is_escaped(c) => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

pub(crate) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    let tree = serde_json::to_value(value).map_err(|error| Failure::Command(error.to_string()))?;
    Ok(yaml::document(&tree.into()))
}

/// CSV; the header is its first line.
pub(crate) fn csv(header: &str, rows: impl IntoIterator<Item = Vec<String>>) -> Result<String, Failure> {
    let mut to = csv::Writer::from_writer(Vec::new());
    let wrong = |error: csv::Error| Failure::Command(format!("failed to write raw output: {error}"));
    to.write_record(header.split(',')).map_err(wrong)?;
    for row in rows {
        to.write_record(row.iter().map(|cell| one_line(cell).into_owned())).map_err(wrong)?;
    }
    let bytes = to.into_inner().map_err(|error| Failure::Command(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| Failure::Command(error.to_string()))
}

/// The longest line in a cell of [`table`].
const MAX_CELL_WIDTH: usize = 60;

/// Alerts and decisions: a frame, and headings in the middle of their columns.
pub(crate) fn table(fancy: bool) -> Table {
    let column = Column { header: Align::Center, max_width: Some(MAX_CELL_WIDTH), ..Column::LEFT };
    Table::framed(fancy).columns(vec![column])
}

/// Names and values below each other. A name that is repeated is shown once.
pub(crate) fn properties(table: Table, rows: Vec<(&str, String)>) -> String {
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    table.columns(vec![Column { once: true, ..Column::LEFT }, Column::LEFT]).rows(rows).render()
}

/// `AS64500 Example`, as far as known.
pub(crate) fn as_name(source: &Source) -> String {
    format!("{} {}", source.as_number, source.as_name).trim().to_owned()
}

/// `debian/12`, or `?` if unknown.
pub(crate) fn os(name: &str, version: &str) -> String {
    if name.is_empty() && version.is_empty() { "?".to_owned() } else { format!("{name}/{version}") }
}

/// How important a log line is; the lowest that is shown is kept in [`Log`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Writes log lines to standard error as `cscli` does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    level: Level,
    json: bool,
    terminal: bool,
}

impl Log {
    pub(crate) fn new(level: Level, json: bool) -> Self {
        Self { level, json, terminal: io::stderr().is_terminal() }
    }

    pub(crate) fn info(self, text: &str) {
        let mut printed = printed();
        if printed.messages.len() < MAX_MESSAGES {
            printed.messages.push(text.to_owned());
        }
        drop(printed);
        self.write(Level::Info, text);
    }

    pub(crate) fn warn(self, text: &str) {
        self.write(Level::Warning, text);
    }

    /// A warning that is shown at every level and in every output format: what was asked for is not done yet.
    pub(crate) fn warn_always(self, text: &str) {
        note(&self.shape(Level::Warning, text));
    }

    pub(crate) fn error(self, text: &str) {
        self.write(Level::Error, text);
    }

    pub(crate) fn debug(self, text: &str) {
        self.write(Level::Debug, text);
    }

    /// Whether [`Self::debug`] writes anything.
    pub(crate) fn is_debug(self) -> bool {
        self.level >= Level::Debug
    }

    fn write(self, level: Level, text: &str) {
        if level <= self.level {
            note(&self.shape(level, text));
        }
    }

    fn shape(self, level: Level, text: &str) -> String {
        if self.json {
            let text = json(&text, 0);
            format!("{{\"level\":\"{}\",\"msg\":{text}}}", level.word())
        } else if self.terminal {
            format!("{} {}", level.word().to_uppercase(), one_line(text))
        } else {
            // The characters that logrus leaves unquoted.
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
            let bare = !text.is_empty() && text.chars().all(plain);
            let shown = if bare { text.to_owned() } else { quote(text) };
            format!("level={} msg={shown}", level.word())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        for (text, shown) in [
            ("plain \t text\n", "plain \t text\n"),
            ("\u{1b}[2J\u{7}\r", "\\x1b[2J\\x07\\x0d"),
            ("\u{9b}31m\u{7f}", "\\x9b31m\\x7f"),
            ("a\u{202e}b\u{e9}", "a\\u202eb\u{e9}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn a_text_cannot_break_a_line() {
        assert_eq!(one_line("a\nlevel=info\tb\u{1b}"), "a\\nlevel=info\\tb\\x1b");
        assert_eq!(
            csv("a,b", [vec!["x\ny".to_owned(), "\u{9b}2J".to_owned()]]).unwrap(),
            "a,b\nx\\ny,\\x9b2J\n"
        );
        let shown = json(&["\u{9b}\u{202e}\u{7f}\n"], 0);
        assert_eq!(shown, "[\n\"\\u009b\\u202e\\u007f\\n\"\n]");
        assert_eq!(visible(&shown), shown, "JSON stays JSON");
        let log = Log { level: Level::Info, json: false, terminal: true };
        assert_eq!(log.shape(Level::Error, "a\nb"), "ERROR a\\nb");
    }

    #[test]
    fn json_is_gos() {
        assert_eq!(json(&[("a<b", 1)], 1), "[\n [\n  \"a\\u003cb\",\n  1\n ]\n]");
        assert_eq!(json(&Vec::<String>::new(), 2), "[]");
    }

    #[test]
    fn log_lines_are_logrus() {
        let log = |json| Log { level: Level::Info, json, terminal: false };
        assert_eq!(log(false).shape(Level::Info, "bouncer 'x' gone"), r#"level=info msg="bouncer 'x' gone""#);
        assert_eq!(log(false).shape(Level::Warning, "plain"), "level=warning msg=plain");
        assert_eq!(log(true).shape(Level::Error, "a\"b"), r#"{"level":"error","msg":"a\"b"}"#);
    }
}
