//! Replaces the items of a Cloudflare list of addresses.
//!
//! ```text
//!   PUT …/rules/lists/LIST/items ──► operation_id ──► GET …/rules/lists/bulk_operations/ID until completed or failed
//! ```
//!
//! Cloudflare documents IPv4 addresses and ranges of /8 to /32, and IPv6 ranges of /12 to /64. Shorter ranges are sent
//! as their parts. A longer IPv6 prefix, such as a single address, is left out and counted unless the operator chooses
//! otherwise ([`LongIpv6`]): its /64 would block addresses that no decision is on.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use url::Url;

use super::exchange::{Answer, Call, Exchange, failed, shown};
use super::list::{Item, List, Shape};
use crate::config::LongIpv6;
use crate::event::Value;
use crate::sink::{Failure, FailureKind};

/// Longest comment of an item.
const MAX_COMMENT_CHARS: usize = 500;
/// How long an operation may take before the upload counts as failed.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(600);
/// The first and the longest wait between two questions about an operation.
const POLL_INTERVALS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Longest id of an operation; it becomes part of a URL.
const MAX_OPERATION_ID: usize = 128;

/// A Cloudflare list.
#[derive(Debug)]
pub struct Cloudflare<E> {
    /// Of the API, without a slash at the end: `https://api.cloudflare.com/client/v4`.
    pub base: Url,
    /// The account.
    pub account: String,
    /// The list.
    pub list: String,
    /// What becomes of IPv6 prefixes that are longer than /64.
    pub long_ipv6: LongIpv6,
    /// Sends the requests, with the token.
    pub exchange: E,
}

#[derive(Serialize)]
struct ListItem {
    ip: String,
    comment: String,
}

/// The envelope of every response.
#[derive(Deserialize)]
struct Envelope<T> {
    success: bool,
    #[serde(default)]
    errors: Option<Vec<ApiError>>,
    result: Option<T>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Started {
    operation_id: String,
}

#[derive(Deserialize)]
struct Operation {
    status: String,
    #[serde(default)]
    error: Option<String>,
}

/// What a list of addresses can represent.
pub(super) fn shape(long_ipv6: LongIpv6, max_entries: usize, aggregate: bool) -> Shape {
    let longest = if long_ipv6 == LongIpv6::Send { 128 } else { 64 };
    Shape {
        names: false,
        v4: Some(8..=32),
        v6: Some(12..=longest),
        widen: long_ipv6 == LongIpv6::Widen,
        aggregate,
        max_entries,
        max_of_family: max_entries,
    }
}

impl<E: Exchange> Cloudflare<E> {
    /// What such a list can represent.
    pub fn shape(&self, max_entries: usize, aggregate: bool) -> Shape {
        shape(self.long_ipv6, max_entries, aggregate)
    }

    /// A digest of the list as it is sent. Ends of decisions are no part of it.
    pub fn digest(&self, list: &List) -> [u8; 32] {
        let identity = format!("cloudflare {} {} {}", self.base, self.account, self.list);
        list.digest(&identity, |item, feed| feed(comment(item).as_bytes()))
    }

    /// Replaces the items and waits until that is done.
    ///
    /// # Errors
    /// When it was not done, or that is not known.
    pub async fn replace(&mut self, list: &List) -> Result<(), Failure> {
        let items: Vec<_> =
            list.items.iter().map(|item| ListItem { ip: address(item), comment: comment(item) }).collect();
        let body = serde_json::to_vec(&items).map_err(|error| {
            failed(FailureKind::Rejected, format!("cannot write the items: {error}"), None)
        })?;
        let answer = self.call(Method::PUT, &[&self.list.clone(), "items"], body.into()).await?;
        let started: Started = result(&answer)?;
        let id = started.operation_id;
        if id.is_empty() || id.len() > MAX_OPERATION_ID {
            return Err(failed(FailureKind::Retry, "the response has no usable operation_id", None));
        }
        self.completed(&id).await
    }

    async fn completed(&mut self, id: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + OPERATION_TIMEOUT;
        let mut interval = POLL_INTERVALS.0;
        let mut wait = interval;
        let mut last = None;
        while Instant::now() + wait < deadline {
            sleep(wait).await;
            interval = (interval * 2).min(POLL_INTERVALS.1);
            wait = interval;
            let polled = self.call(Method::GET, &["bulk_operations", id], Bytes::new()).await;
            match polled.and_then(|answer| result::<Operation>(&answer)) {
                Ok(operation) => match operation.status.as_str() {
                    "completed" => return Ok(()),
                    "failed" => {
                        let error = shown(operation.error.as_deref().unwrap_or("no reason given"));
                        return Err(failed(
                            FailureKind::Rejected,
                            format!("the operation failed: {error}"),
                            None,
                        ));
                    }
                    // Pending, running, or a state that is not documented.
                    _ => last = None,
                },
                // Only the question failed: the operation goes on, and another upload would be refused meanwhile.
                Err(failure) if failure.kind == FailureKind::Retry => {
                    wait = failure.retry_after.unwrap_or(interval).max(interval);
                    last = Some(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(last.unwrap_or_else(|| {
            let seconds = OPERATION_TIMEOUT.as_secs();
            failed(
                FailureKind::Retry,
                format!("the operation was not completed within {seconds} seconds"),
                None,
            )
        }))
    }

    async fn call(&mut self, method: Method, path: &[&str], body: Bytes) -> Result<Answer, Failure> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            // Each segment is escaped: none can lead to another resource.
            Ok(mut segments) => {
                segments.pop_if_empty().extend(["accounts", &self.account, "rules", "lists"]).extend(path);
            }
            Err(()) => return Err(failed(FailureKind::Refusing, "the API's URL cannot have a path", None)),
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if !body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        self.exchange.call(Call { method, url, headers, body }).await
    }
}

/// The result of a response that reports success.
fn result<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    if !answer.status.is_success() {
        // An error page of a proxy has no envelope; the status counts.
        let envelope = serde_json::from_slice::<Envelope<serde_json::Value>>(&answer.body).ok();
        return Err(answer.failure(&errors_of(envelope.as_ref())));
    }
    let envelope: Envelope<serde_json::Value> = answer.json()?;
    if !envelope.success {
        let errors = shown(&errors_of(Some(&envelope)));
        return Err(failed(
            FailureKind::Rejected,
            format!("the API reports: {errors}"),
            answer.retry_after(),
        ));
    }
    let result = envelope.result.unwrap_or_default();
    serde_json::from_value(result)
        .map_err(|error| failed(FailureKind::Retry, format!("unusable response: {error}"), None))
}

fn errors_of(envelope: Option<&Envelope<serde_json::Value>>) -> String {
    let mut text = String::new();
    for error in envelope.and_then(|envelope| envelope.errors.as_deref()).unwrap_or_default().iter().take(3) {
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{} (code {})", error.message, error.code);
    }
    text
}

/// An IPv4 address alone, everything else with its length.
fn address(item: &Item) -> String {
    match &item.value {
        Value::Net(net) if net.addr().is_ipv6() && net.prefix_len() < 128 => net.to_string(),
        value => value.to_string(),
    }
}

fn comment(item: &Item) -> String {
    let text = format!("{}: {}", item.entry.origin, item.entry.scenario);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_COMMENT_CHARS).collect()
}

#[cfg(test)]
mod tests;
