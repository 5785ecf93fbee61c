//! The client of a machine: a log processor or the admin CLI.

use std::fmt;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use palisade_go_compat::quote;
use palisade_wire::about::VERSION_HEADER;
use palisade_wire::{
    Alert, Allowlist, BulkCheckAnswer, BulkCheckRequest, CheckAnswer, EndedDecision, GoDuration, LIST_ENDED,
    Login, LoginAnswer, Registration, UnixMillis,
};
use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use crate::check::LapiStatus;
use crate::client::Client;
use crate::config::{Secret, UserAgent};
use crate::endpoint::redacted;
use crate::error::BuildError;
use crate::token::{MachineAuth, MachineConfig, MachineError, Retries, Token};
use crate::transport::{Identification, Setup};

/// How often a request is retried with a new token.
const NEW_TOKENS: usize = 2;
/// Maximum size of a response; nothing a LAPI lists is larger.
const MAX_ANSWER_BYTES: usize = 1 << 30;

/// A client of one LAPI for one machine. Logs in as needed.
pub struct MachineClient {
    link: Client,
    auth: MachineAuth,
    scenarios: Vec<String>,
    retries: Retries,
    token: Mutex<Option<Token>>,
    /// The LAPI's clock less ours in milliseconds, at the last response with a date.
    clock_difference: std::sync::Mutex<Option<i64>>,
}

/// The result of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// An administrator must validate the machine.
    Pending,
    /// The registration token has validated it.
    Validated,
}

/// The result of ending decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedDecisions {
    /// How many.
    pub count: u64,
    /// Which, as far as the LAPI lists them; a stock one lists none.
    pub decisions: Vec<EndedDecision>,
}

#[derive(Deserialize)]
struct Deleted {
    #[serde(rename = "nbDeleted")]
    count: String,
    #[serde(default)]
    decisions: Vec<EndedDecision>,
}

