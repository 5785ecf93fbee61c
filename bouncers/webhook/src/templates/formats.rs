//! The bodies that are written by Rust code: JSON, bulk formats and scripts.

pub(super) mod cloud_events;
pub(super) mod elasticsearch;
pub(super) mod mikrotik;
pub(super) mod ndjson;
pub(super) mod plain_json;
pub(super) mod response;
pub(super) mod splunk;

use std::fmt;

use super::TemplateError;
use super::batch::Batch;
use crate::sink::Outcome;

/// Makes bodies, and understands responses.
pub(super) trait Format: fmt::Debug + Send + Sync {
    /// The body of a batch; `None` when there is nothing to send.
    fn render(&self, batch: &Batch<'_>) -> Result<Option<Body>, TemplateError>;

    /// What a 2xx response means for a message of `events` events.
    fn check(&self, _body: &[u8], _events: usize) -> Outcome {
        Outcome::Delivered
    }

    /// How many bytes of a response may tell of one event.
    fn response_bytes_per_event(&self) -> usize {
        0
    }
}

/// A body and its type.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) content_type: &'static str,
}

impl Body {
    /// `None` for no bytes.
    pub(super) fn unless_empty(bytes: Vec<u8>, content_type: &'static str) -> Option<Self> {
        (!bytes.is_empty()).then_some(Self { bytes, content_type })
    }
}
