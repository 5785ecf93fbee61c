//! Reads the lists that commands import: opens the file, leaves out comments, and collects what cannot be used.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use palisade_go_compat::quote;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::session::Session;

/// A longer line cannot be used. No address is this long, and no comment needs to be.
const MAX_LINE_BYTES: usize = 4096;
/// A longer list is refused: it is held in memory.
const MAX_LIST_BYTES: usize = 256 << 20;
/// Lines that are reported one by one; the rest is counted.
const MAX_REPORTED: usize = 10;
/// What a comment begins with.
const COMMENT_MARKS: [&str; 3] = ["#", ";", "//"];

/// The named file; `-` is standard input.
pub(super) fn open_input(name: &str) -> Result<Box<dyn Read>, Failure> {
    if name == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file =
        File::open(name).map_err(|error| Failure::Command(format!("unable to open {name}: {error}")))?;
    Ok(Box::new(file))
}

/// Lines or items of a list that cannot be used.
#[derive(Debug, Default)]
pub(super) struct Rejects {
    count: usize,
    reported: Vec<String>,
}

impl Rejects {
    /// Adds one; `place` is such as `line 3`.
    pub(super) fn add(&mut self, place: impl Display, reason: impl Display) {
        self.count += 1;
        if self.reported.len() < MAX_REPORTED {
            self.reported.push(format!("{place}: {reason}"));
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The first of them, and how many more there are.
    fn lines(&self) -> Vec<String> {
        let more = self.count - self.reported.len();
        let rest = (more > 0).then(|| format!("{more} more like these"));
        self.reported.iter().cloned().chain(rest).collect()
    }

    /// Reports them; with `strict` one is enough to refuse the list.
    pub(super) fn report(&self, session: &Session, strict: bool) -> Result<(), Failure> {
        if self.count == 0 {
            return Ok(());
        }
        if strict {
            return Err(Failure::Command(self.lines().join("; ")));
        }
        for line in self.lines() {
            session.log.error(&line);
        }
        session.log.error(&format!("{} skipped; with --strict nothing would be imported", self.count));
        Ok(())
    }
}

/// Reads a text, without byte order mark and carriage returns. Lines that are comments or unusable are left empty, so
/// that line numbers stay those of the file.
pub(super) fn read_text(from: impl Read, rejects: &mut Rejects) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::Command(format!("unable to read the list: {error}"));
    let mut from = BufReader::new(from);
    let (mut text, mut number) = (String::new(), 0_usize);
    let mut line = Vec::new();
    loop {
        line.clear();
        // One more byte than fits shows that the line is too long.
        let length =
            (&mut from).take(MAX_LINE_BYTES as u64 + 2).read_until(b'\n', &mut line).map_err(failed)?;
        if length == 0 {
            return Ok(text);
        }
        number += 1;
        if text.len() + length > MAX_LIST_BYTES {
            let most = MAX_LIST_BYTES >> 20;
            return Err(Failure::Command(format!("the list is longer than {most} MiB; split it")));
        }
        let is_whole = line.last() == Some(&b'\n');
        if !is_whole && length > MAX_LINE_BYTES {
            skip_line(&mut from).map_err(failed)?;
            rejects.add(format_args!("line {number}"), format_args!("longer than {MAX_LINE_BYTES} bytes"));
        } else {
            let bytes = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
            match std::str::from_utf8(bytes) {
                Ok(content) if content.trim().is_empty() || is_comment(content) => {}
                Ok(content) => text.push_str(content.trim_end_matches(['\n', '\r'])),
                Err(_) => rejects.add(format_args!("line {number}"), "not UTF-8"),
            }
        }
        text.push('\n');
    }
}

fn skip_line(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = from.fill_buf()?;
        match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                from.consume(end + 1);
                return Ok(());
            }
            None if buffer.is_empty() => return Ok(()),
            None => {
                let length = buffer.len();
                from.consume(length);
            }
        }
    }
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    COMMENT_MARKS.iter().any(|mark| line.starts_with(mark))
}

