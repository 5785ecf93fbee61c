//! CrowdSec's functions that depend on their arguments only: the same for profiles and for log processors.

mod codec;
mod format;
mod json;
pub(crate) mod lists;
mod net;
pub(crate) mod text;
mod time;

pub(crate) use codec::{base64, from_base64};
pub(crate) use format::shown;
pub use format::sprintf;
pub(crate) use json::{from_json, to_json};

use crate::{
    Fault, Value,
    value::{List, Text},
    vocabulary::{Pure, Signature},
};

/// All functions of the library.
pub(crate) fn all() -> Vec<(Signature, Pure)> {
    [text::all(), net::all(), json::all(), codec::all(), lists::all(), time::all()].concat()
}

/// The text argument at `index`; a fault names the actual type.
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
