//! Writes CloudEvents 1.0 in the structured mode of their HTTP binding.
//!
//! A message with one event is one CloudEvent (`application/cloudevents+json`), one with several a batch
//! (`application/cloudevents-batch+json`).

use serde::Serialize;
use serde::ser::SerializeMap as _;
use url::Url;

use super::{Body, Format};
use crate::event::Event;
use crate::templates::TemplateError;
use crate::templates::batch::Batch;
use crate::templates::json::{self, DataJson, Text};
use crate::templates::options::Options;
use crate::templates::time::rfc3339;

const ONE: &str = "application/cloudevents+json; charset=UTF-8";
const BATCH: &str = "application/cloudevents-batch+json; charset=UTF-8";

/// CloudEvents.
#[derive(Debug)]
pub(in crate::templates) struct CloudEvents {
    source: String,
    type_prefix: String,
    always_batch: bool,
}

impl CloudEvents {
    pub(in crate::templates) fn new(options: &Options<'_>) -> Result<Self, TemplateError> {
        let source = options.text("source");
        // A URI reference: absolute, or relative to anything.
        let base =
            Url::parse("http://localhost/").map_err(|error| options.wrong("source", error.to_string()))?;
        if source.is_empty() || source.contains(char::is_whitespace) || base.join(source).is_err() {
            return Err(
                options.wrong("source", format!("is {source:?}, which is no URI reference such as /edge/3"))
            );
        }
        let always_batch = options.one_of("batch", &[("auto", false), ("always", true)])?;
        let type_prefix = options.text("type_prefix").to_owned();
        Ok(Self { source: source.to_owned(), type_prefix, always_batch })
    }

    fn events<'a>(&'a self, batch: &'a Batch<'a>) -> impl Iterator<Item = CloudEvent<'a>> {
        let of = |content| CloudEvent { format: self, batch, content };
        let mark = batch.kind.is_mark().then_some(Content::Mark);
        batch.events.iter().map(Content::Event).chain(mark).map(of)
    }
}

impl Format for CloudEvents {
    fn render(&self, batch: &Batch<'_>) -> Result<Option<Body>, TemplateError> {
        let mut bytes = Vec::with_capacity(600 * batch.events.len());
        let mut events = self.events(batch);
        let is_list = batch.kind == crate::templates::batch::BatchKind::List;
        if self.always_batch || is_list || batch.events.len() > 1 {
            bytes.push(b'[');
            for (index, event) in events.enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                json::write(&mut bytes, &event);
            }
            bytes.push(b']');
            return Ok(Some(Body { bytes, content_type: BATCH }));
        }
        if let Some(event) = events.next() {
            json::write(&mut bytes, &event);
        }
        Ok(Body::unless_empty(bytes, ONE))
    }
}

enum Content<'a> {
    Event(&'a Event),
    Mark,
}

struct CloudEvent<'a> {
    format: &'a CloudEvents,
    batch: &'a Batch<'a>,
    content: Content<'a>,
}

impl Serialize for CloudEvent<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, batch) = (self.batch.kind, self.batch);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("source", &self.format.source)?;
        map.serialize_entry("datacontenttype", "application/json")?;
        if let Some(snapshot) = kind.snapshot() {
            // An extension attribute. A text, because integers of CloudEvents have 32 bits.
            map.serialize_entry("snapshot", &Text(snapshot))?;
        }
        match self.content {
            Content::Event(event) => {
                map.serialize_entry("id", &Text(event.id))?;
                map.serialize_entry("type", &Joined(&self.format.type_prefix, event.kind.as_str()))?;
                map.serialize_entry("time", &rfc3339(event.at))?;
                let subject = attribute(&event.value.to_string());
                // An attribute must not be empty.
                if !subject.is_empty() {
                    map.serialize_entry("subject", &subject)?;
                }
                map.serialize_entry("data", &DataJson(event, batch.now))?;
            }
            Content::Mark => {
                map.serialize_entry("id", &Text(batch.id))?;
                map.serialize_entry("type", &Joined(&self.format.type_prefix, kind.as_str()))?;
                map.serialize_entry("time", &rfc3339(batch.at))?;
                map.serialize_entry("data", &MarkData { event_count: kind.event_count() })?;
            }
        }
        map.end()
    }
}

/// A text as an attribute may have it: without controls and noncharacters. `data` has the text as it is.
fn attribute(text: &str) -> String {
    let is_noncharacter =
        |c: char| matches!(u32::from(c), 0xfdd0..=0xfdef) || u32::from(c) & 0xfffe == 0xfffe;
    let allowed =
        |c: char| if c.is_control() || is_noncharacter(c) { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(allowed).collect()
}

struct Joined<'a>(&'a str, &'a str);

impl Serialize for Joined<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}{}", self.0, self.1))
    }
}

#[derive(Serialize)]
struct MarkData {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_count: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_has_no_controls_and_no_noncharacters() {
        assert_eq!(
            attribute("a\n\u{7f}\u{85}é\u{fdd0}\u{ffff}\u{1fffe}😀"),
            "a\u{fffd}\u{fffd}\u{fffd}é\u{fffd}\u{fffd}\u{fffd}😀"
        );
        assert_eq!(attribute("192.0.2.0/24"), "192.0.2.0/24");
    }
}
