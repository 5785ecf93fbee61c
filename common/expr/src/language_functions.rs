//! The language's built-in functions without closures.

use jiff::tz::TimeZone;
use palisade_go_compat::{GoDuration, layout};

use crate::{
    arguments::{float_at, int_at, list_at, text_at},
    crowdsec_functions::{codec, json, lists as crowdsec_lists, text as crowdsec_text},
    error::Fault,
    function::{Pure, Signature},
    limits::Budget,
    ops::{self, Number},
    sorting,
    value::{List, Map, MapKey, Type, Value},
};

const ANY: Type = Type::Any;
const TEXT: Type = Type::Text;
const INT: Type = Type::Int;
const LIST: Type = Type::List(&Type::Any);
const TEXTS: Type = Type::List(&Type::Text);
const MAP: Type = Type::Map(&Type::Any);

pub(crate) fn all() -> Vec<(Signature, Pure)> {
    let new = Signature::new;
    vec![
        (new("len", &[ANY], INT), len as Pure),
        (new("type", &[ANY], TEXT), kind),
        (new("abs", &[ANY], ANY), abs),
        (new("ceil", &[Type::Float], Type::Float), |args, _| Ok(Value::Float(float_at(args, 0)?.ceil()))),
        (new("floor", &[Type::Float], Type::Float), |args, _| Ok(Value::Float(float_at(args, 0)?.floor()))),
        (new("round", &[Type::Float], Type::Float), |args, _| Ok(Value::Float(float_at(args, 0)?.round()))),
        (new("int", &[ANY], INT), int),
        (new("float", &[ANY], Type::Float), float),
        (new("string", &[ANY], TEXT), crowdsec_text::as_text),
        (new("trim", &[TEXT, TEXT], TEXT).with_optional(1), trim),
        (new("trimPrefix", &[TEXT, TEXT], TEXT).with_optional(1), |args, budget| {
            crowdsec_text::trim_prefix(&with_blank(args), budget)
        }),
        (new("trimSuffix", &[TEXT, TEXT], TEXT).with_optional(1), |args, budget| {
            crowdsec_text::trim_suffix(&with_blank(args), budget)
        }),
        (new("upper", &[TEXT], TEXT), crowdsec_text::upper),
        (new("lower", &[TEXT], TEXT), crowdsec_text::lower),
        (new("split", &[TEXT, TEXT, INT], TEXTS).with_optional(1), crowdsec_text::split),
        (new("splitAfter", &[TEXT, TEXT, INT], TEXTS).with_optional(1), crowdsec_text::split_after),
        (new("replace", &[TEXT, TEXT, TEXT, INT], TEXT).with_optional(1), crowdsec_text::replace),
        (new("repeat", &[TEXT, INT], TEXT), repeat),
        (new("join", &[LIST, TEXT], TEXT).with_optional(1), crowdsec_text::join),
        (new("indexOf", &[TEXT, TEXT], INT), crowdsec_text::index),
        (new("lastIndexOf", &[TEXT, TEXT], INT), last_index),
        (new("hasPrefix", &[TEXT, TEXT], Type::Bool), |args, _| {
            Ok(Value::Bool(text_at(args, 0)?.starts_with(&**text_at(args, 1)?)))
        }),
        (new("hasSuffix", &[TEXT, TEXT], Type::Bool), |args, _| {
            Ok(Value::Bool(text_at(args, 0)?.ends_with(&**text_at(args, 1)?)))
        }),
        (new("max", &[ANY], ANY).any_number(), |args, budget| extreme(args, budget, true)),
        (new("min", &[ANY], ANY).any_number(), |args, budget| extreme(args, budget, false)),
        (new("mean", &[ANY], Type::Float).any_number(), mean),
        (new("median", &[ANY], Type::Float).any_number(), median),
        (new("toJSON", &[ANY], TEXT), json::to_json),
        (new("fromJSON", &[TEXT], ANY), json::from_json),
        (new("toBase64", &[TEXT], TEXT), codec::base64),
        (new("fromBase64", &[TEXT], TEXT), codec::from_base64),
        (new("duration", &[TEXT], Type::Duration), duration),
        (new("date", &[ANY, TEXT, TEXT, TEXT], Type::Time).with_optional(3), date),
        (new("timezone", &[TEXT], Type::Zone), timezone),
        (new("first", &[ANY], ANY), |args, _| Ok(fetch(args, &Value::Int(0)))),
        (new("last", &[ANY], ANY), |args, _| Ok(fetch(args, &Value::Int(-1)))),
        (new("get", &[ANY, ANY], ANY), |args, _| Ok(args.get(1).map_or(Value::Nil, |key| fetch(args, key)))),
        (new("take", &[LIST, INT], LIST), take),
        (new("keys", &[MAP], LIST), keys),
        (new("values", &[MAP], LIST), values),
        (new("toPairs", &[MAP], LIST), to_pairs),
        (new("fromPairs", &[LIST], MAP), from_pairs),
        (new("reverse", &[LIST], LIST), reverse),
        (new("uniq", &[LIST], LIST), |args, budget| {
            Ok(Value::list(crowdsec_lists::unique(list_at(args, 0)?.iter(), budget)?))
        }),
        (new("concat", &[LIST], LIST).any_number(), concat),
        (new("flatten", &[LIST], LIST), crowdsec_lists::flatten),
        (new("sort", &[LIST, TEXT], LIST).with_optional(1), sort),
        (new("bitand", &[INT, INT], INT), |args, _| bits(args, |a, b| a & b)),
        (new("bitor", &[INT, INT], INT), |args, _| bits(args, |a, b| a | b)),
        (new("bitxor", &[INT, INT], INT), |args, _| bits(args, |a, b| a ^ b)),
        (new("bitnand", &[INT, INT], INT), |args, _| bits(args, |a, b| a & !b)),
        (new("bitnot", &[INT], INT), |args, _| Ok(Value::Int(!int_at(args, 0)?))),
        (new("bitshl", &[INT, INT], INT), |args, _| shifted(args, |a, by| a.checked_shl(by).unwrap_or(0))),
        (new("bitshr", &[INT, INT], INT), |args, _| shifted(args, |a, by| a >> by.min(63))),
        (new("bitushr", &[INT, INT], INT), |args, _| {
            shifted(args, |a, by| (a as u64).checked_shr(by).unwrap_or(0) as i64)
        }),
    ]
}

