//! Values of Go's types, and how `cscli config show` prints them: in Go's syntax, as JSON and as YAML. Pure.

use std::fmt::Write as _;

use palisade_go_compat::quote;
use palisade_wire::GoDuration;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;

use crate::yaml::Node;

/// What is shown for a secret inside a larger value.
const REDACTED: &str = "[redacted]";

/// A struct of the stock program.
#[derive(Debug)]
pub(super) struct StructType {
    /// Without its package.
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Its key in the file; `None` for what is not read from there.
    pub(super) key: Option<&'static str>,
    /// Whether YAML leaves it out when it is empty.
    pub(super) optional: bool,
    /// Its name in JSON, where it is left out when it is empty; usually the field's name, and never left out.
    pub(super) json: Option<&'static str>,
    /// Whether its fields are those of the struct around it.
    pub(super) embedded: bool,
    pub(super) secret: bool,
}

/// A type.
#[derive(Debug)]
pub(super) enum Kind {
    Bool,
    Int,
    Text,
    Level,
    Duration,
    Texts,
    Pointer(&'static Self),
    Struct(&'static StructType),
    /// What is never set here.
    Nothing,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum GoValue {
    /// A pointer or list that is not set.
    Nil,
    Bool(bool),
    Int(i64),
    Text(String),
    /// The number of a log level, whose name JSON and YAML have.
    Level(usize),
    /// Nanoseconds; JSON has the number.
    Duration(i64),
    Texts(Vec<String>),
    Pointer(Box<Self>),
    Struct(&'static StructType, Vec<Self>),
}

const LEVELS: [&str; 7] = ["panic", "fatal", "error", "warning", "info", "debug", "trace"];

impl Kind {
    /// The value that the file has, or Go's zero value.
    pub(super) fn read(&self, written: Option<&Value>) -> GoValue {
        let written = written.filter(|value| !value.is_null());
        match self {
            Self::Nothing => GoValue::Nil,
            Self::Bool => GoValue::Bool(written.and_then(Value::as_bool).unwrap_or(false)),
            Self::Int => GoValue::Int(written.and_then(integer).unwrap_or(0)),
            Self::Text => GoValue::Text(written.map(text).unwrap_or_default()),
            Self::Level => {
                let name = written.map(text).unwrap_or_default().to_ascii_lowercase();
                let name = if name == "warn" { "warning" } else { &name };
                GoValue::Level(LEVELS.iter().position(|level| *level == name).unwrap_or(0))
            }
            Self::Duration => {
                let span = written.and_then(|value| text(value).parse::<GoDuration>().ok());
                GoValue::Duration(span.map_or(0, GoDuration::nanos))
            }
            Self::Texts => match written.and_then(Value::as_array) {
                Some(list) => GoValue::Texts(list.iter().map(text).collect()),
                None => GoValue::Nil,
            },
            Self::Pointer(to) => {
                written.map_or(GoValue::Nil, |value| GoValue::Pointer(Box::new(to.read(Some(value)))))
            }
            Self::Struct(of) => {
                let read = |field: &Field| match field.key {
                    // Embedded fields have their keys beside those of the struct around them.
                    None if field.embedded => field.kind.read(written),
                    None => field.kind.read(written.and_then(|block| block.get(format!("-{}", field.name)))),
                    Some(key) => field.kind.read(written.and_then(|block| block.get(key))),
                };
                GoValue::Struct(of, of.fields.iter().map(read).collect())
            }
        }
    }
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A text, which YAML may have read as something else.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl GoValue {
    /// The field of this name, also of an embedded struct; `None` if there is none, `Nil` if this is not set.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Nil => Some(self),
            Self::Pointer(to) => to.field(name),
            Self::Struct(of, values) => {
                let fields = || of.fields.iter().zip(values);
                let own = fields().find(|(field, _)| field.name == name).map(|(_, value)| value);
                own.or_else(|| fields().filter(|(field, _)| field.embedded).find_map(|(_, v)| v.field(name)))
            }
            _ => None,
        }
    }

    /// An item of a list.
    pub(super) fn item(&self, index: usize) -> Option<Self> {
        self.texts().get(index).cloned().map(Self::Text)
    }

    /// The items of a list; none if it is not set, or no list.
    pub(super) fn texts(&self) -> &[String] {
        match self {
            Self::Texts(list) => list,
            Self::Pointer(to) => to.texts(),
            _ => &[],
        }
    }

    /// The same with the secrets in its fields hidden; a secret that is the value itself stays.
    pub(super) fn without_secrets(&self) -> Self {
        match self {
            Self::Pointer(to) => Self::Pointer(Box::new(to.without_secrets())),
            Self::Struct(of, values) => {
                let fields = of.fields.iter().zip(values);
                let shown = fields.map(
                    |(field, value)| {
                        if field.secret { value.redacted() } else { value.without_secrets() }
                    },
                );
                Self::Struct(of, shown.collect())
            }
            other => other.clone(),
        }
    }

    fn redacted(&self) -> Self {
        match self {
            Self::Text(text) if !text.is_empty() => Self::Text(REDACTED.to_owned()),
            Self::Pointer(to) => Self::Pointer(Box::new(to.redacted())),
            other => other.clone(),
        }
    }

    /// As a text of the overview; empty if it is not set.
    pub(super) fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Level(level) => LEVELS[*level].to_owned(),
            Self::Pointer(to) => to.plain(),
            Self::Nil => String::new(),
            other => other.syntax(),
        }
    }

    /// Go's syntax, one line for each field of a struct.
    pub(super) fn syntax(&self) -> String {
        let mut text = String::new();
        self.write_syntax(&mut text, 0);
        text
    }

    fn write_syntax(&self, text: &mut String, depth: usize) {
        let inner = "  ".repeat(depth + 1);
        let outer = "  ".repeat(depth);
        let _ = match self {
            Self::Nil => write!(text, "nil"),
            Self::Bool(value) => write!(text, "{value}"),
            Self::Int(value) | Self::Duration(value) => write!(text, "{value}"),
            Self::Level(level) => write!(text, "{level}"),
            Self::Text(value) => write!(text, "{}", quote(value)),
            Self::Pointer(to) => {
                text.push('&');
                to.write_syntax(text, depth);
                Ok(())
            }
            Self::Texts(list) if list.is_empty() => write!(text, "[]string{{}}"),
            Self::Texts(list) => {
                text.push_str("[]string{\n");
                for value in list {
                    let _ = writeln!(text, "{inner}{},", quote(value));
                }
                write!(text, "{outer}}}")
            }
            Self::Struct(of, values) => {
                let _ = writeln!(text, "csconfig.{}{{", of.name);
                for (field, value) in of.fields.iter().zip(values) {
                    let _ = write!(text, "{inner}{}: ", field.name);
                    value.write_syntax(text, depth + 1);
                    text.push_str(",\n");
                }
                write!(text, "{outer}}}")
            }
        };
    }

    fn is_zero(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::Bool(value) => !value,
            Self::Int(value) | Self::Duration(value) => *value == 0,
            Self::Level(level) => *level == 0,
            Self::Text(text) => text.is_empty(),
            Self::Texts(list) => list.is_empty(),
            Self::Pointer(_) => false,
            Self::Struct(_, values) => values.iter().all(Self::is_zero),
        }
    }

