//! Access to the arguments of functions; faults name the actual type.

use crate::{
    error::Fault,
    text::Text,
    value::{List, Value},
};

/// The text argument at `index`.
pub(crate) fn text_at<'a, 'v>(args: &'a [Value<'v>], index: usize) -> Result<&'a Text<'v>, Fault> {
    match args.get(index) {
        Some(Value::Text(text)) => Ok(text),
        other => Err(wrong(other, index, "string")),
    }
}

/// The integer argument at `index`; fractions are truncated.
pub(crate) fn int_at(args: &[Value<'_>], index: usize) -> Result<i64, Fault> {
    match args.get(index) {
        Some(Value::Int(number) | Value::Duration(number)) => Ok(*number),
        Some(Value::Weekday(number) | Value::Month(number)) => Ok(i64::from(*number)),
        Some(Value::Float(number)) => Ok(*number as i64),
        other => Err(wrong(other, index, "int")),
    }
}

/// The number argument at `index`.
pub(crate) fn float_at(args: &[Value<'_>], index: usize) -> Result<f64, Fault> {
    match args.get(index) {
        Some(Value::Float(number)) => Ok(*number),
        Some(Value::Int(number) | Value::Duration(number)) => Ok(*number as f64),
        other => Err(wrong(other, index, "number")),
    }
}

/// The list argument at `index`.
pub(crate) fn list_at<'a, 'v>(args: &'a [Value<'v>], index: usize) -> Result<&'a List<'v>, Fault> {
    match args.get(index) {
        Some(Value::List(list)) => Ok(list),
        other => Err(wrong(other, index, "list")),
    }
}

fn wrong(found: Option<&Value<'_>>, index: usize, wanted: &str) -> Fault {
    let found = found.map_or("nothing", |value| value.kind());
    Fault(format!("expected a {wanted} as argument {} and got {found}", index + 1))
}
