//! Is a text JSON, and if not, what would Go say? Only run on bodies that were refused.

/// Looks at the first value of a text.
///
/// # Errors
/// Go's words: `EOF`, `unexpected EOF`, or `invalid character 'x' …`.
pub(crate) fn check(text: &[u8]) -> Result<(), String> {
    let mut scan = Scan { text, at: 0 };
    match scan.peek_after_space() {
        None => Err("EOF".to_owned()),
        Some(_) => scan.value(),
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

/// How deep Go follows.
const MAX_DEPTH: usize = 10_000;

impl Scan<'_> {
    /// One value, without recursion: a hostile text may nest as deep as it is long.
    fn value(&mut self) -> Result<(), String> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            // Here a value begins.
            match self.expect_after_space()? {
                b'{' => {
                    self.at += 1;
                    match self.expect_after_space()? {
                        b'}' => self.at += 1,
                        _ => {
                            self.key()?;
                            push(&mut open, b'{')?;
                            continue;
                        }
                    }
                }
                b'[' => {
                    self.at += 1;
                    match self.expect_after_space()? {
                        b']' => self.at += 1,
                        _ => {
                            push(&mut open, b'[')?;
                            continue;
                        }
                    }
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => return self.refuse("looking for beginning of value"),
            }
            // Here a value has ended.
            loop {
                let Some(container) = open.last() else { return Ok(()) };
                match (container, self.expect_after_space()?) {
                    (b'{', b',') => {
                        self.at += 1;
                        self.expect_after_space()?;
                        self.key()?;
                        break;
                    }
                    (b'[', b',') => {
                        self.at += 1;
                        break;
                    }
                    (b'{', b'}') | (b'[', b']') => {
                        self.at += 1;
                        open.pop();
                    }
                    (b'{', _) => return self.refuse("after object key:value pair"),
                    _ => return self.refuse("after array element"),
                }
            }
        }
    }

    fn key(&mut self) -> Result<(), String> {
        if self.peek() != Some(b'"') {
            return self.refuse("looking for beginning of object key string");
        }
        self.string()?;
        match self.expect_after_space()? {
            b':' => {
                self.at += 1;
                Ok(())
            }
            _ => self.refuse("after object key"),
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.expect()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    match self.expect()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                        b'u' => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.expect()?.is_ascii_hexdigit() {
                                    return self.refuse("in \\u hexadecimal character escape");
                                }
                                self.at += 1;
                            }
                        }
                        _ => return self.refuse("in string escape code"),
                    }
                }
                0..0x20 => return self.refuse("in string literal"),
                _ => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.expect()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return self.refuse("in numeric literal"),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.expect()?.is_ascii_digit() {
                return self.refuse("after decimal point in numeric literal");
            }
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.expect()?, b'+' | b'-') {
                self.at += 1;
            }
            if !self.expect()?.is_ascii_digit() {
                return self.refuse("in exponent of numeric literal");
            }
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for (index, wanted) in word.bytes().enumerate() {
            if self.expect()? != wanted {
                debug_assert!(index > 0);
                return self.refuse(&format!("in literal {word} (expecting '{}')", char::from(wanted)));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn expect(&self) -> Result<u8, String> {
        self.peek().ok_or_else(|| "unexpected EOF".to_owned())
    }

    fn peek_after_space(&mut self) -> Option<u8> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.peek()
    }

    fn expect_after_space(&mut self) -> Result<u8, String> {
        self.peek_after_space();
        self.expect()
    }

    fn refuse<T>(&self, context: &str) -> Result<T, String> {
        let byte = self.expect()?;
        // Go takes the byte for a code point, and quotes it as Go source would.
        let shown = match byte {
            b'\'' => r"\'".to_owned(),
            b'"' => "\"".to_owned(),
            b'\\' => r"\\".to_owned(),
            0x07 => r"\a".to_owned(),
            0x08 => r"\b".to_owned(),
            0x0c => r"\f".to_owned(),
            b'\n' => r"\n".to_owned(),
            b'\r' => r"\r".to_owned(),
            b'\t' => r"\t".to_owned(),
            0x0b => r"\v".to_owned(),
            0..0x20 | 0x7f => format!(r"\x{byte:02x}"),
            0x80..=0xa0 | 0xad => format!(r"\u{:04x}", u32::from(byte)),
            _ => char::from(byte).to_string(),
        };
        Err(format!("invalid character '{shown}' {context}"))
    }
}

