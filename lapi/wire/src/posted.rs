//! Parses and validates the body of `POST /v1/alerts`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;

use crate::request_body::{
    self, BodyError, BorrowedText, Unused, at_most, brief, finite, list, require, without_nulls,
};
use crate::{Alert, Event, MetaItem, Source};

/// An alert as posted, before validation: absent and `null` fields are `None`. Its fields are those of [`Alert`]; those that
/// the LAPI assigns are checked and not kept.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "each field is the one of the same name in `Alert`")]
pub struct PostedAlert<'a> {
    pub capacity: Option<i32>,
    #[serde(default)]
    pub created_at: Unused<String>,
    #[serde(borrow, default, deserialize_with = "list")]
    pub decisions: Option<Vec<Option<PostedDecision<'a>>>>,
    #[serde(default, deserialize_with = "list")]
    pub events: Option<Vec<Option<PostedEvent>>>,
    pub events_count: Option<i32>,
    #[serde(default)]
    pub id: Unused<i64>,
    pub kind: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub labels: Option<Vec<Option<String>>>,
    pub leakspeed: Option<String>,
    #[serde(default)]
    pub machine_id: Unused<String>,
    pub message: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub meta: Option<Vec<Option<PostedMeta>>>,
    pub remediation: Option<bool>,
    pub scenario: Option<String>,
    pub scenario_hash: Option<String>,
    pub scenario_version: Option<String>,
    pub simulated: Option<bool>,
    pub source: Option<PostedSource>,
    pub start_at: Option<String>,
    pub stop_at: Option<String>,
    #[serde(default)]
    pub uuid: Unused<String>,
}

/// The source of a posted alert.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "each field is the one of the same name in `Source`")]
pub struct PostedSource {
    pub as_name: Option<String>,
    pub as_number: Option<String>,
    pub cn: Option<String>,
    pub ip: Option<String>,
    #[serde(default, deserialize_with = "finite")]
    pub latitude: Option<f32>,
    #[serde(default, deserialize_with = "finite")]
    pub longitude: Option<f32>,
    pub range: Option<String>,
    pub scope: Option<String>,
    pub value: Option<String>,
}

/// An event of a posted alert.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "each field is the one of the same name in `Event`")]
pub struct PostedEvent {
    #[serde(default, deserialize_with = "list")]
    pub meta: Option<Vec<Option<PostedMeta>>>,
    pub timestamp: Option<String>,
}

/// A key and a value of a posted alert or event.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "each field is the one of the same name in `MetaItem`")]
pub struct PostedMeta {
    pub key: Option<String>,
    pub value: Option<String>,
}

/// A decision of a posted alert. An import has a hundred thousand of them, so their texts are not copied from the body.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "each field is the one of the same name in `Decision`")]
pub struct PostedDecision<'a> {
    #[serde(borrow)]
    pub duration: Option<BorrowedText<'a>>,
    #[serde(default)]
    pub id: Unused<i64>,
    #[serde(borrow)]
    pub origin: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    pub scenario: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    pub scope: Option<BorrowedText<'a>>,
    pub simulated: Option<bool>,
    #[serde(borrow, rename = "type")]
    pub kind: Option<BorrowedText<'a>>,
    #[serde(default)]
    pub until: Unused<String>,
    #[serde(default)]
    pub uuid: Unused<String>,
    #[serde(borrow)]
    pub value: Option<BorrowedText<'a>>,
}

/// A validated alert.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidAlert<'a> {
    /// The alert without its decisions.
    pub alert: Alert,
    /// Its decisions.
    pub decisions: Vec<ValidDecision<'a>>,
}

/// A validated decision, whose texts are those of the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the one of the same name in `Decision`")]
pub struct ValidDecision<'a> {
    pub duration: Cow<'a, str>,
    pub origin: Cow<'a, str>,
    pub scenario: Cow<'a, str>,
    pub scope: Cow<'a, str>,
    pub simulated: bool,
    pub kind: Cow<'a, str>,
    pub value: Cow<'a, str>,
}

/// The longest name in an alert or decision, in characters: scenario, type, origin, scope and the like.
const MAX_NAME: usize = 1024;
/// The longest other text, in characters: a message, or a value of an event's meta data, which may quote a log line.
const MAX_TEXT: usize = 256 * 1024;

