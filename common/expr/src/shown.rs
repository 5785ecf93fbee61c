//! Values as Go's `%v` prints them.

use std::fmt::{self, Write as _};

use palisade_go_compat::{GoDuration, layout};

use crate::value::{Map, Value};

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => fmt::Debug::fmt(text, f),
            other => f.write_str(&shown(other)),
        }
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
        Value::Float(number) => write!(out, "{}", shortest(*number)),
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

/// Go's `%g`: the shortest exact digits, with an exponent below -4 and from 21 on.
fn shortest(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{number:e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    match power.parse::<i32>().unwrap_or(0) {
        // The exponent has a sign and at least two digits.
        power if number != 0.0 && !(-4..21).contains(&power) => {
            format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
        }
        _ => number.to_string(),
    }
}
