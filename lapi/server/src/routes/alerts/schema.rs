//! The shapes of posted alerts, for the OpenAPI description. What is not optional is required; `null` is as good as absent.

use palisade_wire::MetaItem;
use utoipa::ToSchema;

/// An alert as posted. Fields that the LAPI assigns may be present and are ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is read leniently")]
pub(crate) struct PostedAlert {
    /// The capacity of the scenario's bucket.
    capacity: i32,
    /// Decisions made by the sender; without any, the profiles decide.
    decisions: Option<Vec<PostedDecision>>,
    /// The log lines that led to it.
    events: Vec<PostedEvent>,
    /// The number of events; usually more than are included.
    events_count: i32,
    /// `crowdsec`, `waf`, `capi`, `papi`, `cscli`, or nothing.
    kind: Option<String>,
    /// Not stored.
    labels: Option<Vec<String>>,
    /// The leak speed of the scenario's bucket, such as `10s`.
    leakspeed: String,
    /// A description.
    message: String,
    /// The alert's context: each value is a JSON array in a text.
    meta: Option<Vec<MetaItem>>,
    /// Whether the scenario asks for a decision.
    remediation: Option<bool>,
    /// The scenario's name, or a free-text reason.
    scenario: String,
    /// SHA-256 of the scenario's file, empty for local ones.
    scenario_hash: String,
    /// The scenario's version, `?` for local and changed ones.
    scenario_version: String,
    /// Whether it is simulated.
    simulated: bool,
    /// What it is about.
    source: PostedSource,
    /// The first event, RFC 3339; any other text stands for now.
    start_at: String,
    /// The last event, RFC 3339; any other text stands for now. Durations of decisions count from here.
    stop_at: String,
}

/// What a posted alert is about.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is read leniently")]
pub(crate) struct PostedSource {
    /// Name of the autonomous system.
    as_name: Option<String>,
    /// Number of the autonomous system, as text.
    as_number: Option<String>,
    /// Country code.
    cn: Option<String>,
    /// Address.
    ip: Option<String>,
    /// Latitude in degrees.
    latitude: Option<f32>,
    /// Longitude in degrees.
    longitude: Option<f32>,
    /// The range its address belongs to.
    range: Option<String>,
    /// `Ip`, `Range`, `Country`, `AS`, or any other word.
    scope: String,
    /// The address, range, country and so on.
    value: String,
}

/// An event of a posted alert.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is read leniently")]
pub(crate) struct PostedEvent {
    /// The extracted fields.
    meta: Vec<MetaItem>,
    /// Its time, RFC 3339; any other text stands for now.
    timestamp: String,
}

/// A decision of a posted alert.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is read leniently")]
pub(crate) struct PostedDecision {
    /// Such as `4h`, counted from the alert's `stop_at`.
    duration: String,
    /// `cscli`, `cscli-import`, `lists`, or another origin.
    origin: String,
    /// The scenario, the list's name, or a free-text reason.
    scenario: String,
    /// `Ip`, `Range`, `Country`, `AS`, or any other word.
    scope: String,
    /// Whether it is simulated; such decisions are not sent to bouncers.
    simulated: Option<bool>,
    /// `ban`, `captcha`, or another remediation.
    #[schema(rename = "type")]
    kind: String,
    /// The address, range, country and so on.
    value: String,
}
