//! Methods of times, durations, weekdays and months, named as in Go.

use jiff::{SignedDuration, Span, Timestamp, Zoned, tz::TimeZone};
use palisade_go_compat::{GoDuration, layout};

use crate::{
    error::Fault,
    function::Signature,
    value::{Type, Value},
};

const TIME: [Signature; 24] = [
    Signature::new("Hour", &[], Type::Int),
    Signature::new("Minute", &[], Type::Int),
    Signature::new("Second", &[], Type::Int),
    Signature::new("Nanosecond", &[], Type::Int),
    Signature::new("Day", &[], Type::Int),
    Signature::new("YearDay", &[], Type::Int),
    Signature::new("Month", &[], Type::Month),
    Signature::new("Year", &[], Type::Int),
    Signature::new("Weekday", &[], Type::Weekday),
    Signature::new("Unix", &[], Type::Int),
    Signature::new("UnixMilli", &[], Type::Int),
    Signature::new("UnixNano", &[], Type::Int),
    Signature::new("String", &[], Type::Text),
    Signature::new("Format", &[Type::Text], Type::Text),
    Signature::new("Add", &[Type::Duration], Type::Time),
    Signature::new("AddDate", &[Type::Int, Type::Int, Type::Int], Type::Time),
    Signature::new("Sub", &[Type::Time], Type::Duration),
    Signature::new("After", &[Type::Time], Type::Bool),
    Signature::new("Before", &[Type::Time], Type::Bool),
    Signature::new("Equal", &[Type::Time], Type::Bool),
    Signature::new("IsZero", &[], Type::Bool),
    Signature::new("UTC", &[], Type::Time),
    Signature::new("Local", &[], Type::Time),
    Signature::new("In", &[Type::Zone], Type::Time),
];

const DURATION: [Signature; 7] = [
    Signature::new("Hours", &[], Type::Float),
    Signature::new("Minutes", &[], Type::Float),
    Signature::new("Seconds", &[], Type::Float),
    Signature::new("Milliseconds", &[], Type::Int),
    Signature::new("Microseconds", &[], Type::Int),
    Signature::new("Nanoseconds", &[], Type::Int),
    Signature::new("String", &[], Type::Text),
];

const NAMED: [Signature; 1] = [Signature::new("String", &[], Type::Text)];

/// The signature of a method.
pub(crate) fn signature(kind: Type, name: &str) -> Option<Signature> {
    let known: &[Signature] = match kind {
        Type::Time => &TIME,
        Type::Duration => &DURATION,
        Type::Weekday | Type::Month => &NAMED,
        _ => return None,
    };
    known.iter().find(|signature| signature.name == name).copied()
}

/// Calls a method of a built-in type.
pub(crate) fn call<'v>(of: &Value<'v>, name: &str, args: &[Value<'v>]) -> Result<Value<'v>, Fault> {
    let kind = match of {
        Value::Time(_) => Type::Time,
        Value::Duration(_) => Type::Duration,
        Value::Weekday(_) => Type::Weekday,
        Value::Month(_) => Type::Month,
        _ => Type::Any,
    };
    let Some(signature) = signature(kind, name) else {
        return Err(Fault(format!("{} has no method {name}", of.kind())));
    };
    if signature.params.len() != args.len() {
        return Err(Fault(format!(
            "{name} takes {} arguments and got {}",
            signature.params.len(),
            args.len()
        )));
    }
    match of {
        Value::Time(time) => time_method(time, name, args),
        Value::Duration(nanos) => Ok(match name {
            "Hours" => Value::Float(*nanos as f64 / 3.6e12),
            "Minutes" => Value::Float(*nanos as f64 / 6e10),
            "Seconds" => Value::Float(*nanos as f64 / 1e9),
            "Milliseconds" => Value::Int(nanos / 1_000_000),
            "Microseconds" => Value::Int(nanos / 1_000),
            "Nanoseconds" => Value::Int(*nanos),
            _ => Value::owned_text(GoDuration::from_nanos(*nanos).to_string()),
        }),
        Value::Weekday(day) => Ok(Value::text(layout::weekday_name(*day))),
        Value::Month(month) => Ok(Value::text(layout::month_name(*month))),
        _ => Err(Fault(format!("{} has no method {name}", of.kind()))),
    }
}

fn time_method<'v>(time: &Zoned, name: &str, args: &[Value<'v>]) -> Result<Value<'v>, Fault> {
    let int = |number: i64| Ok(Value::Int(number));
    let moved = |time: Result<Zoned, jiff::Error>| {
        time.map(|time| Value::Time(time.into())).map_err(|_| Fault::from("this moment is too far away"))
    };
    match (name, args) {
        ("Hour", _) => int(time.hour().into()),
        ("Minute", _) => int(time.minute().into()),
        ("Second", _) => int(time.second().into()),
        ("Nanosecond", _) => int(time.subsec_nanosecond().into()),
        ("Day", _) => int(time.day().into()),
        ("YearDay", _) => int(time.day_of_year().into()),
        ("Year", _) => int(time.year().into()),
        ("Month", _) => Ok(Value::Month(time.month().unsigned_abs())),
        ("Weekday", _) => Ok(Value::Weekday(time.weekday().to_sunday_zero_offset().unsigned_abs())),
        ("Unix", _) => int(time.timestamp().as_second()),
        ("UnixMilli", _) => int(time.timestamp().as_millisecond()),
        ("UnixNano", _) => int(i64::try_from(time.timestamp().as_nanosecond()).unwrap_or(i64::MAX)),
        ("String", _) => Ok(Value::owned_text(layout::go_text(time))),
        ("Format", [Value::Text(layout)]) => Ok(Value::owned_text(layout::format(time, layout))),
        ("Add", [Value::Duration(nanos)]) => moved(time.checked_add(SignedDuration::from_nanos(*nanos))),
        ("AddDate", [Value::Int(years), Value::Int(months), Value::Int(days)]) => {
            let span = Span::new()
                .try_years(*years)
                .and_then(|span| span.try_months(*months))
                .and_then(|span| span.try_days(*days));
            moved(span.and_then(|span| time.checked_add(span)))
        }
        ("Sub", [Value::Time(other)]) => {
            let nanos = time.timestamp().duration_since(other.timestamp()).as_nanos();
            Ok(Value::Duration(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64))
        }
        ("After", [Value::Time(other)]) => Ok(Value::Bool(time.timestamp() > other.timestamp())),
        ("Before", [Value::Time(other)]) => Ok(Value::Bool(time.timestamp() < other.timestamp())),
        ("Equal", [Value::Time(other)]) => Ok(Value::Bool(time.timestamp() == other.timestamp())),
        // Go's zero time is the start of the year 1.
        ("IsZero", _) => Ok(Value::Bool(time.timestamp() == Timestamp::constant(-62_135_596_800, 0))),
        ("UTC", _) => Ok(Value::Time(time.with_time_zone(TimeZone::UTC).into())),
        ("Local", _) => Ok(Value::Time(time.with_time_zone(TimeZone::system()).into())),
        ("In", [Value::Zone(zone)]) => Ok(Value::Time(time.with_time_zone((**zone).clone()).into())),
        _ => Err(Fault(format!("{name} got arguments of the wrong kind"))),
    }
}
