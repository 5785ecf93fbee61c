//! Booleans, string literals and error chains.

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

/// An error and its causes on one line, as Go's wrapped errors print: `outer: inner`. Libraries differ in whether an
/// error's text includes its cause, so a cause that the text already contains is not repeated.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
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