fn len<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    let length = match args.first() {
        // Bytes, as in Go.
        Some(Value::Text(text)) => text.len(),
        Some(Value::List(list)) => list.len(),
        Some(Value::Map(map)) => map.len(),
        other => {
            return Err(Fault(format!(
                "invalid argument for len ({})",
                other.map_or("nothing", |v| v.kind())
            )));
        }
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn kind<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    Ok(Value::text(match args.first() {
        Some(Value::List(_)) => "array",
        Some(Value::Duration(_)) => "time.Duration",
        Some(Value::Time(_)) => "time.Time",
        Some(Value::Weekday(_)) => "time.Weekday",
        Some(Value::Month(_)) => "time.Month",
        Some(Value::Zone(_)) => "time.Location",
        Some(value) => value.kind(),
        None => "nil",
    }))
}

fn abs<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    let value = args.first().cloned().unwrap_or(Value::Nil);
    Ok(match (&value, ops::number(&value, "abs")?) {
        (Value::Duration(nanos), _) => Value::Duration(nanos.wrapping_abs()),
        (_, Number::Int(number)) => Value::Int(number.wrapping_abs()),
        (_, Number::Float(number)) => Value::Float(number.abs()),
    })
}

fn int<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    match args.first() {
        Some(Value::Text(text)) => match text.parse() {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) => Err(Fault(format!("invalid operation: int({})", clip(text)))),
        },
        _ => int_at(args, 0).map(Value::Int),
    }
}

fn float<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    match args.first() {
        Some(Value::Text(text)) => match text.parse() {
            Ok(number) => Ok(Value::Float(number)),
            Err(_) => Err(Fault(format!("invalid operation: float({})", clip(text)))),
        },
        _ => float_at(args, 0).map(Value::Float),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

fn trim<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    if args.len() > 1 { crowdsec_text::trim(args, budget) } else { crowdsec_text::trim_space(args, budget) }
}

