//! Reads `Forwarded` (RFC 7239) from the right.
//!
//! Reading from the right finds what the trusted proxy appended, whatever the client wrote before it: a quote that the
//! client leaves open would swallow the proxy's element if the line were read from the left.

use std::net::IpAddr;

use super::node::{is_port, parse, trim};

/// The elements from right to left. One whose quotes do not match is the last one and has them still, so that it does
/// not parse.
pub(super) fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    pieces_from_right(line, b',')
}

/// The address of the element's one `for` parameter.
pub(super) fn node(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in pieces_from_right(element, b';') {
        let pair = trim(pair);
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else {
            // `for=a;` ends with an empty parameter; all else is malformed.
            if pair.is_empty() { continue } else { return None }
        };
        let (name, value) = (&pair[..at], &pair[at + 1..]);
        if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(byte)) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
    }
    let value = match found? {
        [b'"', value @ .., b'"'] => value,
        value => value,
    };
    // An address needs no escapes, so one with a backslash or a quote in it is no address.
    parse(std::str::from_utf8(value).ok()?, is_forwarded_port)
}

/// A number, or an obfuscated port such as `_x1`.
fn is_forwarded_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        }
        None => is_port(text),
    }
}

/// Splits at `separator` outside quoted strings, from the right.
fn pieces_from_right(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        for (at, byte) in text.iter().enumerate().rev() {
            if *byte == b'"' && !(quoted && is_escaped(text, at)) {
                quoted = !quoted;
            } else if *byte == separator && !quoted {
                rest = Some(&text[..at]);
                return Some(&text[at + 1..]);
            }
        }
        rest = None;
        Some(text)
    })
}

/// Whether an odd number of backslashes is before the byte.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}
