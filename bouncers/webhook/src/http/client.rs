//! Sends requests to one HTTP endpoint, one at a time, over a connection that is kept open.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode, Uri, response};
use http_body_util::Full;
use palisade_go_compat::with_causes;
use tokio::time::timeout;

use super::connection::{
    BodyEnd, Connection, ExchangeError, Exchanged, HttpRequest, MAX_RESPONSE_HEAD, MAX_RESPONSE_HEADS,
};
use super::credentials::fixed_headers;
use super::dial::{Dialer, Resolver, refuses};
use super::reason::{Excerpts, retry, shown, unsent};
use super::transport::Written;
use super::{HttpError, response as responses};
use crate::config::HttpConfig;
use crate::sink::{Failure, FailureKind};

/// How much of a response's body is read unless a request says otherwise, in bytes.
pub const DEFAULT_RESPONSE_LIMIT: usize = 64 * 1024;

/// Sends requests to one endpoint. Redirects are not followed, and each new connection's address is checked.
///
/// A clone has a connection of its own; configuration, TLS sessions and prepared headers are shared.
pub struct Client {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    written: Written,
}

struct Shared {
    config: Arc<HttpConfig>,
    dialer: Dialer,
    target: Uri,
    headers: HeaderMap,
    excerpts: Excerpts,
}

/// A request.
#[derive(Debug)]
pub struct ClientRequest {
    /// The method.
    pub method: Method,
    /// Path and query instead of those of the endpoint's URL.
    pub target: Option<PathAndQuery>,
    /// All headers but `Content-Length`; see [`Client::headers`].
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How much of the response's body is read, in bytes.
    pub response_limit: usize,
}

/// A response, of any status.
#[derive(Debug)]
pub struct ClientResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most as long as the request's limit.
    pub body: Bytes,
    /// Whether the body has more than that, or, with another status than 2xx, ended early.
    pub truncated: bool,
}

