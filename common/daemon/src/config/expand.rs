//! Expansion of environment variables, with the exact rules of CrowdSec's bouncers.
//!
//! - `$NAME` (letters, digits, underscore) and `${NAME}` (up to the next `}`, wherever it is) are replaced when the
//!   name is known, and left as they are when it is not: an API key such as `foo$bar` survives.
//! - The replaced text is scanned again from its *second* character, so values may refer to other names anywhere but
//!   at their very start, and an empty value shields the byte that follows it.
//! - There is no `${NAME:-default}` and no escape for `$`.
//!
//! Unlike the original, a `$` at the very end does not crash, and a value that contains its own name is an error
//! instead of exhausting memory.

use std::fmt;

/// Maximum growth of the text by expansion; a value that refers to itself would grow forever.
const MAX_ADDED_BYTES: usize = 1 << 20;

/// An expanded text with the origin of its lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expanded {
    /// The text after expansion.
    pub text: String,
    /// For each line of `text` (first line first) the line it came from, counted from 0.
    pub lines: Vec<usize>,
}

/// Expansion exceeded its limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExpansionLimitExceeded {
    /// Line of the reference, counted from 0.
    pub line: usize,
    /// The name whose value made the text too long.
    pub name: String,
}

impl fmt::Display for ExpansionLimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the environment variable {} refers to itself or is larger than 1 MiB; set it to a plain value",
            self.name
        )
    }
}

/// Replaces references to the names that `lookup` knows.
pub(crate) fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expanded, ExpansionLimitExceeded> {
    let mut scan = Scan::new(text);
    while let Some((byte, line)) = scan.pending.pop() {
        if byte == b'$'
            && let Some((name, len)) = scan.name_ahead()
            && let Some(value) = lookup(&name)
        {
            scan.replace(len, &value, line).map_err(|()| ExpansionLimitExceeded { line, name })?;
        } else {
            scan.emit(byte, line);
        }
    }
    Ok(scan.finish())
}

/// The pending text, last byte first so that values can be pushed in front of it, and the text produced so far.
struct Scan {
    pending: Vec<(u8, usize)>,
    out: Vec<u8>,
    lines: Vec<usize>,
    line_begins: bool,
    added: usize,
    /// `pending` contains no `}`: avoids searching for one at every `${`.
    no_brace_left: bool,
}

impl Scan {
    fn new(text: &str) -> Self {
        let mut line = 0;
        let mut pending: Vec<(u8, usize)> = text
            .bytes()
            .map(|byte| {
                let at = line;
                line += usize::from(byte == b'\n');
                (byte, at)
            })
            .collect();
        pending.reverse();
        Self {
            pending,
            out: Vec::with_capacity(text.len()),
            lines: Vec::new(),
            line_begins: true,
            added: 0,
            no_brace_left: false,
        }
    }

    /// The name after a `$` and how many pending bytes the reference takes.
    fn name_ahead(&mut self) -> Option<(String, usize)> {
        let mut ahead = self.pending.iter().rev().map(|(byte, _)| *byte);
        let (bytes, taken): (Vec<u8>, usize) = if self.pending.last()?.0 == b'{' {
            if self.no_brace_left {
                return None;
            }
            let name: Vec<u8> = ahead.by_ref().skip(1).take_while(|byte| *byte != b'}').collect();
            if name.len() + 2 > self.pending.len() {
                self.no_brace_left = true;
                return None;
            }
            let taken = name.len() + 2;
            (name, taken)
        } else {
            let name: Vec<u8> =
                ahead.take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').collect();
            let taken = name.len();
            (name, taken)
        };
        let name = String::from_utf8(bytes).ok()?;
        // The environment has no variable with an empty name or these characters.
        (!name.is_empty() && !name.contains(['=', '\0'])).then_some((name, taken))
    }

    /// Replaces the next `len` pending bytes by `value`, whose first byte is not scanned.
    fn replace(&mut self, len: usize, value: &str, line: usize) -> Result<(), ()> {
        self.added += value.len();
        if self.added > MAX_ADDED_BYTES {
            return Err(());
        }
        self.pending.truncate(self.pending.len() - len);
        self.pending.extend(value.bytes().rev().map(|byte| (byte, line)));
        self.no_brace_left = false;
        if let Some((first, line)) = self.pending.pop() {
            self.emit(first, line);
        }
        Ok(())
    }

    fn emit(&mut self, byte: u8, line: usize) {
        if self.line_begins {
            self.lines.push(line);
        }
        self.line_begins = byte == b'\n';
        self.out.push(byte);
    }

    fn finish(self) -> Expanded {
        // Values replace ASCII references, so the text remains valid UTF-8; lossy only to rule out a panic.
        let text = String::from_utf8(self.out)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        Expanded { text, lines: self.lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        let value = match name {
            "A" => "alpha",
            "EMPTY" => "",
            "MID" => "x$A",
            "START" => "$A",
            "END" => "x$",
            "LOOP" => "x$LOOP",
            "LINES" => "one\ntwo",
            "weird name" => "odd",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn follows_the_rules_of_the_original() {
        for (text, expanded) in [
            ("", ""),
            ("plain", "plain"),
            ("$A", "alpha"),
            ("${A}", "alpha"),
            ("k: $A-$A", "k: alpha-alpha"),
            ("foo$bar", "foo$bar"),
            ("foo$BAR", "foo$BAR"),
            ("${BACKEND}", "${BACKEND}"),
            ("$AB", "$AB"),
            ("$A.b", "alpha.b"),
            ("# comment $A", "# comment alpha"),
            ("x${EMPTY}y", "xy"),
            ("$EMPTY$A", "$A"),
            ("$EMPTY-$A", "-alpha"),
            ("$MID", "xalpha"),
            ("$START", "$A"),
            ("$END", "x$"),
            ("$END\n", "x$\n"),
            ("$$A", "$alpha"),
            ("$", "$"),
            ("a: b$", "a: b$"),
            ("${", "${"),
            ("${A", "${A"),
            ("${A $A", "${A alpha"),
            ("${nope} and ${A}", "${nope} and alpha"),
            ("${no\npe} ${A}", "${no\npe} alpha"),
            ("${weird name}", "odd"),
            ("${A:-x}", "${A:-x}"),
            ("${}$A", "${}alpha"),
            ("größe: $A ü", "größe: alpha ü"),
            ("${ü}", "${ü}"),
        ] {
            assert_eq!(expand(text, &env).unwrap().text, expanded, "{text:?}");
        }
    }

    #[test]
    fn a_value_that_contains_itself_is_an_error() {
        let endless = expand("a: 1\nb: $LOOP\n", &env).unwrap_err();
        assert_eq!(endless, ExpansionLimitExceeded { line: 1, name: "LOOP".into() });
    }

    #[test]
    fn lines_are_traced_to_where_they_came_from() {
        let expanded = expand("a: 1\nb: $LINES\nc: 2\n", &env).unwrap();
        assert_eq!(expanded.text, "a: 1\nb: one\ntwo\nc: 2\n");
        assert_eq!(expanded.lines, [0, 1, 1, 2]);
    }

    #[test]
    fn a_hundred_thousand_open_braces_take_no_time() {
        let text = "${".repeat(100_000);
        assert_eq!(expand(&text, &env).unwrap().text, text);
    }
}
