//! `lookup` and `status`: what holds for this address and why, and how fresh that is.
//!
//! A running bouncer answers on a unix socket in its state folder, for its owner only: one line of JSON asks, one
//! line answers. When none is running, the commands answer from the remembered decisions, and say so.

mod answer;
mod command;
mod request;
mod server;
mod show;

pub use answer::{About, Answer, CountLine, DecisionView, Effect, LookupAnswer, Source, State, StatusAnswer};
pub use command::{LocalQuery, LocalQueryError};
pub use request::{Request, Subject, SubjectError};
pub use server::{Control, ControlError, EffectOf, View};
pub use show::printable;

#[cfg(test)]
mod tests;
