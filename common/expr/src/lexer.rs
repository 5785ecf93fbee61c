//! Splits the source into tokens.

use crate::{CompileError, Span};

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A name, or an operator that is spelled as a word.
    Identifier(String),
    Text(String),
    Int(i64),
    Float(f64),
    /// `#`, `#acc`, `#index`: the name behind the sign.
    Pointer(String),
    Sign(&'static str),
    End,
}

/// Longest first, so that the first match is the right one.
const SIGNS: [&str; 36] = [
    "&&", "||", "==", "!=", "<=", ">=", "**", "..", "?.", "??", "::", "(", ")", "[", "]", "{", "}", ",", ";",
    ":", "?", ".", "+", "-", "*", "/", "%", "^", "<", ">", "!", "|", "=", "&", "#", "@",
];

pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, CompileError> {
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let start = lexer.at;
        let kind = lexer.token()?;
        let end = kind == Kind::End;
        tokens.push(Token { kind, span: Span::new(start, lexer.at) });
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn error(&self, reason: impl Into<String>, start: usize) -> CompileError {
        CompileError::new(reason, Span::new(start, self.at.max(start)), self.source)
    }

    /// Skips white space, `// …` and `/* … */`.
    fn skip_blanks(&mut self) -> Result<(), CompileError> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if self.rest().starts_with("//") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if self.rest().starts_with("/*") {
                match self.rest()[2..].find("*/") {
                    Some(length) => self.at += length + 4,
                    None => return Err(self.error("this comment does not end; close it with */", self.at)),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Kind, CompileError> {
        let Some(first) = self.rest().chars().next() else { return Ok(Kind::End) };
        match first {
            '\'' | '"' => return self.quoted(first),
            '`' => return self.raw(),
            '#' => {
                self.at += 1;
                return Ok(Kind::Pointer(self.identifier().to_owned()));
            }
            '0'..='9' => return self.number(),
            '.' if self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => return self.number(),
            _ if is_word(first) => return Ok(Kind::Identifier(self.identifier().to_owned())),
            _ => {}
        }
        match SIGNS.iter().find(|sign| self.rest().starts_with(**sign)) {
            Some(&sign) if !matches!(sign, "&" | "@") => {
                self.at += sign.len();
                Ok(Kind::Sign(sign))
            }
            _ => Err(self.error(format!("unrecognized character {first:?}"), self.at)),
        }
    }

    fn identifier(&mut self) -> &str {
        let start = self.at;
        let length = self.rest().find(|next| !is_word(next)).unwrap_or(self.rest().len());
        self.at += length;
        &self.source[start..self.at]
    }

    fn number(&mut self) -> Result<Kind, CompileError> {
        let start = self.at;
        let radix = match self.rest().get(..2) {
            Some("0x" | "0X") => 16,
            Some("0o" | "0O") => 8,
            Some("0b" | "0B") => 2,
            _ => 10,
        };
        if radix != 10 {
            self.at += 2;
            let digits = self.identifier().replace('_', "");
            return i64::from_str_radix(&digits, radix)
                .map(Kind::Int)
                .map_err(|_| self.error(format!("bad number {:?}", &self.source[start..self.at]), start));
        }
        let bytes = self.source.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(|byte| byte.is_ascii_digit() || *byte == b'_') {
                at += 1;
            }
            at
        };
        let mut end = digits(start);
        let mut float = false;
        // `1..5` is a range and not the number `1.`.
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1) != Some(&b'.') {
            float = true;
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            float = true;
            end += 1;
            if matches!(bytes.get(end), Some(b'+' | b'-')) {
                end += 1;
            }
            end = digits(end);
        }
        self.at = end;
        if self.rest().starts_with(is_word) {
            self.identifier();
            return Err(self.error(format!("bad number {:?}", &self.source[start..self.at]), start));
        }
        let text = self.source[start..end].replace('_', "");
        let kind = if float {
            text.parse().ok().filter(|number: &f64| number.is_finite()).map(Kind::Float)
        } else {
            text.parse().ok().map(Kind::Int)
        };
        kind.ok_or_else(|| self.error(format!("the number {text} is too large or not a number"), start))
    }

    fn raw(&mut self) -> Result<Kind, CompileError> {
        let start = self.at;
        match self.rest()[1..].find('`') {
            Some(length) => {
                self.at += length + 2;
                Ok(Kind::Text(self.source[start + 1..self.at - 1].to_owned()))
            }
            None => Err(self.error("this text does not end; close it with `", start)),
        }
    }

    /// Escapes are Go's, read from left to right: `\\n` is a backslash and an n.
    fn quoted(&mut self, quote: char) -> Result<Kind, CompileError> {
        let start = self.at;
        self.at += 1;
        // Collected as bytes, because `\xc3\xa9` makes one character out of two escapes.
        let mut text = Vec::new();
        loop {
            let Some(next) = self.rest().chars().next().filter(|next| *next != '\n') else {
                return Err(self.error(format!("this text does not end; close it with {quote}"), start));
            };
            self.at += next.len_utf8();
            match next {
                _ if next == quote => break,
                '\\' => self.escape(&mut text)?,
                _ => text.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        match String::from_utf8(text) {
            Ok(text) => Ok(Kind::Text(text)),
            Err(_) => Err(self.error("the escapes in this text do not make UTF-8", start)),
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), CompileError> {
        let start = self.at - 1;
        let next = self.rest().chars().next().unwrap_or_default();
        self.at += next.len_utf8().min(self.rest().len());
        let byte = match next {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0b,
            '\\' => b'\\',
            '\'' => b'\'',
            '"' => b'"',
            '`' => b'`',
            '?' => b'?',
            '0'..='7' => {
                self.at -= 1;
                let code = self.digits(3, 8, start)?;
                u8::try_from(code).map_err(|_| self.error("an octal escape goes up to \\377", start))?
            }
            'x' => self.digits(2, 16, start)? as u8,
            'u' | 'U' => {
                let code = self.digits(if next == 'u' { 4 } else { 8 }, 16, start)?;
                let Some(character) = char::from_u32(code) else {
                    return Err(self.error("this escape is not a character", start));
                };
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => {
                return Err(self.error(
                    format!(
                        "unknown escape \\{next}; write \\\\ for a backslash, or put the text in back quotes"
                    ),
                    start,
                ));
            }
        };
        text.push(byte);
        Ok(())
    }

    fn digits(&mut self, count: usize, radix: u32, start: usize) -> Result<u32, CompileError> {
        let code =
            self.rest().get(..count).filter(|digits| digits.chars().all(|digit| digit.is_digit(radix)));
        let Some(code) = code.and_then(|digits| u32::from_str_radix(digits, radix).ok()) else {
            return Err(self.error(format!("this escape needs {count} digits"), start));
        };
        self.at += count;
        Ok(code)
    }
}

fn is_word(character: char) -> bool {
    character == '_' || character == '$' || character.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> String {
        match &tokens(source).unwrap()[0].kind {
            Kind::Text(text) => text.clone(),
            other => panic!("{source}: {other:?}"),
        }
    }

    #[test]
    fn escapes_are_read_from_left_to_right() {
        for (source, meant) in [
            (r#""a\nb""#, "a\nb"),
            // A backslash and a letter, as in the paths of Windows.
            (r#""C:\\new\\run\\tmp""#, r"C:\new\run\tmp"),
            (r#"'\\rundll32.exe'"#, r"\rundll32.exe"),
            (r#"'\\\n'"#, "\\\n"),
            (r#"'it\'s'"#, "it's"),
            (r#""it\'s""#, "it's"),
            (r#"'say \"x\"'"#, "say \"x\""),
            (r#""\x41\u00e9\U0001F600\101""#, "Aé😀A"),
            (r#""\xc3\xa9""#, "é"),
            (r"`raw \n 'x'`", r"raw \n 'x'"),
            ("`two\nlines`", "two\nlines"),
            ("''", ""),
        ] {
            assert_eq!(texts(source), meant, "{source}");
        }
    }

    #[test]
    fn numbers_may_have_underscores_and_ranges_are_not_numbers() {
        let kinds =
            |source: &str| tokens(source).unwrap().into_iter().map(|token| token.kind).collect::<Vec<_>>();
        assert_eq!(kinds("1_000"), [Kind::Int(1000), Kind::End]);
        assert_eq!(kinds("0x1F 0b11 0o17"), [Kind::Int(31), Kind::Int(3), Kind::Int(15), Kind::End]);
        assert_eq!(kinds("1..5"), [Kind::Int(1), Kind::Sign(".."), Kind::Int(5), Kind::End]);
        assert_eq!(
            kinds("1.5e3 .5 2e-1"),
            [Kind::Float(1500.0), Kind::Float(0.5), Kind::Float(0.2), Kind::End]
        );
        assert_eq!(kinds("a // b\n/* c */ d").len(), 3);
    }

    #[test]
    fn an_invalid_token_is_reported_with_its_position() {
        for (source, reason, column) in [
            ("a & b", "unrecognized character", 3),
            ("'abc", "does not end", 1),
            ("x + `abc", "does not end", 5),
            ("'a\nb'", "does not end", 1),
            (r"'\q'", "unknown escape", 2),
            (r"'\x4'", "needs 2 digits", 2),
            (r"'\uD800'", "not a character", 2),
            (r"'\xff'", "UTF-8", 1),
            ("1a", "bad number", 1),
            ("99999999999999999999", "too large", 1),
            ("/* x", "does not end", 1),
            (r"'\", "unknown escape", 2),
        ] {
            let error = tokens(source).unwrap_err();
            assert!(error.reason.contains(reason), "{source}: {error}");
            assert_eq!((error.line, error.column), (1, column), "{source}: {error}");
        }
    }
}
