//! Parses and validates the body of `POST /v1/alerts`.

use crate::go_json::{self, BodyError, brief, lenient, without_nulls};
use crate::validation::{Group, ValidationFailure};
use crate::{Alert, Decision, Event, MetaItem, Source};

lenient! {
    /// An alert as posted, before validation.
    pub struct PostedAlert as "Alert", list "models.AddAlertsRequest" {
        /// See [`Alert::capacity`].
        pub capacity: i32 = "capacity",
        /// See [`Alert::decisions`]; `None` elements were `null`.
        pub decisions: Vec<Option<PostedDecision>> = "decisions",
        /// See [`Alert::events`]; `None` elements were `null`.
        pub events: Vec<Option<PostedEvent>> = "events",
        /// See [`Alert::events_count`].
        pub events_count: i32 = "events_count",
        /// See [`Alert::kind`].
        pub kind: String = "kind",
        /// See [`Alert::labels`].
        pub labels: Vec<Option<String>> = "labels",
        /// See [`Alert::leakspeed`].
        pub leakspeed: String = "leakspeed",
        /// See [`Alert::message`].
        pub message: String = "message",
        /// See [`Alert::meta`].
        pub meta: Vec<Option<PostedMeta>> = "meta",
        /// See [`Alert::remediation`].
        pub remediation: bool = "remediation",
        /// See [`Alert::scenario`].
        pub scenario: String = "scenario",
        /// See [`Alert::scenario_hash`].
        pub scenario_hash: String = "scenario_hash",
        /// See [`Alert::scenario_version`].
        pub scenario_version: String = "scenario_version",
        /// See [`Alert::simulated`].
        pub simulated: bool = "simulated",
        /// See [`Alert::source`].
        pub source: PostedSource = "source",
        /// See [`Alert::start_at`].
        pub start_at: String = "start_at",
        /// See [`Alert::stop_at`].
        pub stop_at: String = "stop_at",
    }
}

lenient! {
    /// The source of a posted alert; its fields are those of [`Source`].
    #[expect(missing_docs, reason = "each field is the one of the same name in `Source`")]
    pub struct PostedSource as "Source", list "[]*models.Source" {
        pub as_name: String = "as_name",
        pub as_number: String = "as_number",
        pub cn: String = "cn",
        pub ip: String = "ip",
        pub latitude: f32 = "latitude",
        pub longitude: f32 = "longitude",
        pub range: String = "range",
        pub scope: String = "scope",
        pub value: String = "value",
    }
}

lenient! {
    /// An event of a posted alert; its fields are those of [`Event`].
    #[expect(missing_docs, reason = "each field is the one of the same name in `Event`")]
    pub struct PostedEvent as "Event", list "[]*models.Event" {
        pub meta: Vec<Option<PostedMeta>> = "meta",
        pub timestamp: String = "timestamp",
    }
}

lenient! {
    /// A name and a value of a posted alert or event.
    #[expect(missing_docs, reason = "each field is the one of the same name in `MetaItem`")]
    pub struct PostedMeta as "MetaItems0", list "models.Meta" {
        pub key: String = "key",
        pub value: String = "value",
    }
}

lenient! {
    /// A decision of a posted alert; its fields are those of [`Decision`].
    #[expect(missing_docs, reason = "each field is the one of the same name in `Decision`")]
    pub struct PostedDecision as "Decision", list "[]*models.Decision" {
        pub duration: String = "duration",
        pub origin: String = "origin",
        pub scenario: String = "scenario",
        pub scope: String = "scope",
        pub simulated: bool = "simulated",
        pub kind: String = "type",
        pub value: String = "value",
    }
}

/// Parses the body of `POST /v1/alerts` as Go's decoder does. A `null` in the list becomes an alert without fields,
/// which validation refuses by its index.
///
/// # Errors
/// When it is not JSON or has a wrong type; the text is that of the stock server's 400.
pub fn read_alerts(body: &[u8]) -> Result<Vec<PostedAlert>, BodyError> {
    Ok(without_nulls(go_json::read(body)?))
}

impl PostedAlert {
    /// Validates the alert. `index` is its position in the list, which the text names. Fields assigned by the LAPI
    /// (`id`, `uuid`, `machine_id`, `created_at`) are left empty.
    ///
    /// # Errors
    /// Everything that is missing; of nested structures in a list only the first invalid one.
    pub fn validate(self, index: usize) -> Result<Alert, ValidationFailure> {
        let mut failures = Group::default();
        failures.require(format_args!("{index}.capacity"), &self.capacity);
        let decisions = self.decisions.as_deref().unwrap_or_default();
        failures.nest(first_invalid(decisions, |at, decision: Option<&PostedDecision>| {
            let mut inner = Group::default();
            match decision {
                None => inner.require(format_args!("{index}.decisions.{at}"), &decision),
                Some(decision) => decision.require(index, at, &mut inner),
            }
            inner
        }));
        failures.require(format_args!("{index}.events"), &self.events);
        let events = self.events.as_deref().unwrap_or_default();
        failures.nest(first_invalid(events, |at, event: Option<&PostedEvent>| {
            let mut inner = Group::default();
            match event {
                None => inner.require(format_args!("{index}.events.{at}"), &event),
                Some(event) => {
                    inner.require(format_args!("{index}.events.{at}.meta"), &event.meta);
                    inner.require(format_args!("{index}.events.{at}.timestamp"), &event.timestamp);
                }
            }
            inner
        }));
        failures.require(format_args!("{index}.events_count"), &self.events_count);
        failures.require(format_args!("{index}.leakspeed"), &self.leakspeed);
        failures.require(format_args!("{index}.message"), &self.message);
        failures.require(format_args!("{index}.scenario"), &self.scenario);
        failures.require(format_args!("{index}.scenario_hash"), &self.scenario_hash);
        failures.require(format_args!("{index}.scenario_version"), &self.scenario_version);
        failures.require(format_args!("{index}.simulated"), &self.simulated);
        failures.require(format_args!("{index}.source"), &self.source);
        if let Some(source) = &self.source {
            let mut inner = Group::default();
            inner.require(format_args!("{index}.source.scope"), &source.scope);
            inner.require(format_args!("{index}.source.value"), &source.value);
            failures.nest(inner);
        }
        failures.require(format_args!("{index}.start_at"), &self.start_at);
        failures.require(format_args!("{index}.stop_at"), &self.stop_at);
        failures.check()?;
        Ok(self.into_alert())
    }

