//! Defines what `explain` answers.

use serde::Serialize;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    pub(super) url: String,
    pub(super) method: String,
    /// What happens in the end.
    pub(super) result: Outcome,
    /// What was found at each step, in order.
    pub(super) steps: Vec<Step>,
    /// The decisions that cover the client.
    pub(super) decisions: Vec<JudgedDecision>,
    /// The upstreams of the route's pool.
    pub(super) upstreams: Vec<UpstreamState>,
}

/// What happens to the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Outcome {
    /// `forward`, `redirect`, `refuse`, `ban`, `captcha`, `throttle`, `unavailable`, `maintenance` or `unknown`.
    pub(super) action: &'static str,
    /// The status of the response, where it is the proxy's own.
    pub(super) status: Option<u16>,
    pub(super) reason: String,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// `listener`, `rules`, `client`, `route`, `policy`, `decisions`, `upstream`.
    pub(super) name: &'static str,
    pub(super) finding: String,
}

/// A decision that covers the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct JudgedDecision {
    pub(super) scope: String,
    pub(super) value: String,
    /// The type as announced.
    pub(super) remediation: String,
    pub(super) origin: String,
    pub(super) scenario: String,
    pub(super) id: i64,
    pub(super) seconds_left: u64,
    /// What it leads to on this route; `None` when it does not count.
    pub(super) leads_to: Option<&'static str>,
    /// Why it does not count, or does not win; or why it leads to something else than its type.
    pub(super) why: String,
    /// Whether it is the one that applies.
    pub(super) applies: bool,
}

/// An upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct UpstreamState {
    pub(super) url: String,
    /// `None` when no proxy runs.
    pub(super) up: Option<bool>,
}
