//! Values while an expression runs: borrowed from the host or the program wherever possible.

use std::{any::Any, collections::BTreeMap, fmt, ops::Deref, rc::Rc, sync::Arc};

use jiff::{Zoned, tz::TimeZone};

use crate::types::{ObjectType, Type};

/// A value. Cloning never copies what it holds.
#[derive(Clone)]
pub enum Value<'v> {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text. Texts are UTF-8; where a slice cuts a character, U+FFFD stands for its rest.
    Text(Text<'v>),
    /// A span of time in nanoseconds.
    Duration(i64),
    /// A moment in a time zone.
    Time(Rc<Zoned>),
    /// A day of the week, Sunday is 0.
    Weekday(u8),
    /// A month, January is 1.
    Month(u8),
    /// A time zone.
    Zone(Rc<TimeZone>),
    /// A list.
    List(List<'v>),
    /// A map.
    Map(Map<'v>),
    /// An object of the host.
    Object(Object<'v>),
}

/// A text, borrowed or shared.
#[derive(Clone)]
pub enum Text<'v> {
    /// Owned by the host or the program.
    Borrowed(&'v str),
    /// Made while running, or shared by the host.
    Shared(Arc<str>),
}

impl<'v> Text<'v> {
    /// The bytes from `start` to `end`, which must not lie outside. A character that is cut becomes U+FFFD.
    pub fn slice(&self, start: usize, end: usize) -> Self {
        match (self, self.get(start..end)) {
            (Self::Borrowed(text), Some(_)) => Self::Borrowed(&text[start..end]),
            (_, Some(part)) => Self::Shared(part.into()),
            (_, None) => {
                let bytes = self.as_bytes().get(start..end).unwrap_or_default();
                Self::Shared(String::from_utf8_lossy(bytes).into())
            }
        }
    }

    /// `part`, a part of this text, without a copy where that is possible.
    pub fn within(&self, part: &str) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(self.as_ptr() as usize);
        match self {
            Self::Borrowed(text) => match text.get(start..start.wrapping_add(part.len())) {
                Some(part) => Self::Borrowed(part),
                None => Self::Shared(part.into()),
            },
            Self::Shared(_) => Self::Shared(part.into()),
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A list: made while running, counted, or the host's.
#[derive(Clone)]
pub enum List<'v> {
    /// Made while running.
    Owned(Rc<Items<'v>>),
    /// The numbers from the first to the second, both included.
    Range(i64, i64),
    /// The host's.
    Host(HostList<'v>),
}

/// The values of a list that was made while running.
pub struct Items<'v> {
    pub(crate) values: Vec<Value<'v>>,
    /// How deep lists and maps are nested in it: what frees and compares them is recursive.
    pub(crate) depth: u16,
}

/// A list that the host holds.
#[derive(Clone, Copy)]
pub struct HostList<'v> {
    /// What holds the elements.
    pub data: &'v dyn Any,
    /// How many there are.
    pub len: usize,
    /// Reads one of them; asked only for indices below `len`.
    pub get: for<'x> fn(&'x dyn Any, usize) -> Value<'x>,
}

impl<'v> List<'v> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(items) => items.values.len(),
            Self::Range(from, to) if to < from => 0,
            Self::Range(from, to) => {
                usize::try_from(to.abs_diff(*from)).unwrap_or(usize::MAX).saturating_add(1)
            }
            Self::Host(list) => list.len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<Value<'v>> {
        if index >= self.len() {
            return None;
        }
        match self {
            Self::Owned(items) => items.values.get(index).cloned(),
            Self::Range(from, _) => Some(Value::Int(from.wrapping_add(index as i64))),
            Self::Host(list) => Some((list.get)(list.data, index)),
        }
    }

    /// All elements in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Value<'v>> + ExactSizeIterator + '_ {
        (0..self.len()).map(|index| self.get(index).unwrap_or(Value::Nil))
    }
}

/// A map: made while running, or the host's.
#[derive(Clone)]
pub enum Map<'v> {
    /// Made while running.
    Owned(Rc<Entries<'v>>),
    /// The host's, with texts as keys.
    Host(HostMap<'v>),
}

/// The entries of a map that was made while running.
pub struct Entries<'v> {
    pub(crate) entries: BTreeMap<MapKey<'v>, Value<'v>>,
    pub(crate) depth: u16,
}

/// A map that the host holds.
#[derive(Clone, Copy)]
pub struct HostMap<'v> {
    /// What holds the entries.
    pub data: &'v dyn Any,
    /// How to read them.
    pub kind: &'static MapType,
}

/// How a host's map is read. Made as a `static`.
pub struct MapType {
    /// How many entries there are.
    pub len: fn(&dyn Any) -> usize,
    /// The value of a key.
    pub get: for<'x> fn(&'x dyn Any, &str) -> Option<Value<'x>>,
    /// All keys, in the order they are to be walked.
    pub keys: for<'x> fn(&'x dyn Any) -> Vec<Text<'x>>,
    /// What the values are: a key that is missing gives the zero of it, such as `""` in a map of texts.
    pub values: Type,
}

