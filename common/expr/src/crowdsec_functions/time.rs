//! Functions on times and the intervals between them.

use jiff::{Timestamp, tz::TimeZone};
use palisade_go_compat::layout;

use crate::{
    arguments::{list_at, text_at},
    error::Fault,
    function::{Pure, Signature},
    limits::Budget,
    value::{Type, Value},
};

pub(super) fn all() -> Vec<(Signature, Pure)> {
    let gaps = |name| Signature::new(name, &[Type::List(&Type::Any)], Type::Duration);
    vec![
        (Signature::new("ParseUnix", &[Type::Text], Type::Text), parse_unix as Pure),
        (gaps("AverageInterval"), average_interval),
        (gaps("MedianInterval"), median_interval),
    ]
}

/// Seconds since the Unix epoch, with or without a fraction, as RFC 3339; empty if it is not a valid number.
fn parse_unix<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    let text = text_at(args, 0)?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let moment = seconds.parse().ok().filter(|seconds: &i64| *seconds > 0).and_then(|seconds| {
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        Timestamp::new(seconds, digits.parse().ok()?).ok()
    });
    Ok(match moment {
        Some(moment) => {
            Value::from(layout::format(&moment.to_zoned(TimeZone::UTC), "2006-01-02T15:04:05Z07:00"))
        }
        None => Value::text(""),
    })
}

/// The differences between consecutive times, after sorting them.
fn gaps(args: &[Value<'_>], budget: &mut Budget) -> Result<Vec<i64>, Fault> {
    let list = list_at(args, 0)?;
    budget.spend(list.len().saturating_mul(8))?;
    let mut moments = Vec::with_capacity(list.len());
    for moment in list.iter() {
        let Value::Time(time) = moment else {
            return Err(Fault(format!("expected a list of times and found {} in it", moment.kind())));
        };
        moments.push(time.timestamp().as_nanosecond());
    }
    if moments.len() < 2 {
        return Err(Fault::from("need at least two times to calculate an interval"));
    }
    moments.sort_unstable();
    Ok(moments.windows(2).map(|pair| i64::try_from(pair[1] - pair[0]).unwrap_or(i64::MAX)).collect())
}

fn average_interval<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let gaps = gaps(args, budget)?;
    let total: i128 = gaps.iter().copied().map(i128::from).sum();
    Ok(Value::Duration(i64::try_from(total / gaps.len() as i128).unwrap_or(i64::MAX)))
}

fn median_interval<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let mut gaps = gaps(args, budget)?;
    gaps.sort_unstable();
    let middle = gaps.len() / 2;
    Ok(Value::Duration(if gaps.len() % 2 == 1 {
        gaps[middle]
    } else {
        gaps[middle - 1] + (gaps[middle] - gaps[middle - 1]) / 2
    }))
}
