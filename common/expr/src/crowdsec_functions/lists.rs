//! Functions on lists and maps.

use crate::{
    arguments::{int_at, list_at},
    error::Fault,
    function::{Pure, Signature},
    limits::Budget,
    ops,
    value::{List, Map, Type, Value},
};

const ANY: Type = Type::Any;
const LIST: Type = Type::List(&Type::Any);

pub(super) fn all() -> Vec<(Signature, Pure)> {
    vec![
        (Signature::new("KeyExists", &[Type::Text, Type::Map(&Type::Any)], Type::Bool), key_exists as Pure),
        (Signature::new("Get", &[Type::List(&Type::Text), Type::Int], Type::Text), get),
        (Signature::new("Flatten", &[ANY], LIST).any_number(), flatten),
        (Signature::new("Distinct", &[ANY], LIST).any_number(), distinct),
        (Signature::new("FlattenDistinct", &[ANY], LIST).any_number(), flatten_distinct),
    ]
}

fn key_exists<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    match (args.first(), args.get(1)) {
        (Some(key), Some(Value::Map(map))) => Ok(Value::Bool(map.get(key).is_some())),
        (_, Some(Value::Nil)) => Ok(Value::Bool(false)),
        (_, other) => Err(Fault(format!(
            "KeyExists takes a map and got {}",
            other.map_or("nothing", |value| value.kind())
        ))),
    }
}

/// An element of a list of texts; empty if the index is out of range.
fn get<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    let list = list_at(args, 0)?;
    let found = usize::try_from(int_at(args, 1)?).ok().and_then(|index| list.get(index));
    Ok(found.unwrap_or(Value::text("")))
}

/// Flattens nested lists, in order.
fn flat<'v>(value: &Value<'v>, out: &mut Vec<Value<'v>>, budget: &mut Budget) -> Result<(), Fault> {
    budget.spend(1)?;
    match value {
        Value::List(list) => {
            for element in list.iter() {
                flat(&element, out, budget)?;
            }
        }
        other => out.push(other.clone()),
    }
    Ok(())
}

pub(crate) fn flatten<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let mut out = Vec::new();
    for arg in args {
        flat(arg, &mut out, budget)?;
    }
    Ok(Value::list(out))
}

/// Removes duplicates, keeping the first of each.
pub(crate) fn unique<'v>(
    values: impl Iterator<Item = Value<'v>>,
    budget: &mut Budget,
) -> Result<Vec<Value<'v>>, Fault> {
    let mut kept: Vec<Value<'v>> = Vec::new();
    for value in values {
        let mut known = false;
        for other in &kept {
            budget.spend(1)?;
            if ops::equal(other, &value, budget)? {
                known = true;
                break;
            }
        }
        if !known {
            kept.push(value);
        }
    }
    Ok(kept)
}

fn distinct<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    // A single list argument stands for its elements.
    let kept = match args {
        [Value::List(list)] => unique(list.iter(), budget)?,
        _ => unique(args.iter().cloned(), budget)?,
    };
    Ok(Value::list(kept))
}

fn flatten_distinct<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let mut out = Vec::new();
    for arg in args {
        flat(arg, &mut out, budget)?;
    }
    Ok(Value::list(unique(out.into_iter(), budget)?))
}

/// The elements of a list, charged to the budget.
pub(crate) fn elements<'v>(list: &List<'v>, budget: &mut Budget) -> Result<Vec<Value<'v>>, Fault> {
    budget.spend(list.len())?;
    Ok(list.iter().collect())
}

/// The entries of a map, charged to the budget.
pub(crate) fn entries<'v>(map: &Map<'v>, budget: &mut Budget) -> Result<Vec<(Value<'v>, Value<'v>)>, Fault> {
    budget.spend(map.len())?;
    Ok(map.keys().into_iter().map(|key| (key.clone(), map.get(&key).unwrap_or(Value::Nil))).collect())
}
