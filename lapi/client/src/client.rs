//! The bouncer's HTTP client: requests decision streams and sends usage reports.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use palisade_wire::{ErrorBody, StreamDecoder, StreamItem, StreamQuery, UsageMetrics};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{ClientConfig, UserAgent};
use crate::continuation::{self, Continuation, StreamSink};
use crate::diagnosis::ConnectionFacts;
use crate::endpoint::{Endpoint, redacted};
use crate::error::{BuildError, Credential, PullError, PushError};
use crate::progress::{FullPullTimeout, MIN_BYTES_PER_WINDOW, ProgressError, ProgressMonitor};
use crate::request_log::RequestLog;
use crate::transport::{self, Identification, Setup};

/// How much of an error response is read.
pub(crate) const ERROR_BODY_LIMIT: usize = 16 * 1024;

/// A client of one LAPI with one key. Clones share connections and are the same client. At a stock LAPI only one of
/// them may follow the stream: clients with the same key share a position there and would take each other's decisions.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) endpoint: Endpoint,
    pub(crate) idle: Duration,
    credential: Credential,
    pub(crate) facts: Arc<ConnectionFacts>,
    /// The timeout of the next full pull's head.
    full_pull: Arc<Mutex<FullPullTimeout>>,
    /// The address that answered last.
    peer: Arc<Mutex<Option<SocketAddr>>>,
}

/// A complete decision stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamAnswer {
    /// How to continue; `None` from a stock LAPI.
    pub continuation: Option<Continuation>,
    /// Length of the JSON text.
    pub bytes: u64,
    /// Decisions in `new`.
    pub items_new: u64,
    /// Decisions in `deleted`.
    pub items_deleted: u64,
    /// Elements that are not decisions.
    pub items_unreadable: u64,
    /// The remote address; `None` on a unix socket. Behind a proxy, the proxy's.
    pub peer: Option<SocketAddr>,
}

