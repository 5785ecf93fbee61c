//! Decisions and their changes, as the LAPI's store and its replica exchange them. No I/O.

mod commit;
mod decision;

pub use commit::{Change, Commit, Timeline};
pub use decision::{StoredDecision, target_prefix};