fn push(open: &mut Vec<u8>, container: u8) -> Result<(), String> {
    open.push(container);
    if open.len() > MAX_DEPTH { Err("exceeded max depth".to_owned()) } else { Ok(()) }
}

/// The text with each half of a surrogate pair that stands alone replaced, as Go reads it; `None` when there is
/// none.
pub(crate) fn without_lone_surrogates(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut mended, mut copied, mut at) = (String::new(), 0, 0);
    while at + 1 < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        let Some(unit) = escaped_unit(bytes, at) else {
            at += 2;
            continue;
        };
        let paired = (0xd800..0xdc00).contains(&unit)
            && escaped_unit(bytes, at + 6).is_some_and(|next| (0xdc00..0xe000).contains(&next));
        if paired {
            at += 12;
        } else {
            if (0xd800..0xe000).contains(&unit) {
                mended.push_str(&text[copied..at]);
                mended.push_str(r"\ufffd");
                copied = at + 6;
            }
            at += 6;
        }
    }
    (copied > 0).then(|| mended + &text[copied..])
}

/// The code unit of `\uXXXX` at this place.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_as_go_does() {
        for (text, said) in [
            ("", "EOF"),
            (" \n", "EOF"),
            ("[", "unexpected EOF"),
            (r#"{"a":1"#, "unexpected EOF"),
            ("-", "unexpected EOF"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("\x1f\u{8b}", r"invalid character '\x1f' looking for beginning of value"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            (r#"{"a" 1"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b""#, "invalid character '\"' after object key:value pair"),
            (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("[01]", "invalid character '1' after array element"),
            ("nul!", "invalid character '!' in literal null (expecting 'l')"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("\"\n\"", r"invalid character '\n' in string literal"),
            (r#""\q""#, "invalid character 'q' in string escape code"),
            (r#""\u00g0""#, r"invalid character 'g' in \u hexadecimal character escape"),
        ] {
            assert_eq!(check(text.as_bytes()), Err(said.to_owned()), "{text:?}");
        }
        for sound in ["1", "null x", r#"{"a":[{},[],"\u00e9\n",-1.5e+3,true,false,null]}"#, "[[[[]]]] junk"] {
            assert_eq!(check(sound.as_bytes()), Ok(()), "{sound}");
        }
        assert_eq!(check("[".repeat(20_000).as_bytes()), Err("exceeded max depth".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn what_is_sound_is_what_serde_reads(text in r#"[\[{"][\[\]{}",:0-9a-z\\ .E+-]{0,24}"#) {
            let mut values = serde_json::Deserializer::from_str(&text).into_iter::<serde::de::IgnoredAny>();
            let serde_reads = matches!(values.next(), Some(Ok(_)));
            proptest::prop_assert_eq!(check(text.as_bytes()).is_ok(), serde_reads, "{}", text);
        }
    }

    #[test]
    fn half_a_pair_becomes_a_replacement_character() {
        for (text, mended) in [
            (r#""\ud83d\ude00""#, None),
            (r#""\\ud800""#, None),
            (r#""a\ud800b""#, Some(r#""a\ufffdb""#)),
            (r#""\ude00\ud83d\ude00\ud83d""#, Some(r#""\ufffd\ud83d\ude00\ufffd""#)),
        ] {
            assert_eq!(without_lone_surrogates(text).as_deref(), mended, "{text}");
        }
    }
}