impl Client {
    /// Creates a client. Reads the certificate files; does not connect.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn new(config: &ClientConfig, agent: &UserAgent) -> Result<Self, BuildError> {
        Self::assemble(&config.url, &config.into(), config.startup_idle_timeout, agent)
    }

    /// The same for any kind of identification.
    pub(crate) fn assemble(
        url: &str,
        setup: &Setup<'_>,
        startup_idle: Duration,
        agent: &UserAgent,
    ) -> Result<Self, BuildError> {
        let endpoint = Endpoint::parse_setting(url, setup.names)?;
        let credential = match setup.identity {
            Identification::Certificate { .. } => Credential::Certificate,
            Identification::Key(_) | Identification::None => Credential::Key,
        };
        Ok(Self {
            http: transport::build(setup, &endpoint, agent)?,
            idle: setup.idle_timeout,
            credential,
            facts: Arc::new(ConnectionFacts {
                endpoint: endpoint.clone(),
                names: setup.names.clone(),
                has_certificate: credential == Credential::Certificate,
                has_ca: setup.ca.is_some(),
                connect_timeout: setup.connect_timeout,
                is_proxied: setup.is_proxied(&endpoint),
            }),
            full_pull: Arc::new(Mutex::new(FullPullTimeout::new(setup.idle_timeout, startup_idle))),
            endpoint,
            peer: Arc::default(),
        })
    }

    /// The LAPI's URL, for display.
    pub fn url(&self) -> String {
        self.endpoint.to_string()
    }

    /// The name or address that is connected to, and the port; `None` on a unix socket.
    pub fn host_and_port(&self) -> Option<(String, u16)> {
        self.endpoint.host_and_port()
    }

    /// The address that answered last; `None` before the first answer and on a unix socket.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn full_pull(&self) -> MutexGuard<'_, FullPullTimeout> {
        self.full_pull.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests decisions and passes them to `sink` as they arrive, so that neither the JSON text nor the decisions are
    /// held in memory. The timeout of a long poll includes its `wait`.
    ///
    /// The timeout of a full pull's head grows from the third attempt on; see
    /// [`ClientConfig::startup_idle_timeout`]. A body that makes too little progress is aborted.
    ///
    /// # Errors
    /// What the sink received must be discarded. If [`PullError::may_have_reached_lapi`], the contents of a stock
    /// LAPI's response can only be had again with `startup`.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; the LAPI may have moved its position nevertheless.
    pub async fn decision_stream(
        &self,
        query: &StreamQuery,
        sink: &mut dyn StreamSink,
    ) -> Result<StreamAnswer, PullError> {
        // A stock LAPI prepares a full response for minutes before its head; a response with changes comes quickly.
        let silence = if query.startup { self.full_pull().current() } else { self.idle };
        let url = self.endpoint.route("v1/decisions/stream", &query.to_query_string());
        let begun = Instant::now();
        // A LAPI may send the head only when there are changes, so the parked time does not count as silence.
        let until_head = silence.saturating_add(Duration::from_secs(query.wait.into()));
        let request = self.http.get(url).header(ACCEPT, "application/json");
        let answer = self.send_checked(request, until_head).await;
        let head = Instant::now();
        if query.startup {
            match &answer {
                Ok(_) => self.full_pull().record(head - begun),
                // Other errors, such as a refused connection, say nothing about the time that a response takes.
                Err(PullError::TimedOut { .. }) => self.full_pull().missed(),
                Err(_) => {}
            }
        }
        let mut response = answer?;
        // A LAPI that sends the head of a parked request at once may send blanks until there are changes: the rest of
        // the parked time must not count as a lack of progress.
        let held = Duration::from_secs(query.wait.into()).saturating_sub(head - begun);
        let mut progress = ProgressMonitor::new(head, held.saturating_add(self.idle), self.idle, silence);

        let continuation = continuation::read(response.headers())
            .map_err(|(name, text)| PullError::Header { url: self.url(), name, text })?;
        // Before the body is read: the sink interprets ends differently in a full response.
        sink.begin(continuation.as_ref());
        let mut answer =
            StreamAnswer { continuation, peer: response.remote_addr(), ..StreamAnswer::default() };
        // Decoded piece by piece: the JSON text of a million decisions is more than 200 MB.
        let mut decoder = StreamDecoder::new();
        while let Some(chunk) = self.piece(&mut response, &mut progress, answer.bytes).await? {
            answer.bytes += chunk.len() as u64;
            // Counted here and not in the decoder, which passes each item on only once.
            let mut count = |item: StreamItem<'_>| {
                match &item {
                    StreamItem::New(_) => answer.items_new += 1,
                    StreamItem::Deleted(_) => answer.items_deleted += 1,
                    StreamItem::Unreadable { .. } => answer.items_unreadable += 1,
                }
                sink.item(item);
            };
            decoder.push(&chunk, &mut count).map_err(|cause| PullError::Malformed {
                setting: self.url_setting(),
                url: self.url(),
                cause,
            })?;
        }
        match decoder.finish() {
            Ok(()) => Ok(answer),
            // A stock LAPI that fails midway may close a chunked body properly, so only the JSON shows that it is
            // incomplete.
            Err(_) => Err(PullError::CutShort { url: self.url(), received: answer.bytes, cause: None }),
        }
    }

    /// Sends a usage report, uncompressed: LAPIs before 1.7 cannot read gzip.
    ///
    /// # Errors
    /// When the report was not delivered, or that is not known.
    pub async fn push_usage_metrics(&self, metrics: &UsageMetrics) -> Result<(), PushError> {
        let url = self.endpoint.route("v1/usage-metrics", "");
        let body = serde_json::to_vec(metrics).expect("numbers and texts always serialise");
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json").body(body);
        match self.send_checked(request, self.idle).await {
            // Read to the end, so that the connection can be reused for the next request.
            Ok(mut response) => {
                let mut progress = self.progress();
                while self.piece(&mut response, &mut progress, 0).await?.is_some() {}
                Ok(())
            }
            // LAPIs before 1.6.3 do not have the route.
            Err(PullError::Status { status: 404, url, .. }) => Err(PushError::Unsupported { url }),
            Err(error) => Err(PushError::Failed(error)),
        }
    }

    /// Sends a request; any response but success is an error.
    pub(crate) async fn send_checked(
        &self,
        request: RequestBuilder,
        idle: Duration,
    ) -> Result<Response, PullError> {
        let response = self.send(request, idle).await?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status if status.is_redirection() => Err(self.redirected(status, response.headers())),
            status => Err(self.refused(status, response, idle).await),
        }
    }

    /// Sends a request and waits for the head of a response, whatever its status.
    pub(crate) async fn send(&self, request: RequestBuilder, idle: Duration) -> Result<Response, PullError> {
        let sent = match request.build() {
            Ok(request) => {
                let call = RequestLog::of(&self.endpoint, &request);
                let sent = timeout(idle, self.http.execute(request)).await;
                call.answered(&sent);
                sent.map_err(|_| self.timed_out("before the answer began", idle))?
            }
            Err(cause) => Err(cause),
        };
        let response = sent.map_err(|cause| {
            // The message names the endpoint already, without the user part that a URL may contain.
            let cause = cause.without_url();
            let problem = self.facts.describe(&cause, cause.is_timeout());
            PullError::Unreachable { problem, cause }
        })?;
        if let Some(peer) = response.remote_addr() {
            *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer);
        }
        Ok(response)
    }

    /// The progress monitor of a response that begins now.
    pub(crate) fn progress(&self) -> ProgressMonitor {
        ProgressMonitor::new(Instant::now(), self.idle, self.idle, self.idle)
    }

    /// The next chunk of a body, or `None` at its end.
    pub(crate) async fn piece(
        &self,
        response: &mut Response,
        progress: &mut ProgressMonitor,
        received: u64,
    ) -> Result<Option<impl Deref<Target = [u8]> + use<>>, PullError> {
        let deadline = progress.deadline();
        // Checked first: an endless stream of blanks is always ready to be read.
        if Instant::now() >= deadline {
            return Err(self.given_up(progress));
        }
        match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(piece)) => {
                progress.received(Instant::now(), piece.as_deref().unwrap_or_default());
                Ok(piece)
            }
            Ok(Err(cause)) => {
                Err(PullError::CutShort { url: self.url(), received, cause: Some(cause.without_url()) })
            }
            Err(_) => Err(self.given_up(progress)),
        }
    }

    fn given_up(&self, progress: &ProgressMonitor) -> PullError {
        // Which of the two limits it was is worked out only now, for the message.
        match progress.verdict(Instant::now()) {
            ProgressError::Silent(after) => self.timed_out("in the middle of an answer", after),
            ProgressError::TooSlow(window) => {
                PullError::TooSlow { url: self.url(), least: MIN_BYTES_PER_WINDOW, window }
            }
        }
    }

    pub(crate) fn timed_out(&self, while_awaiting: &'static str, after: Duration) -> PullError {
        PullError::TimedOut { url: self.url(), while_awaiting, after }
    }

    fn url_setting(&self) -> String {
        self.facts.names.url().to_owned()
    }

    /// What to do about an error status.
    pub(crate) fn advice(&self, status: u16, body: &[u8]) -> String {
        self.facts.advice(status, body)
    }

    /// A key of the file with the client's settings, as messages name it.
    pub(crate) fn named_key(&self, key: &str) -> String {
        self.facts.names.key(key)
    }

    pub(crate) fn redirected(&self, status: StatusCode, headers: &HeaderMap) -> PullError {
        let location = headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
        PullError::Redirected {
            setting: self.url_setting(),
            url: self.url(),
            status: status.as_u16(),
            location: location.as_deref().map_or_else(|| "nowhere".to_owned(), redacted),
        }
    }

    /// The beginning of an error response's body, as far as it arrives within `at_most`. A body that cannot be read is
    /// not another error: the status is enough.
    pub(crate) async fn error_body(&self, response: &mut Response, at_most: Duration) -> Vec<u8> {
        let mut body = Vec::new();
        let deadline = Instant::now() + at_most;
        // One deadline for all pieces: a server that sends one byte at a time must not hold up the error.
        while let Ok(Ok(Some(piece))) = timeout_at(deadline, response.chunk()).await {
            body.extend_from_slice(&piece);
            if body.len() >= ERROR_BODY_LIMIT {
                body.truncate(ERROR_BODY_LIMIT);
                break;
            }
        }
        body
    }

    pub(crate) async fn refused(
        &self,
        status: StatusCode,
        mut response: Response,
        idle: Duration,
    ) -> PullError {
        let retry_after = retry_after(response.headers(), SystemTime::now());
        // Headers are read first, because reading the body borrows the response mutably.
        let body = self.error_body(&mut response, idle).await;
        self.refusal_of(status, &body, retry_after)
    }

    /// The error for a response with this status and body.
    pub(crate) fn refusal_of(
        &self,
        status: StatusCode,
        body: &[u8],
        retry_after: Option<Duration>,
    ) -> PullError {
        let (url, status) = (self.url(), status.as_u16());
        let message = ErrorBody::describe(status, body);
        let advice = self.advice(status, body);
        match status {
            401 | 403 => {
                let credential = self.credential;
                let advice = if advice.is_empty() { format!("; {}", credential.advice()) } else { advice };
                PullError::Refused { url, credential, status, message, advice, retry_after }
            }
            _ => PullError::Status { url, status, message, advice, retry_after },
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.endpoint.to_string()).finish_non_exhaustive()
    }
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    // A date in the past means now.
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, wait) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:40:37 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&headers, now), wait.map(Duration::from_secs), "{text}");
        }
    }
}
