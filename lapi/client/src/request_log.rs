//! Logs each request at level debug: method, URL, status and time, never a header or a body.

use std::fmt::Display;
use std::time::Instant;

use reqwest::{Request, Response};
use tokio::time::error::Elapsed;
use tracing::{Level, debug, enabled};

use crate::endpoint::{Endpoint, redacted};

/// A request in flight; `None` where nothing is logged.
pub(crate) struct RequestLog(Option<Call>);

struct Call {
    method: String,
    url: String,
    started: Instant,
}

impl RequestLog {
    pub(crate) fn of(endpoint: &Endpoint, request: &Request) -> Self {
        if !enabled!(Level::DEBUG) {
            return Self(None);
        }
        let url = request.url();
        let url = match &endpoint.socket {
            // The URL's host means nothing then.
            Some(socket) => {
                let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
                format!("{}:{}{query}", socket.display(), url.path())
            }
            None => redacted(url.as_str()),
        };
        Self(Some(Call { method: request.method().to_string(), url, started: Instant::now() }))
    }

    /// Logs the head of the response, or that there was none.
    pub(crate) fn answered(self, result: &Result<reqwest::Result<Response>, Elapsed>) {
        let Some(Call { method, url, started }) = self.0 else { return };
        let took_ms = started.elapsed().as_millis() as u64;
        let result: &dyn Display = match result {
            Ok(Ok(response)) => {
                let status = response.status().as_u16();
                return debug!(method, url, status, took_ms, "request");
            }
            // The message would repeat the URL.
            Ok(Err(_)) => &"failed",
            Err(_) => &"no answer in time",
        };
        debug!(method, url, %result, took_ms, "request");
    }
}
