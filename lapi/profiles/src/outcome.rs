//! The result of evaluating the profiles for an alert.

use palisade_wire::GoDuration;

/// The result for one alert.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The decisions to attach: those of the first profile that matches and has decisions. Empty when the alert has
    /// decisions of its own, which are kept.
    pub decisions: Vec<ProfileDecision>,
    /// Names of the notifications to send, in order, without duplicates.
    pub notify: Vec<String>,
    /// What each evaluated profile did, in order, for display.
    pub trace: Vec<Step>,
}

/// A decision made by a profile. Its duration counts from the alert's `stop_at`, as all durations in alerts do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileDecision {
    /// Its duration.
    pub duration: GoDuration,
    /// The template's scope or that of the alert's source, in canonical spelling.
    pub scope: String,
    /// `ban`, `captcha`, or another remediation.
    pub kind: String,
    /// The value of the alert's source.
    pub value: String,
    /// The alert's scenario.
    pub scenario: String,
    /// `crowdsec`, or `crowdsec/` and the template's origin.
    pub origin: String,
    /// Whether the template or the alert is simulated.
    pub simulated: bool,
}

/// The evaluation of one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The profile's name; may be empty.
    pub profile: String,
    /// Its filters that were evaluated, in order.
    pub filters: Vec<FilterResult>,
    /// What came of it.
    pub result: StepResult,
    /// The number of its decisions; only those of the first profile with decisions are used.
    pub decisions: usize,
    /// Further remarks, such as a `duration_expr` that failed.
    pub notes: Vec<String>,
    /// Whether later profiles were not evaluated.
    pub stopped: bool,
}

/// The result of one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterResult {
    /// The expression.
    pub filter: String,
    /// The result, or why it could not be evaluated.
    pub result: Result<bool, String>,
}

/// The result of one profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepResult {
    /// It matched.
    Matched,
    /// No filter was true.
    NotMatched,
    /// A filter failed, and `on_error` skips the profile.
    Skipped,
    /// A filter failed, and the profile counts as matched without decisions.
    MatchedWithoutDecisions,
}