impl<'v> Map<'v> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(map) => map.entries.len(),
            Self::Host(map) => (map.kind.len)(map.data),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: &Value<'v>) -> Option<Value<'v>> {
        match self {
            Self::Owned(map) => map.entries.get(&MapKey::of(key)?).cloned(),
            Self::Host(map) => match key {
                Value::Text(name) => (map.kind.get)(map.data, name),
                _ => None,
            },
        }
    }

    /// The value of a key, or the zero value of this map.
    pub(crate) fn get_or_zero(&self, key: &Value<'v>) -> Value<'v> {
        self.get(key).unwrap_or_else(|| match self {
            Self::Owned(_) => Value::Nil,
            Self::Host(map) => zero(map.kind.values),
        })
    }

    /// The value of a key that is a text.
    pub fn named(&self, name: &str) -> Option<Value<'v>> {
        match self {
            // A borrowed key must live as long as the map's; a shared one may not.
            Self::Owned(map) => map.entries.get(&MapKey::Text(Text::Shared(name.into()))).cloned(),
            Self::Host(map) => (map.kind.get)(map.data, name),
        }
    }

    /// All keys: in order when made while running, in the host's order otherwise.
    pub fn keys(&self) -> Vec<Value<'v>> {
        match self {
            Self::Owned(map) => map.entries.keys().map(MapKey::value).collect(),
            Self::Host(map) => (map.kind.keys)(map.data).into_iter().map(Value::Text).collect(),
        }
    }
}

/// What a value of a type is when there is none.
pub(crate) fn zero(kind: Type) -> Value<'static> {
    match kind {
        Type::Bool => Value::Bool(false),
        Type::Int => Value::Int(0),
        Type::Float => Value::Float(0.0),
        Type::Text => Value::Text(Text::Borrowed("")),
        Type::Duration => Value::Duration(0),
        _ => Value::Nil,
    }
}

/// A value that can be a map's key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MapKey<'v> {
    Nil,
    Bool(bool),
    Int(i64),
    /// Bits, so that equal means identical.
    Float(u64),
    Text(Text<'v>),
}

impl<'v> MapKey<'v> {
    pub(crate) fn of(value: &Value<'v>) -> Option<Self> {
        Some(match value {
            Value::Nil => Self::Nil,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Int(number) | Value::Duration(number) => Self::Int(*number),
            Value::Weekday(number) | Value::Month(number) => Self::Int(i64::from(*number)),
            Value::Float(number) => Self::Float(number.to_bits()),
            Value::Text(text) => Self::Text(text.clone()),
            _ => return None,
        })
    }

    fn value(&self) -> Value<'v> {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(number) => Value::Int(*number),
            Self::Float(bits) => Value::Float(f64::from_bits(*bits)),
            Self::Text(text) => Value::Text(text.clone()),
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

/// An object of the host: what it is, and its data.
#[derive(Clone, Copy)]
pub struct Object<'v> {
    /// What can be asked of it.
    pub kind: &'static ObjectType,
    /// Given to the fields' and methods' functions.
    pub data: &'v dyn Any,
}

impl<'v> Value<'v> {
    /// A text that lives as long as the evaluation.
    pub const fn text(text: &'v str) -> Self {
        Self::Text(Text::Borrowed(text))
    }

    /// A text made while running.
    pub fn owned_text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(Text::Shared(text.into()))
    }

    /// A list made while running.
    pub fn list(values: Vec<Self>) -> Self {
        let depth = 1 + values.iter().map(Self::depth).max().unwrap_or(0);
        Self::List(List::Owned(Rc::new(Items { values, depth })))
    }

    /// A map made while running, from texts to values.
    pub fn map(entries: impl IntoIterator<Item = (Text<'v>, Self)>) -> Self {
        Self::keyed_map(entries.into_iter().map(|(key, value)| (MapKey::Text(key), value)).collect())
    }

    pub(crate) fn keyed_map(entries: BTreeMap<MapKey<'v>, Self>) -> Self {
        let depth = 1 + entries.values().map(Self::depth).max().unwrap_or(0);
        Self::Map(Map::Owned(Rc::new(Entries { entries, depth })))
    }

    /// An object of the host.
    pub fn object(kind: &'static ObjectType, data: &'v dyn Any) -> Self {
        Self::Object(Object { kind, data })
    }

    /// The elements of `list`, read by `get`.
    pub fn host_list<T: 'static>(list: &'v Vec<T>, get: for<'x> fn(&'x dyn Any, usize) -> Value<'x>) -> Self {
        Self::List(List::Host(HostList { data: list, len: list.len(), get }))
    }

    /// A decoded JSON document; numbers are those of JSON, with a fraction.
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(truth) => Self::Bool(*truth),
            serde_json::Value::Number(number) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => Self::owned_text(text.as_str()),
            serde_json::Value::Array(values) => Self::list(values.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(entries) => Self::map(
                entries
                    .iter()
                    .map(|(key, value)| (Text::Shared(key.as_str().into()), Self::from_json(value))),
            ),
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is nil.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// How deep lists and maps are nested.
    pub(crate) fn depth(&self) -> u16 {
        match self {
            Self::List(List::Owned(items)) => items.depth,
            Self::Map(Map::Owned(map)) => map.depth,
            _ => 0,
        }
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "string",
            Self::Duration(_) => "duration",
            Self::Time(_) => "time",
            Self::Weekday(_) => "weekday",
            Self::Month(_) => "month",
            Self::Zone(_) => "time zone",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Object(object) => object.kind.name,
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => fmt::Debug::fmt(text, f),
            other => f.write_str(&crate::library::shown(other)),
        }
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::owned_text(text)
    }
}
