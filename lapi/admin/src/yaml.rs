//! Writes YAML as Go's encoder does: four spaces, and quotes only where a text would be read as something else. Pure.

use std::fmt::Write as _;

use serde_json::Value;

/// A value whose maps keep their order.
#[derive(Debug)]
pub(crate) enum Node {
    /// Not a list or an object.
    Scalar(Value),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        match value {
            Value::Array(list) => Self::List(list.into_iter().map(Self::from).collect()),
            Value::Object(map) => {
                Self::Map(map.into_iter().map(|(key, value)| (key, Self::from(value))).collect())
            }
            scalar => Self::Scalar(scalar),
        }
    }
}

impl Node {
    /// Whether it takes lines of its own.
    fn is_block(&self) -> bool {
        match self {
            Self::Scalar(_) => false,
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
        }
    }
}

/// The document, with a newline at its end.
pub(crate) fn document(node: &Node) -> String {
    let mut text = String::new();
    if node.is_block() {
        block(&mut text, node, 0);
    } else {
        let _ = writeln!(text, "{}", inline(node, 0));
    }
    text
}

/// A map or a list that is not empty, each line at `indent`.
fn block(text: &mut String, node: &Node, indent: usize) {
    let spaces = " ".repeat(indent);
    match node {
        Node::Map(map) => {
            for (key, value) in map {
                let _ = write!(text, "{spaces}{}:", scalar(key));
                if value.is_block() {
                    text.push('\n');
                    block(text, value, indent + 4);
                } else {
                    let _ = writeln!(text, " {}", inline(value, indent));
                }
            }
        }
        Node::List(list) => {
            for value in list {
                if value.is_block() {
                    // The first line of a nested block stands beside the dash.
                    let mut inner = String::new();
                    block(&mut inner, value, indent + 2);
                    let _ = write!(text, "{spaces}- {}", inner.trim_start());
                } else {
                    let _ = writeln!(text, "{spaces}- {}", inline(value, indent));
                }
            }
        }
        Node::Scalar(_) => {}
    }
}

fn inline(node: &Node, indent: usize) -> String {
    match node {
        Node::Map(_) => "{}".to_owned(),
        Node::List(_) => "[]".to_owned(),
        Node::Scalar(Value::String(text)) if text.contains('\n') && !text.chars().any(needs_escape) => {
            literal(text, indent)
        }
        Node::Scalar(Value::String(text)) => scalar(text),
        // Go writes a whole float without a fraction.
        Node::Scalar(Value::Number(number)) => {
            let text = number.to_string();
            text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
        }
        Node::Scalar(other) => other.to_string(),
    }
}

/// Several lines as a literal block.
fn literal(text: &str, indent: usize) -> String {
    let body = text.trim_end_matches('\n');
    let mark = match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    };
    // A first line that begins with a blank hides how far the block is indented.
    let hint = if text.starts_with([' ', '\n']) { "4" } else { "" };
    let spaces = " ".repeat(indent + 4);
    let mut shown = format!("|{hint}{}", &mark[1..]);
    let lines = if mark == "|+" { text.strip_suffix('\n').unwrap_or(text) } else { body };
    for line in lines.split('\n') {
        shown.push('\n');
        if !line.is_empty() {
            shown.push_str(&spaces);
            shown.push_str(line);
        }
    }
    shown
}

fn needs_escape(c: char) -> bool {
    c != '\n' && (c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}'))
}

/// A text on one line, in quotes if it needs them.
fn scalar(text: &str) -> String {
    if text.chars().any(|c| c == '\n' || needs_escape(c)) || is_other_type(text) {
        return double_quoted(text);
    }
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

fn double_quoted(text: &str) -> String {
    let mut shown = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                shown.push('\\');
                shown.push(c);
            }
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if needs_escape(c) && u32::from(c) < 0x100 => {
                let _ = write!(shown, "\\x{:02x}", u32::from(c));
            }
            c if needs_escape(c) => {
                let _ = write!(shown, "\\u{:04x}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    shown.push('"');
    shown
}

/// Whether YAML's syntax allows the text without quotes.
fn is_plain(text: &str) -> bool {
    let mut chars = text.chars();
    let (Some(first), second) = (chars.next(), chars.next()) else { return false };
    let indicator = match first {
        '-' | '?' | ':' => second.is_none_or(|c| c == ' '),
        _ => "#,[]{}&*!|>'\"%@`".contains(first),
    };
    !(indicator
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with(' ')
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #"))
}

/// Whether a reader would take the text for a null, a boolean, a number or a time.
fn is_other_type(text: &str) -> bool {
    const WORDS: [&str; 14] =
        ["", "~", "null", "true", "false", "y", "yes", "on", "n", "no", "off", "<<", ".nan", ".inf"];
    let lower = text.to_ascii_lowercase();
    let unsigned = lower.strip_prefix(['-', '+']).unwrap_or(&lower);
    // `yEs` is a text, but quoting it does no harm.
    WORDS.contains(&lower.as_str()) || unsigned == ".inf" || is_number(unsigned) || is_time(text)
}

/// An integer of any base, a float, or a number of base 60 such as `1:30`.
fn is_number(unsigned: &str) -> bool {
    let digits: String = unsigned.chars().filter(|c| *c != '_').collect();
    let all = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return all(rest, radix);
        }
    }
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let float = mantissa.chars().any(|c| c.is_ascii_digit())
        && whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit())
        && all(exponent, 10);
    let mut parts = digits.split(':');
    let sixty = digits.contains(':')
        && parts.next().is_some_and(|first| all(first, 10))
        && parts.all(|part| part.len() <= 2 && all(part.trim_end_matches('.'), 10));
    float || sixty
}

