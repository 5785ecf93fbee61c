//! The parameters and shapes of streams and live answers, for the OpenAPI description.

use utoipa::{IntoParams, ToSchema};

/// The parameters that select decisions in force.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read leniently")]
pub(super) struct SelectionParams {
    /// Comma-separated scopes
    scopes: Option<String>,
    /// Alias of `scopes`
    scope: Option<String>,
    /// Comma-separated origins
    origins: Option<String>,
    /// Comma-separated; the scenario contains one of them
    scenarios_containing: Option<String>,
    /// Comma-separated; the scenario contains none of them
    scenarios_not_containing: Option<String>,
    /// Exact value
    value: Option<String>,
    /// Exact type
    #[param(rename = "type")]
    kind: Option<String>,
    /// Decisions that cover this address
    ip: Option<String>,
    /// Decisions that cover this range
    range: Option<String>,
    /// `false`: decisions contained in the range instead
    contains: Option<bool>,
    /// Anything but `false`: include simulated decisions
    simulated: Option<String>,
}

/// The changes for a bouncer. Apply `deleted` first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is written piece by piece")]
pub(crate) struct DecisionStream {
    /// Decisions in force from now on.
    new: Vec<StreamDecision>,
    /// Decisions no longer in force.
    deleted: Vec<StreamDecision>,
}

/// A decision as sent to bouncers.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is written piece by piece")]
pub(crate) struct StreamDecision {
    /// Time left, such as `3h59m58s`; zero or negative in `deleted`.
    duration: String,
    id: i64,
    /// `crowdsec`, `cscli`, `lists`, `CAPI`, ….
    origin: String,
    /// The scenario, the list's name, or a free-text reason.
    scenario: String,
    /// `Ip`, `Range`, `Country`, `AS`, or another scope.
    scope: String,
    /// `ban`, `captcha`, or another remediation.
    #[schema(rename = "type")]
    kind: String,
    /// Only in streams.
    #[schema(nullable = false)]
    uuid: Option<String>,
    /// The address, range, country and so on.
    value: String,
}
