//! Lays our answer beside the written one, field by field.

use serde_json::{Value, json};

use super::chapter::{Answer, Step};
use super::known::{KNOWN, body_errors};

/// Every place at which ours is otherwise than it should be.
pub(crate) fn compare(step: &Step, ours: &Answer) -> Vec<String> {
    let Some(written) = &step.answer else {
        return vec!["no answer is written down; record it".to_owned()];
    };
    let mut expected = written.clone();
    if step.source.is_none() {
        KNOWN.iter().for_each(|known| (known.apply)(step, &mut expected, ours));
    }
    body_errors(&mut expected, ours);
    let (mut expected, ours) = (whole(&expected), whole(ours));
    let mut lines = Vec::new();
    for difference in step.differs.iter().flatten() {
        if pick(&expected, &difference.at) == difference.ours.as_ref() {
            lines.push(format!("{} is no difference any more ({})", difference.at, difference.why));
        }
        put(&mut expected, &difference.at, difference.ours.clone());
    }
    walk("", &expected, &ours, &mut lines);
    lines
}

fn whole(answer: &Answer) -> Value {
    json!(answer)
}

fn pick<'a>(value: &'a Value, at: &str) -> Option<&'a Value> {
    value.pointer(at)
}

/// Puts `new` there, or takes away what is there.
fn put(value: &mut Value, at: &str, new: Option<Value>) {
    let Some((above, last)) = at.rsplit_once('/') else { return };
    let last = last.replace("~1", "/").replace("~0", "~");
    match (value.pointer_mut(above), new) {
        (Some(Value::Object(members)), Some(new)) => {
            members.insert(last, new);
        }
        (Some(Value::Object(members)), None) => {
            members.remove(&last);
        }
        (Some(Value::Array(items)), new) => {
            let at: usize = last.parse().unwrap_or(usize::MAX);
            match new {
                Some(new) if at < items.len() => items[at] = new,
                Some(new) => items.push(new),
                None if at < items.len() => drop(items.remove(at)),
                None => {}
            }
        }
        _ => {}
    }
}

fn walk(at: &str, expected: &Value, ours: &Value, lines: &mut Vec<String>) {
    match (expected, ours) {
        (Value::Object(expected), Value::Object(ours)) => {
            for (name, value) in expected {
                let at = format!("{at}/{name}");
                match ours.get(name) {
                    Some(ours) => walk(&at, value, ours, lines),
                    None => lines.push(format!("{at} is missing, should be {value}")),
                }
            }
            for (name, value) in ours {
                if !expected.contains_key(name) {
                    lines.push(format!("{at}/{name} is {value}, should not be there"));
                }
            }
        }
        (Value::Array(expected), Value::Array(ours)) if expected.len() == ours.len() => {
            for (n, (expected, ours)) in expected.iter().zip(ours).enumerate() {
                walk(&format!("{at}/{n}"), expected, ours, lines);
            }
        }
        (expected, ours) if expected == ours => {}
        (expected, ours) => lines.push(format!("{at} is {ours}, should be {expected}")),
    }
}
