//! Booleans, string literals and error texts.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;

/// The spellings of Go's `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// A text as a Go string literal (`%q`).
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        _ = match c {
            '"' => write!(out, "\\\""),
            '\\' => write!(out, "\\\\"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\u{7}' => write!(out, "\\a"),
            '\u{8}' => write!(out, "\\b"),
            '\u{c}' => write!(out, "\\f"),
            '\u{b}' => write!(out, "\\v"),
            c if u32::from(c) < 0x80 && c.is_control() => write!(out, "\\x{:02x}", u32::from(c)),
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
    out
}

/// The start of what Rust appends to the system's error texts.
const ERROR_NUMBER: &str = " (os error ";

/// A text with the system's errors as Go prints them, which scripts search for: `connection refused` and not
/// `Connection refused (os error 111)`.
pub fn go_errors(text: &str) -> Cow<'_, str> {
    if !text.contains(ERROR_NUMBER) {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once(ERROR_NUMBER) {
        match after.split_once(')') {
            Some((number, after)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                // The system's text begins after the last colon or bracket, which is where wrappers put it.
                let start = before.rfind([':', '(']).map_or(0, |at| at + 1);
                let (wrapper, words) = before.split_at(start);
                out.push_str(wrapper);
                push_lower_case(&mut out, words);
                rest = after;
            }
            _ => {
                out.push_str(before);
                out.push_str(ERROR_NUMBER);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Appends words with a small first letter, unless they begin with an abbreviation such as `I/O`.
fn push_lower_case(out: &mut String, words: &str) {
    let trimmed = words.trim_start();
    let mut letters = trimmed.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            out.push_str(&words[..words.len() - trimmed.len()]);
            out.extend(first.to_lowercase());
            out.push_str(&trimmed[first.len_utf8()..]);
        }
        _ => out.push_str(words),
    }
}

/// The name of the first environment variable that a value refers to. The references to variables that are set have
/// been replaced when a configuration was read, so this one is not set.
pub fn unset_variable(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once('$')?;
    let is_in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = match rest.strip_prefix('{') {
        Some(inner) => inner.split_once('}')?.0,
        None => &rest[..rest.find(|c| !is_in_name(c)).unwrap_or(rest.len())],
    };
    (!name.is_empty() && name.chars().all(is_in_name)).then_some(name)
}

/// An error and its causes on one line, as Go's wrapped errors print: `outer: inner`. Libraries differ in whether an
/// error's text includes its cause, so a cause that the text already contains is not repeated.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = go_errors(&error.to_string()).into_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        let more = go_errors(&more);
        if !text.contains(&*more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_those_of_go() {
        assert_eq!(quote("a\"\\\n\u{1}\u{7}é\u{85}"), r#""a\"\\\n\x01\aé\u0085""#);
    }

    #[test]
    fn system_errors_are_those_of_go() {
        for (rust, go) in [
            ("Connection refused (os error 111)", "connection refused"),
            ("tcp connect error: Connection refused (os error 111)", "tcp connect error: connection refused"),
            (
                "cannot read /x (No such file or directory (os error 2)); do",
                "cannot read /x (no such file or directory); do",
            ),
            (
                "a: Is a directory (os error 21), b: Permission denied (os error 13)",
                "a: is a directory, b: permission denied",
            ),
            ("Input/output error (os error 5)", "input/output error"),
            ("no number (os error x)", "no number (os error x)"),
            ("nothing of the kind", "nothing of the kind"),
        ] {
            assert_eq!(go_errors(rust), go);
        }
        let refused = std::io::Error::from_raw_os_error(111);
        assert_eq!(with_causes(&refused), "connection refused");
    }

    #[test]
    fn causes_are_on_one_line_and_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner: gone")]
        struct Inner(#[source] Innermost);
        #[derive(Debug, thiserror::Error)]
        #[error("gone")]
        struct Innermost;
        assert_eq!(with_causes(&Outer(Inner(Innermost))), "outer: inner: gone");
    }
}
