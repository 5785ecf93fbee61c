//! Profiles (`profiles.yaml`): turn alerts into decisions.
//!
//! ```text
//!   profiles.yaml.local ┐                                       Alert, History
//!   profiles.yaml ──────┴─► file ─► Profile (filters compiled) ──────┴──────► Outcome: decisions, notifications, trace
//! ```
//!
//! All errors in a file are found when it is read, with file, line and reason: unknown keys, values and names,
//! durations, and functions that this server does not offer (a warning where `on_error` says what a failing filter
//! means). Evaluation is pure; history is queried through [`History`].
//!
//! ```
//! use palisade_profiles::{NoHistory, Profiles};
//! use palisade_wire::{Alert, Source};
//!
//! let profiles = Profiles::parse(
//!     "name: short\nfilters:\n - Alert.GetScenario() contains 'ssh'\ndecisions:\n - type: ban\n   duration: 2h\n",
//!     "profiles.yaml",
//! )?;
//! let alert = Alert {
//!     scenario: "crowdsecurity/ssh-bf".to_owned(),
//!     source: Source { scope: "Ip".to_owned(), value: "192.0.2.1".to_owned(), ..Source::default() },
//!     ..Alert::default()
//! };
//! let outcome = profiles.evaluate(&alert, &NoHistory)?;
//! assert_eq!(outcome.decisions[0].value, "192.0.2.1");
//! assert_eq!(outcome.decisions[0].duration.to_string(), "2h0m0s");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod environment;
mod error;
mod file;
mod history;
mod outcome;
mod profile;
mod profiles;
mod tables;

pub use error::{EvaluationError, ProfilesError};
pub use history::{History, NoHistory};
pub use outcome::{FilterResult, Outcome, ProfileDecision, Step, StepResult};
pub use profile::{Filter, compile_filter};
pub use profiles::Profiles;

#[cfg(test)]
mod tests;