impl Client {
    /// A client for an endpoint. Reads certificates; opens no connection.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: Arc<HttpConfig>, user_agent: &str) -> Result<Self, HttpError> {
        Self::with_resolver(config, user_agent, Resolver::System)
    }

    pub(super) fn with_resolver(
        config: Arc<HttpConfig>,
        user_agent: &str,
        resolver: Resolver,
    ) -> Result<Self, HttpError> {
        let target = &config.url[url::Position::BeforePath..url::Position::AfterQuery];
        let target = target.parse().map_err(|_| HttpError::Url("its path is not valid"))?;
        let headers = fixed_headers(&config, user_agent)?;
        let excerpts = Excerpts::new(&config);
        let dialer = Dialer::new(Arc::clone(&config), resolver)?;
        let shared = Arc::new(Shared { config, dialer, target, headers, excerpts });
        Ok(Self { shared, connection: None, written: Written::default() })
    }

    /// The headers of every request: `Host`, `User-Agent`, the configured ones, `Authorization`.
    pub fn headers(&self) -> &HeaderMap {
        &self.shared.headers
    }

    /// Sends a request and reads the response within the endpoint's timeout. If the connection that was kept open turns
    /// out to be closed before it took any of the request, a new one is used.
    ///
    /// # Errors
    /// When there is no complete response. Of an error status [`failure`](Self::failure) makes one.
    pub async fn send(&mut self, request: ClientRequest) -> Result<ClientResponse, Failure> {
        let before = self.written.get();
        let limit = self.shared.config.timeout;
        match timeout(limit, self.exchange(request, before)).await {
            Ok(result) => result,
            Err(_) => {
                let reason = format!("no complete response within {}", shown(limit));
                Err(retry(self.written.get() != before, reason))
            }
        }
    }

    /// What follows from a response that is not a success.
    pub fn failure(&self, response: &ClientResponse) -> Failure {
        responses::failure(response, &self.shared.excerpts)
    }

    /// A text that may repeat parts of a request, without secrets.
    pub(super) fn redacted(&self, text: &str) -> String {
        self.shared.excerpts.redacted(text)
    }

    /// Closes the connection in order.
    pub async fn close(self) {
        if let Some(connection) = self.connection {
            connection.close().await;
        }
    }

    /// The connection is put back only after a complete exchange: if this is dropped midway, it is closed.
    async fn exchange(&mut self, request: ClientRequest, before: u64) -> Result<ClientResponse, Failure> {
        let limit = request.response_limit;
        let body_limit = move |head: &response::Parts| match head.status.is_success() {
            true => limit,
            // For the reason alone.
            false => limit.min(DEFAULT_RESPONSE_LIMIT),
        };
        let mut request = self.request(request);
        if let Some(mut connection) = self.connection.take()
            && connection.is_usable().await
        {
            match connection.exchange(request, body_limit).await {
                Ok(exchanged) => return self.finish(connection, exchanged),
                Err(ExchangeError::Failed(error)) => return Err(self.exchange_failure(&error, before)),
                Err(ExchangeError::TooManyInterim) => return Err(self.too_many_interim(before)),
                Err(ExchangeError::Unsent(unsent)) => request = *unsent,
            }
        }
        let transport = self.shared.dialer.dial(self.written.clone()).await?;
        let mut connection =
            Connection::new(transport).await.map_err(|error| self.exchange_failure(&error, before))?;
        match connection.exchange(request, body_limit).await {
            Ok(exchanged) => self.finish(connection, exchanged),
            Err(ExchangeError::Failed(error)) => Err(self.exchange_failure(&error, before)),
            Err(ExchangeError::TooManyInterim) => Err(self.too_many_interim(before)),
            Err(ExchangeError::Unsent(_)) => Err(retry(
                self.written.get() != before,
                "the receiver closed the connection at once".to_owned(),
            )),
        }
    }

    fn request(&self, request: ClientRequest) -> HttpRequest {
        let mut http = Request::new(Full::new(request.body));
        *http.method_mut() = request.method;
        *http.uri_mut() = request.target.map_or_else(|| self.shared.target.clone(), Uri::from);
        *http.headers_mut() = request.headers;
        http
    }

    fn finish(&mut self, connection: Connection, exchanged: Exchanged) -> Result<ClientResponse, Failure> {
        let Exchanged { head, body, end } = exchanged;
        let truncated = match end {
            BodyEnd::Complete => {
                self.connection = Some(connection);
                false
            }
            BodyEnd::Limit => true,
            // An error status says enough without its body.
            BodyEnd::Failed(_) if !head.status.is_success() => true,
            BodyEnd::Failed(error) => {
                let reason = format!("the response ended early: {}", with_causes(&error));
                return Err(retry(true, reason));
            }
        };
        Ok(ClientResponse { status: head.status, headers: head.headers, body, truncated })
    }

    fn too_many_interim(&self, before: u64) -> Failure {
        let reason =
            format!("more than {MAX_RESPONSE_HEADS} bytes of interim responses came before the response");
        retry(self.written.get() != before, reason)
    }

    /// Of an exchange without a response.
    fn exchange_failure(&self, error: &hyper::Error, before: u64) -> Failure {
        let perhaps_received = self.written.get() != before;
        if error.is_incomplete_message() {
            return retry(
                perhaps_received,
                "the receiver closed the connection before it responded".to_owned(),
            );
        }
        if error.is_parse_too_large() {
            let reason = format!(
                "the head of the response has more than {MAX_RESPONSE_HEAD} bytes or too many headers"
            );
            return retry(perhaps_received, reason);
        }
        let reason = format!("the exchange failed: {}", with_causes(error));
        // With TLS 1.3 a receiver refuses the client's certificate after the handshake.
        let io = std::error::Error::source(error).and_then(|error| error.downcast_ref::<std::io::Error>());
        if io.is_some_and(refuses) {
            return Failure { perhaps_received, ..unsent(FailureKind::Refusing, reason) };
        }
        retry(perhaps_received, reason)
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), connection: None, written: Written::default() }
    }
}

/// Headers and target may be secret.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
