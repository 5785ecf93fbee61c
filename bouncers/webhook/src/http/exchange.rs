//! Sends the requests of services of whole lists, over a connection that is kept open.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};
use palisade_cache::Timestamp;
use palisade_stream::now;
use sha2::{Digest as _, Sha256};
use url::Position;

use super::reason::unsent;
use super::requests::{Signatures, wall_seconds};
use super::{Client, ClientRequest, HttpError};
use crate::config::HttpConfig;
use crate::event::EventId;
use crate::replace::exchange::{Answer, Call, Exchange};
use crate::sink::{Failure, FailureKind};

/// How much of a response is read, in bytes. The longest that a service needs is AWS WAF's IP set with 10,000 addresses:
/// half a megabyte of IPv6 ranges, written in full. Cloudflare's responses are short, as no list is read from it.
pub const MAX_ANSWER_BYTES: usize = 2 << 20;

/// Sends requests to one service, with the endpoint's headers and credentials.
#[derive(Debug)]
pub struct ClientExchange {
    client: Client,
    signatures: Option<Signatures>,
}

impl ClientExchange {
    /// For a service with an API of its own, which is not sent webhook headers.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: Arc<HttpConfig>, user_agent: &str) -> Result<Self, HttpError> {
        Ok(Self { client: Client::new(config, user_agent)?, signatures: None })
    }

    /// For an HTTP endpoint: requests have an id, a timestamp, and the configured signatures.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn signing(config: Arc<HttpConfig>, user_agent: &str) -> Result<Self, HttpError> {
        let client = Client::new(Arc::clone(&config), user_agent)?;
        let signatures = Signatures::new(&config, client.headers())?;
        Ok(Self { client, signatures: Some(signatures) })
    }

    fn headers(&self, of_call: HeaderMap, body: &[u8]) -> Result<HeaderMap, Failure> {
        let mut headers = self.client.headers().clone();
        // What belongs to the call replaces what is configured: AWS' signature is in `Authorization`.
        headers.extend(of_call);
        if let Some(signatures) = &self.signatures {
            let now = now();
            signatures.add(&mut headers, list_id(body, now), wall_seconds(), body)?;
        }
        Ok(headers)
    }

    /// The text of an error may repeat parts of the request.
    fn without_secrets(&self, status: StatusCode, body: Bytes) -> Bytes {
        if status.is_success() {
            return body;
        }
        self.client.redacted(&String::from_utf8_lossy(&body)).into()
    }
}

impl Exchange for ClientExchange {
    /// Sends to the endpoint's host: of the call's URL only path and query count.
    async fn call(&mut self, call: Call) -> Result<Answer, Failure> {
        let target = &call.url[Position::BeforePath..Position::AfterQuery];
        let target: PathAndQuery = target.parse().map_err(|_| {
            unsent(FailureKind::Refusing, "the path of the service's URL cannot be sent".to_owned())
        })?;
        let request = ClientRequest {
            method: call.method,
            target: Some(target),
            headers: self.headers(call.headers, &call.body)?,
            body: call.body,
            response_limit: MAX_ANSWER_BYTES,
        };
        let response = self.client.send(request).await?;
        let body = self.without_secrets(response.status, response.body);
        Ok(Answer { status: response.status, headers: response.headers, body })
    }
}

/// The id of an upload. Each attempt has its own: a receiver that drops repeated ids must not drop a list that is sent
/// again after another one.
pub(crate) fn list_id(body: &[u8], now: Timestamp) -> EventId {
    let digest: [u8; 32] =
        Sha256::new_with_prefix(now.as_millis().to_be_bytes()).chain_update(body).finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    EventId::from_bytes(half)
}
