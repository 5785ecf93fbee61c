//! Checks step by step whether a LAPI can be used: its name, the connection, TLS, the credentials, its version and clock.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use palisade_wire::about::{LapiState, PROBE_QUERY, STATE_HEADER, VERSION_HEADER};
use reqwest::header::{ACCEPT, DATE, HeaderMap};
use reqwest::{Response, StatusCode};
use serde::Serialize;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use crate::client::Client;

/// The largest difference of the clocks that is no failure. The `Date` header has whole seconds.
const MAX_CLOCK_DIFFERENCE: i64 = 30;

/// A step of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckStep {
    /// `resolve`, `connect`, `tls`, `key`, `version`, `clock` or `granted`.
    pub step: &'static str,
    /// How it went.
    pub result: CheckResult,
    /// What was found; of a failure the next step too.
    pub detail: String,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckResult {
    /// As it should be.
    Ok,
    /// Something has to be corrected.
    Failed,
    /// Not tried, as an earlier step failed, or not needed.
    Skipped,
}

impl CheckResult {
    /// `ok`, `failed` or `skipped`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A LAPI's description of itself, for a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LapiStatus {
    /// Its version; `None` from a stock LAPI.
    pub version: Option<String>,
    /// What it holds; `None` from a stock LAPI.
    pub state: Option<LapiState>,
    /// Its clock minus this host's, in seconds.
    pub clock_difference: Option<i64>,
}

impl LapiStatus {
    pub(crate) fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            version: text(VERSION_HEADER).map(str::to_owned),
            state: text(STATE_HEADER).map(LapiState::read),
            clock_difference: text(DATE.as_str()).and_then(|date| clock_difference(date, now)),
        }
    }
}

/// The clock of a `Date` header minus `now`, in whole seconds; a second or less is none.
fn clock_difference(date: &str, now: SystemTime) -> Option<i64> {
    let theirs = httpdate::parse_http_date(date).ok()?;
    let seconds = match theirs.duration_since(now) {
        Ok(ahead) => i64::try_from(ahead.as_secs()).ok()?,
        Err(behind) => -i64::try_from(behind.duration().as_secs()).ok()?,
    };
    Some(if seconds.abs() <= 1 { 0 } else { seconds })
}

/// The steps so far.
struct Steps(Vec<CheckStep>);

impl Steps {
    fn add(&mut self, step: &'static str, result: CheckResult, detail: impl Into<String>) {
        self.0.push(CheckStep { step, result, detail: detail.into() });
    }

    fn add_result(&mut self, step: &'static str, result: Result<String, String>) -> bool {
        let is_ok = result.is_ok();
        match result {
            Ok(detail) => self.add(step, CheckResult::Ok, detail),
            Err(detail) => self.add(step, CheckResult::Failed, detail),
        }
        is_ok
    }

    fn skip(&mut self, steps: &[&'static str]) {
        steps.iter().for_each(|step| self.add(step, CheckResult::Skipped, ""));
    }
}

impl Client {
    /// Checks whether the LAPI can be used, without receiving decisions. `wants_push` says that changes are wanted as they
    /// happen.
    pub async fn check(&self, wants_push: bool) -> Vec<CheckStep> {
        let mut steps = Steps(Vec::new());
        if self.facts.is_proxied {
            steps.add("resolve", CheckResult::Skipped, "by the proxy of the environment");
            steps.add("connect", CheckResult::Skipped, "through the proxy of the environment");
        } else {
            if !steps.add_result("resolve", self.check_name().await) {
                steps.skip(&["connect", "tls", "key", "version", "clock", "granted"]);
                return steps.0;
            }
            if !steps.add_result("connect", self.check_connection().await) {
                steps.skip(&["tls", "key", "version", "clock", "granted"]);
                return steps.0;
            }
        }
        self.check_request(&mut steps, wants_push).await;
        steps.0
    }

