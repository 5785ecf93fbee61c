//! What a checker knows of a value before there is one, and how a host describes its objects.

use std::{any::Any, fmt};

use crate::{Fault, Value};

/// What is known of a value when an expression is compiled.
#[derive(Clone, Copy)]
pub enum Type {
    /// Nothing: it shows when the expression runs.
    Any,
    /// It is nil.
    Nil,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A number with a fraction.
    Float,
    /// A text.
    Text,
    /// A span of time.
    Duration,
    /// A moment in a time zone.
    Time,
    /// A day of the week.
    Weekday,
    /// A month.
    Month,
    /// A time zone.
    Zone,
    /// A list of such values.
    List(&'static Self),
    /// A map to such values.
    Map(&'static Self),
    /// An object of the host.
    Object(&'static ObjectType),
}

impl Type {
    /// What its elements are; [`Type::Any`] when that is not known.
    pub(crate) fn element(self) -> Self {
        match self {
            Self::List(element) | Self::Map(element) => *element,
            _ => Self::Any,
        }
    }

    /// A list of these. What is in lists of lists and maps is not followed any further.
    pub(crate) fn list(self) -> Self {
        Self::List(match self {
            Self::Bool => &Self::Bool,
            Self::Int => &Self::Int,
            Self::Float => &Self::Float,
            Self::Text => &Self::Text,
            Self::Duration => &Self::Duration,
            Self::Time => &Self::Time,
            _ => &Self::Any,
        })
    }

    /// Whether nothing is known that could be checked.
    pub(crate) fn is_any(self) -> bool {
        matches!(self, Self::Any)
    }

    /// Whether it can be calculated with. As in the reference, durations, weekdays and months are numbers.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Duration | Self::Weekday | Self::Month)
    }

    /// What a value that may be either of two is.
    pub(crate) fn either(self, other: Self) -> Self {
        match (self, other) {
            (Self::List(a), Self::List(b)) if a.same(*b) => self,
            (Self::Map(a), Self::Map(b)) if a.same(*b) => self,
            (a, b) if a.same(b) => a,
            _ => Self::Any,
        }
    }

    /// Whether both are known and the same.
    pub(crate) fn same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Object(a), Self::Object(b)) => std::ptr::eq(a, b),
            (Self::List(a), Self::List(b)) | (Self::Map(a), Self::Map(b)) => a.same(*b),
            (a, b) => std::mem::discriminant(&a) == std::mem::discriminant(&b),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Nil => f.write_str("nil"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Float => f.write_str("float"),
            Self::Text => f.write_str("string"),
            Self::Duration => f.write_str("duration"),
            Self::Time => f.write_str("time"),
            Self::Weekday => f.write_str("weekday"),
            Self::Month => f.write_str("month"),
            Self::Zone => f.write_str("time zone"),
            Self::List(element) => write!(f, "list of {element}"),
            Self::Map(element) => write!(f, "map of {element}"),
            Self::Object(kind) => f.write_str(kind.name),
        }
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an object of the host offers. Made as a `static`, one for each Rust type that expressions can see; types may
/// name each other.
pub struct ObjectType {
    /// Its name in messages.
    pub name: &'static str,
    /// What can be read as `object.Name`.
    pub fields: &'static [Field],
    /// What can be called as `object.Name(…)`.
    pub methods: &'static [Method],
}

impl ObjectType {
    /// The field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The method of this name.
    pub(crate) fn method(&self, name: &str) -> Option<&'static Method> {
        self.methods.iter().find(|method| method.name == name)
    }
}

impl fmt::Debug for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectType").field(&self.name).finish()
    }
}

/// A field of a host's object.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Type,
    /// Reads it. The data is what the object was made with; the value may borrow from it.
    pub get: for<'v> fn(&'v dyn Any) -> Value<'v>,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Field").field(&self.name).field(&self.kind).finish()
    }
}

/// How a method runs: with the object's data and the arguments.
pub type MethodBody = for<'v> fn(&'v dyn Any, &[Value<'v>]) -> Result<Value<'v>, Fault>;

/// A method of a host's object.
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// What it takes, exactly as many.
    pub params: &'static [Type],
    /// What it returns.
    pub returns: Type,
    /// Runs it. Data that changes does so behind a cell: other values may borrow from the object meanwhile.
    pub call: MethodBody,
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.name).field(&self.params).field(&self.returns).finish()
    }
}