/// Parses the body of `POST /v1/alerts`, after [`body_text`](crate::body_text). A `null` in the list becomes an alert
/// without fields, which validation refuses by its index.
///
/// # Errors
/// When it is not JSON or has a wrong type.
pub fn read_alerts(body: &str) -> Result<Vec<PostedAlert<'_>>, BodyError> {
    /// Read through [`list`], so that the alerts count against the budget of the body.
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Posted<'a>(#[serde(borrow, deserialize_with = "list")] Option<Vec<Option<PostedAlert<'a>>>>);

    Ok(without_nulls(request_body::read_text::<Posted<'_>>(body)?.and_then(|posted| posted.0)))
}

impl<'a> PostedAlert<'a> {
    /// Validates the alert. `index` is its position in the list, which the text names. Fields assigned by the LAPI
    /// (`id`, `uuid`, `machine_id`, `created_at`) are left empty.
    ///
    /// # Errors
    /// The first required field that is missing.
    pub fn validate(self, index: usize) -> Result<ValidAlert<'a>, BodyError> {
        let at = |name| format!("{index}.{name}");
        for (name, text) in [
            ("kind", &self.kind),
            ("leakspeed", &self.leakspeed),
            ("scenario", &self.scenario),
            ("scenario_hash", &self.scenario_hash),
            ("scenario_version", &self.scenario_version),
            ("start_at", &self.start_at),
            ("stop_at", &self.stop_at),
        ] {
            check(format_args!("{index}.{name}"), text, MAX_NAME)?;
        }
        check(format_args!("{index}.message"), &self.message, MAX_TEXT)?;
        for label in self.labels.iter().flatten() {
            check(format_args!("{index}.labels"), label, MAX_NAME)?;
        }
        let events = self.events.map(|events| events.into_iter().enumerate());
        let capacity = require(self.capacity, at("capacity"))?;
        let decisions = self.decisions.unwrap_or_default().into_iter().enumerate();
        let decisions = decisions
            .map(|(position, decision)| {
                let at = format_args!("{index}.decisions.{position}");
                require(decision, at)?.validate(at)
            })
            .collect::<Result<_, _>>()?;
        let alert = Alert {
            capacity,
            decisions: Vec::new(),
            events: require(events, at("events"))?
                .map(|(position, event)| {
                    let at = format_args!("{index}.events.{position}");
                    require(event, at)?.validate(at)
                })
                .collect::<Result<_, _>>()?,
            events_count: require(self.events_count, at("events_count"))?,
            kind: self.kind.unwrap_or_default(),
            labels: without_nulls(self.labels),
            leakspeed: require(self.leakspeed, at("leakspeed"))?,
            message: require(self.message, at("message"))?,
            meta: meta(self.meta.unwrap_or_default()),
            remediation: self.remediation.unwrap_or_default(),
            scenario: require(self.scenario, at("scenario"))?,
            scenario_hash: require(self.scenario_hash, at("scenario_hash"))?,
            scenario_version: require(self.scenario_version, at("scenario_version"))?,
            simulated: require(self.simulated, at("simulated"))?,
            source: require(self.source, at("source"))?.validate(index)?,
            start_at: require(self.start_at, at("start_at"))?,
            stop_at: require(self.stop_at, at("stop_at"))?,
            id: 0,
            uuid: String::new(),
            machine_id: String::new(),
            created_at: String::new(),
        };
        Ok(ValidAlert { alert, decisions })
    }

    /// A name for logs: scenario and source, truncated.
    pub fn name(&self) -> String {
        let scenario = self.scenario.as_deref().unwrap_or("no scenario");
        let source = self.source.as_ref();
        let value = source.and_then(|source| source.value.as_deref()).unwrap_or("nobody");
        format!("{:?} about {:?}", brief(scenario, 100), brief(value, 100))
    }
}

impl PostedSource {
    fn validate(self, index: usize) -> Result<Source, BodyError> {
        for (name, text) in [
            ("as_name", &self.as_name),
            ("as_number", &self.as_number),
            ("cn", &self.cn),
            ("ip", &self.ip),
            ("range", &self.range),
            ("scope", &self.scope),
            ("value", &self.value),
        ] {
            check(format_args!("{index}.source.{name}"), text, MAX_NAME)?;
        }
        Ok(Source {
            as_name: self.as_name.unwrap_or_default(),
            as_number: self.as_number.unwrap_or_default(),
            cn: self.cn.unwrap_or_default(),
            ip: self.ip.unwrap_or_default(),
            latitude: self.latitude.unwrap_or_default(),
            longitude: self.longitude.unwrap_or_default(),
            range: self.range.unwrap_or_default(),
            scope: require(self.scope, format_args!("{index}.source.scope"))?,
            value: require(self.value, format_args!("{index}.source.value"))?,
        })
    }
}

impl<'a> PostedDecision<'a> {
    /// Runs for each of a hundred thousand decisions, so texts are only built for failures.
    fn validate(self, at: fmt::Arguments<'_>) -> Result<ValidDecision<'a>, BodyError> {
        for (name, text) in [
            ("duration", &self.duration),
            ("origin", &self.origin),
            ("scenario", &self.scenario),
            ("scope", &self.scope),
            ("type", &self.kind),
            ("value", &self.value),
        ] {
            if let Some(BorrowedText(text)) = text {
                at_most(format_args!("{at}.{name}"), text, MAX_NAME)?;
            }
        }
        let text = |text: Option<BorrowedText<'a>>, name: &str| {
            require(text, format_args!("{at}.{name}")).map(|text| text.0)
        };
        Ok(ValidDecision {
            duration: text(self.duration, "duration")?,
            origin: text(self.origin, "origin")?,
            scenario: text(self.scenario, "scenario")?,
            scope: text(self.scope, "scope")?,
            simulated: self.simulated.unwrap_or_default(),
            kind: text(self.kind, "type")?,
            value: text(self.value, "value")?,
        })
    }
}

impl PostedEvent {
    fn validate(self, at: fmt::Arguments<'_>) -> Result<Event, BodyError> {
        Ok(Event {
            meta: Some(meta(require(self.meta, format_args!("{at}.meta"))?)),
            timestamp: require(self.timestamp, format_args!("{at}.timestamp"))?,
        })
    }
}

fn check(at: fmt::Arguments<'_>, text: &Option<String>, longest: usize) -> Result<(), BodyError> {
    text.as_deref().map_or(Ok(()), |text| at_most(at, text, longest))
}

fn meta(posted: Vec<Option<PostedMeta>>) -> Vec<MetaItem> {
    let item = |item: PostedMeta| MetaItem {
        key: item.key.unwrap_or_default(),
        value: item.value.unwrap_or_default(),
    };
    posted.into_iter().flatten().map(item).collect()
}

#[cfg(test)]
#[path = "posted_tests.rs"]
mod tests;
