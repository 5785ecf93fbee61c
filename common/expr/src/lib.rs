//! The expression language of CrowdSec's profiles and scenarios: parse, check, evaluate. No I/O.
//!
//! ```text
//!   source ─lexer─► tokens ─parser─► tree ─compiler + Vocabulary─► Program      names, members, types: errors with a place
//!                                                                    │
//!                                       Host (variables, functions) ─┴─► Value   borrowed; steps, sizes, depth bounded
//! ```
//!
//! A host describes its objects with [`ObjectType`] tables and gives values that borrow from them. Members are resolved
//! when an expression is compiled, so a simple filter runs in well under a microsecond.
//!
//! ```
//! use std::any::Any;
//!
//! use palisade_expr::{Budget, Fault, Field, Host, Limits, ObjectType, Program, Type, Value, Vocabulary};
//!
//! struct Door {
//!     name: String,
//!     open: bool,
//! }
//!
//! fn door(data: &dyn Any) -> &Door {
//!     data.downcast_ref().expect("this table is used with doors only")
//! }
//!
//! static DOOR: ObjectType = ObjectType {
//!     name: "Door",
//!     fields: &[
//!         Field { name: "Name", kind: Type::Text, get: |data| Value::text(&door(data).name) },
//!         Field { name: "Open", kind: Type::Bool, get: |data| Value::Bool(door(data).open) },
//!     ],
//!     methods: &[],
//! };
//!
//! impl Host for Door {
//!     fn variable<'v>(&'v self, _: usize) -> Value<'v> {
//!         Value::object(&DOOR, self)
//!     }
//!
//!     fn call<'v>(&'v self, _: usize, _: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
//!         Err(Fault::from("no functions here"))
//!     }
//! }
//!
//! let mut names = Vocabulary::new().with_library();
//! names.variable("Door", 0, Type::Object(&DOOR));
//! let filter = Program::compile_condition(r#"Door.Open && Upper(Door.Name) startsWith "CELLAR""#, &names)?;
//! let door = Door { name: "cellar 2".to_owned(), open: true };
//! assert_eq!(filter.test(&door, Limits::default()), Ok(true));
//!
//! let wrong = Program::compile("Door.Opem", &names).unwrap_err();
//! assert_eq!(wrong.to_string(), "Door has no field Opem; did you mean Open? (1:1)");
//! # Ok::<(), palisade_expr::CompileError>(())
//! ```

mod arguments;
mod ast;
mod code;
mod compile;
mod crowdsec_functions;
mod error;
mod eval;
mod format;
mod function;
mod host;
mod language_functions;
mod lexer;
mod limits;
mod ops;
mod parser;
mod program;
mod shown;
mod sorting;
mod text;
mod types;
mod value;
mod vocabulary;

pub use error::{CompileError, EvalError, Fault, Span};
pub use format::sprintf;
pub use function::{Pure, Signature};
pub use host::Host;
pub use limits::{Budget, Limits};
pub use program::Program;
pub use text::Text;
pub use value::{
    Entries, Field, HostList, HostMap, Items, List, Map, MapType, Method, MethodBody, Object, ObjectType,
    Type, Value,
};
pub use vocabulary::Vocabulary;

#[cfg(test)]
mod tests;
