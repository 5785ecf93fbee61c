//! Writes JSON in the shape of Standard Webhooks: `type`, `timestamp` and `data`.
//!
//! ```text
//! one change      {"type":"decision.added","timestamp":"…","data":{"id":"evt_…","value":"192.0.2.7",…}}
//! several         {"type":"decision.batch","timestamp":"…","data":{"events":[{"id":…,"type":…,"at":…,…},…]}}
//! snapshots       {"type":"snapshot.started","timestamp":"…","data":{"snapshot":1}}
//!                 {"type":"snapshot.part","timestamp":"…","data":{"snapshot":1,"events":[…]}}
//!                 {"type":"snapshot.completed","timestamp":"…","data":{"snapshot":1,"event_count":2}}
//! a whole list    {"type":"list","timestamp":"…","data":{"events":[…]}}
//! ```

use serde::Serialize;
use serde::ser::SerializeMap as _;

use super::{Body, Format};
use crate::templates::TemplateError;
use crate::templates::batch::{Batch, BatchKind};
use crate::templates::json::{self, DataWithId, EventsJson};
use crate::templates::options::Options;
use crate::templates::time::rfc3339;

/// JSON, one object for each message.
#[derive(Debug)]
pub(in crate::templates) struct PlainJson {
    /// Write a message with one change as a batch, too.
    always_batch: bool,
}

impl PlainJson {
    pub(in crate::templates) fn new(options: &Options<'_>) -> Result<Self, TemplateError> {
        let always_batch = options.one_of("batch", &[("auto", false), ("always", true)])?;
        Ok(Self { always_batch })
    }
}

impl Format for PlainJson {
    fn render(&self, batch: &Batch<'_>) -> Result<Option<Body>, TemplateError> {
        let mut bytes = Vec::with_capacity(200 + 400 * batch.events.len());
        match batch.events {
            [event] if batch.kind == BatchKind::Changes && !self.always_batch => {
                let data = DataWithId(event, batch.now);
                json::write(&mut bytes, &Envelope(event.kind.as_str(), &rfc3339(event.at), data));
            }
            _ => json::write(&mut bytes, &Envelope(batch.kind.as_str(), &rfc3339(batch.at), Data(batch))),
        }
        Ok(Some(Body { bytes, content_type: "application/json" }))
    }
}

struct Envelope<'a, T>(&'static str, &'a str, T);

impl<T: Serialize> Serialize for Envelope<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("type", self.0)?;
        map.serialize_entry("timestamp", self.1)?;
        map.serialize_entry("data", &self.2)?;
        map.end()
    }
}

struct Data<'a>(&'a Batch<'a>);

impl Serialize for Data<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let batch = self.0;
        let mut map = serializer.serialize_map(None)?;
        if let Some(snapshot) = batch.kind.snapshot() {
            map.serialize_entry("snapshot", &snapshot)?;
        }
        if let Some(count) = batch.kind.event_count() {
            map.serialize_entry("event_count", &count)?;
        }
        if !batch.kind.is_mark() {
            map.serialize_entry("events", &EventsJson(batch.events, batch.now))?;
        }
        map.end()
    }
}
