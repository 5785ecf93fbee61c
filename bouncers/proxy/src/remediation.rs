//! Decides what happens to a client's requests.
//!
//! ```text
//!  client ─► Decider::decide ─┬─ off, exempt ──────────────────────────► Pass
//!            (decider.rs)     ├─ decisions too old, unknown ───────────► Pass, Unavailable (policy)
//!                             └─ snapshot ─► rules.rs: what counts ─► strongest.rs ─► Pass, Remediate
//!            Decider::decide_live ─► live.rs ─► LAPI ──────┘
//! ```
//!
//! The severity of what a decision leads to decides, never the length of its prefix: addresses, ranges, countries and
//! autonomous systems are compared together. What a route's policy leaves out hides nothing.

mod decider;
pub mod geo;
pub mod live;
pub mod open_requests;
mod outcome;
mod rules;
mod strongest;
mod throttle;

use palisade_cache::Policy;

pub use self::decider::Decider;
pub use self::outcome::{DecisionInfo, Outcome, PassReason, Remediation, RemediationKind, Unavailable};
pub use self::rules::ALLOW;
pub(crate) use self::rules::{Effect, Rules};
pub(crate) use self::strongest::strongest_of;
pub use self::throttle::{Throttle, Throttled};

/// The order of remediations in the ledger.
///
/// A snapshot's strongest decision is then nearly always the one that applies, and the others need not be read.
pub fn policy() -> Policy {
    Policy::new([ALLOW, "ban", "captcha", "throttle"])
}

#[cfg(test)]
mod tests;
