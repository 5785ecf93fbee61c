//! Functions of expressions: signatures and implementations.

use crate::{
    error::Fault,
    limits::Budget,
    value::{Type, Value},
};

/// The implementation of a function that does not need the host.
pub type Pure = for<'v> fn(&[Value<'v>], &mut Budget) -> Result<Value<'v>, Fault>;

/// The signature of a function.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// The parameter types. For a variadic function, the last is the type of all further arguments.
    pub params: &'static [Type],
    /// How many of the last `params` may be omitted.
    pub optional: usize,
    /// Whether any number of arguments may replace the last of `params`, including none.
    pub variadic: bool,
    /// The return type.
    pub returns: Type,
}

impl Signature {
    /// A function with exactly `params`.
    pub const fn new(name: &'static str, params: &'static [Type], returns: Type) -> Self {
        Self { name, params, optional: 0, variadic: false, returns }
    }

    /// The same with the last `count` parameters optional.
    pub const fn with_optional(self, count: usize) -> Self {
        Self { optional: count, ..self }
    }

    /// The same with the last parameter variadic.
    pub const fn any_number(self) -> Self {
        Self { variadic: true, ..self }
    }
}

/// The implementation of a function.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    Pure(Pure),
    /// The host function with this number.
    Host(usize),
    /// The host's clock, in UTC or not.
    Now {
        utc: bool,
    },
}
