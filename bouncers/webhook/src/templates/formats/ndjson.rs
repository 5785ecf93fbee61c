//! Writes an event on each line, for log shippers and queues.

use super::{Body, Format};
use crate::templates::TemplateError;
use crate::templates::batch::{Batch, BatchKind};
use crate::templates::json::{self, EventJson};
use crate::templates::time::rfc3339;

/// Newline-delimited JSON. Marks of snapshots are lines of their own.
#[derive(Debug)]
pub(in crate::templates) struct NdJson;

impl Format for NdJson {
    fn render(&self, batch: &Batch<'_>) -> Result<Option<Body>, TemplateError> {
        let mut bytes = Vec::with_capacity(400 * batch.events.len());
        for event in batch.events {
            json::write(&mut bytes, &EventJson { event, now: batch.now });
            bytes.push(b'\n');
        }
        if batch.kind.is_mark() {
            json::write(&mut bytes, &Mark::of(batch));
            bytes.push(b'\n');
        }
        Ok(Body::unless_empty(bytes, "application/x-ndjson"))
    }
}

/// The begin or end of a snapshot.
#[derive(serde::Serialize)]
pub(super) struct Mark {
    id: String,
    r#type: &'static str,
    at: String,
    snapshot: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_count: Option<u64>,
}

impl Mark {
    fn of(batch: &Batch<'_>) -> Self {
        let kind: BatchKind = batch.kind;
        Self {
            id: batch.id.to_string(),
            r#type: kind.as_str(),
            at: rfc3339(batch.at),
            snapshot: kind.snapshot(),
            event_count: kind.event_count(),
        }
    }
}