impl MachineClient {
    /// Creates a client. Reads the certificate files; does not connect.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn new(config: &MachineConfig, agent: &UserAgent) -> Result<Self, BuildError> {
        let identity = match &config.auth {
            MachineAuth::Certificate { cert, key } => Identification::Certificate { cert, key },
            MachineAuth::Password { .. } | MachineAuth::None => Identification::None,
        };
        // A password is sent in the body of a login, so the connection itself carries no identity.
        let setup = Setup {
            identity,
            ca: config.ca.as_deref(),
            insecure_skip_verify: config.insecure_skip_verify,
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
            proxy: &config.proxy,
            instance: None,
            names: &config.names,
        };
        Ok(Self {
            link: Client::assemble(&config.url, &setup, config.idle_timeout, agent)?,
            auth: config.auth.clone(),
            scenarios: config.scenarios.clone(),
            retries: config.retries.clone(),
            token: Mutex::new(None),
            clock_difference: std::sync::Mutex::default(),
        })
    }

    /// The LAPI's URL, for display.
    pub fn url(&self) -> String {
        self.link.url()
    }

    /// How far the LAPI's clock is ahead of this host's, to about a second; `None` before the first response.
    pub fn clock_difference(&self) -> Option<GoDuration> {
        let millis = *self.clock_difference.lock().unwrap_or_else(PoisonError::into_inner);
        millis.map(|millis| GoDuration::from_nanos(millis.saturating_mul(1_000_000)).rounded())
    }

    fn note_clock(&self, response: &Response) {
        let date = response.headers().get(DATE).and_then(|text| text.to_str().ok());
        let date = date.and_then(|text| httpdate::parse_http_date(text).ok());
        let since_epoch = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        if let Some(theirs) = since_epoch.and_then(|time| i64::try_from(time.as_millis()).ok()) {
            let mut difference = self.clock_difference.lock().unwrap_or_else(PoisonError::into_inner);
            *difference = Some(theirs.saturating_sub(UnixMillis::now().0));
        }
    }

    /// Registers the machine. Needs no login.
    ///
    /// # Errors
    /// When the LAPI refuses it (the name may be taken) or cannot be reached.
    pub async fn register(&self, registration: &Registration) -> Result<Registered, MachineError> {
        let mut response = self.post_without_token("v1/watchers", registration).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.refusal(&mut response).await);
        }
        self.whole(&mut response).await?;
        // A stock LAPI answers 202 if a registration token validated the machine, and 201 if an administrator still
        // has to.
        Ok(if status == StatusCode::ACCEPTED { Registered::Validated } else { Registered::Pending })
    }

    /// Logs in, whether or not there is a token. Other requests do this as needed.
    ///
    /// # Errors
    /// When the LAPI refuses the credentials or cannot be reached.
    pub async fn login(&self) -> Result<LoginAnswer, MachineError> {
        let answer = self.log_in().await?;
        *self.token.lock().await = Some(Token::new(answer.clone(), UnixMillis::now()));
        Ok(answer)
    }

    /// Logs in and returns the LAPI's description of itself.
    ///
    /// # Errors
    /// As for [`Self::login`].
    pub async fn status(&self) -> Result<LapiStatus, MachineError> {
        let body = serde_json::to_vec(&self.credentials()).expect("texts always serialise");
        let url = self.link.endpoint.route("v1/watchers/login", "");
        let request = self.link.http.post(url).header(CONTENT_TYPE, "application/json");
        let request = request.header(VERSION_HEADER, "").body(body);
        let mut response = self.link.send(request, self.link.idle).await?;
        if !response.status().is_success() {
            return Err(self.refusal(&mut response).await);
        }
        let status = LapiStatus::read(response.headers(), SystemTime::now());
        let answer = self.whole(&mut response).await?;
        serde_json::from_slice::<LoginAnswer>(&answer)
            .map_err(|error| self.unexpected("v1/watchers/login", error.to_string()))?;
        Ok(status)
    }

    /// Sends a heartbeat.
    ///
    /// # Errors
    /// As for every request: when the LAPI refuses it or cannot be reached.
    pub async fn heartbeat(&self) -> Result<(), MachineError> {
        self.request(Method::GET, "v1/heartbeat", "", None).await.map(|_| ())
    }

    /// Lists alerts. The parameters are those of `GET /v1/alerts`; unknown ones are refused.
    ///
    /// # Errors
    /// As for every request.
    pub async fn alerts(&self, query: &[(&str, String)]) -> Result<Vec<Alert>, MachineError> {
        // A stock LAPI sends `null` for an empty list.
        let list: Result<Option<Vec<Alert>>, _> =
            self.json(Method::GET, "v1/alerts", &encode(query), None).await;
        match list {
            Ok(list) => Ok(list.unwrap_or_default()),
            // As stock clients word it, for this route alone.
            Err(MachineError::Login { call, cause }) => {
                Err(MachineError::Login { call: format!("performing request: {call}"), cause })
            }
            Err(error) => Err(error),
        }
    }

    /// One alert.
    ///
    /// # Errors
    /// As for every request; there is no such alert (404).
    pub async fn alert(&self, id: i64) -> Result<Alert, MachineError> {
        self.json(Method::GET, &format!("v1/alerts/{id}"), "", None).await
    }

    /// Posts alerts and returns their ids, of which there may be fewer than alerts.
    ///
    /// # Errors
    /// As for every request. Without a response, it is unknown whether they were stored.
    pub async fn post_alerts(&self, alerts: &[Alert]) -> Result<Vec<String>, MachineError> {
        // Servers refuse `null` where a list is required, so absent lists are sent as empty ones.
        let alerts: Vec<_> = alerts.iter().map(Alert::posting).collect();
        let body = serde_json::to_vec(&alerts).expect("numbers and texts always serialise");
        let ids: Option<Vec<String>> = self.json(Method::POST, "v1/alerts", "", Some(body)).await?;
        Ok(ids.unwrap_or_default())
    }

    /// Deletes all alerts that match, with their decisions, and returns how many.
    ///
    /// # Errors
    /// As for every request; when the LAPI does not trust this address (403).
    pub async fn delete_alerts(&self, query: &[(&str, String)]) -> Result<u64, MachineError> {
        self.delete("v1/alerts", query).await
    }

    /// Deletes one alert with its decisions.
    ///
    /// # Errors
    /// As for every request; when the alert does not exist (500).
    pub async fn delete_alert(&self, id: i64) -> Result<u64, MachineError> {
        self.delete(&format!("v1/alerts/{id}"), &[]).await
    }

    /// Ends all active decisions that match.
    ///
    /// # Errors
    /// As for every request.
    pub async fn delete_decisions(&self, query: &[(&str, String)]) -> Result<EndedDecisions, MachineError> {
        self.end("v1/decisions", query).await
    }

    /// Ends one decision.
    ///
    /// # Errors
    /// As for every request; when the decision does not exist (500).
    pub async fn delete_decision(&self, id: i64) -> Result<EndedDecisions, MachineError> {
        self.end(&format!("v1/decisions/{id}"), &[]).await
    }

    /// All allowlists.
    ///
    /// # Errors
    /// As for every request; when the LAPI is older than 1.6.6 and has no allowlists (404).
    pub async fn allowlists(&self, with_content: bool) -> Result<Vec<Allowlist>, MachineError> {
        let query = if with_content { "with_content=true" } else { "" };
        let lists: Option<Vec<Allowlist>> = self.json(Method::GET, "v1/allowlists", query, None).await?;
        Ok(lists.unwrap_or_default())
    }

    /// One allowlist.
    ///
    /// # Errors
    /// As for every request; when the list does not exist (500).
    pub async fn allowlist(&self, name: &str, with_content: bool) -> Result<Allowlist, MachineError> {
        let query = if with_content { "with_content=true" } else { "" };
        self.json(Method::GET, &format!("v1/allowlists/{}", segment(name)), query, None).await
    }

    /// Whether an address or range is on a list.
    ///
    /// # Errors
    /// As for every request; when the target is neither an address nor a range (500).
    pub async fn check_allowlist(&self, target: &str) -> Result<CheckAnswer, MachineError> {
        self.json(Method::GET, &format!("v1/allowlists/check/{}", segment(target)), "", None).await
    }

    /// Which of many addresses and ranges are on a list.
    ///
    /// # Errors
    /// As for every request; there are none, or one is neither (500); the LAPI is older than 1.6.9 (404).
    pub async fn check_allowlists(&self, targets: Vec<String>) -> Result<BulkCheckAnswer, MachineError> {
        let body = serde_json::to_vec(&BulkCheckRequest { targets }).expect("texts always serialise");
        self.json(Method::POST, "v1/allowlists/check", "", Some(body)).await
    }

    async fn delete(&self, route: &str, query: &[(&str, String)]) -> Result<u64, MachineError> {
        Ok(self.end(route, query).await?.count)
    }

    async fn end(&self, route: &str, query: &[(&str, String)]) -> Result<EndedDecisions, MachineError> {
        let deleted: Deleted = self.json(Method::DELETE, route, &encode(query), None).await?;
        // A number as a string, as the stock LAPI sends it.
        let count = deleted.count.parse();
        let count = count.map_err(|_| self.unexpected(route, "nbDeleted is no number".to_owned()))?;
        Ok(EndedDecisions { count, decisions: deleted.decisions })
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        route: &str,
        query: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, MachineError> {
        let answer = self.request(method, route, query, body).await?;
        serde_json::from_slice(&answer).map_err(|error| self.unexpected(route, error.to_string()))
    }

    fn unexpected(&self, route: &str, reason: String) -> MachineError {
        MachineError::Unexpected { url: self.url(), route: route.to_owned(), reason }
    }

    /// Sends a request with a token and retries as [`Retries`] says; returns the whole body of a success.
    async fn request(
        &self,
        method: Method,
        route: &str,
        query: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, MachineError> {
        let body = body.map(bytes_of);
        let (mut new_tokens, mut busy) = (0, self.retries.busy.iter());
        loop {
            let url = self.link.endpoint.route(route, query);
            let token = self.fresh_token().await.map_err(|error| login_failed(&method, &url, error))?;
            let mut request = self.link.http.request(method.clone(), url).header(ACCEPT, "application/json");
            request = request.bearer_auth(token.reveal());
            if method == Method::DELETE {
                // A LAPI of ours then lists what it has ended.
                request = request.header("prefer", LIST_ENDED);
            }
            if let Some(body) = &body {
                request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
            }
            let mut response = self.link.send(request, self.link.idle).await?;
            self.note_clock(&response);
            match response.status().as_u16() {
                // Go clients treat 304 as success as well.
                200..=299 | 304 => return self.whole(&mut response).await,
                300..=399 => {
                    return Err(self.link.redirected(response.status(), response.headers()).into());
                }
                // The LAPI may have been restarted with another signing key, or the machine validated since the
                // login.
                401 | 403 if new_tokens < NEW_TOKENS => {
                    new_tokens += 1;
                    *self.token.lock().await = None;
                }
                // Not 500, as in stock clients: the LAPI may have stored alerts before it failed, and would store
                // them again.
                429 | 503 | 504 if let Some(wait) = busy.next() => wait_for(*wait).await,
                _ => return Err(self.refusal(&mut response).await),
            }
        }
    }

    async fn fresh_token(&self) -> Result<Secret, MachineError> {
        // Held while logging in, so that requests at the same time share one login.
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref().and_then(|token| token.fresh(UnixMillis::now())) {
            return Ok(token.clone());
        }
        let answer = self.log_in().await?;
        let token = Secret::new(answer.token.clone());
        *kept = Some(Token::new(answer, UnixMillis::now()));
        Ok(token)
    }

    /// The body of a login.
    fn credentials(&self) -> Login {
        let (machine_id, password) = match &self.auth {
            MachineAuth::Password { login, password } => (login.clone(), password.reveal().to_owned()),
            // With a certificate the LAPI takes the name from it, but still requires a body.
            MachineAuth::Certificate { .. } | MachineAuth::None => (String::new(), String::new()),
        };
        Login { machine_id, password, scenarios: self.scenarios.clone() }
    }

    async fn log_in(&self) -> Result<LoginAnswer, MachineError> {
        let login = self.credentials();
        let mut waits = self.retries.login.iter();
        loop {
            let mut response = self.post_without_token("v1/watchers/login", &login).await?;
            match response.status().as_u16() {
                200..=299 => {
                    let answer = self.whole(&mut response).await?;
                    return serde_json::from_slice(&answer)
                        .map_err(|error| self.unexpected("v1/watchers/login", error.to_string()));
                }
                // 500 too, as in stock log processors: a login can be repeated without harm.
                429 | 500 | 503 | 504 if let Some(wait) = waits.next() => wait_for(*wait).await,
                _ => return Err(self.refusal(&mut response).await),
            }
        }
    }

    async fn post_without_token<T: serde::Serialize>(
        &self,
        route: &str,
        body: &T,
    ) -> Result<Response, MachineError> {
        let body = serde_json::to_vec(body).expect("texts always serialise");
        let url = self.link.endpoint.route(route, "");
        let request = self.link.http.post(url).header(CONTENT_TYPE, "application/json").body(body);
        Ok(self.link.send(request, self.link.idle).await?)
    }

    async fn refusal(&self, response: &mut Response) -> MachineError {
        let status = response.status();
        if status.is_redirection() {
            return self.link.redirected(status, response.headers()).into();
        }
        let body = self.link.error_body(response, self.link.idle).await;
        let advice = self.link.advice(status.as_u16(), &body);
        let advice = advice.trim_start_matches("; ").to_owned();
        match MachineError::of_answer(status.as_u16(), &body, advice) {
            MachineError::Api { status, message, advice } if advice.is_empty() => {
                let advice = self.credentials_advice(status, &message);
                MachineError::Api { status, message, advice }
            }
            error => error,
        }
    }

    /// What to do about refused credentials; empty for other refusals.
    fn credentials_advice(&self, status: u16, message: &str) -> String {
        match &self.auth {
            _ if status != 401 => String::new(),
            MachineAuth::Certificate { .. } => format!(
                "is the certificate in {} in force, and its organizational unit among `agents_allowed_ou` of the \
                 LAPI?",
                self.link.named_key("cert_path")
            ),
            MachineAuth::Password { login, .. } if message.contains("not validated") => {
                format!("run `palisade machines validate {login}` on the LAPI's host")
            }
            MachineAuth::Password { login, .. } => format!(
                "are `login` and {} right? `palisade machines add {login} --auto --force -f -` on the LAPI's host \
                 prints new ones",
                self.link.named_key("password")
            ),
            MachineAuth::None => String::new(),
        }
    }

    async fn whole(&self, response: &mut Response) -> Result<Vec<u8>, MachineError> {
        let mut body = Vec::new();
        let mut progress = self.link.progress();
        while let Some(piece) = self.link.piece(response, &mut progress, body.len() as u64).await? {
            body.extend_from_slice(&piece);
            // Lists of alerts are parsed as a whole, so their size has to be limited somewhere.
            if body.len() > MAX_ANSWER_BYTES {
                return Err(self.unexpected(response.url().path(), "it is longer than 1 GiB".to_owned()));
            }
        }
        Ok(body)
    }
}

impl fmt::Debug for MachineClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineClient").field("url", &self.url()).finish_non_exhaustive()
    }
}

