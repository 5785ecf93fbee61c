//! Defines one request to a service of lists and its response, and what follows from a status. Pure.

use std::future::Future;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::http as responses;
use crate::sink::{Failure, FailureKind};

/// Longest text of a receiver that is shown.
const MAX_SHOWN_CHARS: usize = 200;

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: Url,
    /// Headers besides those that the endpoint's configuration adds.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
}

/// A response, read to a bound.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The beginning of the body.
    pub body: Bytes,
}

/// Sends requests.
pub trait Exchange: Send + 'static {
    /// Sends a request, and returns the response whatever its status.
    fn call(&mut self, call: Call) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// A failure to be repeated: half a response proves nothing about the list.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let status = self.status.as_u16();
            failed(FailureKind::Retry, format!("unusable response with status {status}: {error}"), None)
        })
    }

    /// What follows from a status that is no success; `detail` is the service's own text.
    pub fn failure(&self, detail: &str) -> Failure {
        let status = self.status.as_u16();
        let kind = responses::kind(self.status, &self.body);
        let detail = shown(detail);
        let reason =
            if detail.is_empty() { format!("status {status}") } else { format!("status {status}: {detail}") };
        failed(kind, reason, self.retry_after())
    }

    /// `Retry-After` in seconds or as a date, bounded.
    pub fn retry_after(&self) -> Option<Duration> {
        responses::retry_after(&self.headers, SystemTime::now())
    }
}

/// A failure after which the list may have been replaced: an upload is repeated in any case.
pub fn failed(kind: FailureKind, reason: impl Into<String>, retry_after: Option<Duration>) -> Failure {
    Failure { kind, perhaps_received: true, reason: reason.into(), retry_after }
}

/// A text of a receiver as it may be logged: one bounded line without control characters.
pub fn shown(text: &str) -> String {
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MAX_SHOWN_CHARS).collect()
}
