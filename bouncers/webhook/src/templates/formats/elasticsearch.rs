//! Writes requests of Elasticsearch's (and OpenSearch's) bulk API.
//!
//! With `mode: state` the index holds the decisions in force: a document for each entry, with an id made from what
//! identifies the entry, which is replaced and deleted. With `mode: log` every event is a document of a data stream,
//! with the event's id, so that a repeated one is no second document.

use serde::{Deserialize, Serialize};

use super::response::{failure, not_the_service};
use super::{Body, Format};
use crate::event::{Event, Grouping};
use crate::sink::{FailureKind, Outcome};
use crate::templates::TemplateError;
use crate::templates::batch::Batch;
use crate::templates::json::{self, EventJson};
use crate::templates::options::Options;
use crate::templates::time::rfc3339;

/// Elasticsearch's limit of an id, in bytes.
const MAX_ID_BYTES: usize = 512;

/// A bulk request.
#[derive(Debug)]
pub(in crate::templates) struct Elasticsearch {
    index: String,
    mode: Mode,
    grouping: Grouping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    State,
    Log,
}

impl Elasticsearch {
    pub(in crate::templates) fn new(
        options: &Options<'_>,
        grouping: Grouping,
    ) -> Result<Self, TemplateError> {
        let index = options.text("index");
        // https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create
        let wrong = |c: char| c.is_uppercase() || c.is_whitespace() || r#"\/*?"<>|,#:"#.contains(c);
        if index.is_empty()
            || index.starts_with(['-', '_', '+', '.'])
            || index.len() > 255
            || index.contains(wrong)
        {
            return Err(options.wrong("index", format!("is {index:?}, which is no name of an index")));
        }
        let mode = options.one_of("mode", &[("state", Mode::State), ("log", Mode::Log)])?;
        Ok(Self { index: index.to_owned(), mode, grouping })
    }

    fn action(&self, bytes: &mut Vec<u8>, event: &Event, batch: &Batch<'_>) {
        let (verb, id) = match self.mode {
            Mode::Log => (Verb::Create, event.id.to_string()),
            Mode::State if event.kind.is_in_force() => (Verb::Index, self.document_id(event)),
            Mode::State => (Verb::Delete, self.document_id(event)),
        };
        json::write(bytes, &Action { verb, index: &self.index, id: &id });
        bytes.push(b'\n');
        if verb != Verb::Delete {
            let document =
                Document { timestamp: rfc3339(event.at), event: EventJson { event, now: batch.now } };
            json::write(bytes, &document);
            bytes.push(b'\n');
        }
    }

    /// From what identifies the entry with the endpoint's grouping; a digest when that is too long.
    fn document_id(&self, event: &Event) -> String {
        let entry = &event.entry;
        let mut id = format!("{}:{}", event.value.scope(), event.value);
        let mut add = |text: &str| {
            id.push('|');
            id.push_str(text);
        };
        if self.grouping != Grouping::Value {
            add(&entry.remediation);
        }
        if self.grouping == Grouping::Decision {
            add(&entry.origin);
            if &*entry.origin == "lists" {
                add(&entry.scenario);
            }
        }
        if id.len() <= MAX_ID_BYTES { id } else { digest(&id) }
    }
}

fn digest(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Index,
    Create,
    Delete,
}

struct Action<'a> {
    verb: Verb,
    index: &'a str,
    id: &'a str,
}

impl Serialize for Action<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Meta<'a> {
            _index: &'a str,
            _id: &'a str,
        }
        serializer.collect_map([(self.verb, Meta { _index: self.index, _id: self.id })])
    }
}

#[derive(Serialize)]
struct Document<'a> {
    /// Required of documents in data streams.
    #[serde(rename = "@timestamp")]
    timestamp: String,
    #[serde(flatten)]
    event: EventJson<'a>,
}

impl Format for Elasticsearch {
    fn render(&self, batch: &Batch<'_>) -> Result<Option<Body>, TemplateError> {
        let mut bytes = Vec::with_capacity(700 * batch.events.len());
        for event in batch.events {
            self.action(&mut bytes, event, batch);
        }
        Ok(Body::unless_empty(bytes, "application/x-ndjson"))
    }

    fn check(&self, body: &[u8], events: usize) -> Outcome {
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(body) else {
            // Cut off, or with fields left out by `filter_path`.
            return match find(&body[..body.len().min(256)], b"\"errors\":false") {
                true => Outcome::Delivered,
                false => not_the_service("Elasticsearch's bulk API"),
            };
        };
        if !answer.errors {
            return Outcome::Delivered;
        }
        if answer.items.len() != events {
            return Outcome::Failed(failure(
                FailureKind::Retry,
                "Elasticsearch reports errors, but not of which items",
            ));
        }
        let failed: Vec<_> = answer
            .items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| {
                let (verb, result) = item.iter().next()?;
                let kind = result.failure(verb)?;
                let reason = format!("Elasticsearch answers {}: {}", result.status, result.error.shown());
                Some((index, failure(kind, &reason)))
            })
            .collect();
        match failed.as_slice() {
            [] => Outcome::Delivered,
            // Nothing was accepted, for a reason that is not in the events.
            [(_, first), ..]
                if failed.len() == events
                    && first.kind != FailureKind::Rejected
                    && failed.iter().all(|(_, failure)| failure.kind == first.kind) =>
            {
                Outcome::Failed(first.clone())
            }
            _ => Outcome::Partly(failed),
        }
    }

    fn response_bytes_per_event(&self) -> usize {
        1024
    }
}

fn find(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[derive(Deserialize)]
struct Answer<'a> {
    errors: bool,
    #[serde(default, borrow)]
    items: Vec<std::collections::BTreeMap<&'a str, ItemResult>>,
}

#[derive(Deserialize)]
struct ItemResult {
    status: u16,
    #[serde(default)]
    error: ItemError,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ItemError {
    r#type: String,
    reason: String,
}

impl ItemError {
    fn shown(&self) -> String {
        format!("{}: {}", self.r#type, self.reason)
    }
}

impl ItemResult {
    fn failure(&self, verb: &str) -> Option<FailureKind> {
        match self.status {
            200..300 => None,
            // The document is there, or already gone.
            409 if verb == "create" => None,
            404 if verb == "delete" && self.error.r#type.is_empty() => None,
            429 | 408 | 409 | 500.. => Some(FailureKind::Retry),
            401 | 403 | 404 => Some(FailureKind::Refusing),
            _ => Some(FailureKind::Rejected),
        }
    }
}