/// A failed login, with the request that needed it as Go's errors name it. A failed connection names its URL itself.
fn login_failed(method: &Method, url: &Url, cause: MachineError) -> MachineError {
    if !matches!(cause, MachineError::Api { .. }) {
        return cause;
    }
    let method = method.as_str();
    let call = format!("{}{} {}", &method[..1], method[1..].to_lowercase(), quote(&redacted(url.as_str())));
    MachineError::Login { call, cause: Box::new(cause) }
}

/// A body that is resent after a failure without being copied.
fn bytes_of(body: Vec<u8>) -> bytes::Bytes {
    bytes::Bytes::from(body)
}

async fn wait_for(wait: Duration) {
    tokio::time::sleep(wait).await;
}

fn encode(query: &[(&str, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish()
}

/// A text as one percent-encoded segment of a path, slashes included.
fn segment(text: &str) -> String {
    let mut path = String::new();
    for byte in text.bytes() {
        match byte {
            // A range such as `192.0.2.0/24` must remain one segment, so the slash is encoded too.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_names_stay_one_segment() {
        assert_eq!(segment("10.0.0.0/8"), "10.0.0.0%2F8");
        assert_eq!(segment("2001:db8::/32"), "2001:db8::%2F32");
        assert_eq!(segment("my list?"), "my%20list%3F");
        assert_eq!(
            encode(&[("ip", "::1".into()), ("scenario", "a b&c".into())]),
            "ip=%3A%3A1&scenario=a+b%26c"
        );
    }
}
