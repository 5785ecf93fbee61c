//! Implements the operators.

use std::cmp::Ordering;

use jiff::SignedDuration;

use crate::{
    Fault,
    ast::Binary,
    limits::Budget,
    value::{List, Map, Value},
};

/// A numeric operand.
pub(crate) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    pub(crate) fn float(&self) -> f64 {
        match self {
            Self::Int(number) => *number as f64,
            Self::Float(number) => *number,
        }
    }
}

fn as_number(value: &Value<'_>) -> Option<Number> {
    Some(match value {
        Value::Int(number) | Value::Duration(number) => Number::Int(*number),
        Value::Weekday(number) | Value::Month(number) => Number::Int(i64::from(*number)),
        Value::Float(number) => Number::Float(*number),
        _ => return None,
    })
}

pub(crate) fn number(value: &Value<'_>, sign: &str) -> Result<Number, Fault> {
    as_number(value)
        .ok_or_else(|| Fault(format!("invalid operation: {sign} needs a number and got {}", value.kind())))
}

/// An integer operand; fractions are truncated, as in Go.
pub(crate) fn whole(value: &Value<'_>, sign: &str) -> Result<i64, Fault> {
    number(value, sign).map(|number| match number {
        Number::Int(number) => number,
        Number::Float(number) => number as i64,
    })
}

pub(crate) fn text<'t>(value: &'t Value<'_>, sign: &str) -> Result<&'t str, Fault> {
    value
        .as_text()
        .ok_or_else(|| Fault(format!("invalid operation: {sign} needs a string and got {}", value.kind())))
}

