//! Decisions and their changes, as the LAPI's store and its replica exchange them. No I/O.

mod commit;
mod decision;
pub mod json_text;
mod shared_texts;
mod target;
mod value;

pub use commit::{Change, Commit, Timeline};
pub use decision::{NewDecision, StoredDecision};
pub use shared_texts::SharedTexts;
pub use target::{Scope, Target};
pub use value::Value;
