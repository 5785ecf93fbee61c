//! Operations on static types, and look-ups in the tables by which a host describes its objects.

use std::fmt;

use crate::value::{Field, Method, ObjectType, Type};

impl Type {
    /// The type of its elements; [`Type::Any`] if it is unknown.
    pub(crate) fn element(self) -> Self {
        match self {
            Self::List(element) | Self::Map(element) => *element,
            _ => Self::Any,
        }
    }

    /// A list of this type. Element types of nested lists and maps are not tracked.
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

    /// Whether the type is unknown.
    pub(crate) fn is_any(self) -> bool {
        matches!(self, Self::Any)
    }

    /// Whether arithmetic is possible. As in the reference, durations, weekdays and months are numbers.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Duration | Self::Weekday | Self::Month)
    }

    /// The common type of two alternatives.
    pub(crate) fn either(self, other: Self) -> Self {
        match (self, other) {
            (Self::List(a), Self::List(b)) if a.same(*b) => self,
            (Self::Map(a), Self::Map(b)) if a.same(*b) => self,
            (a, b) if a.same(b) => a,
            _ => Self::Any,
        }
    }

    /// Whether both types are known and equal.
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

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Field").field(&self.name).field(&self.kind).finish()
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.name).field(&self.params).field(&self.returns).finish()
    }
}
