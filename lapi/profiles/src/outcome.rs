//! What the profiles made of one alert.

use palisade_wire::GoDuration;

/// The result for one alert.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The decisions to attach: those of the first profile that matched and makes some. Empty when the alert came with
    /// its own, for these are kept as they are.
    pub decisions: Vec<ProfileDecision>,
    /// Names of the notifications to send, in order, each once.
    pub notify: Vec<String>,
    /// What each profile that was looked at did, in order; a person reads it.
    pub trace: Vec<Step>,
}

/// A decision that a profile makes. Counted from the alert's `stop_at`, as all durations in alerts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileDecision {
    /// How long it is to last.
    pub duration: GoDuration,
    /// The template's scope or the alert source's, in its canonical spelling.
    pub scope: String,
    /// What is to be done: `ban`, `captcha`, or any other word.
    pub kind: String,
    /// The alert source's value.
    pub value: String,
    /// The alert's scenario.
    pub scenario: String,
    /// `crowdsec`, or `crowdsec/` and the template's origin.
    pub origin: String,
    /// Whether the template or the alert says that it is only a rehearsal.
    pub simulated: bool,
}

/// What one profile did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The profile's name; may be empty.
    pub profile: String,
    /// Its filters that were evaluated, in order.
    pub filters: Vec<FilterResult>,
    /// What came of it.
    pub result: StepResult,
    /// How many decisions it made. They count only for the first profile that makes some.
    pub decisions: usize,
    /// What a person should know besides, such as a `duration_expr` that failed.
    pub notes: Vec<String>,
    /// Whether no further profile was looked at.
    pub stopped: bool,
}

/// What one filter said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterResult {
    /// The expression as written.
    pub filter: String,
    /// True, false, or why it could not be evaluated.
    pub result: Result<bool, String>,
}

/// What came of one profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepResult {
    /// It matched.
    Matched,
    /// None of its filters was true.
    NotMatched,
    /// A filter failed, and `on_error` says that the profile is to be passed over.
    Skipped,
    /// A filter failed, and the profile counts as matched without decisions.
    MatchedWithoutDecisions,
}
