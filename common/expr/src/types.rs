//! Static types of values, and the tables by which a host describes its objects.

use std::{any::Any, fmt};

use crate::{Fault, Value};

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

/// A field of a host object.
pub struct Field {
    /// The field's name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Type,
    /// Reads the field. The data is what the object was created with; the value may borrow from it.
    pub get: for<'v> fn(&'v dyn Any) -> Value<'v>,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Field").field(&self.name).field(&self.kind).finish()
    }
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

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.name).field(&self.params).field(&self.returns).finish()
    }
}
