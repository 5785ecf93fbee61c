//! Escapes texts of clients for lines, and bounds their length. Pure.

use std::fmt::Write as _;

/// Bytes of a target that are written.
pub(super) const MAX_TARGET_BYTES: usize = 2048;
/// Bytes of another field that are written.
pub(super) const MAX_FIELD_BYTES: usize = 512;
/// Follows what is cut.
const CUT: &str = "...";

/// A text for the inside of a JSON string. What is no UTF-8 is replaced.
pub(super) fn push_json(text: &mut String, bytes: &[u8], max: usize) {
    let cut = bytes.len() > max;
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(max)]);
    for c in shown.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            ' '..='~' => text.push(c),
            // Lines end up on terminals. Bidirectional controls are no control characters, but reorder what is shown.
            c if c.is_control() || is_format(c) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
            c => text.push(c),
        }
    }
    if cut {
        text.push_str(CUT);
    }
}

fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A text for the inside of quotes in nginx's format, escaped as nginx does.
pub(super) fn push_nginx(text: &mut String, bytes: &[u8], max: usize) {
    for byte in bytes.iter().take(max) {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                let _ = write!(text, "\\x{byte:02X}");
            }
            byte => text.push(char::from(*byte)),
        }
    }
    if bytes.len() > max {
        text.push_str(CUT);
    }
}
