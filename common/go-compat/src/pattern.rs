//! Translates regular expressions from Go's syntax (RE2) to that of the `regex` crate.
//!
//! Both engines agree on which match is first. The syntax differs: Go's `\d`, `\w`, `\s` and `\b` are ASCII only, a
//! brace that is no repetition is literal, `\Q…\E` quotes, and classes have no operators.

use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};

/// Go rejects larger counts.
const MAX_REPEAT: u32 = 1000;
/// Maximum length of a pattern, in bytes.
const MAX_PATTERN: usize = 64 * 1024;

/// Compiles a pattern; the error is a message.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("the pattern has {} bytes; at most {MAX_PATTERN} are read", pattern.len()));
    }
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated).size_limit(32 << 20).nest_limit(100).build().map_err(|error| {
        // The crate's message spans several lines with a drawing; the reason is the last.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("the pattern {pattern:?} is no regular expression: {reason}")
    })
}

/// Rewrites the pattern so that the `regex` crate gives it Go's meaning.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        rest = match next {
            '\\' => escape(after, &mut out, false)?,
            '[' => class(after, &mut out)?,
            '{' => match repetition(after)? {
                Some(length) => {
                    out.push('{');
                    out.push_str(&after[..length]);
                    &after[length..]
                }
                None => {
                    out.push_str("\\{");
                    after
                }
            },
            '}' => {
                out.push_str("\\}");
                after
            }
            '(' if after.starts_with('?') => group(after, &mut out)?,
            _ => {
                out.push(next);
                after
            }
        };
    }
    Ok(out)
}

/// The length of `n}`, `n,}` or `n,m}` at the start, if there is one.
fn repetition(after: &str) -> Result<Option<usize>, String> {
    let Some(end) = after.find('}') else { return Ok(None) };
    let inner = &after[..end];
    let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(least) || !(digits(most) || (most.is_empty() && inner.contains(','))) {
        return Ok(None);
    }
    for bound in [least, most] {
        if !bound.is_empty() && bound.parse().map_or(true, |count: u32| count > MAX_REPEAT) {
            return Err(format!("a repetition of more than {MAX_REPEAT} ({{{inner}}}) is not allowed"));
        }
    }
    Ok(Some(end + 1))
}

/// The part after `(`: a kind of group or flags; only those that Go supports.
fn group<'p>(after: &'p str, out: &mut String) -> Result<&'p str, String> {
    let body = &after[1..];
    if body.starts_with("P<") || body.starts_with('<') && !body.starts_with("<=") && !body.starts_with("<!") {
        out.push_str("(?");
        return Ok(body);
    }
    let end = body.find([':', ')']).unwrap_or(body.len());
    if !body[..end].chars().all(|flag| matches!(flag, 'i' | 'm' | 's' | 'U' | '-')) {
        return Err(format!("(?{} is not known in patterns: there is no look-around", &body[..end]));
    }
    out.push_str("(?");
    out.push_str(&body[..end]);
    Ok(&body[end..])
}

/// An escape, after the backslash. Classes inside classes are written as ranges.
fn escape<'p>(after: &'p str, out: &mut String, in_class: bool) -> Result<&'p str, String> {
    let Some(next) = after.chars().next() else { return Err("the pattern ends in a backslash".to_owned()) };
    let rest = &after[next.len_utf8()..];
    let ranges = match next {
        'd' => Some(("0-9", false)),
        'D' => Some(("0-9", true)),
        'w' => Some(("0-9A-Za-z_", false)),
        'W' => Some(("0-9A-Za-z_", true)),
        's' => Some(("\\t\\n\\f\\r ", false)),
        'S' => Some(("\\t\\n\\f\\r ", true)),
        _ => None,
    };
    if let Some((ranges, negated)) = ranges {
        match (in_class, negated) {
            (true, false) => out.push_str(ranges),
            (_, true) => _ = write!(out, "[^{ranges}]"),
            (false, false) => _ = write!(out, "[{ranges}]"),
        }
        return Ok(rest);
    }
    match next {
        'b' | 'B' if !in_class => {
            _ = write!(out, "(?-u:\\{next})");
            Ok(rest)
        }
        'A' | 'z' if !in_class => {
            out.push('\\');
            out.push(next);
            Ok(rest)
        }
        'a' | 'f' | 'n' | 'r' | 't' | 'v' => {
            out.push('\\');
            out.push(next);
            Ok(rest)
        }
        'p' | 'P' => {
            let length = match rest.chars().next() {
                Some('{') => rest.find('}').map(|end| end + 1),
                Some(one) => Some(one.len_utf8()),
                None => None,
            };
            let Some(length) = length else { return Err("\\p needs the name of a class".to_owned()) };
            out.push('\\');
            out.push(next);
            out.push_str(&rest[..length]);
            Ok(&rest[length..])
        }
        'x' => {
            let length = if rest.starts_with('{') { rest.find('}').map(|end| end + 1) } else { Some(2) };
            let digits = length.and_then(|length| rest.get(..length));
            let Some(digits) = digits else { return Err("\\x needs two hexadecimal digits".to_owned()) };
            out.push_str("\\x");
            out.push_str(digits);
            Ok(&rest[digits.len()..])
        }
        'Q' if !in_class => {
            let end = rest.find("\\E").unwrap_or(rest.len());
            out.push_str(&regex::escape(&rest[..end]));
            Ok(rest[end..].strip_prefix("\\E").unwrap_or(""))
        }
        'E' if !in_class => Ok(rest),
        '0'..='7' => {
            // A single digit from 1 on would be a back reference, which RE2 does not have.
            let length = after.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            if next != '0' && length == 1 {
                return Err(format!("\\{next} is not known in patterns: there are no back references"));
            }
            let code = u32::from_str_radix(&after[..length], 8).unwrap_or_default();
            _ = write!(out, "\\x{{{code:X}}}");
            Ok(&after[length..])
        }
        // Any other non-alphanumeric character is literal, `<` and `>` included.
        _ if next.is_ascii() && !next.is_ascii_alphanumeric() => {
            if next != '<' && next != '>' {
                out.push('\\');
            }
            out.push(next);
            Ok(rest)
        }
        _ => Err(format!("\\{next} is not known in patterns")),
    }
}

