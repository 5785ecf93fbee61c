//! The shapes of streams and live answers, for the OpenAPI description.

use utoipa::ToSchema;

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
    uuid: Option<String>,
    /// The address, range, country and so on.
    value: String,
}
