//! `profiles.yaml`: which alert becomes which decisions.

mod error;
mod history;
mod outcome;
mod profiles;

pub use error::{EvaluationError, ProfilesError};
pub use history::{History, NoHistory};
pub use outcome::{FilterResult, Outcome, ProfileDecision, Step, StepResult};
pub use profiles::Profiles;
