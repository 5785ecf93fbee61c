//! `Sprintf` with the verbs of Go that profiles use: `%d`, `%s`, `%v`, `%q`, `%t`, `%f` and `%x`.

use std::fmt::Write as _;

use palisade_go_compat::quote;

use crate::{
    error::Fault,
    limits::Budget,
    shown::shown,
    value::{List, Value},
};

/// Go's limit for widths and precisions.
const MAX_WIDTH: usize = 1_000_000;

/// Flags, width and precision between `%` and the verb.
#[derive(Default, Clone, Copy)]
struct Flags {
    minus: bool,
    plus: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

impl Flags {
    /// Parses what precedes the verb; `rest` begins with the verb afterwards.
    fn take(rest: &mut &str) -> Self {
        let mut flags = Self::default();
        loop {
            match rest.bytes().next() {
                Some(b'-') => flags.minus = true,
                Some(b'+') => flags.plus = true,
                Some(b'0') => flags.zero = true,
                _ => break,
            }
            *rest = &rest[1..];
        }
        flags.width = number(rest);
        if let Some(after) = rest.strip_prefix('.') {
            *rest = after;
            flags.precision = Some(number(rest));
        }
        flags
    }

    fn sign(self, negative: bool) -> &'static str {
        match (negative, self.plus) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        }
    }

    /// A number with its sign, filled up with zeros if so flagged.
    fn signed(self, negative: bool, digits: &str) -> String {
        let sign = self.sign(negative);
        let zeros =
            if self.zero && !self.minus { self.width.saturating_sub(sign.len() + digits.len()) } else { 0 };
        format!("{sign}{}{digits}", "0".repeat(zeros))
    }

    fn pad(self, out: &mut String, text: &str) {
        let spaces = " ".repeat(self.width.saturating_sub(text.chars().count()));
        let (before, after) = if self.minus { ("", spaces.as_str()) } else { (spaces.as_str(), "") };
        _ = write!(out, "{before}{text}{after}");
    }
}

/// The digits at the start of `rest`, at most [`MAX_WIDTH`]; 0 if there are none.
fn number(rest: &mut &str) -> usize {
    let (digits, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
    *rest = after;
    digits.parse().ok().filter(|number| *number <= MAX_WIDTH).unwrap_or(0)
}

/// Formats as Go's `fmt.Sprintf`, with its notes on missing, surplus and mistyped arguments. Verbs and flags that are not
/// supported are an error.
pub fn sprintf(format: &str, args: &[Value<'_>], budget: &mut Budget) -> Result<String, Fault> {
    budget.read(format.len())?;
    let mut out = String::with_capacity(format.len() + 16);
    let mut args = args.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        rest = after;
        let flags = Flags::take(&mut rest);
        let Some(verb) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[verb.len_utf8()..];
        match verb {
            '%' => out.push('%'),
            'd' | 's' | 'v' | 'q' | 't' | 'f' | 'x' => match args.next() {
                None => _ = write!(out, "%!{verb}(MISSING)"),
                Some(arg) => {
                    budget.make(out.len() + flags.width.max(flags.precision.unwrap_or(0)))?;
                    let text = formatted(arg, verb, flags);
                    budget.make(out.len() + text.len())?;
                    flags.pad(&mut out, &text);
                }
            },
            other => return Err(Fault(format!("Sprintf does not support %{other}"))),
        }
    }
    out.push_str(rest);
    let surplus = args.len() > 0;
    for (index, arg) in args.enumerate() {
        let text = shown(arg);
        budget.make(out.len() + text.len())?;
        _ = write!(out, "{}{}={text}", if index == 0 { "%!(EXTRA " } else { ", " }, go_kind(arg));
    }
    if surplus {
        out.push(')');
    }
    Ok(out)
}

fn formatted(arg: &Value<'_>, verb: char, flags: Flags) -> String {
    match (arg, verb) {
        (Value::Int(number), 'd' | 'v') | (Value::Duration(number), 'd') => {
            flags.signed(*number < 0, &number.unsigned_abs().to_string())
        }
        (Value::Weekday(number) | Value::Month(number), 'd') => flags.signed(false, &number.to_string()),
        (Value::Int(number), 'x') => flags.signed(*number < 0, &format!("{:x}", number.unsigned_abs())),
        (Value::Float(number), 'f') if number.is_finite() => {
            // No float has more digits, and the standard library accepts at most 65535.
            let precision = flags.precision.unwrap_or(6).min(1100);
            flags.signed(number.is_sign_negative(), &format!("{:.precision$}", number.abs()))
        }
        (Value::Text(text), 's') => text.chars().take(flags.precision.unwrap_or(usize::MAX)).collect(),
        (Value::Text(text), 'q') => quote(text),
        (Value::Text(text), 'x') => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        (Value::Duration(_) | Value::Time(_) | Value::Weekday(_) | Value::Month(_), 'q') => {
            quote(&shown(arg))
        }
        (_, 'v')
        | (Value::Bool(_), 't')
        | (Value::Float(_), 'f')
        | (Value::List(_), 's' | 'd')
        | (Value::Duration(_) | Value::Time(_) | Value::Weekday(_) | Value::Month(_), 's') => shown(arg),
        (Value::Nil, _) => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={})", go_kind(arg), shown(arg)),
    }
}

