//! Alerts and the decisions inside them, as `GET /v1/alerts` returns them and `POST /v1/alerts` takes them once
//! they are validated.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a log processor, a person or an import reports. Every field that stock clients read without looking is
/// always written; the others are left out when empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alert {
    /// How much the bucket held.
    #[serde(default)]
    pub capacity: i32,
    /// When the LAPI took it, RFC 3339; ignored on the way in.
    #[serde(default)]
    pub created_at: String,
    /// What is to be done about it. `null` when there is nothing.
    #[serde(default, serialize_with = "null_when_empty", deserialize_with = "null_is_default")]
    pub decisions: Vec<Decision>,
    /// The lines that led to it. `null` when there are none.
    #[serde(default, serialize_with = "null_when_empty", deserialize_with = "null_is_default")]
    pub events: Vec<Event>,
    /// How many events there were; more than are told, usually.
    #[serde(default)]
    pub events_count: i32,
    /// The alert's number; ignored on the way in.
    #[serde(default)]
    pub id: i64,
    /// `crowdsec`, `waf`, `capi`, `papi`, `cscli`, or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Not stored: always written as `null`.
    #[serde(default, serialize_with = "always_null", deserialize_with = "null_is_default")]
    pub labels: Vec<String>,
    /// How fast the bucket leaked, such as `10s`.
    #[serde(default)]
    pub leakspeed: String,
    /// Who reported it: the machine's name, `N/A` when nobody owns it; ignored on the way in.
    #[serde(default)]
    pub machine_id: String,
    /// What happened, in words.
    #[serde(default)]
    pub message: String,
    /// The alert's context: each value is a JSON array in a text.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub meta: Vec<MetaItem>,
    /// Whether the scenario asks for a decision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remediation: bool,
    /// The scenario's name, or a reason in words.
    #[serde(default)]
    pub scenario: String,
    /// SHA-256 of the scenario's file, empty for local ones.
    #[serde(default)]
    pub scenario_hash: String,
    /// The scenario's version, `?` for local and changed ones.
    #[serde(default)]
    pub scenario_version: String,
    /// Whether it is only a rehearsal.
    #[serde(default)]
    pub simulated: bool,
    /// Whom it is about.
    #[serde(default)]
    pub source: Source,
    /// The first event, RFC 3339.
    #[serde(default)]
    pub start_at: String,
    /// The last event, RFC 3339. Durations of decisions count from here.
    #[serde(default)]
    pub stop_at: String,
    /// Made by the LAPI; ignored on the way in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uuid: String,
}

/// Whom an alert is about.
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
    #[serde(default, skip_serializing_if = "is_zero")]
    pub latitude: f32,
    /// Longitude in degrees.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub longitude: f32,
    /// The range its address belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub range: String,
    /// `Ip`, `Range`, `Country`, `AS`, or any other word.
    #[serde(default)]
    pub scope: String,
    /// The address, range, country and so on.
    #[serde(default)]
    pub value: String,
}

/// One line of a log, parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// What was found in it. `null` when it was too large to keep.
    #[serde(default, serialize_with = "null_when_empty", deserialize_with = "null_is_default")]
    pub meta: Vec<MetaItem>,
    /// When it happened. The LAPI writes Go's text form, `2026-07-01 10:00:00 +0000 UTC`.
    #[serde(default)]
    pub timestamp: String,
}

/// A name and a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetaItem {
    /// The name.
    #[serde(default)]
    pub key: String,
    /// The value.
    #[serde(default)]
    pub value: String,
}

/// A decision inside an alert. The stream's shape is [`StreamDecision`](crate::StreamDecision).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decision {
    /// On the way in how long it is to last, counted from the alert's `stop_at`; on the way out how long it has
    /// still to go, negative once it has ended.
    #[serde(default)]
    pub duration: String,
    /// The decision's number; ignored on the way in.
    #[serde(default)]
    pub id: i64,
    /// `crowdsec`, `cscli`, `cscli-import`, `lists`, `CAPI` and others.
    #[serde(default)]
    pub origin: String,
    /// The scenario, the list's name, or a reason in words.
    #[serde(default)]
    pub scenario: String,
    /// `Ip`, `Range`, `Country`, `AS`, or any other word.
    #[serde(default)]
    pub scope: String,
    /// Whether it is only a rehearsal, never told to bouncers.
    #[serde(default)]
    pub simulated: bool,
    /// `ban`, `captcha`, or any other word.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Made by the LAPI; ignored on the way in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uuid: String,
    /// The address, range, country and so on.
    #[serde(default)]
    pub value: String,
}

/// An alert as it is posted: lists are always lists (`null` would be refused), and what the LAPI makes itself is
/// left out.
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

/// An event with a list of what was found, even if it is empty.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct PostingEvent<'a> {
    meta: &'a [MetaItem],
    timestamp: &'a str,
}

impl<'a> From<&'a Event> for PostingEvent<'a> {
    fn from(event: &'a Event) -> Self {
        Self { meta: &event.meta, timestamp: &event.timestamp }
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

fn null_is_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn is_zero(degrees: &f32) -> bool {
    *degrees == 0.0
}
