//! Tracks whether an upstream may be used: what requests found out (passive), and what checks found out (active).

mod active;
mod passive;

pub(crate) use self::active::run_checks;
pub(crate) use self::passive::{Admission, PassiveHealth, Transition};
