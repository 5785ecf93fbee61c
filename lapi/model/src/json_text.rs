//! JSON texts and numbers, appended to a body.

/// Appends a quoted string, escaped as Go escapes it: so that it can stand in HTML and JavaScript as well.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain = 0;
    for (at, found) in text.char_indices() {
        let escape: &[u8] = match found {
            '"' => b"\\\"",
            '\\' => b"\\\\",
            '\n' => b"\\n",
            '\r' => b"\\r",
            '\t' => b"\\t",
            '\u{8}' => b"\\b",
            '\u{c}' => b"\\f",
            '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => b"",
            _ => continue,
        };
        // Runs without escapes are copied as a whole.
        out.extend_from_slice(&text.as_bytes()[plain..at]);
        if escape.is_empty() {
            push_unit(out, u32::from(found));
        } else {
            out.extend_from_slice(escape);
        }
        plain = at + found.len_utf8();
    }
    out.extend_from_slice(&text.as_bytes()[plain..]);
    out.push(b'"');
}

/// Appends `\u` and four digits.
fn push_unit(out: &mut Vec<u8>, unit: u32) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u");
    out.extend([12, 8, 4, 0].map(|shift| HEX[(unit >> shift & 15) as usize]));
}

/// Appends a number.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    // As many digits as u64::MAX has. Without `write!`, which would go through the formatting machinery for each of a
    // response's many numbers.
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_serde_reads_back() {
        for text in
            ["", "plain", "a\"b\\c\n\r\t\u{1}\u{8}\u{c}\u{1f}", "żółw 🐢", "\u{7f}", "<&>\u{2028}\u{2029}é"]
        {
            let mut out = Vec::new();
            push_text(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn texts_are_escaped_as_go_escapes_them() {
        let mut out = Vec::new();
        push_text(&mut out, "<a>&\u{2028}\u{2029}\0\u{8}é");
        let expected = r#""\u003ca\u003e\u0026\u2028\u2029\u0000\bé""#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
