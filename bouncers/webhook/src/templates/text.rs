//! Makes foreign texts harmless for chat services, and shortens them. Pure.

use std::fmt::Write as _;

/// Appended to what was shortened.
const ELLIPSIS: char = '…';

/// One line of visible characters: controls, line ends and Unicode's direction marks, which can reorder what surrounds
/// them, are replaced by spaces or left out.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {}
            '\u{2028}' | '\u{2029}' => line.push(' '),
            _ if character.is_control() => line.push(' '),
            _ => line.push(character),
        }
    }
    line
}

/// For a code span of Markdown (Discord) or mrkdwn (Slack): one line, without backticks, in which no mention is
/// recognised.
pub(super) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for character in one_line(text).chars() {
        match character {
            '`' => code.push('\''),
            // The zero-width space keeps `@everyone` from being read as a mention.
            '@' => code.push_str("@\u{200b}"),
            _ => code.push(character),
        }
    }
    code
}

/// The same with the three characters escaped that Slack gives a meaning to, at most `max` characters long after that.
pub(super) fn slack(text: &str, max: usize) -> String {
    let mut escaped = String::new();
    let mut left = max.saturating_sub(1);
    for character in code(text).chars() {
        let piece = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => {
                // UTF-16 units: what the strictest service counts.
                let Some(rest) = left.checked_sub(character.len_utf16()) else {
                    return shortened(escaped, max);
                };
                left = rest;
                escaped.push(character);
                continue;
            }
        };
        let Some(rest) = left.checked_sub(piece.len()) else { return shortened(escaped, max) };
        left = rest;
        escaped.push_str(piece);
    }
    escaped
}

fn shortened(mut text: String, max: usize) -> String {
    if max > 0 {
        text.push(ELLIPSIS);
    }
    text
}

/// At most `max` UTF-16 units: what is longer ends with `…`.
pub(super) fn limit(text: &str, max: usize) -> String {
    if text.encode_utf16().count() <= max {
        return text.to_owned();
    }
    let mut left = max.saturating_sub(1);
    let mut short = String::new();
    for character in text.chars() {
        let Some(rest) = left.checked_sub(character.len_utf16()) else { break };
        left = rest;
        short.push(character);
    }
    shortened(short, max)
}

/// A text in double quotes for RouterOS, in which nothing is expanded.
///
/// Everything but letters, digits and a few signs is written as two hexadecimal digits, so that no quote, `$`, bracket or
/// line end of the text is ever seen by the script's parser.
pub(super) fn routeros(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'-' | b'_' | b'.' | b'/' | b':' | b',' => {
                quoted.push(byte.into());
            }
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\{byte:02X}");
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Percent-encodes all but unreserved characters, for a part of a URL or a form.
pub(super) fn percent(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, &RESERVED).to_string()
}