/// `2026-07-01`, alone or with a time of day: `T10:00:00Z`, `T10:00:00+02:00`, ` 10:00:00.5`.
fn is_time(text: &str) -> bool {
    let number = |text: &str, longest| {
        !text.is_empty() && text.len() <= longest && text.chars().all(|c| c.is_ascii_digit())
    };
    let (date, clock) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    if year.len() != 4 || !number(year, 4) || !number(month, 2) || !number(day, 2) {
        return false;
    }
    let Some(clock) = clock else { return true };
    let zoned = !clock.starts_with(' ');
    let clock = &clock[1..];
    let clock = if zoned {
        match clock.strip_suffix('Z').or_else(|| Some(clock.rsplit_once(['+', '-'])?.0)) {
            Some(clock) => clock,
            None => return false,
        }
    } else {
        clock
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    clock.split(':').count() == 3 && clock.split(':').all(|part| number(part, 2)) && number(fraction, 9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_quoted_only_where_they_would_be_something_else() {
        for (text, shown) in [
            ("192.0.2.10", "192.0.2.10"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("2001:db8::1", "2001:db8::1"),
            ("::1", "::1"),
            ("1::", "'1::'"),
            ("::", "'::'"),
            ("crowdsecurity/ssh-bf", "crowdsecurity/ssh-bf"),
            ("manual 'ban' from 'host1'", "manual 'ban' from 'host1'"),
            (r#"["root","admin"]"#, r#"'["root","admin"]'"#),
            ("10s", "10s"),
            ("0", "\"0\""),
            ("64500", "\"64500\""),
            ("1e3", "\"1e3\""),
            ("1.5", "\"1.5\""),
            ("0x1f", "\"0x1f\""),
            ("1:30", "\"1:30\""),
            ("-12", "\"-12\""),
            ("1.2.3", "1.2.3"),
            ("v1.7.8", "v1.7.8"),
            ("", "\"\""),
            ("NO", "\"NO\""),
            ("true", "\"true\""),
            ("2026-07-01T10:00:00Z", "\"2026-07-01T10:00:00Z\""),
            ("2026-07-01T10:00:00.5+02:00", "\"2026-07-01T10:00:00.5+02:00\""),
            ("2026-07-01 10:00:00 +0000 UTC", "2026-07-01 10:00:00 +0000 UTC"),
            ("2026-07-01", "\"2026-07-01\""),
            ("a: b", "'a: b'"),
            ("a #b", "'a #b'"),
            ("it's: x", "'it''s: x'"),
            ("- x", "'- x'"),
            ("-x", "-x"),
            ("@x", "'@x'"),
            ("\u{1b}[2J", r#""\x1b[2J""#),
            ("é ✔", "é ✔"),
        ] {
            assert_eq!(scalar(text), shown);
        }
    }

    #[test]
    fn blocks_are_indented_by_four() {
        let value = json!({
            "decisions": [{"id": 1, "value": "192.0.2.10"}, {"list": ["a", []]}],
            "empty": [],
            "latitude": 0.0,
            "map": {},
            "none": null,
            "source": {"ip": "192.0.2.10"},
            "text": "a\n b\n",
        });
        assert_eq!(
            document(&value.into()),
            concat!(
                "decisions:\n",
                "    - id: 1\n",
                "      value: 192.0.2.10\n",
                "    - list:\n",
                "          - a\n",
                "          - []\n",
                "empty: []\n",
                "latitude: 0\n",
                "map: {}\n",
                "none: null\n",
                "source:\n",
                "    ip: 192.0.2.10\n",
                "text: |\n",
                "    a\n",
                "     b\n",
            )
        );
        assert_eq!(document(&json!("x").into()), "x\n");
        assert_eq!(document(&json!([1]).into()), "- 1\n");
    }
}
