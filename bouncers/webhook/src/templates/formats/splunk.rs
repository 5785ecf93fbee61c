//! Writes events for Splunk's HTTP Event Collector (`/services/collector/event`).

use serde::{Deserialize, Serialize};

use super::response::{failure, not_the_service};
use super::{Body, Format};
use crate::sink::{FailureKind, Outcome};
use crate::templates::TemplateError;
use crate::templates::batch::Batch;
use crate::templates::json::{self, EventJson};
use crate::templates::options::Options;

/// HEC events, one after the other as HEC takes them.
#[derive(Debug)]
pub(in crate::templates) struct Splunk {
    host: String,
    source: String,
    source_type: String,
    index: String,
}

impl Splunk {
    pub(in crate::templates) fn new(options: &Options<'_>) -> Result<Self, TemplateError> {
        let text = |name| options.text(name).to_owned();
        Ok(Self {
            host: text("host"),
            source: text("source"),
            source_type: text("sourcetype"),
            index: text("index"),
        })
    }
}

#[derive(Serialize)]
struct HecEvent<'a> {
    /// Seconds since the Unix epoch.
    time: f64,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    source: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sourcetype: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    index: &'a str,
    event: EventJson<'a>,
}

impl Format for Splunk {
    fn render(&self, batch: &Batch<'_>) -> Result<Option<Body>, TemplateError> {
        let mut bytes = Vec::with_capacity(600 * batch.events.len());
        for event in batch.events {
            let hec = HecEvent {
                // Exact: milliseconds of any year that is written have fewer than 53 bits.
                time: event.at.as_millis() as f64 / 1000.0,
                host: &self.host,
                source: &self.source,
                sourcetype: &self.source_type,
                index: &self.index,
                event: EventJson { event, now: batch.now },
            };
            json::write(&mut bytes, &hec);
            bytes.push(b'\n');
        }
        Ok(Body::unless_empty(bytes, "application/json"))
    }

    fn check(&self, body: &[u8], _: usize) -> Outcome {
        #[derive(Deserialize)]
        struct Answer {
            code: u16,
            #[serde(default)]
            text: String,
        }
        match serde_json::from_slice(body) {
            Ok(Answer { code: 0, .. }) => Outcome::Delivered,
            Ok(Answer { code, text }) => {
                let kind = match code {
                    // Token disabled, required, invalid; incorrect index; data channel missing or invalid; acks disabled.
                    1..=4 | 7 | 10 | 11 | 14 => FailureKind::Refusing,
                    // No data; invalid format; event field required or blank; indexed fields or query string wrong.
                    5 | 6 | 12 | 13 | 15 | 16 => FailureKind::Rejected,
                    _ => FailureKind::Retry,
                };
                Outcome::Failed(failure(kind, &format!("Splunk answers code {code}: {text}")))
            }
            Err(_) => not_the_service("Splunk's HTTP Event Collector"),
        }
    }
}
