//! Alerts with their decisions, as returned by `GET /v1/alerts` and, once validated, as posted to `POST /v1/alerts`.

use serde::{Deserialize, Serialize, Serializer};

use crate::request_body::null_is_default;

/// An alert of a log processor, an operator or an import. Fields that stock clients read unconditionally are always
/// written; the others are omitted when empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alert {
    /// The capacity of the scenario's bucket.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub capacity: i32,
    /// When the LAPI stored it, RFC 3339; ignored in requests.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub created_at: String,
    /// Its decisions; `null` when there are none.
    #[serde(default, serialize_with = "null_when_empty", deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "openapi", schema(required = true, value_type = Option<Vec<Decision>>))]
    pub decisions: Vec<Decision>,
    /// The log lines that led to it; `null` when there are none.
    #[serde(default, serialize_with = "null_when_empty", deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "openapi", schema(required = true, value_type = Option<Vec<Event>>))]
    pub events: Vec<Event>,
    /// The number of events; usually more than are included.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub events_count: i32,
    /// The alert's id; ignored in requests.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub id: i64,
    /// `crowdsec`, `waf`, `capi`, `papi`, `cscli`, or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Not stored; always written as `null`.
    #[serde(default, serialize_with = "always_null", deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "openapi", schema(required = true, value_type = Option<Vec<String>>))]
    pub labels: Vec<String>,
    /// The leak speed of the scenario's bucket, such as `10s`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub leakspeed: String,
    /// The machine's name, `N/A` without an owner; ignored in requests.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub machine_id: String,
    /// A description.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub message: String,
    /// The alert's context: each value is a JSON array in a text.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub meta: Vec<MetaItem>,
    /// Whether the scenario asks for a decision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remediation: bool,
    /// The scenario's name, or a free-text reason.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub scenario: String,
    /// SHA-256 of the scenario's file, empty for local ones.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub scenario_hash: String,
    /// The scenario's version, `?` for local and changed ones.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub scenario_version: String,
    /// Whether it is simulated.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub simulated: bool,
    /// What it is about.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub source: Source,
    /// The first event, RFC 3339.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub start_at: String,
    /// The last event, RFC 3339. Durations of decisions count from here.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub stop_at: String,
    /// Assigned by the LAPI; ignored in requests.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uuid: String,
}

/// What an alert is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Source {
    /// Name of the autonomous system.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub as_name: String,
    /// Number of the autonomous system, as text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub as_number: String,
    /// Country code.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cn: String,
    /// Address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Latitude in degrees.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub latitude: f32,
    /// Longitude in degrees.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub longitude: f32,
    /// The range its address belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub range: String,
    /// `Ip`, `Range`, `Country`, `AS`, or any other word.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub scope: String,
    /// The address, range, country and so on.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub value: String,
}

/// A parsed log line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// The extracted fields; `null` when they were too large to store.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub meta: Option<Vec<MetaItem>>,
    /// Its time. The LAPI writes Go's text form, `2026-07-01 10:00:00 +0000 UTC`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub timestamp: String,
}

/// A key and a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetaItem {
    /// The name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// A decision inside an alert. The stream has another shape, [`StreamDecision`](crate::StreamDecision).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decision {
    /// In requests its duration, counted from the alert's `stop_at`; in responses the time left, negative once it has
    /// ended.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub duration: String,
    /// The decision's id; ignored in requests.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub id: i64,
    /// `crowdsec`, `cscli`, `cscli-import`, `lists`, `CAPI` and others.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub origin: String,
    /// The scenario, the list's name, or a free-text reason.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub scenario: String,
    /// `Ip`, `Range`, `Country`, `AS`, or any other word.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub scope: String,
    /// Whether it is simulated; such decisions are not sent to bouncers.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub simulated: bool,
    /// `ban`, `captcha`, or another remediation.
    #[serde(default, rename = "type")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub kind: String,
    /// Assigned by the LAPI; ignored in requests.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uuid: String,
    /// The address, range, country and so on.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub value: String,
}

/// An alert in the form to post: lists are never `null`, which would be refused, and fields assigned by the LAPI are
/// omitted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Posting<'a> {
    capacity: i32,
    decisions: &'a [Decision],
    events: Vec<PostingEvent<'a>>,
    events_count: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'a str,
    leakspeed: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "<[MetaItem]>::is_empty")]
    meta: &'a [MetaItem],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    remediation: bool,
    scenario: &'a str,
    scenario_hash: &'a str,
    scenario_version: &'a str,
    simulated: bool,
    source: &'a Source,
    start_at: &'a str,
    stop_at: &'a str,
}

/// An event whose list of fields is never `null`.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct PostingEvent<'a> {
    meta: &'a [MetaItem],
    timestamp: &'a str,
}

impl<'a> From<&'a Event> for PostingEvent<'a> {
    fn from(event: &'a Event) -> Self {
        Self { meta: event.meta.as_deref().unwrap_or_default(), timestamp: &event.timestamp }
    }
}

impl Alert {
    /// The form in which it is posted.
    pub fn posting(&self) -> Posting<'_> {
        Posting {
            capacity: self.capacity,
            decisions: &self.decisions,
            events: self.events.iter().map(PostingEvent::from).collect(),
            events_count: self.events_count,
            kind: &self.kind,
            leakspeed: &self.leakspeed,
            message: &self.message,
            meta: &self.meta,
            remediation: self.remediation,
            scenario: &self.scenario,
            scenario_hash: &self.scenario_hash,
            scenario_version: &self.scenario_version,
            simulated: self.simulated,
            source: &self.source,
            start_at: &self.start_at,
            stop_at: &self.stop_at,
        }
    }
}

fn null_when_empty<T: Serialize, S: Serializer>(list: &[T], to: S) -> Result<S::Ok, S::Error> {
    if list.is_empty() { to.serialize_none() } else { list.serialize(to) }
}

fn always_null<S: Serializer>(_: &[String], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_none()
}

fn is_zero(degrees: &f32) -> bool {
    *degrees == 0.0
}