/// The arguments, with a space for an omitted second one.
fn with_blank<'v>(args: &[Value<'v>]) -> Vec<Value<'v>> {
    let mut args = args.to_vec();
    if args.len() < 2 {
        args.push(Value::text(" "));
    }
    args
}

fn repeat<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let text = text_at(args, 0)?;
    let times =
        usize::try_from(int_at(args, 1)?).map_err(|_| Fault::from("cannot repeat less than no times"))?;
    budget.make(text.len().saturating_mul(times))?;
    Ok(Value::from(if text.is_empty() { String::new() } else { text.repeat(times) }))
}

fn last_index<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let (text, part) = (text_at(args, 0)?, text_at(args, 1)?);
    budget.read(text.len())?;
    Ok(Value::Int(text.rfind(&**part).map_or(-1, |place| place as i64)))
}

/// All numbers in the arguments and in lists among them.
fn numbers<'v>(args: &[Value<'v>], budget: &mut Budget, out: &mut Vec<Value<'v>>) -> Result<(), Fault> {
    for arg in args {
        budget.spend(1)?;
        match arg {
            Value::List(list) => numbers(&crowdsec_lists::elements(list, budget)?, budget, out)?,
            other => {
                ops::number(other, "a calculation")?;
                out.push(other.clone());
            }
        }
    }
    Ok(())
}

fn extreme<'v>(args: &[Value<'v>], budget: &mut Budget, largest: bool) -> Result<Value<'v>, Fault> {
    let mut all = Vec::new();
    numbers(args, budget, &mut all)?;
    let mut best: Option<Value<'v>> = None;
    for value in all {
        let better = match &best {
            None => true,
            Some(best) => {
                let order = ops::order(&value, best, "max")?;
                order == Some(if largest { std::cmp::Ordering::Greater } else { std::cmp::Ordering::Less })
            }
        };
        if better {
            best = Some(value);
        }
    }
    Ok(best.unwrap_or(Value::Nil))
}

fn floats(args: &[Value<'_>], budget: &mut Budget) -> Result<Vec<f64>, Fault> {
    let mut all = Vec::new();
    numbers(args, budget, &mut all)?;
    all.iter().map(|value| ops::number(value, "a calculation").map(|number| number.float())).collect()
}

fn mean<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let all = floats(args, budget)?;
    Ok(Value::Float(if all.is_empty() { 0.0 } else { all.iter().sum::<f64>() / all.len() as f64 }))
}

fn median<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let mut all = floats(args, budget)?;
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    Ok(Value::Float(match (all.get(middle), all.len() % 2) {
        (None, _) => 0.0,
        (Some(middle), 1) => *middle,
        (Some(upper), _) => (all[middle - 1] + upper) / 2.0,
    }))
}

/// Parses Go's durations, and days as CrowdSec adds them.
fn duration<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    let text = text_at(args, 0)?;
    let duration: GoDuration = text.parse().map_err(|error| Fault(format!("{error}")))?;
    Ok(Value::Duration(duration.nanos()))
}

/// `date(text)`, `date(text, layout)`, `date(text, layout, zone)`, each optionally preceded by a time zone.
fn date<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    let (zone, args) = match args.first() {
        Some(Value::Zone(zone)) => ((**zone).clone(), &args[1..]),
        _ => (TimeZone::UTC, args),
    };
    let text = text_at(args, 0)?;
    let zone = if args.len() > 2 { zone_named(text_at(args, 2)?)? } else { zone };
    let time = if args.len() > 1 {
        layout::parse(text, text_at(args, 1)?, &zone)
    } else {
        layout::USUAL.iter().find_map(|usual| layout::parse(text, usual, &zone))
    };
    time.map(|time| Value::Time(time.into())).ok_or_else(|| Fault(format!("invalid date {}", clip(text))))
}

fn zone_named(name: &str) -> Result<TimeZone, Fault> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => Ok(TimeZone::system()),
        _ => TimeZone::get(name).map_err(|_| Fault(format!("unknown time zone {}", clip(name)))),
    }
}

