//! The JSON form of events: one object with the same fields wherever Palisade writes events as JSON.

use serde::Serialize;
use serde::ser::SerializeMap as _;
use serde_json::ser::Formatter;

use palisade_cache::Timestamp;

use super::batch::seconds_left;
use super::time::{go_duration, rfc3339};
use crate::event::{Entry, Event, EventKind};

/// An event as JSON:
///
/// ```text
/// {"id":"evt_…","type":"decision.changed","at":"2026-05-01T12:00:00Z","value":"192.0.2.7","scope":"Ip",
///  "remediation":"ban","origin":"crowdsec","scenario":"crowdsecurity/ssh-bf","until":"2026-05-01T16:00:00Z",
///  "duration":"4h0m0s","decision_id":7,"previous":{"remediation":"captcha",…}}
/// ```
///
/// `cause` is there for lifted ones only, `previous` for changed ones only. `duration` is what is left at `now`, and
/// `0s` of a lifted decision.
#[derive(Debug, Clone, Copy)]
pub struct EventJson<'a> {
    /// The event.
    pub event: &'a Event,
    /// When it is written.
    pub now: Timestamp,
}

impl Serialize for EventJson<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { event, now } = *self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &Text(&event.id))?;
        map.serialize_entry("type", event.kind.as_str())?;
        map.serialize_entry("at", &rfc3339(event.at))?;
        fields(&mut map, event, now)?;
        map.end()
    }
}

/// An event without id, type and time, which an envelope has.
pub(super) struct DataJson<'a>(pub(super) &'a Event, pub(super) Timestamp);

impl Serialize for DataJson<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        fields(&mut map, self.0, self.1)?;
        map.end()
    }
}

/// The same with its id, which Standard Webhooks send in a header, and only there.
pub(super) struct DataWithId<'a>(pub(super) &'a Event, pub(super) Timestamp);

impl Serialize for DataWithId<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &Text(&self.0.id))?;
        fields(&mut map, self.0, self.1)?;
        map.end()
    }
}

fn fields<M: serde::ser::SerializeMap>(map: &mut M, event: &Event, now: Timestamp) -> Result<(), M::Error> {
    map.serialize_entry("value", &Text(&event.value))?;
    map.serialize_entry("scope", event.value.scope())?;
    entry_fields(map, &event.entry)?;
    map.serialize_entry("duration", &go_duration(seconds_left(event, now)))?;
    map.serialize_entry("decision_id", &event.entry.id)?;
    match &event.kind {
        EventKind::Lifted(cause) => map.serialize_entry("cause", cause.as_str()),
        EventKind::Changed(previous) => map.serialize_entry("previous", &EntryJson(previous)),
        EventKind::Added | EventKind::Present => Ok(()),
    }
}

fn entry_fields<M: serde::ser::SerializeMap>(map: &mut M, entry: &Entry) -> Result<(), M::Error> {
    map.serialize_entry("remediation", &*entry.remediation)?;
    map.serialize_entry("origin", &*entry.origin)?;
    map.serialize_entry("scenario", &*entry.scenario)?;
    map.serialize_entry("until", &rfc3339(entry.until))
}

/// A version of an entry.
pub(super) struct EntryJson<'a>(pub(super) &'a Entry);

impl Serialize for EntryJson<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        entry_fields(&mut map, self.0)?;
        map.end()
    }
}

/// What displays as text, as a JSON text.
pub(super) struct Text<T>(pub(super) T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Several events of one time.
pub(super) struct EventsJson<'a>(pub(super) &'a [Event], pub(super) Timestamp);

impl Serialize for EventsJson<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|event| EventJson { event, now: self.1 }))
    }
}

/// Escapes U+0085, U+2028 and U+2029, which end a line for some readers of line-based JSON, such as Python's
/// `splitlines`. JSON itself has only the controls below U+0020 escaped.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(LINE_ENDS) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut characters = from.chars();
            if let Some(end) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(end))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// Appends a value as JSON in one line.
pub(super) fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    let mut serializer = serde_json::Serializer::with_formatter(out, OneLine);
    value.serialize(&mut serializer).expect("events serialize to JSON, and memory takes them");
}

/// Whether a content type is JSON, and whether one value stands on each line.
pub(super) fn json_kind(content_type: &str) -> Option<JsonKind> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" | "text/json" => Some(JsonKind::One),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Some(JsonKind::Lines)
        }
        other if other.ends_with("+json") => Some(JsonKind::One),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonKind {
    One,
    Lines,
}

/// Parses a body as its content type says; line and cause when it is not JSON. Other types are not looked at.
pub(super) fn parse_as(content_type: &str, body: &[u8]) -> Result<(), (usize, String)> {
    let parse = |text: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(text);
    match json_kind(content_type) {
        None => Ok(()),
        Some(JsonKind::One) => parse(body).map(drop).map_err(|error| (error.line(), error.to_string())),
        Some(JsonKind::Lines) => {
            for (index, line) in body.split(|&byte| byte == b'\n').enumerate() {
                if !line.trim_ascii().is_empty() {
                    parse(line).map_err(|error| (index + 1, error.to_string()))?;
                }
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reader_finds_a_line_end_within_a_value() {
        let text = "a\n\r\u{b}\u{c}\u{1c}\u{85}b\u{2028}\u{2029}é\u{85}";
        let mut line = Vec::new();
        write(&mut line, &text);
        let line = String::from_utf8(line).unwrap();
        assert!(!line.contains(char::is_control) && !line.contains(LINE_ENDS), "{line}");
        assert!(line.contains("\\u0085b\\u2028\\u2029é\\u0085"), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