/// Equality: numbers by value whatever their type, lists and maps by content, unrelated types never.
pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>, budget: &mut Budget) -> Result<bool, Fault> {
    Ok(match (a, b) {
        (Value::Text(a), Value::Text(b)) => {
            budget.read(if a.len() == b.len() { a.len() } else { 0 })?;
            **a == **b
        }
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Nil, Value::Nil) => true,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a.timestamp() == b.timestamp(),
        (Value::Zone(a), Value::Zone(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (left, right) in a.iter().zip(b.iter()) {
                budget.spend(1)?;
                if !equal(&left, &right, budget)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => return equal_maps(a, b, budget),
        (Value::Object(a), Value::Object(b)) => {
            std::ptr::eq(std::ptr::from_ref(a.data).cast::<u8>(), std::ptr::from_ref(b.data).cast::<u8>())
        }
        _ => match (as_number(a), as_number(b)) {
            (Some(Number::Int(a)), Some(Number::Int(b))) => a == b,
            (Some(a), Some(b)) => a.float() == b.float(),
            _ => false,
        },
    })
}

fn equal_maps<'v>(a: &Map<'v>, b: &Map<'v>, budget: &mut Budget) -> Result<bool, Fault> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for key in a.keys() {
        budget.spend(1)?;
        match (a.get(&key), b.get(&key)) {
            (Some(left), Some(right)) if equal(&left, &right, budget)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The order of numbers, of texts by bytes, and of times. `None` for NaN.
pub(crate) fn order(a: &Value<'_>, b: &Value<'_>, sign: &str) -> Result<Option<Ordering>, Fault> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => return Ok(Some(a.cmp(b))),
        (Value::Time(a), Value::Time(b)) => return Ok(Some(a.timestamp().cmp(&b.timestamp()))),
        _ => {}
    }
    match (as_number(a), as_number(b)) {
        (Some(Number::Int(a)), Some(Number::Int(b))) => Ok(Some(a.cmp(&b))),
        (Some(a), Some(b)) => Ok(a.float().partial_cmp(&b.float())),
        _ => Err(mismatch(sign, a, b)),
    }
}

pub(crate) fn ordered(operator: Binary, a: &Value<'_>, b: &Value<'_>) -> Result<bool, Fault> {
    let order = order(a, b, operator.sign())?;
    Ok(match operator {
        Binary::Less => order == Some(Ordering::Less),
        Binary::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Binary::Greater => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

#[cold]
fn mismatch(sign: &str, a: &Value<'_>, b: &Value<'_>) -> Fault {
    Fault(format!("invalid operation: {sign} (mismatched types {} and {})", a.kind(), b.kind()))
}

/// `in`: an element of a list, a key of a map, a field of an object; always false for nil.
pub(crate) fn is_in<'v>(a: &Value<'v>, b: &Value<'v>, budget: &mut Budget) -> Result<bool, Fault> {
    match b {
        Value::Nil => Ok(false),
        Value::List(List::Range(from, to)) => Ok(match as_number(a) {
            Some(Number::Int(number)) => (*from..=*to).contains(&number),
            Some(Number::Float(number)) => {
                number.fract() == 0.0 && number >= *from as f64 && number <= *to as f64
            }
            None => false,
        }),
        Value::List(list) => {
            for element in list.iter() {
                budget.spend(1)?;
                if equal(a, &element, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => Ok(map.get(a).is_some()),
        Value::Object(object) => match a {
            Value::Text(name) => Ok(object.kind.field(name).is_some()),
            _ => Err(Fault(format!("cannot use {} as a field's name of {}", a.kind(), b.kind()))),
        },
        _ => Err(Fault(format!("operator \"in\" is not defined on {}", b.kind()))),
    }
}

pub(crate) fn text_relation(
    operator: Binary,
    a: &Value<'_>,
    b: &Value<'_>,
    budget: &mut Budget,
) -> Result<bool, Fault> {
    let sign = operator.sign();
    let (whole, part) = (text(a, sign)?, text(b, sign)?);
    Ok(match operator {
        Binary::Contains => {
            budget.read(whole.len())?;
            whole.contains(part)
        }
        Binary::StartsWith => whole.starts_with(part),
        _ => whole.ends_with(part),
    })
}

/// `a..b`, lazily: iterating over it is charged, creating it is not.
pub(crate) fn range<'v>(a: &Value<'_>, b: &Value<'_>) -> Result<Value<'v>, Fault> {
    Ok(Value::List(List::Range(whole(a, "..")?, whole(b, "..")?)))
}

pub(crate) fn negate<'v>(value: &Value<'_>) -> Result<Value<'v>, Fault> {
    Ok(match value {
        Value::Duration(nanos) => Value::Duration(nanos.wrapping_neg()),
        _ => match number(value, "-")? {
            Number::Int(number) => Value::Int(number.wrapping_neg()),
            Number::Float(number) => Value::Float(-number),
        },
    })
}

pub(crate) fn add<'v>(a: &Value<'v>, b: &Value<'v>, budget: &mut Budget) -> Result<Value<'v>, Fault> {
    match (a, b) {
        (Value::Text(left), Value::Text(right)) => {
            let length = left.len() + right.len();
            budget.make(length)?;
            let mut sum = String::with_capacity(length);
            sum.push_str(left);
            sum.push_str(right);
            Ok(Value::owned_text(sum))
        }
        (Value::Time(time), Value::Duration(nanos)) | (Value::Duration(nanos), Value::Time(time)) => time
            .checked_add(SignedDuration::from_nanos(*nanos))
            .map(|time| Value::Time(time.into()))
            .map_err(|_| Fault::from("this moment is too far away")),
        (Value::Duration(a), Value::Duration(b)) => Ok(Value::Duration(a.wrapping_add(*b))),
        _ => numbers(a, b, "+", i64::wrapping_add, |a, b| a + b),
    }
}

/// Subtraction, multiplication, division, modulo, power.
pub(crate) fn arithmetic<'v>(operator: Binary, a: &Value<'v>, b: &Value<'v>) -> Result<Value<'v>, Fault> {
    let sign = operator.sign();
    match (operator, a, b) {
        (Binary::Subtract, Value::Time(a), Value::Time(b)) => {
            let nanos = a.timestamp().duration_since(b.timestamp()).as_nanos();
            let clipped = nanos.clamp(i64::MIN.into(), i64::MAX.into());
            Ok(Value::Duration(i64::try_from(clipped).unwrap_or(i64::MAX)))
        }
        (Binary::Subtract, Value::Time(time), Value::Duration(nanos)) => time
            .checked_sub(SignedDuration::from_nanos(*nanos))
            .map(|time| Value::Time(time.into()))
            .map_err(|_| Fault::from("this moment is too far away")),
        (Binary::Subtract, Value::Duration(a), Value::Duration(b)) => Ok(Value::Duration(a.wrapping_sub(*b))),
        (Binary::Subtract, ..) => numbers(a, b, sign, i64::wrapping_sub, |a, b| a - b),
        (Binary::Multiply, Value::Duration(nanos), factor)
        | (Binary::Multiply, factor, Value::Duration(nanos)) => match number(factor, sign)? {
            Number::Int(factor) => Ok(Value::Duration(nanos.wrapping_mul(factor))),
            Number::Float(factor) => Ok(Value::Duration((*nanos as f64 * factor) as i64)),
        },
        (Binary::Multiply, ..) => numbers(a, b, sign, i64::wrapping_mul, |a, b| a * b),
        (Binary::Modulo, ..) => match (as_number(a), as_number(b)) {
            (Some(Number::Int(_)), Some(Number::Int(0))) => Err(Fault::from("division by zero")),
            (Some(Number::Int(a)), Some(Number::Int(b))) => Ok(Value::Int(a.wrapping_rem(b))),
            _ => Err(mismatch(sign, a, b)),
        },
        _ => match (as_number(a), as_number(b)) {
            (Some(a), Some(b)) if operator == Binary::Divide => Ok(Value::Float(a.float() / b.float())),
            (Some(a), Some(b)) => Ok(Value::Float(a.float().powf(b.float()))),
            _ => Err(mismatch(sign, a, b)),
        },
    }
}

fn numbers<'v>(
    a: &Value<'_>,
    b: &Value<'_>,
    sign: &str,
    whole: impl Fn(i64, i64) -> i64,
    float: impl Fn(f64, f64) -> f64,
) -> Result<Value<'v>, Fault> {
    match (as_number(a), as_number(b)) {
        (Some(Number::Int(a)), Some(Number::Int(b))) => Ok(Value::Int(whole(a, b))),
        (Some(a), Some(b)) => Ok(Value::Float(float(a.float(), b.float()))),
        _ => Err(mismatch(sign, a, b)),
    }
}

/// Resolves an index; negative ones count from the end.
pub(crate) fn in_range(number: i64, length: usize) -> Option<usize> {
    let place = match usize::try_from(number) {
        Ok(place) => place,
        Err(_) => length.checked_sub(usize::try_from(number.unsigned_abs()).ok()?)?,
    };
    (place < length).then_some(place)
}
