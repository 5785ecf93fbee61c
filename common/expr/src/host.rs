//! The interface through which an expression reads the host's data.

use crate::{error::Fault, limits::Budget, value::Value};

/// Supplies an expression's data during evaluation.
///
/// Values may borrow from it, so data that functions change must be behind a cell, and be shared
/// ([`crate::Text::Shared`]) or copied.
pub trait Host {
    /// The value of the variable with this number.
    fn variable<'v>(&'v self, number: usize) -> Value<'v>;

    /// Calls the function with this number. The number of arguments and, where known, their types have been checked.
    fn call<'v>(
        &'v self,
        number: usize,
        arguments: &[Value<'v>],
        budget: &mut Budget,
    ) -> Result<Value<'v>, Fault>;

    /// The current time, in the zone for `now()`.
    fn now(&self) -> jiff::Zoned {
        jiff::Zoned::now()
    }
}