fn timezone<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    Ok(Value::Zone(zone_named(text_at(args, 0)?)?.into()))
}

/// An element, or nil if it does not exist.
fn fetch<'v>(args: &[Value<'v>], key: &Value<'v>) -> Value<'v> {
    match args.first() {
        Some(Value::Map(map)) => map.get_or_zero(key),
        Some(Value::List(list)) => ops::whole(key, "get")
            .ok()
            .and_then(|number| ops::in_range(number, list.len()))
            .and_then(|place| list.get(place))
            .unwrap_or(Value::Nil),
        Some(Value::Object(object)) => key
            .as_text()
            .and_then(|name| object.kind.field(name))
            .map_or(Value::Nil, |field| (field.get)(object.data)),
        _ => Value::Nil,
    }
}

fn take<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let list = list_at(args, 0)?;
    let count =
        usize::try_from(int_at(args, 1)?).map_err(|_| Fault::from("cannot take less than nothing"))?;
    let count = count.min(list.len());
    budget.spend(count)?;
    Ok(Value::list(list.iter().take(count).collect()))
}

fn map_at<'a, 'v>(args: &'a [Value<'v>]) -> Result<&'a Map<'v>, Fault> {
    match args.first() {
        Some(Value::Map(map)) => Ok(map),
        other => Err(Fault(format!("expected a map and got {}", other.map_or("nothing", |v| v.kind())))),
    }
}

fn keys<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let entries = crowdsec_lists::entries(map_at(args)?, budget)?;
    Ok(Value::list(entries.into_iter().map(|(key, _)| key).collect()))
}

fn values<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let entries = crowdsec_lists::entries(map_at(args)?, budget)?;
    Ok(Value::list(entries.into_iter().map(|(_, value)| value).collect()))
}

fn to_pairs<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let entries = crowdsec_lists::entries(map_at(args)?, budget)?;
    let pairs = entries.into_iter().map(|(key, value)| Value::list(vec![key, value])).collect();
    Value::list(pairs).checked_depth()
}

fn from_pairs<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let mut map = std::collections::BTreeMap::new();
    for pair in crowdsec_lists::elements(list_at(args, 0)?, budget)? {
        let pair = match &pair {
            Value::List(pair) if pair.len() == 2 => (pair.get(0), pair.get(1)),
            _ => (None, None),
        };
        let (Some(key), Some(value)) = pair else {
            return Err(Fault::from("fromPairs takes a list of lists of two"));
        };
        let Some(key) = MapKey::of(&key) else {
            return Err(Fault(format!("{} cannot be a key", key.kind())));
        };
        map.insert(key, value);
    }
    Value::keyed_map(map).checked_depth()
}

fn reverse<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let mut elements = crowdsec_lists::elements(list_at(args, 0)?, budget)?;
    elements.reverse();
    Ok(Value::list(elements))
}

fn concat<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let mut all = Vec::new();
    for index in 0..args.len() {
        all.extend(crowdsec_lists::elements(list_at(args, index)?, budget)?);
    }
    Ok(Value::list(all))
}

fn sort<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let descending = match args.get(1) {
        Some(order) => sorting::is_descending(order)?,
        None => false,
    };
    let list: &List<'v> = list_at(args, 0)?;
    let elements = crowdsec_lists::elements(list, budget)?;
    let mut keyed: Vec<_> = elements.into_iter().map(|element| (element.clone(), element)).collect();
    sorting::sort(&mut keyed, descending, budget)?;
    Ok(Value::list(keyed.into_iter().map(|(_, element)| element).collect()))
}

fn bits<'v>(args: &[Value<'v>], run: impl Fn(i64, i64) -> i64) -> Result<Value<'v>, Fault> {
    Ok(Value::Int(run(int_at(args, 0)?, int_at(args, 1)?)))
}

fn shifted<'v>(args: &[Value<'v>], run: impl Fn(i64, u32) -> i64) -> Result<Value<'v>, Fault> {
    let by = u32::try_from(int_at(args, 1)?).map_err(|_| Fault::from("cannot shift by less than nothing"))?;
    Ok(Value::Int(run(int_at(args, 0)?, by)))
}
