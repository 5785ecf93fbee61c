//! Standard Webhooks, lines of JSON and CloudEvents.

use std::collections::BTreeMap;

use palisade_e2e::{ServiceRequest, ServiceResponse};
use serde_json::{Map, Value};

use super::{Checked, ReportedEntry, Schema, bounded, fields, parse, posted, text, time, verb};

const DECISION: &[&str] = &[
    "value",
    "scope",
    "remediation",
    "origin",
    "scenario",
    "until",
    "duration",
    "decision_id",
    "cause",
    "previous",
];

/// The fields of a decision, besides those of an event where there are any.
pub(super) fn decision(object: &Map<String, Value>) -> Result<String, String> {
    for key in ["scope", "remediation", "origin", "scenario", "duration"] {
        text(object, key)?;
    }
    time(object, "until")?;
    if object.get("decision_id").and_then(Value::as_i64).is_none() {
        return Err("no decision_id".to_owned());
    }
    if let Some(previous) = object.get("previous") {
        let previous = fields(previous, &["remediation", "origin", "scenario", "until"])?;
        time(previous, "until")?;
    }
    Ok(text(object, "value")?.to_owned())
}

/// An event with id, type and time.
pub(super) fn event(value: &Value) -> Result<ReportedEntry, String> {
    let known: Vec<&str> = DECISION.iter().copied().chain(["id", "type", "at", "@timestamp"]).collect();
    let object = fields(value, &known)?;
    bounded(object, "id", 256)?;
    time(object, "at")?;
    let verb = verb(text(object, "type")?)?;
    if (verb == "lifted") != object.contains_key("cause")
        || (verb == "changed") != object.contains_key("previous")
    {
        return Err("cause or previous where it does not belong".to_owned());
    }
    Ok(ReportedEntry { verb, value: decision(object)? })
}

fn events(data: &Map<String, Value>) -> Result<Vec<ReportedEntry>, String> {
    data.get("events").and_then(Value::as_array).ok_or("no events")?.iter().map(event).collect()
}

fn number(object: &Map<String, Value>, key: &str) -> Result<u64, String> {
    object.get(key).and_then(Value::as_u64).ok_or_else(|| format!("{key} is no number"))
}

/// <https://www.standardwebhooks.com>: `type` of words with dots, `timestamp` and an object `data`; an id in a header.
pub(super) fn standard_webhooks(request: &ServiceRequest) -> Checked {
    posted(request, &["application/json"])?;
    let body = parse(&request.body)?;
    let message = fields(&body, &["type", "timestamp", "data"])?;
    time(message, "timestamp")?;
    if request.header("webhook-id").is_empty() {
        return Err("no webhook-id".to_owned());
    }
    let data = &body["data"];
    let reported = match text(message, "type")? {
        "decision.batch" => events(fields(data, &["events"])?)?,
        "snapshot.started" => {
            number(fields(data, &["snapshot"])?, "snapshot")?;
            Vec::new()
        }
        "snapshot.part" => {
            let data = fields(data, &["snapshot", "events"])?;
            number(data, "snapshot")?;
            events(data)?
        }
        "snapshot.completed" => {
            let data = fields(data, &["snapshot", "event_count"])?;
            number(data, "snapshot")?;
            number(data, "event_count")?;
            Vec::new()
        }
        kind => {
            let known: Vec<&str> = DECISION.iter().copied().chain(["id"]).collect();
            vec![ReportedEntry { verb: verb(kind)?, value: decision(fields(data, &known)?)? }]
        }
    };
    Ok((reported, ServiceResponse::text(204, "")))
}

/// <https://github.com/ndjson/ndjson-spec>: a value and a line end each.
pub(super) fn ndjson(request: &ServiceRequest) -> Checked {
    posted(request, &["application/x-ndjson"])?;
    let body = request.body.strip_suffix('\n').ok_or("the last line has no end")?;
    let mut reported = Vec::new();
    for line in body.split('\n') {
        if line.contains(['\r', '\u{85}', '\u{2028}', '\u{2029}']) {
            return Err("a line that some readers break".to_owned());
        }
        let value = parse(line)?;
        if value["type"].as_str().is_some_and(|kind| kind.starts_with("snapshot.")) {
            let mark = fields(&value, &["id", "type", "at", "snapshot", "event_count"])?;
            bounded(mark, "id", 256)?;
            time(mark, "at")?;
            number(mark, "snapshot")?;
        } else {
            reported.push(event(&value)?);
        }
    }
    Ok((reported, ServiceResponse::text(200, "{}")))
}

/// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>, its JSON format and its HTTP binding.
#[derive(Default)]
pub(super) struct CloudEvents {
    /// Each event has a source and an id of its own.
    seen: BTreeMap<(String, String), Value>,
}

impl Schema for CloudEvents {
    fn check(&mut self, request: &ServiceRequest) -> Checked {
        const TYPES: [&str; 2] = ["application/cloudevents+json", "application/cloudevents-batch+json"];
        posted(request, &TYPES)?;
        let body = parse(&request.body)?;
        let is_batch = request.header("content-type").starts_with(TYPES[1]);
        let reported = match (is_batch, &body) {
            (true, Value::Array(events)) => {
                events.iter().map(|event| self.event(event)).collect::<Result<Vec<_>, _>>()?
            }
            (false, event) => vec![self.event(event)?],
            _ => return Err("a batch is no list".to_owned()),
        };
        Ok((reported.into_iter().flatten().collect(), ServiceResponse::text(202, "")))
    }
}

impl CloudEvents {
    /// The entry of an event; a mark has none.
    fn event(&mut self, event: &Value) -> Result<Option<ReportedEntry>, String> {
        let object = event.as_object().ok_or("an event is no object")?;
        for (name, value) in object.iter().filter(|(name, _)| *name != "data") {
            let is_name =
                name.len() <= 20 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            let text = value.as_str().ok_or_else(|| format!("{name} is no text"))?;
            let is_allowed = |c: char| !c.is_control() && (u32::from(c) & 0xfffe) != 0xfffe;
            if !is_name || text.is_empty() || !text.chars().all(is_allowed) {
                return Err(format!("the attribute {name} is {text:?}"));
            }
        }
        let (id, source) = (text(object, "id")?, text(object, "source")?);
        if text(object, "specversion")? != "1.0"
            || text(object, "datacontenttype")? != "application/json"
            || source.contains(' ')
        {
            return Err("not CloudEvents 1.0".to_owned());
        }
        time(object, "time")?;
        // A repeat may show less time left.
        let mut same = event.clone();
        same["data"]["duration"] = Value::Null;
        let known = self.seen.entry((source.to_owned(), id.to_owned())).or_insert_with(|| same.clone());
        if *known != same {
            return Err(format!("the id {id} is that of another event, {known}"));
        }
        let kind = text(object, "type")?.strip_prefix("palisade.").ok_or("another type")?;
        if kind.starts_with("snapshot.") {
            return Ok(None);
        }
        let data = fields(&event["data"], DECISION)?;
        Ok(Some(ReportedEntry { verb: verb(kind)?, value: decision(data)? }))
    }
}