/// Go's name of a value's type.
fn go_kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Nil => "<nil>",
        Value::Float(_) => "float64",
        Value::Duration(_) => "time.Duration",
        Value::Time(_) => "time.Time",
        Value::Weekday(_) => "time.Weekday",
        Value::Month(_) => "time.Month",
        Value::List(List::Range(..)) => "[]int",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
        other => other.kind(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn verbs_are_those_of_go() {
        let (int, float, text) = (Value::Int, Value::Float, Value::text);
        for (format, args, expected) in [
            ("%dh", vec![int(8)], "8h"),
            (
                "%05d|%-5d|%5d|%+d|%05d",
                vec![int(42), int(42), int(42), int(42), int(-42)],
                "00042|42   |   42|+42|-0042",
            ),
            ("%s-%q", vec![text("a"), text("b\"c\n")], r#"a-"b\"c\n""#),
            ("%-5s|%5s|%.2s", vec![text("ab"), text("ab"), text("abcdef")], "ab   |   ab|ab"),
            (
                "%.2f %f %6.1f %06.1f",
                vec![float(2.345), float(1.5), float(1.25), float(-1.25)],
                "2.35 1.500000    1.2 -001.2",
            ),
            ("%x %x", vec![int(255), text("hi")], "ff 6869"),
            (
                "%t %v %v %v",
                vec![Value::Bool(true), Value::Bool(false), float(1e21), float(0.1)],
                "true false 1e+21 0.1",
            ),
            ("%v %v %v", vec![float(100_000.0), float(1e-7), float(1234.5)], "100000 1e-07 1234.5"),
            (
                "%v %s",
                vec![Value::list(vec![int(1), text("a")]), Value::Duration(3_600_000_000_000)],
                "[1 a] 1h0m0s",
            ),
            ("%d%%", vec![int(5)], "5%"),
            ("%d", vec![], "%!d(MISSING)"),
            ("%d", vec![text("x")], "%!d(string=x)"),
            ("a", vec![int(1), text("b")], "a%!(EXTRA int=1, string=b)"),
            ("%", vec![], "%!(NOVERB)"),
            ("%v", vec![Value::Nil], "<nil>"),
            ("é%sé", vec![text("ü")], "éüé"),
        ] {
            let mut budget = Budget::new(Limits::default());
            assert_eq!(sprintf(format, &args, &mut budget).unwrap(), expected, "{format}");
        }
    }

    #[test]
    fn an_unsupported_verb_is_an_error() {
        let mut budget = Budget::new(Limits::default());
        let fault = sprintf("%b", &[Value::Int(1)], &mut budget).unwrap_err();
        assert_eq!(fault.0, "Sprintf does not support %b");
        assert!(sprintf("%*d", &[Value::Int(4), Value::Int(7)], &mut budget).is_err());
    }

    #[test]
    fn a_width_cannot_fill_the_memory() {
        let mut budget = Budget::new(Limits { steps: 1000, text: 1000 });
        assert!(sprintf("%900000d", &[Value::Int(1)], &mut budget).is_err());
        assert!(sprintf("%.900000f", &[Value::Float(1.0)], &mut budget).is_err());
    }
}
