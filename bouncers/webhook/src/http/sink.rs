//! Delivers messages to an HTTP endpoint: makes the request, sends it, and derives the outcome from the response.
//!
//! ```text
//!   Message ── requests ──► ClientRequest ── client ──► 2xx ────────► template: delivered, partly, failed
//!              (template, headers, signatures)      └─► other status, no response ──► failure
//! ```

use std::sync::Arc;

use palisade_stream::now;
use tokio::task::spawn_blocking;

use super::reason::{retry, unsent};
use super::requests::{Requests, wall_seconds};
use super::{Client, ClientResponse, HttpError};
use crate::config::{EndpointConfig, HttpConfig};
use crate::sink::{Connector, Failure, FailureKind, Message, Outcome, Sink};
use crate::templates::TemplateError;

/// Messages with more events than this are rendered, and their responses are read, on a thread of their own: the runtime
/// has one thread, and an operator's template may take a millisecond for a few events.
const MAX_EVENTS_INLINE: usize = 50;

/// An HTTP endpoint cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// URL, headers, signatures or TLS.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Makes the sinks of an HTTP endpoint. Each has a connection of its own.
#[derive(Debug)]
pub struct HttpConnector {
    client: Client,
    requests: Arc<Requests>,
}

impl HttpConnector {
    /// A connector. Reads certificates, compiles the template and parses the keys; opens no connection.
    ///
    /// # Errors
    /// When the configuration cannot be used: an invalid URL, header or secret, an unreadable certificate, a template
    /// that does not render.
    pub fn new(
        endpoint: &EndpointConfig,
        http: Arc<HttpConfig>,
        user_agent: &str,
    ) -> Result<Self, ConnectError> {
        let client = Client::new(Arc::clone(&http), user_agent)?;
        let requests = Requests::new(endpoint, &http, client.headers().clone())?;
        Ok(Self { client, requests: requests.into() })
    }
}

impl Connector for HttpConnector {
    type Sink = HttpSink;

    fn sink(&self) -> HttpSink {
        HttpSink { client: self.client.clone(), requests: Arc::clone(&self.requests) }
    }
}

/// Delivers messages over one connection.
#[derive(Debug)]
pub struct HttpSink {
    client: Client,
    requests: Arc<Requests>,
}

impl HttpSink {
    async fn try_deliver(&mut self, message: &Message) -> Result<Outcome, Failure> {
        let requests = Arc::clone(&self.requests);
        let request = if message.events.len() <= MAX_EVENTS_INLINE {
            requests.request(message, now(), wall_seconds())?
        } else {
            let message = message.clone();
            let made = spawn_blocking(move || requests.request(&message, now(), wall_seconds())).await;
            made.map_err(|_| unsent(FailureKind::Rejected, "the template failed unexpectedly".to_owned()))??
        };
        let Some(request) = request else { return Ok(Outcome::Delivered) };
        let response = self.client.send(request).await?;
        if !response.status.is_success() {
            return Err(self.client.failure(&response));
        }
        Ok(self.redacted(self.outcome(response, message.events.len()).await))
    }

    async fn outcome(&self, response: ClientResponse, events: usize) -> Outcome {
        let requests = Arc::clone(&self.requests);
        let check = move || requests.template().check(response.status, &response.body, events);
        if events <= MAX_EVENTS_INLINE {
            return check();
        }
        spawn_blocking(check).await.unwrap_or_else(|_| {
            Outcome::Failed(retry(true, "the response could not be understood".to_owned()))
        })
    }

    /// Services quote what they were sent.
    fn redacted(&self, outcome: Outcome) -> Outcome {
        let redacted =
            |failure: Failure| Failure { reason: self.client.redacted(&failure.reason), ..failure };
        match outcome {
            Outcome::Failed(failure) => Outcome::Failed(redacted(failure)),
            Outcome::Partly(failures) => {
                Outcome::Partly(failures.into_iter().map(|(at, failure)| (at, redacted(failure))).collect())
            }
            other => other,
        }
    }
}

impl Sink for HttpSink {
    async fn deliver(&mut self, message: &Message) -> Outcome {
        self.try_deliver(message).await.unwrap_or_else(Outcome::Failed)
    }

    async fn close(self) {
        self.client.close().await;
    }
}
