//! Implements the control socket and the commands `lookup` and `status`.
//!
//! A running bouncer answers on a unix socket in its state directory, accessible to its owner only: one line of JSON
//! per request and response. When no bouncer runs, the commands answer from the persisted decisions and say so.

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
