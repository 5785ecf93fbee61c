//! Finds the end of a JSON value that arrives in chunks.
//!
//! Used only for values cut by the edge of a chunk; each byte is examined once, however small the chunks are. The
//! syntax is not checked: the JSON parser does that once the end is found.

/// The position inside a value.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    /// Number of open objects and arrays.
    depth: usize,
    in_string: bool,
    /// Whether the last byte was a backslash inside a string.
    escaped: bool,
    /// Whether it is a number, `true`, `false` or `null`, which ends where something else begins.
    bare: bool,
}

impl Boundary {
    /// At the start of a value that begins with `first`.
    pub(crate) fn of(first: u8) -> Self {
        Self { bare: !matches!(first, b'{' | b'[' | b'"'), ..Self::default() }
    }

    /// Processes the next chunk. `Some(n)`: the value ends after `n` bytes of it; `None`: it continues.
    pub(crate) fn find_end(&mut self, piece: &[u8]) -> Option<usize> {
        if self.bare {
            return piece.iter().position(|byte| ends_bare_value(*byte));
        }
        let mut at = 0;
        while at < piece.len() {
            if self.in_string {
                at += 1;
                match piece[at - 1] {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return Some(at);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            at += 1;
            match piece[at - 1] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    // Cannot underflow: the first byte was an opening one, and the scan stops at zero.
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Whether a number, `true`, `false` or `null` ends before this byte.
pub(crate) fn ends_bare_value(byte: u8) -> bool {
    matches!(byte, b',' | b'}' | b']' | b':' | b'{' | b'[' | b'"' | b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value, cut at every position and followed by something else.
    #[test]
    fn the_end_is_found_wherever_the_value_is_cut() {
        for value in [
            r#"{}"#,
            r#"[]"#,
            r#""""#,
            r#"{"a":"}","b":[1,{"c":"\"]"}]}"#,
            r#"["\\",["]"]]"#,
            r#""a\"b\\""#,
            "12.5e3",
            "null",
        ] {
            for tail in [",", "]", " ", "}"] {
                let whole = format!("{value}{tail}");
                for cut in 1..=value.len() {
                    let mut boundary = Boundary::of(whole.as_bytes()[0]);
                    let (head, rest) = whole.as_bytes().split_at(cut);
                    let end =
                        boundary.find_end(head).or_else(|| boundary.find_end(rest).map(|end| end + cut));
                    assert_eq!(end, Some(value.len()), "{whole} cut at {cut}");
                }
            }
        }
    }
}
