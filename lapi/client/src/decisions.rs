//! Requests the decisions on one target, for bouncers that query the LAPI for each client.

use std::time::Duration;

use palisade_wire::StreamDecision;
use reqwest::header::ACCEPT;
use serde::Deserialize as _;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::form_urlencoded;

use crate::{Client, PullError};

/// How much of a response is read, in bytes: some thousand decisions on one target.
const MAX_BODY_BYTES: usize = 1 << 20;

/// What decisions are requested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionTarget<'a> {
    /// An address: decisions on it and on the ranges around it.
    Address(std::net::IpAddr),
    /// A value of another scope.
    Named {
        /// `Country`, `AS`, …
        scope: &'a str,
        /// `FR`, `64500`, …
        value: &'a str,
    },
}

impl DecisionTarget<'_> {
    fn query(self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        match self {
            Self::Address(address) => query.append_pair("ip", &address.to_string()),
            Self::Named { scope, value } => query.append_pair("scope", scope).append_pair("value", value),
        };
        query.finish()
    }
}

impl Client {
    /// Requests the decisions on a target and passes them to `sink`. All of it takes `longest` at most. Returns the number
    /// of elements that are no decisions.
    ///
    /// # Errors
    /// When there is no complete response. What the sink received must then be discarded.
    pub async fn decisions_on(
        &self,
        target: DecisionTarget<'_>,
        longest: Duration,
        sink: &mut (dyn FnMut(StreamDecision<'_>) + Send),
    ) -> Result<u64, PullError> {
        let deadline = Instant::now() + longest;
        let url = self.endpoint.route("v1/decisions", &target.query());
        let request = self.http.get(url).header(ACCEPT, "application/json");
        let mut response = self.send_checked(request, longest).await?;
        let mut body = Vec::new();
        loop {
            let chunk = timeout_at(deadline, response.chunk()).await;
            let chunk = chunk.map_err(|_| self.timed_out("in the middle of an answer", longest))?;
            let received = body.len() as u64;
            let cut_short = |cause| PullError::CutShort { url: self.url(), received, cause: Some(cause) };
            let Some(chunk) = chunk.map_err(|cause| cut_short(cause.without_url()))? else { break };
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BODY_BYTES {
                return Err(PullError::CutShort { url: self.url(), received, cause: None });
            }
        }
        // `null` without decisions.
        let elements: Option<Vec<Value>> = serde_json::from_slice(&body)
            .map_err(|_| PullError::CutShort { url: self.url(), received: body.len() as u64, cause: None })?;
        let mut unreadable = 0;
        for element in elements.unwrap_or_default() {
            // One element that is no decision must not hide the others.
            match StreamDecision::deserialize(&element) {
                Ok(decision) => sink(decision),
                Err(_) => unreadable += 1,
            }
        }
        Ok(unreadable)
    }
}
