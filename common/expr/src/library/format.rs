//! `Sprintf` with Go's verbs, and values in Go's `%v` form.

use std::fmt::Write as _;

use palisade_go_compat::{GoDuration, layout, quote};

use crate::{
    Fault, Value,
    limits::Budget,
    value::{List, Map},
};

/// Flags, width and precision between `%` and the verb.
#[derive(Default, Clone, Copy)]
struct Flags {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    alternate: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Go's limit for widths and precisions.
const MAX_WIDTH: usize = 1_000_000;

/// Formats as Go's `fmt.Sprintf`, with its notes on missing, surplus and mistyped arguments.
pub fn sprintf(format: &str, args: &[Value<'_>], budget: &mut Budget) -> Result<String, Fault> {
    budget.read(format.len())?;
    let mut out = String::with_capacity(format.len() + 16);
    let mut next = 0;
    let mut rest = format;
    while let Some(place) = rest.find('%') {
        out.push_str(&rest[..place]);
        rest = &rest[place + 1..];
        let mut flags = Flags::default();
        loop {
            match rest.bytes().next() {
                Some(b'-') => flags.minus = true,
                Some(b'+') => flags.plus = true,
                Some(b' ') => flags.space = true,
                Some(b'0') => flags.zero = true,
                Some(b'#') => flags.alternate = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        flags.width = size(&mut rest, args, &mut next);
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            flags.precision = Some(size(&mut rest, args, &mut next).unwrap_or(0));
        }
        let Some(verb) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(arg) = args.get(next) else {
            _ = write!(out, "%!{verb}(MISSING)");
            continue;
        };
        next += 1;
        budget.make(out.len() + flags.width.unwrap_or(0).max(flags.precision.unwrap_or(0)))?;
        let text = one(arg, verb, flags);
        budget.make(out.len() + text.len())?;
        pad(&mut out, &text, flags);
    }
    out.push_str(rest);
    if next < args.len() && !rest.ends_with("%!(NOVERB)") {
        out.push_str("%!(EXTRA ");
        for (index, arg) in args[next..].iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            let text = shown(arg);
            budget.make(out.len() + text.len())?;
            _ = write!(out, "{}={text}", go_kind(arg));
        }
        out.push(')');
    }
    Ok(out)
}

/// A width or precision: digits, or `*` for the next argument.
fn size(rest: &mut &str, args: &[Value<'_>], next: &mut usize) -> Option<usize> {
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        let Some(Value::Int(number)) = args.get(*next) else { return None };
        *next += 1;
        return usize::try_from(*number).ok().filter(|size| *size <= MAX_WIDTH);
    }
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return None;
    }
    let size = rest[..count].parse().ok().filter(|size| *size <= MAX_WIDTH);
    *rest = &rest[count..];
    size
}

fn pad(out: &mut String, text: &str, flags: Flags) {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    let spaces = " ".repeat(missing);
    if flags.minus {
        out.push_str(text);
        out.push_str(&spaces);
    } else {
        out.push_str(&spaces);
        out.push_str(text);
    }
}

fn one(arg: &Value<'_>, verb: char, flags: Flags) -> String {
    match (arg, verb) {
        (_, 'T') => go_kind(arg).to_owned(),
        (_, 'v') => match arg {
            Value::Int(number) => integer(*number, 'd', flags),
            Value::Float(number) => float(*number, 'g', flags),
            _ => shown(arg),
        },
        (Value::Bool(truth), 't') => truth.to_string(),
        (Value::Int(number) | Value::Duration(number), 'd' | 'x' | 'X' | 'o' | 'O' | 'b') => {
            integer(*number, verb, flags)
        }
        (Value::Weekday(number) | Value::Month(number), 'd') => integer(i64::from(*number), 'd', flags),
        (Value::Int(number), 'c') => {
            u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        (Value::Int(number), 'q') => {
            format!("{:?}", u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'))
        }
        (Value::Int(number), 'U') => format!("U+{number:04X}"),
        (Value::Float(number), 'f' | 'F' | 'e' | 'E' | 'g' | 'G') => float(*number, verb, flags),
        (Value::Text(text), 's') => match flags.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.to_string(),
        },
        (Value::Text(text), 'q') => quote(text),
        (Value::Text(text), 'x' | 'X') => {
            let mut hex = String::with_capacity(text.len() * 2);
            for byte in text.as_bytes() {
                _ = if verb == 'x' { write!(hex, "{byte:02x}") } else { write!(hex, "{byte:02X}") };
            }
            hex
        }
        (Value::Duration(_) | Value::Time(_) | Value::Weekday(_) | Value::Month(_), 's') => shown(arg),
        (Value::Duration(_) | Value::Time(_) | Value::Weekday(_) | Value::Month(_), 'q') => {
            quote(&shown(arg))
        }
        (Value::List(list), 's' | 'd' | 'q' | 'x' | 'X' | 'f' | 'g' | 'e' | 't') => {
            // Widths pad the whole list here; Go pads each element.
            let mut out = String::from("[");
            for (index, part) in list.iter().enumerate() {
                if out.len() > MAX_SHOWN {
                    break;
                }
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(&one(&part, verb, flags));
            }
            out.push(']');
            out
        }
        (Value::Nil, _) => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={})", go_kind(arg), shown(arg)),
    }
}

fn integer(number: i64, verb: char, flags: Flags) -> String {
    let magnitude = number.unsigned_abs();
    let mut digits = match verb {
        'x' => format!("{magnitude:x}"),
        'X' => format!("{magnitude:X}"),
        'o' | 'O' => format!("{magnitude:o}"),
        'b' => format!("{magnitude:b}"),
        _ => magnitude.to_string(),
    };
    if let Some(least) = flags.precision {
        digits = format!("{}{digits}", "0".repeat(least.saturating_sub(digits.len())));
    }
    let prefix = match (verb, flags.alternate) {
        ('x', true) => "0x",
        ('X', true) => "0X",
        ('O', _) => "0o",
        ('b', true) => "0b",
        ('o', true) => "0",
        _ => "",
    };
    let sign = sign(number < 0, flags);
    if flags.zero && !flags.minus && flags.precision.is_none() {
        let used = sign.len() + prefix.len() + digits.len();
        digits = format!("{}{digits}", "0".repeat(flags.width.unwrap_or(0).saturating_sub(used)));
    }
    format!("{sign}{prefix}{digits}")
}

fn sign(negative: bool, flags: Flags) -> &'static str {
    match (negative, flags.plus, flags.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

fn float(number: f64, verb: char, flags: Flags) -> String {
    if !number.is_finite() {
        let text = if number.is_nan() { "NaN" } else { "Inf" };
        let sign = if number == f64::INFINITY { "+" } else { sign(number < 0.0, flags) };
        return format!("{sign}{text}");
    }
    let magnitude = number.abs();
    // No float has more digits, and the standard library accepts at most 65535.
    let precision = flags.precision.map(|digits| digits.min(1100));
    let mut digits = match verb {
        'f' | 'F' => format!("{magnitude:.*}", precision.unwrap_or(6)),
        'e' | 'E' => exponent(magnitude, Some(precision.unwrap_or(6))),
        _ => shortest(magnitude, precision),
    };
    if matches!(verb, 'E' | 'G') {
        digits = digits.to_uppercase();
    }
    let sign = sign(number.is_sign_negative(), flags);
    if flags.zero && !flags.minus {
        let used = sign.len() + digits.len();
        digits = format!("{}{digits}", "0".repeat(flags.width.unwrap_or(0).saturating_sub(used)));
    }
    format!("{sign}{digits}")
}

/// `1.5e+06`: the exponent has a sign and at least two digits.
fn exponent(magnitude: f64, precision: Option<usize>) -> String {
    let text = match precision {
        Some(digits) => format!("{magnitude:.digits$e}"),
        None => format!("{magnitude:e}"),
    };
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Go's `%g`: the shortest exact digits, with an exponent below -4 and from 21 on (from the precision on, if there is
/// one).
fn shortest(magnitude: f64, precision: Option<usize>) -> String {
    let rounded = match precision {
        Some(digits) => {
            let digits = digits.max(1);
            format!("{magnitude:.*e}", digits - 1).parse().unwrap_or(magnitude)
        }
        None => magnitude,
    };
    let power = format!("{rounded:e}").split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let limit = precision.map_or(21, |digits| i32::try_from(digits.max(1)).unwrap_or(i32::MAX));
    if rounded != 0.0 && (power < -4 || power >= limit) {
        exponent(rounded, None)
    } else {
        format!("{rounded}")
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

/// A value in `%v` form. Longer ones are truncated and marked.
pub(crate) fn shown(value: &Value<'_>) -> String {
    let mut out = String::new();
    show(value, &mut out);
    out
}

/// Maximum length of a shown value; bounds the texts that functions make of lists.
const MAX_SHOWN: usize = 1 << 20;

fn show(value: &Value<'_>, out: &mut String) {
    if out.len() > MAX_SHOWN {
        return;
    }
    _ = match value {
        Value::Nil => write!(out, "<nil>"),
        Value::Bool(truth) => write!(out, "{truth}"),
        Value::Int(number) => write!(out, "{number}"),
        Value::Float(number) => write!(out, "{}", float(*number, 'g', Flags::default())),
        Value::Text(text) => write!(out, "{}", &**text),
        Value::Duration(nanos) => write!(out, "{}", GoDuration::from_nanos(*nanos)),
        Value::Time(time) => write!(out, "{}", layout::go_text(time)),
        Value::Weekday(day) => write!(out, "{}", layout::weekday_name(*day)),
        Value::Month(month) => write!(out, "{}", layout::month_name(*month)),
        Value::Zone(zone) => write!(out, "{}", zone.iana_name().unwrap_or("Local")),
        Value::Object(object) => write!(out, "{{{}}}", object.kind.name),
        Value::List(list) => {
            out.push('[');
            for (index, element) in list.iter().enumerate() {
                if out.len() > MAX_SHOWN {
                    break;
                }
                if index > 0 {
                    out.push(' ');
                }
                show(&element, out);
            }
            out.push(']');
            Ok(())
        }
        Value::Map(map) => {
            show_map(map, out);
            Ok(())
        }
    };
}

fn show_map(map: &Map<'_>, out: &mut String) {
    out.push_str("map[");
    let mut keys = map.keys();
    keys.sort_by_key(shown);
    for (index, key) in keys.iter().enumerate() {
        if out.len() > MAX_SHOWN {
            break;
        }
        if index > 0 {
            out.push(' ');
        }
        show(key, out);
        out.push(':');
        show(&map.get(key).unwrap_or(Value::Nil), out);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn verbs_are_those_of_go() {
        let text = Value::text;
        for (format, args, meant) in [
            ("%dh", vec![Value::Int(8)], "8h"),
            (
                "%05d|%-5d|%5d|%+d",
                vec![Value::Int(42), Value::Int(42), Value::Int(42), Value::Int(42)],
                "00042|42   |   42|+42",
            ),
            ("%s-%q", vec![text("a"), text("b\"c\n")], r#"a-"b\"c\n""#),
            ("%-5s|%5s|%.2s", vec![text("ab"), text("ab"), text("abcdef")], "ab   |   ab|ab"),
            (
                "%.2f %f %6.1f %06.1f",
                vec![Value::Float(2.345), Value::Float(1.5), Value::Float(1.25), Value::Float(-1.25)],
                "2.35 1.500000    1.2 -001.2",
            ),
            (
                "%x %X %x %#x %o %b",
                vec![
                    Value::Int(255),
                    Value::Int(255),
                    text("hi"),
                    Value::Int(255),
                    Value::Int(8),
                    Value::Int(5),
                ],
                "ff FF 6869 0xff 10 101",
            ),
            (
                "%t %v %v %v",
                vec![Value::Bool(true), Value::Bool(false), Value::Float(1e21), Value::Float(0.1)],
                "true false 1e+21 0.1",
            ),
            (
                "%v %g %e",
                vec![Value::Float(100000.0), Value::Float(1e-7), Value::Float(1234.5)],
                "100000 1e-07 1.234500e+03",
            ),
            (
                "%v %s",
                vec![Value::list(vec![Value::Int(1), text("a")]), Value::Duration(3_600_000_000_000)],
                "[1 a] 1h0m0s",
            ),
            ("%d%%", vec![Value::Int(5)], "5%"),
            ("%d", vec![], "%!d(MISSING)"),
            ("%d", vec![text("x")], "%!d(string=x)"),
            ("a", vec![Value::Int(1)], "a%!(EXTRA int=1)"),
            ("%", vec![], "%!(NOVERB)"),
            ("%*d", vec![Value::Int(4), Value::Int(7)], "   7"),
            ("%v", vec![Value::Nil], "<nil>"),
            ("%T %c", vec![Value::Float(1.0), Value::Int(65)], "float64 A"),
            ("é%sé", vec![text("ü")], "éüé"),
        ] {
            let mut budget = Budget::new(Limits::default());
            assert_eq!(sprintf(format, &args, &mut budget).unwrap(), meant, "{format}");
        }
    }

    #[test]
    fn a_width_cannot_fill_the_memory() {
        let mut budget = Budget::new(Limits { steps: 1000, text: 1000 });
        assert!(sprintf("%900000d", &[Value::Int(1)], &mut budget).is_err());
        assert!(sprintf("%.900000f", &[Value::Float(1.0)], &mut budget).is_err());
    }
}
