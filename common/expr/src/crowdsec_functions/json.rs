//! JSON: extracts values by path without decoding the document, and converts whole documents.

use crate::{
    arguments::text_at,
    error::Fault,
    function::{Pure, Signature},
    limits::Budget,
    shown::shown,
    text::Text,
    value::{Type, Value},
};

const TEXT: Type = Type::Text;

pub(super) fn all() -> Vec<(Signature, Pure)> {
    let path = |name, returns| Signature::new(name, &[TEXT, TEXT], returns);
    vec![
        (path("JsonExtract", TEXT), extract as Pure),
        (path("JsonExtractLib", TEXT).any_number(), extract_keys),
        (path("JsonExtractUnescape", TEXT).any_number(), extract_unescaped),
        (path("JsonExtractSlice", Type::List(&Type::Any)), extract_list),
        (path("JsonExtractObject", Type::Map(&Type::Any)), extract_object),
        (Signature::new("ToJsonString", &[Type::Any], TEXT), to_json_string),
    ]
}

/// `a.b[0].c` as keys: `a`, `b`, `[0]`, `c`.
fn keys(path: &str) -> Vec<String> {
    let path = if path.starts_with('[') { path.to_owned() } else { path.replace('[', ".[") };
    path.split('.').map(str::to_owned).collect()
}

/// The raw text of the value at a path; strings with their quotes.
fn find<'j>(json: &'j str, keys: &[impl AsRef<str>]) -> Option<&'j str> {
    let mut at = json.trim_start();
    for key in keys {
        let key = key.as_ref();
        let index = key.strip_prefix('[').and_then(|key| key.strip_suffix(']'));
        at = match index.and_then(|index| index.parse::<usize>().ok()) {
            Some(index) => element(at, index)?,
            None => member(at, key)?,
        };
    }
    Some(&at[..value_end(at)?])
}

/// The value of a key of the object at the start of `json`.
fn member<'j>(json: &'j str, key: &str) -> Option<&'j str> {
    let mut rest = json.strip_prefix('{')?.trim_start();
    while rest.starts_with('"') {
        let end = value_end(rest)?;
        let name = &rest[1..end - 1];
        let value = rest[end..].trim_start().strip_prefix(':')?.trim_start();
        let found = if name.contains('\\') {
            serde_json::from_str::<String>(&rest[..end]).is_ok_and(|name| name == key)
        } else {
            name == key
        };
        if found {
            return Some(value);
        }
        rest = value[value_end(value)?..].trim_start().strip_prefix(',')?.trim_start();
    }
    None
}

/// An element of the list at the start of `json`.
fn element(json: &str, index: usize) -> Option<&str> {
    let mut rest = json.strip_prefix('[')?.trim_start();
    if rest.starts_with(']') {
        return None;
    }
    for _ in 0..index {
        rest = rest[value_end(rest)?..].trim_start().strip_prefix(',')?.trim_start();
    }
    Some(rest)
}

/// The end of the value at the start of `json`. Looks at brackets and quotes only, without recursion.
fn value_end(json: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += 1;
                while *bytes.get(at)? != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ if depth > 0 => at += 1,
            b',' | b':' => return None,
            _ => {
                let rest = &bytes[at..];
                let length = rest
                    .iter()
                    .position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace())
                    .unwrap_or(rest.len());
                at += length;
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// A string without its quotes, anything else unchanged; escapes are kept.
fn raw<'v>(json: &Text<'v>, found: Option<&str>) -> Value<'v> {
    match found {
        Some(found) => {
            let inner = found.strip_prefix('"').and_then(|found| found.strip_suffix('"')).unwrap_or(found);
            Value::Text(json.within(inner))
        }
        None => Value::text(""),
    }
}

fn extract<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let (json, path) = (text_at(args, 0)?, text_at(args, 1)?);
    let keys = keys(path);
    budget.read(json.len().saturating_mul(keys.len()))?;
    Ok(raw(json, find(json, &keys)))
}

fn path_of<'v>(args: &[Value<'v>]) -> Result<Vec<String>, Fault> {
    (1..args.len()).map(|index| text_at(args, index).map(|key| key.to_string())).collect()
}

fn extract_keys<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let json = text_at(args, 0)?;
    budget.read(json.len().saturating_mul(args.len()))?;
    Ok(raw(json, find(json, &path_of(args)?)))
}

fn extract_unescaped<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let json = text_at(args, 0)?;
    budget.read(json.len().saturating_mul(args.len()))?;
    let found = find(json, &path_of(args)?);
    match found.and_then(|found| serde_json::from_str::<String>(found).ok()) {
        Some(text) => Ok(Value::from(text)),
        None => Ok(raw(json, found)),
    }
}

