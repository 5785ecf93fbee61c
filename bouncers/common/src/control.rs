//! Implements the control socket, the commands `lookup` and `status`, and the way of a program's own actions.
//!
//! A running bouncer answers on a unix socket in its state directory, accessible to its owner only: one line of JSON
//! per request and response. When no bouncer runs, `lookup` and `status` answer from the persisted decisions and say so;
//! an action ([`LocalQuery::act`], [`Bouncer::act`](crate::run::Bouncer::act)) fails.

mod answer;
mod command;
mod request;
mod server;
mod show;

pub use answer::{About, Answer, CountLine, DecisionView, Effect, LookupAnswer, Source, State, StatusAnswer};
pub use command::{LocalQuery, LocalQueryError};
pub use request::{MAX_REQUEST_BYTES, Request, Subject, SubjectError};
pub use server::{Act, Control, ControlError, EXCHANGE_TIMEOUT, EffectOf, View};
pub use show::printable;

#[cfg(test)]
mod tests;
