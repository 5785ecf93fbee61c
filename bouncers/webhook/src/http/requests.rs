//! Makes the requests of an HTTP endpoint from messages: body, headers, signatures. Pure.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use palisade_cache::Timestamp;

use super::credentials::RESERVED;
use super::reason::{escaped, unsent};
use super::sink::ConnectError;
use super::{ClientRequest, DEFAULT_RESPONSE_LIMIT, HeaderSigner, HttpError, Signer};
use crate::config::{EndpointConfig, HttpConfig};
use crate::event::EventId;
use crate::sink::{Failure, FailureKind, Message};
use crate::templates::Template;

/// The message's id, which is the same in every attempt.
pub(crate) const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// The time of the attempt, in seconds.
pub(crate) const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// The signatures, if secrets are configured.
pub(crate) const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Longest text about a template that fails, in characters. It quotes parts of decisions.
const MAX_REASON: usize = 400;

/// What all requests of an endpoint are made with.
#[derive(Debug)]
pub(crate) struct Requests {
    method: Method,
    template: Template,
    headers: HeaderMap,
    signatures: Signatures,
    max_bytes: usize,
}

impl Requests {
    /// With the headers that every request has.
    pub(crate) fn new(
        endpoint: &EndpointConfig,
        http: &HttpConfig,
        headers: HeaderMap,
    ) -> Result<Self, ConnectError> {
        let signatures = Signatures::new(http, &headers)?;
        Ok(Self {
            method: http.method.clone(),
            template: Template::load(&http.body, endpoint.grouping)?,
            headers,
            signatures,
            max_bytes: endpoint.batch.bytes,
        })
    }

    pub(crate) fn template(&self) -> &Template {
        &self.template
    }

    /// The request for an attempt at this time, which is `timestamp` for the receiver, in seconds since the Unix epoch;
    /// `None` when there is nothing to send.
    pub(crate) fn request(
        &self,
        message: &Message,
        now: Timestamp,
        timestamp: u64,
    ) -> Result<Option<ClientRequest>, Failure> {
        let rejected = |reason| unsent(FailureKind::Rejected, reason);
        let events = message.events.len();
        let rendered = self.template.render_at(message, now);
        let rendered = rendered.map_err(|error| rejected(escaped(&error.to_string(), MAX_REASON)))?;
        let Some(rendered) = rendered else { return Ok(None) };
        let length = rendered.body.len();
        // One event alone is sent all the same: the receiver decides.
        if length > self.max_bytes && events > 1 {
            let max = self.max_bytes;
            return Err(rejected(format!(
                "the body of {events} events has {length} bytes; `batch.size` is {max}"
            )));
        }
        let mut headers = self.headers.clone();
        // A header of the configuration wins.
        headers.entry(CONTENT_TYPE).or_insert(rendered.content_type);
        self.signatures.add(&mut headers, message.id, timestamp, &rendered.body)?;
        Ok(Some(ClientRequest {
            method: self.method.clone(),
            target: None,
            headers,
            body: rendered.body,
            response_limit: self.template.response_bytes(events).max(DEFAULT_RESPONSE_LIMIT),
        }))
    }
}

/// The wall clock. Not that of decisions, which does not follow a clock that is set: the receiver's clock does.
pub(crate) fn wall_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// The headers that identify a message and prove where it is from.
#[derive(Debug)]
pub(crate) struct Signatures {
    signer: Signer,
    hmac: Option<HeaderSigner>,
}

impl Signatures {
    /// With the secrets of an endpoint, and the headers that all its requests have.
    pub(crate) fn new(http: &HttpConfig, headers: &HeaderMap) -> Result<Self, HttpError> {
        let hmac = http.auth.hmac.as_ref().map(HeaderSigner::new);
        if let Some(hmac) = &hmac {
            require_usable(hmac, headers)?;
        }
        Ok(Self { signer: Signer::new(&http.auth.signing_secrets)?, hmac })
    }

    /// `timestamp` is the time of the attempt and not of the message, in seconds since the Unix epoch: receivers refuse
    /// old signatures.
    pub(crate) fn add(
        &self,
        headers: &mut HeaderMap,
        id: EventId,
        timestamp: u64,
        body: &[u8],
    ) -> Result<(), Failure> {
        let id = id.to_string();
        if let Some(signature) = self.signer.sign(&id, timestamp, body) {
            headers.insert(WEBHOOK_SIGNATURE, signature);
        }
        headers.insert(WEBHOOK_TIMESTAMP, timestamp.into());
        let id = HeaderValue::try_from(id)
            .map_err(|_| unsent(FailureKind::Rejected, "the message's id is no header value".to_owned()))?;
        headers.insert(WEBHOOK_ID, id);
        if let Some(hmac) = &self.hmac
            && let Some(value) = hmac.sign(body)
        {
            headers.insert(hmac.header().clone(), value);
        }
        Ok(())
    }
}

/// The header of an HMAC must not replace another one, nor may its prefix make it impossible.
fn require_usable(hmac: &HeaderSigner, headers: &HeaderMap) -> Result<(), HttpError> {
    let refused = |reason| Err(HttpError::Header { name: hmac.header().clone(), reason });
    let own: HashSet<_> = RESERVED
        .into_iter()
        .chain([CONTENT_TYPE, WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE])
        .collect();
    if own.contains(hmac.header()) || headers.contains_key(hmac.header()) {
        return refused("`hmac.header` names one that has another value already");
    }
    if hmac.sign(b"").is_none() {
        return refused("`hmac.prefix` has characters that no header can have");
    }
    Ok(())
}