fn decoded<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Option<serde_json::Value>, Fault> {
    let (json, path) = (text_at(args, 0)?, text_at(args, 1)?);
    let keys = keys(path);
    budget.read(json.len().saturating_mul(8 + keys.len()))?;
    Ok(find(json, &keys).and_then(|found| serde_json::from_str(found).ok()))
}

fn extract_list<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    match decoded(args, budget)? {
        Some(list @ serde_json::Value::Array(_)) => Ok(Value::from_json(&list)),
        _ => Ok(Value::Nil),
    }
}

fn extract_object<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    match decoded(args, budget)? {
        Some(object @ serde_json::Value::Object(_)) => Ok(Value::from_json(&object)),
        _ => Ok(Value::Nil),
    }
}

/// Empty if the value cannot be encoded, as in the reference.
fn to_json_string<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let value = args.first().cloned().unwrap_or(Value::Nil);
    match encode(&value, budget) {
        Ok(json) => Ok(Value::from(json.to_string())),
        Err(fault) if fault.0.starts_with("cannot write") => Ok(Value::text("")),
        Err(fault) => Err(fault),
    }
}

/// `toJSON`, indented as in the reference.
pub(crate) fn to_json<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let value = args.first().cloned().unwrap_or(Value::Nil);
    let json = encode(&value, budget)?;
    let text = serde_json::to_string_pretty(&json).map_err(|error| Fault(error.to_string()))?;
    budget.make(text.len())?;
    Ok(Value::from(text))
}

/// `fromJSON`.
pub(crate) fn from_json<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let text = text_at(args, 0)?;
    // A decoded document takes many times the memory of its text.
    budget.read(text.len().saturating_mul(8))?;
    let json = serde_json::from_str(text).map_err(|error| Fault(format!("not JSON: {error}")))?;
    Value::from_json(&json).checked_depth()
}

fn encode(value: &Value<'_>, budget: &mut Budget) -> Result<serde_json::Value, Fault> {
    use serde_json::Value as Json;
    budget.spend(1)?;
    Ok(match value {
        Value::Nil => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(number) | Value::Duration(number) => Json::from(*number),
        Value::Weekday(number) | Value::Month(number) => Json::from(*number),
        // Integers without a decimal point, as Go writes them.
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Json::from(*number as i64),
        Value::Float(number) => Json::from(*number),
        Value::Text(text) => {
            budget.read(text.len())?;
            Json::String(text.to_string())
        }
        Value::Time(time) => {
            Json::String(palisade_go_compat::layout::format(time, "2006-01-02T15:04:05.999999999Z07:00"))
        }
        Value::List(list) => {
            let mut made = Vec::new();
            for element in list.iter() {
                made.push(encode(&element, budget)?);
            }
            Json::Array(made)
        }
        Value::Map(map) => {
            let mut made = serde_json::Map::new();
            for key in map.keys() {
                let element = map.get(&key).unwrap_or(Value::Nil);
                made.insert(shown(&key), encode(&element, budget)?);
            }
            Json::Object(made)
        }
        Value::Object(object) => {
            let mut made = serde_json::Map::new();
            for field in object.kind.fields {
                made.insert(field.name.to_owned(), encode(&(field.get)(object.data), budget)?);
            }
            Json::Object(made)
        }
        Value::Zone(_) => return Err(Fault(format!("cannot write {} as JSON", value.kind()))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_path() {
        let json = r#" {"a": {"b": [1, {"c": "x\"y,}"}, [2, 3]], "n": null}, "d\u0065f": true, "s": "", "f": -1.5e3}"#;
        for (path, meant) in [
            ("a.b[0]", Some("1")),
            ("a.b[1].c", Some(r#""x\"y,}""#)),
            ("a.b[2][1]", Some("3")),
            ("a.b[2]", Some("[2, 3]")),
            ("a.b[3]", None),
            ("a.n", Some("null")),
            ("def", Some("true")),
            ("s", Some(r#""""#)),
            ("f", Some("-1.5e3")),
            ("zzz", None),
            ("a.b.c", None),
        ] {
            assert_eq!(find(json, &keys(path)), meant, "{path}");
        }
        for broken in ["", "{", "{\"a\"", "{\"a\":", "{\"a\":\"x", "[1", "}", "\"a\\"] {
            assert_eq!(find(broken, &keys("a")), None, "{broken}");
        }
    }
}