    /// TLS and what comes after it, by one request that a LAPI refuses after it has accepted the credentials.
    async fn check_request(&self, steps: &mut Steps, wants_push: bool) {
        let url = self.endpoint.route("v1/decisions", PROBE_QUERY);
        let request = self.http.get(url).header(ACCEPT, "application/json").header(VERSION_HEADER, "");
        let response = match self.send(request, self.idle).await {
            Ok(response) => response,
            Err(error) => {
                let step = if self.endpoint.is_tls() { "tls" } else { "key" };
                if step == "key" {
                    steps.add("tls", CheckResult::Skipped, "the URL begins with http://");
                }
                steps.add(step, CheckResult::Failed, error.advice());
                let rest = if step == "key" {
                    &["version", "clock", "granted"][..]
                } else {
                    &["key", "version", "clock", "granted"]
                };
                steps.skip(rest);
                return;
            }
        };
        match (self.endpoint.is_tls(), self.endpoint.is_local()) {
            (true, _) => steps.add("tls", CheckResult::Ok, "the certificate verifies"),
            (false, true) => steps.add("tls", CheckResult::Skipped, "on this host"),
            (false, false) => steps.add(
                "tls",
                CheckResult::Skipped,
                "the URL begins with http://: keys can be read on the way",
            ),
        }
        let status = LapiStatus::read(response.headers(), SystemTime::now());
        if !steps.add_result("key", self.check_answer(response).await) {
            steps.skip(&["version", "clock", "granted"]);
            return;
        }
        let version = match &status.version {
            Some(version) => format!("palisade-lapi {version}"),
            None => "not told, as by a stock LAPI".to_owned(),
        };
        steps.add("version", CheckResult::Ok, version);
        steps.add_result("clock", clock_step(status.clock_difference));
        let granted = match (status.version.is_some(), wants_push) {
            (true, true) => "decisions, usage metrics, push",
            (true, false) => "decisions, usage metrics; push is off here (`push_wait`)",
            (false, _) => "decisions",
        };
        steps.add("granted", CheckResult::Ok, granted);
    }

    /// Whether the response shows that the credentials were accepted.
    async fn check_answer(&self, mut response: Response) -> Result<String, String> {
        let status = response.status();
        if status.is_success() {
            return Ok("accepted".to_owned());
        }
        if status.is_redirection() {
            return Err(self.redirected(status, response.headers()).advice());
        }
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            let body = self.error_body(&mut response, self.idle).await;
            // The parameter is what was refused, and not the credentials.
            if String::from_utf8_lossy(&body).contains("limit") {
                return Ok("accepted".to_owned());
            }
            return Err(self.refusal_of(status, &body, None).advice());
        }
        Err(self.refused(status, response, self.idle).await.advice())
    }

    async fn check_name(&self) -> Result<String, String> {
        let Some((host, port)) = self.endpoint.host_and_port() else {
            return Ok("a unix socket".to_owned());
        };
        if host.parse::<IpAddr>().is_ok() {
            return Ok(host);
        }
        match timeout(self.facts.connect_timeout, lookup_host((host.as_str(), port))).await {
            Ok(Ok(found)) => {
                let mut addresses: Vec<String> = found.map(|address| address.ip().to_string()).collect();
                addresses.dedup();
                Ok(format!("{host} is {}", addresses.join(", ")))
            }
            Ok(Err(error)) => Err(self.facts.unresolved(&error)),
            Err(_) => Err(self.facts.unresolved(&std::io::Error::from(std::io::ErrorKind::TimedOut))),
        }
    }

    async fn check_connection(&self) -> Result<String, String> {
        let connect = async {
            match (&self.endpoint.socket, self.endpoint.host_and_port()) {
                (Some(path), _) => UnixStream::connect(path).await.map(|_| path.display().to_string()),
                (None, Some((host, port))) => {
                    let stream = TcpStream::connect((host.as_str(), port)).await?;
                    Ok(stream.peer_addr()?.to_string())
                }
                (None, None) => Err(std::io::ErrorKind::InvalidInput.into()),
            }
        };
        match timeout(self.facts.connect_timeout, connect).await {
            Ok(Ok(peer)) => Ok(peer),
            Ok(Err(error)) => Err(self.facts.describe(&error, false)),
            Err(_) => Err(self.facts.describe(&std::io::Error::from(std::io::ErrorKind::TimedOut), true)),
        }
    }
}

fn clock_step(difference: Option<i64>) -> Result<String, String> {
    match difference {
        None => Ok("not told".to_owned()),
        Some(seconds) if seconds.abs() <= MAX_CLOCK_DIFFERENCE => Ok(match seconds {
            0 => "the same as here".to_owned(),
            ahead @ 1.. => format!("{ahead} s ahead of this host's"),
            behind => format!("{} s behind this host's", -behind),
        }),
        Some(seconds) => Err(format!(
            "the LAPI's clock is {} {} this host's; set both by NTP",
            go_duration(seconds.unsigned_abs()),
            if seconds > 0 { "ahead of" } else { "behind" }
        )),
    }
}

fn go_duration(seconds: u64) -> String {
    palisade_wire::GoDuration::from(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared_in_seconds() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500);
        for (date, difference) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:39 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(59)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(-60)),
            ("now", None),
        ] {
            assert_eq!(clock_difference(date, now), difference, "{date}");
        }
        assert_eq!(clock_step(Some(-5)), Ok("5 s behind this host's".to_owned()));
        assert_eq!(
            clock_step(Some(90)),
            Err("the LAPI's clock is 1m30s ahead of this host's; set both by NTP".to_owned())
        );
    }
}