/// A character class, after the bracket.
fn class<'p>(after: &'p str, out: &mut String) -> Result<&'p str, String> {
    out.push('[');
    let mut rest = after;
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    let mut first = true;
    loop {
        let Some(next) = rest.chars().next() else {
            return Err("a class in the pattern misses its ]".to_owned());
        };
        let after = &rest[next.len_utf8()..];
        rest = match next {
            ']' if !first => {
                out.push(']');
                return Ok(after);
            }
            '\\' => escape(after, out, true)?,
            '[' if after.starts_with(':') && after.contains(":]") => {
                let end = after.find(":]").unwrap_or_default() + 2;
                out.push('[');
                out.push_str(&after[..end]);
                &after[end..]
            }
            // A hyphen at an edge is literal.
            '-' if first || after.starts_with(']') => {
                out.push_str("\\-");
                after
            }
            '[' | ']' | '&' | '~' | '^' => {
                out.push('\\');
                out.push(next);
                after
            }
            _ => {
                out.push(next);
                after
            }
        };
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, matches) in [
            // ASCII classes.
            (r"^\d+$", "٣", false),
            (r"^\d+$", "37", true),
            (r"^\w$", "é", false),
            (r"^\W$", "é", true),
            (r"^\s$", "\u{a0}", false),
            (r"^\s$", "\u{b}", false),
            (r"\bx\b", "éxé", true),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"^[\D]$", "x", true),
            (r"^[^\d]$", "4", false),
            // Braces that repeat nothing.
            (r#"^{"a":1}$"#, r#"{"a":1}"#, true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^a{2}$", "aa", true),
            (r"^a{2,}$", "aaa", true),
            (r"^a{x}$", "a{x}", true),
            (r"x{", "x{", true),
            // Go has no operators in classes.
            (r"^[a&&b]+$", "a&b", true),
            (r"^[[a]+$", "[a", true),
            (r"^[]a]+$", "]a", true),
            (r"^[a~~b]+$", "~", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^[+--]+$", ",", true),
            // Quotes, octal, plain escapes.
            (r"^\Qa.b*\E+$", "a.b**", true),
            (r"^\Qa.b", "axb", false),
            (r"^\101$", "A", true),
            (r"^\<a\>$", "<a>", true),
            (r"^\_\-\/$", "_-/", true),
            (r"^\x41\x{42}$", "AB", true),
            // Flags, named groups, anchors.
            (r"(?i)^ABC$", "abc", true),
            (r"^(?P<n>a)(?<m>b)(?:c)$", "abc", true),
            (r"^a$", "a\n", false),
            (r"^a.b$", "a\nb", false),
            (r"(?s)^a.b$", "a\nb", true),
            (r"^\pL+$", "é", true),
            (r"\Ba", "ba", true),
        ] {
            let regex = compile(pattern).unwrap_or_else(|reason| panic!("{pattern}: {reason}"));
            assert_eq!(regex.is_match(text), matches, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn patterns_that_go_refuses_are_refused() {
        for pattern in [
            "(", "[a", r"\1", r"(?=a)", r"(?<!a)b", r"(?x)a", r"\y", "a{1001}", "*a", r"\", r"a\Z", "(?P<n>a",
        ] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_is_answered(pattern in "\\PC{0,30}", text in "\\PC{0,20}") {
            if let Ok(regex) = compile(&pattern) {
                regex.is_match(&text);
            }
        }
    }
}
