//! Values, borrowed from the host or the program wherever possible, their static types, and the tables by which a host
//! describes its objects.

use std::{any::Any, collections::BTreeMap, rc::Rc, sync::Arc};

use jiff::{Zoned, tz::TimeZone};

use crate::{error::Fault, text::Text};

/// Maximum nesting of lists and maps. Freeing and comparing them is recursive.
const MAX_DEPTH: u16 = 150;

/// A value. Cloning never copies its content.
#[derive(Clone)]
pub enum Value<'v> {
    /// Nil.
    Nil,
    /// A bool.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A UTF-8 text; where a slice cuts a character, U+FFFD replaces the rest.
    Text(Text<'v>),
    /// A duration in nanoseconds.
    Duration(i64),
    /// A time with a time zone.
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

/// A list: created during evaluation, a range of numbers, or the host's.
#[derive(Clone)]
pub enum List<'v> {
    /// Created during evaluation.
    Owned(Rc<Items<'v>>),
    /// The numbers from the first to the second, both included.
    Range(i64, i64),
    /// The host's.
    Host(HostList<'v>),
}

/// The elements of a list that was created during evaluation.
pub struct Items<'v> {
    pub(crate) values: Vec<Value<'v>>,
    /// The nesting depth of lists and maps in it: freeing and comparing them is recursive.
    pub(crate) depth: u16,
}

/// A list of the host.
#[derive(Clone, Copy)]
pub struct HostList<'v> {
    /// The container of the elements.
    pub data: &'v dyn Any,
    /// The number of elements.
    pub len: usize,
    /// Reads an element; called only with indices below `len`.
    pub get: for<'x> fn(&'x dyn Any, usize) -> Value<'x>,
}

impl<'v> List<'v> {
    /// The number of elements.
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

    /// Whether there are no elements.
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

/// A map: created during evaluation, or the host's.
#[derive(Clone)]
pub enum Map<'v> {
    /// Created during evaluation.
    Owned(Rc<Entries<'v>>),
    /// The host's, with text keys.
    Host(HostMap<'v>),
}

/// The entries of a map that was created during evaluation.
pub struct Entries<'v> {
    pub(crate) entries: BTreeMap<MapKey<'v>, Value<'v>>,
    pub(crate) depth: u16,
}

/// A map of the host.
#[derive(Clone, Copy)]
pub struct HostMap<'v> {
    /// The container of the entries.
    pub data: &'v dyn Any,
    /// The functions that read it.
    pub kind: &'static MapType,
}

/// How a host's map is read. Defined as a `static`.
pub struct MapType {
    /// The number of entries.
    pub len: fn(&dyn Any) -> usize,
    /// The value of a key.
    pub get: for<'x> fn(&'x dyn Any, &str) -> Option<Value<'x>>,
    /// All keys, in iteration order.
    pub keys: for<'x> fn(&'x dyn Any) -> Vec<Text<'x>>,
    /// The type of the values: a missing key gives its zero value, such as `""` in a map of texts.
    pub values: Type,
}

impl<'v> Map<'v> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(map) => map.entries.len(),
            Self::Host(map) => (map.kind.len)(map.data),
        }
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key, if it exists.
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

    /// The value of a text key.
    pub fn named(&self, name: &str) -> Option<Value<'v>> {
        match self {
            // A borrowed key would have to live as long as the map's; a shared one does not.
            Self::Owned(map) => map.entries.get(&MapKey::Text(Text::Shared(name.into()))).cloned(),
            Self::Host(map) => (map.kind.get)(map.data, name),
        }
    }

    /// All keys: sorted for a map created during evaluation, in the host's order otherwise.
    pub fn keys(&self) -> Vec<Value<'v>> {
        match self {
            Self::Owned(map) => map.entries.keys().map(MapKey::value).collect(),
            Self::Host(map) => (map.kind.keys)(map.data).into_iter().map(Value::Text).collect(),
        }
    }
}

/// The zero value of a type.
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

/// A value as a map key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MapKey<'v> {
    Nil,
    Bool(bool),
    Int(i64),
    /// The bits, so that equal means identical.
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

/// An object of the host: its type and its data.
#[derive(Clone, Copy)]
pub struct Object<'v> {
    /// The type.
    pub kind: &'static ObjectType,
    /// Passed to the fields' and methods' functions.
    pub data: &'v dyn Any,
}

/// The static type of a value.
#[derive(Clone, Copy)]
pub enum Type {
    /// Unknown until the expression is evaluated.
    Any,
    /// Nil.
    Nil,
    /// A bool.
    Bool,
    /// An integer.
    Int,
    /// A floating-point number.
    Float,
    /// A text.
    Text,
    /// A duration.
    Duration,
    /// A time with a time zone.
    Time,
    /// A day of the week.
    Weekday,
    /// A month.
    Month,
    /// A time zone.
    Zone,
    /// A list with elements of this type.
    List(&'static Self),
    /// A map with values of this type.
    Map(&'static Self),
    /// An object of the host.
    Object(&'static ObjectType),
}

/// The fields and methods of a host object. Defined as a `static`, one per Rust type that expressions can access; types
/// may refer to each other.
pub struct ObjectType {
    /// The type's name in messages.
    pub name: &'static str,
    /// Members readable as `object.Name`.
    pub fields: &'static [Field],
    /// Members callable as `object.Name(…)`.
    pub methods: &'static [Method],
}

/// A field of a host object.
pub struct Field {
    /// The field's name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Type,
    /// Reads the field. The data is what the object was created with; the value may borrow from it.
    pub get: for<'v> fn(&'v dyn Any) -> Value<'v>,
}

/// The implementation of a method: takes the object's data and the arguments.
pub type MethodBody = for<'v> fn(&'v dyn Any, &[Value<'v>]) -> Result<Value<'v>, Fault>;

/// A method of a host object.
pub struct Method {
    /// The method's name.
    pub name: &'static str,
    /// The parameter types; their number is exact.
    pub params: &'static [Type],
    /// The return type.
    pub returns: Type,
    /// Calls the method. Mutable data must be behind a cell: other values may borrow from the object meanwhile.
    pub call: MethodBody,
}

impl<'v> Value<'v> {
    /// A text that is borrowed for the evaluation.
    pub const fn text(text: &'v str) -> Self {
        Self::Text(Text::Borrowed(text))
    }

    /// A text created during evaluation.
    pub fn owned_text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(Text::Shared(text.into()))
    }

    /// A list created during evaluation.
    pub fn list(values: Vec<Self>) -> Self {
        let depth = 1 + values.iter().map(Self::depth).max().unwrap_or(0);
        Self::List(List::Owned(Rc::new(Items { values, depth })))
    }

    /// A map with text keys created during evaluation.
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

    /// A list of the host, whose elements `get` reads.
    pub fn host_list<T: 'static>(list: &'v Vec<T>, get: for<'x> fn(&'x dyn Any, usize) -> Value<'x>) -> Self {
        Self::List(List::Host(HostList { data: list, len: list.len(), get }))
    }

    /// A decoded JSON document; numbers become floats.
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

    /// This newly created value, unless it is nested too deeply.
    pub(crate) fn checked_depth(self) -> Result<Self, Fault> {
        if self.depth() > MAX_DEPTH {
            return Err(Fault::from("lists and maps are nested too deep"));
        }
        Ok(self)
    }

    /// The nesting depth of lists and maps.
    fn depth(&self) -> u16 {
        match self {
            Self::List(List::Owned(items)) => items.depth,
            Self::Map(Map::Owned(map)) => map.depth,
            _ => 0,
        }
    }

    /// The type's name, for messages.
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
