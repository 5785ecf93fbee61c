//! Sorting of lists.

use std::cmp::Ordering;

use crate::{error::Fault, limits::Budget, ops, value::Value};

/// Parses a sort order: `asc` or `desc`.
pub(crate) fn is_descending(order: &Value<'_>) -> Result<bool, Fault> {
    match order.as_text() {
        Some("asc") => Ok(false),
        Some("desc") => Ok(true),
        _ => Err(Fault::from("the order must be \"asc\" or \"desc\"")),
    }
}

/// A stable sort by the first of each pair.
pub(crate) fn sort<'v>(
    keyed: &mut [(Value<'v>, Value<'v>)],
    descending: bool,
    budget: &mut Budget,
) -> Result<(), Fault> {
    // An estimate of the comparisons; texts may be long.
    let length: usize =
        keyed.iter().map(|(key, _)| key.as_text().map_or(1, |text| 1 + text.len() / 64)).sum();
    budget.spend(length.saturating_mul(keyed.len().max(2).ilog2() as usize))?;
    // Checked before sorting, because a sort cannot be aborted: only keys of one type have an order.
    for pair in keyed.windows(2) {
        ops::order(&pair[0].0, &pair[1].0, "sort")?;
    }
    // If any key is a float all are compared as floats, or the order would not be total.
    let float = keyed.iter().any(|(key, _)| matches!(key, Value::Float(_)));
    keyed.sort_by(|(a, _), (b, _)| {
        let order = if float {
            floats(a, b)
        } else {
            ops::order(a, b, "sort").ok().flatten().unwrap_or(Ordering::Equal)
        };
        if descending { order.reverse() } else { order }
    });
    Ok(())
}

fn floats(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    let float = |value| ops::number(value, "sort").map_or(f64::NAN, |number| number.float());
    float(a).total_cmp(&float(b))
}
