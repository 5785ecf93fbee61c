//! Finds where a JSON value ends that arrives in pieces.
//!
//! Only values cut by the edge of a chunk come here: each of their bytes is looked at once, however small the
//! pieces are. Whether the value is sound is not asked; the JSON parser does that once the end is found.

/// How far into a value we are.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    /// Objects and arrays still open.
    depth: usize,
    in_string: bool,
    /// The last byte was a backslash inside a string.
    escaped: bool,
    /// A number, `true`, `false` or `null`: it ends where something else begins.
    bare: bool,
}

impl Boundary {
    /// Makes ready for a value that begins with `first`.
    pub(crate) fn of(first: u8) -> Self {
        Self { bare: !matches!(first, b'{' | b'[' | b'"'), ..Self::default() }
    }

    /// Takes the next piece. `Some(n)`: the value ends after `n` bytes of it; `None`: it goes on beyond it.
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
                    // Never below zero: the first byte was an opening one, and at zero we stop.
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

    /// Every value, cut at every place, followed by something that is no part of it.
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