    /// As YAML, with the keys of the file.
    pub(super) fn yaml(&self) -> Node {
        match self {
            Self::Nil => Node::Scalar(Value::Null),
            Self::Bool(value) => Node::Scalar((*value).into()),
            Self::Int(value) => Node::Scalar((*value).into()),
            Self::Text(text) => Node::Scalar(text.as_str().into()),
            Self::Level(level) => Node::Scalar(LEVELS[*level].into()),
            Self::Duration(nanos) => Node::Scalar(GoDuration::from_nanos(*nanos).to_string().into()),
            Self::Texts(list) => {
                Node::List(list.iter().map(|text| Node::Scalar(text.as_str().into())).collect())
            }
            Self::Pointer(to) => to.yaml(),
            Self::Struct(of, values) => {
                let mut map = Vec::new();
                for (field, value) in of.fields.iter().zip(values) {
                    match (field.key, value) {
                        (_, value) if field.optional && value.is_zero() => {}
                        // A list that is not set is empty.
                        (Some(key), Self::Nil) if matches!(field.kind, Kind::Texts) => {
                            map.push((key.to_owned(), Node::List(Vec::new())));
                        }
                        (Some(key), value) => map.push((key.to_owned(), value.yaml())),
                        (None, value) if field.embedded => {
                            if let Node::Map(inner) = value.yaml() {
                                map.extend(inner);
                            }
                        }
                        (None, _) => {}
                    }
                }
                Node::Map(map)
            }
        }
    }

    fn write_fields<S: serde::ser::SerializeMap>(&self, map: &mut S) -> Result<(), S::Error> {
        let Self::Struct(of, values) = self else { return Ok(()) };
        for (field, value) in of.fields.iter().zip(values) {
            match (field.json, value) {
                // `-` is never in JSON.
                (Some("-"), _) => {}
                (Some(_), value) if value.is_zero() => {}
                (_, value) if field.embedded => value.write_fields(map)?,
                (name, value) => map.serialize_entry(name.unwrap_or(field.name), value)?,
            }
        }
        Ok(())
    }
}

/// As Go's encoder: the names of fields, in their order.
impl Serialize for GoValue {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => to.serialize_none(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Int(value) | Self::Duration(value) => to.serialize_i64(*value),
            Self::Text(text) => to.serialize_str(text),
            Self::Level(level) => to.serialize_str(LEVELS[*level]),
            Self::Texts(list) => list.serialize(to),
            Self::Pointer(inner) => inner.serialize(to),
            Self::Struct(..) => {
                let mut map = to.serialize_map(None)?;
                self.write_fields(&mut map)?;
                map.end()
            }
        }
    }
}