    /// The alert, with defaults for missing fields.
    fn into_alert(self) -> Alert {
        let source = self.source.unwrap_or_default();
        Alert {
            capacity: self.capacity.unwrap_or_default(),
            decisions: self.decisions.unwrap_or_default().into_iter().flatten().map(Decision::from).collect(),
            events: self.events.unwrap_or_default().into_iter().flatten().map(Event::from).collect(),
            events_count: self.events_count.unwrap_or_default(),
            kind: self.kind.unwrap_or_default(),
            labels: without_nulls(self.labels),
            leakspeed: self.leakspeed.unwrap_or_default(),
            message: self.message.unwrap_or_default(),
            meta: meta(self.meta),
            remediation: self.remediation.unwrap_or_default(),
            scenario: self.scenario.unwrap_or_default(),
            scenario_hash: self.scenario_hash.unwrap_or_default(),
            scenario_version: self.scenario_version.unwrap_or_default(),
            simulated: self.simulated.unwrap_or_default(),
            source: Source {
                as_name: source.as_name.unwrap_or_default(),
                as_number: source.as_number.unwrap_or_default(),
                cn: source.cn.unwrap_or_default(),
                ip: source.ip.unwrap_or_default(),
                latitude: source.latitude.unwrap_or_default(),
                longitude: source.longitude.unwrap_or_default(),
                range: source.range.unwrap_or_default(),
                scope: source.scope.unwrap_or_default(),
                value: source.value.unwrap_or_default(),
            },
            start_at: self.start_at.unwrap_or_default(),
            stop_at: self.stop_at.unwrap_or_default(),
            id: 0,
            uuid: String::new(),
            machine_id: String::new(),
            created_at: String::new(),
        }
    }

    /// A name for logs: scenario and source, truncated.
    pub fn name(&self) -> String {
        let scenario = self.scenario.as_deref().unwrap_or("no scenario");
        let source = self.source.as_ref();
        let value = source.and_then(|source| source.value.as_deref()).unwrap_or("nobody");
        format!("{:?} about {:?}", brief(scenario, 100), brief(value, 100))
    }
}

impl PostedDecision {
    /// Runs for each of a hundred thousand decisions, so texts are only built for failures.
    fn require(&self, alert: usize, at: usize, failures: &mut Group) {
        for (name, field) in [
            ("duration", &self.duration),
            ("origin", &self.origin),
            ("scenario", &self.scenario),
            ("scope", &self.scope),
            ("type", &self.kind),
            ("value", &self.value),
        ] {
            failures.require(format_args!("{alert}.decisions.{at}.{name}"), field);
        }
    }
}

impl From<PostedDecision> for Decision {
    fn from(posted: PostedDecision) -> Self {
        Self {
            duration: posted.duration.unwrap_or_default(),
            id: 0,
            origin: posted.origin.unwrap_or_default(),
            scenario: posted.scenario.unwrap_or_default(),
            scope: posted.scope.unwrap_or_default(),
            simulated: posted.simulated.unwrap_or_default(),
            kind: posted.kind.unwrap_or_default(),
            uuid: String::new(),
            value: posted.value.unwrap_or_default(),
        }
    }
}

impl From<PostedEvent> for Event {
    fn from(posted: PostedEvent) -> Self {
        Self { meta: meta(posted.meta), timestamp: posted.timestamp.unwrap_or_default() }
    }
}

fn meta(posted: Option<Vec<Option<PostedMeta>>>) -> Vec<MetaItem> {
    let items = posted.unwrap_or_default().into_iter().flatten();
    items
        .map(|item| MetaItem { key: item.key.unwrap_or_default(), value: item.value.unwrap_or_default() })
        .collect()
}

/// The failures of the first invalid element.
fn first_invalid<T>(list: &[Option<T>], look: impl Fn(usize, Option<&T>) -> Group) -> Group {
    let groups = list.iter().enumerate().map(|(at, element)| look(at, element.as_ref()));
    groups.into_iter().find(|group| !group.is_empty()).unwrap_or_default()
}

#[cfg(test)]
#[path = "posted_tests.rs"]
mod tests;
