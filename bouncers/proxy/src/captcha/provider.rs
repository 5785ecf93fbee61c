//! Asks a captcha service whether a response is right.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use palisade_client::Secret;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::redirect::Policy;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::error::CaptchaError;
use super::failures::{FailureKind, Failures};
use crate::config::{CaptchaConfig, CaptchaProvider};

/// Calls in flight; more wait within their deadline.
const MAX_CALLS: usize = 64;
/// The largest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// The longest response of a widget. The services' are below 4 KiB.
const MAX_RESPONSE: usize = 8 * 1024;

/// A captcha service.
#[derive(Debug)]
pub(super) struct Service {
    client: reqwest::Client,
    verify_url: String,
    secret: Secret,
    site_key: String,
    pub(super) response_field: String,
    send_address: bool,
    timeout: Duration,
    calls: Semaphore,
    pub(super) failures: Failures,
}

/// A service's result for a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is right.
    Passed,
    /// It is wrong, used or old.
    Refused,
    /// The service cannot be asked.
    Failed(FailureKind),
    /// Too many calls are in flight. Not a failure of the service, so that a flood cannot cause what applies to one.
    Busy,
}

/// The answer's parts that count.
#[derive(Debug, Deserialize)]
struct Answer {
    success: bool,
    #[serde(default)]
    hostname: Option<String>,
    #[serde(default, rename = "error-codes")]
    error_codes: Vec<String>,
}

impl Service {
    /// Sets a service up; `None` for the proof of work.
    pub(super) fn new(config: &CaptchaConfig) -> Result<Option<Self>, CaptchaError> {
        let CaptchaProvider::Service {
            name,
            verify_url,
            secret_key,
            site_key,
            response_field,
            ca,
            send_address,
            ..
        } = &config.provider
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            client: client(verify_url, ca.as_deref())?,
            verify_url: verify_url.clone(),
            secret: secret_key.clone(),
            site_key: site_key.clone(),
            response_field: response_field.clone(),
            send_address: *send_address,
            timeout: config.timeout,
            calls: Semaphore::new(MAX_CALLS),
            failures: Failures::new(name),
        }))
    }

    /// Verifies a widget's response for a client at a host.
    pub(super) async fn verify(&self, response: &str, client: IpAddr, host: &str) -> Verdict {
        if response.is_empty() || response.len() > MAX_RESPONSE {
            return Verdict::Refused;
        }
        let deadline = Instant::now() + self.timeout;
        let Ok(Ok(_call)) = timeout_at(deadline, self.calls.acquire()).await else { return Verdict::Busy };
        let verdict = match timeout_at(deadline, self.ask(response, client, host)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(kind)) => Verdict::Failed(kind),
            Err(_) => Verdict::Failed(FailureKind::Timeout),
        };
        match verdict {
            Verdict::Failed(kind) => self.failures.record(kind),
            _ => self.failures.recovered(),
        }
        verdict
    }

    async fn ask(&self, response: &str, client: IpAddr, host: &str) -> Result<Verdict, FailureKind> {
        let mut answer = self
            .client
            .post(&self.verify_url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(self.form(response, client))
            .send()
            .await
            .map_err(|_| FailureKind::Unreachable)?;
        // Some services answer a wrong response with a client error; those of the server tell nothing.
        if answer.status().is_server_error() || answer.status().is_redirection() || answer.status() == 429 {
            return Err(FailureKind::Status);
        }
        let content_type =
            answer.headers().get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
        let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if !media_type.eq_ignore_ascii_case(b"application/json") {
            return Err(FailureKind::NotJson);
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|_| FailureKind::Unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(FailureKind::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        judge(&body, host)
    }

    fn form(&self, response: &str, client: IpAddr) -> String {
        let mut form = String::new();
        let mut add = |name: &str, value: &str| {
            let separator = if form.is_empty() { "" } else { "&" };
            // Writing to a string cannot fail.
            let _ = write!(form, "{separator}{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        };
        add("secret", self.secret.reveal());
        add("response", response);
        // hCaptcha recommends it; the others ignore it.
        add("sitekey", &self.site_key);
        if self.send_address {
            add("remoteip", &client.to_string());
        }
        form
    }
}

/// The verdict of an answer for a site.
fn judge(body: &[u8], host: &str) -> Result<Verdict, FailureKind> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| FailureKind::NotJson)?;
    if answer.success {
        // A response obtained on another site would otherwise open this one.
        let is_ours =
            answer.hostname.as_deref().is_none_or(|name| name.is_empty() || name.eq_ignore_ascii_case(host));
        return Ok(if is_ours { Verdict::Passed } else { Verdict::Refused });
    }
    let has = |codes: &[&str]| answer.error_codes.iter().any(|code| codes.contains(&code.as_str()));
    if has(&["missing-input-secret", "invalid-input-secret", "sitekey-secret-mismatch", "invalid-sitekey"]) {
        return Err(FailureKind::Misconfigured);
    }
    if has(&["internal-error"]) {
        return Err(FailureKind::Status);
    }
    Ok(Verdict::Refused)
}

fn client(verify_url: &str, ca: Option<&Path>) -> Result<reqwest::Client, CaptchaError> {
    let mut builder = reqwest::Client::builder()
        // A redirect would send the secret to another host.
        .redirect(Policy::none())
        .referer(false)
        .user_agent(concat!("palisade-proxy/", env!("CARGO_PKG_VERSION")))
        .pool_idle_timeout(Duration::from_secs(60));
    if !verify_url.starts_with("https:") {
        // Without TLS the system's authorities are not read, so that a host without any can start.
        builder = builder.tls_certs_only([]);
    } else if let Some(path) = ca {
        let wrong = |reason: String| CaptchaError::Ca { path: path.to_owned(), reason };
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong("it contains no certificate".into()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| CaptchaError::Client { reason: palisade_go_compat::with_causes(&error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_passes_only_with_success_and_the_same_host() {
        let verdict = |body: &str| judge(body.as_bytes(), "example.org");
        assert_eq!(verdict(r#"{"success":true}"#), Ok(Verdict::Passed));
        assert_eq!(verdict(r#"{"success":true,"hostname":"Example.ORG","score":1}"#), Ok(Verdict::Passed));
        assert_eq!(verdict(r#"{"success":true,"hostname":"evil.example"}"#), Ok(Verdict::Refused));
        assert_eq!(
            verdict(r#"{"success":false,"error-codes":["timeout-or-duplicate"]}"#),
            Ok(Verdict::Refused)
        );
        assert_eq!(verdict(r#"{"success":false}"#), Ok(Verdict::Refused));
        assert_eq!(
            verdict(r#"{"success":false,"error-codes":["invalid-input-secret"]}"#),
            Err(FailureKind::Misconfigured)
        );
        for other in
            ["", "{}", "[]", "true", r#"{"success":"true"}"#, r#"{"success":1}"#, "{\"success\":true"]
        {
            assert_eq!(verdict(other), Err(FailureKind::NotJson), "{other}");
        }
    }
}