/// Rows of CSV with the line each begins in, by the columns that the first row names, `value` among them.
pub(super) fn read_csv<T: DeserializeOwned>(
    text: &str,
    rejects: &mut Rejects,
) -> Result<Vec<(String, T)>, Failure> {
    let unable = |reason: &dyn Display| Failure::Command(format!("unable to parse csv: {reason}"));
    // Rows may end before the optional columns.
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| unable(&error))?.clone();
    if !header.is_empty() && !header.iter().any(|name| name == "value") {
        return Err(unable(&"its first line does not name a column 'value'"));
    }
    let (mut rows, mut at, mut line) = (Vec::new(), 0, 1);
    for record in reader.records() {
        let record = record.map_err(|error| unable(&error))?;
        // The reader's own line is that of the blank lines before the row.
        let begin = record.position().map_or(at, |position| usize::try_from(position.byte()).unwrap_or(at));
        let blank = text.as_bytes()[begin..].iter().take_while(|byte| **byte == b'\n').count();
        line += text.as_bytes()[at..begin + blank].iter().filter(|byte| **byte == b'\n').count();
        at = begin + blank;
        let place = format!("line {line}");
        match record.deserialize(Some(&header)) {
            Ok(row) => rows.push((place, row)),
            Err(error) => rejects.add(place, error),
        }
    }
    Ok(rows)
}

/// A text that may be absent or null.
pub(super) fn optional_text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A value without the comment behind it. In other scopes than addresses a mark may be part of the value, unless there is
/// a blank before it.
pub(super) fn without_comment(value: &str, is_address: bool) -> &str {
    let begins = |at: usize| is_address || value[..at].ends_with(char::is_whitespace);
    let marks = COMMENT_MARKS.iter().flat_map(|mark| value.match_indices(mark));
    let first = marks.map(|(at, _)| at).filter(|at| begins(*at)).min();
    value[..first.unwrap_or(value.len())].trim()
}

/// Why a value is no address or range, if it is none.
pub(super) fn check_address(value: &str) -> Result<(), String> {
    palisade_net::parse_prefix(value)
        .map(drop)
        .map_err(|_| format!("{} is neither an address nor a range", quote(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (String, Vec<String>) {
        let mut rejects = Rejects::default();
        let text = read_text(bytes, &mut rejects).unwrap();
        (text, rejects.lines())
    }

    #[test]
    fn comments_and_blanks_leave_empty_lines() {
        let list = b"\xef\xbb\xbf# a list\r\n192.0.2.1\r\n\r\n  ; x\n// y\n192.0.2.2";
        assert_eq!(read(list), ("\n192.0.2.1\n\n\n\n192.0.2.2\n".to_owned(), Vec::new()));
        assert_eq!(read(b""), (String::new(), Vec::new()));
        let long = [b"192.0.2.1\n".as_slice(), &vec![b'x'; 100_000], b"\n\xff\n192.0.2.2\n"].concat();
        assert_eq!(
            read(&long),
            (
                "192.0.2.1\n\n\n192.0.2.2\n".to_owned(),
                vec!["line 2: longer than 4096 bytes".to_owned(), "line 3: not UTF-8".to_owned()]
            )
        );
        assert_eq!(read(&vec![b'x'; MAX_LINE_BYTES]).1.len(), 0);
        assert_eq!(read(&vec![b'x'; MAX_LINE_BYTES + 2]).1.len(), 1);
    }

    #[test]
    fn rows_know_their_lines() {
        let mut rejects = Rejects::default();
        let list = "# x\n\nvalue,comment\na\n  \n\n\"b\",\"two\nlines\"\n; y\nc,d,e\n";
        let text = read_text(list.as_bytes(), &mut rejects).unwrap();
        let rows: Vec<(String, std::collections::HashMap<String, Option<String>>)> =
            read_csv(&text, &mut rejects).unwrap();
        let places: Vec<_> =
            rows.iter().map(|(place, row)| (place.as_str(), row["value"].as_deref().unwrap())).collect();
        assert_eq!(places, [("line 4", "a"), ("line 7", "b"), ("line 10", "c")]);
    }

    #[test]
    fn trailing_comments_are_cut() {
        for (value, is_address, rest) in [
            ("192.0.2.1 # scanner", true, "192.0.2.1"),
            ("192.0.2.0/24 ; SBL1", true, "192.0.2.0/24"),
            ("192.0.2.1#x", true, "192.0.2.1"),
            ("192.0.2.1 // x", true, "192.0.2.1"),
            ("user#1", false, "user#1"),
            ("https://x # y", false, "https://x"),
        ] {
            assert_eq!(without_comment(value, is_address), rest);
        }
    }

    #[test]
    fn reports_are_bounded() {
        let mut rejects = Rejects::default();
        for number in 1..=1000 {
            rejects.add(format_args!("line {number}"), "bad");
        }
        let lines = rejects.lines();
        assert_eq!((lines.len(), &*lines[0], &*lines[10]), (11, "line 1: bad", "990 more like these"));
    }
}
