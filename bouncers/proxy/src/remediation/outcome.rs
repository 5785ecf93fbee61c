//! Defines what a decision leads to.

use std::borrow::Cow;
use std::sync::Arc;

use palisade_cache::{Decision, Target, Timestamp};

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is forwarded.
    Pass(PassReason),
    /// A decision applies to it. With [`Remediation::log_only`] it is forwarded, and only logged and counted.
    Remediate(Remediation),
    /// It is answered with 503.
    Unavailable(Unavailable),
}

/// Why a request is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassReason {
    /// The route looks at no decisions.
    ModeOff,
    /// The client is in the route's exempt networks.
    Exempt,
    /// A decision of type `allow` covers the client.
    Allowed,
    /// No decision that counts on this route covers the client.
    NoDecision,
    /// Decisions are not available, and the policy is to forward.
    Open(Unavailable),
}

/// Why decisions are not available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// None are known yet.
    NotStarted,
    /// They are older than the route accepts.
    Stale,
    /// The LAPI did not answer the query for this address.
    QueryFailed,
}

impl Unavailable {
    /// The word in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "decisions_not_loaded",
            Self::Stale => "decisions_stale",
            Self::QueryFailed => "live_query_failed",
        }
    }
}

/// What is done, from the strongest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RemediationKind {
    /// Refuse.
    Ban,
    /// Refuse until a captcha is solved.
    Captcha,
    /// Limit the rate.
    Throttle,
}

impl RemediationKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Ban, Self::Captcha, Self::Throttle];

    /// The word in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ban => "ban",
            Self::Captcha => "captcha",
            Self::Throttle => "throttle",
        }
    }
}

/// What is done to a request, and because of which decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remediation {
    /// What is done, after the route's fallback was applied.
    pub kind: RemediationKind,
    /// The decision.
    pub decision: Arc<DecisionInfo>,
    /// The request is forwarded all the same: the route only logs and counts.
    pub log_only: bool,
}

/// A decision, independent of the snapshot that it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionInfo {
    /// The LAPI's id.
    pub id: i64,
    /// `crowdsec`, `cscli`, `CAPI`, `lists`, …
    pub origin: Box<str>,
    /// The scenario, the list's name for origin `lists`, or the reason of a manual decision.
    pub scenario: Box<str>,
    /// `Ip`, `Range`, `Country`, `AS`.
    pub scope: Box<str>,
    /// What it applies to: `192.0.2.7`, `192.0.2.0/24`, `FR`, `64500`.
    pub value: Box<str>,
    /// The type as announced, in lower case.
    pub remediation: Box<str>,
    /// When it ends.
    pub until: Timestamp,
}

impl DecisionInfo {
    /// A copy of a snapshot's decision.
    pub fn of(decision: &Decision<'_>) -> Self {
        let value = match decision.target {
            Target::Name(name) => name.into(),
            target @ Target::Net(_) => target.to_string().into(),
        };
        Self {
            id: decision.id,
            origin: decision.origin.into(),
            scenario: decision.scenario.into(),
            scope: decision.scope.into(),
            value,
            remediation: decision.remediation.into(),
            until: decision.until,
        }
    }

    /// The origin as metrics name it: `lists:<list>` for subscribed lists, else the origin itself.
    pub fn source(&self) -> Cow<'_, str> {
        match &*self.origin {
            "lists" => format!("lists:{}", self.scenario).into(),
            origin => origin.into(),
        }
    }
}
