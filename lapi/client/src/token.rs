//! Authentication of a machine: logs in with a password or a certificate, and renews the token before it expires.

use std::path::PathBuf;
use std::time::Duration;

use palisade_wire::{ErrorBody, LoginAnswer, UnixMillis};

use crate::{ProxyConfig, PullError, Secret, SettingNames};

/// A token is renewed this long before it expires.
const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// The assumed lifetime of a token whose expiry cannot be parsed; the stock server's last an hour.
const ASSUMED_LIFE: Duration = Duration::from_secs(50 * 60);

/// How a machine authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineAuth {
    /// With name and password, as in the credentials file.
    Password {
        /// The machine's name.
        login: String,
        /// Its password.
        password: Secret,
    },
    /// A client certificate and its private key, both PEM.
    Certificate {
        /// The certificate, followed by intermediate ones if any.
        cert: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// No credentials: enough to register.
    None,
}

/// The LAPI's address and the machine's identity.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// As in [`ClientConfig::url`](crate::ClientConfig::url).
    pub url: String,
    /// The credentials.
    pub auth: MachineAuth,
    /// Certificate authorities in PEM, trusted besides those of the system.
    pub ca: Option<PathBuf>,
    /// Accept any server certificate.
    pub insecure_skip_verify: bool,
    /// Timeout for connecting, TLS included.
    pub connect_timeout: Duration,
    /// Timeout without progress of a response; a LAPI needs long for a large import.
    pub idle_timeout: Duration,
    /// Used for plain `http` to a host other than this one.
    pub proxy: ProxyConfig,
    /// The names of the scenarios a log processor runs; the LAPI stores them at each login.
    pub scenarios: Vec<String>,
    /// Which failures are retried, and when.
    pub retries: Retries,
    /// The names of the settings, for messages.
    pub names: SettingNames,
}

impl MachineConfig {
    /// All other settings at their defaults: 10 s to connect, five minutes without progress, no proxy, and no retries
    /// except those with a new token.
    pub fn new(url: impl Into<String>, auth: MachineAuth) -> Self {
        Self {
            url: url.into(),
            auth,
            ca: None,
            insecure_skip_verify: false,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            proxy: ProxyConfig::default(),
            scenarios: Vec::new(),
            retries: Retries::none(),
            names: SettingNames::credentials(None),
        }
    }
}

/// The delay before each retry; there are as many retries as delays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retries {
    /// After 429, 503 and 504.
    pub busy: Vec<Duration>,
    /// After 429, 500, 503 and 504 to a login.
    pub login: Vec<Duration>,
}

impl Retries {
    /// For interactive use.
    pub fn none() -> Self {
        Self::default()
    }

    /// As stock log processors retry: after 7 to 15 seconds, and for logins from 20 seconds doubling.
    pub fn stock() -> Self {
        let seconds = |list: &[u64]| list.iter().copied().map(Duration::from_secs).collect();
        Self { busy: seconds(&[7, 9, 11, 13, 15]), login: seconds(&[20, 40, 80, 160]) }
    }
}

/// Why a machine's request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The LAPI responded with an error. The text is what stock clients show.
    #[error("API error: {message}")]
    Api {
        /// The HTTP status.
        status: u16,
        /// The response's message.
        message: String,
        /// What to do about it; may be empty. Not part of the text, which scripts compare.
        advice: String,
    },
    /// The login that a request needed failed.
    #[error("{call}: {cause}")]
    Login {
        /// The request as Go's errors name it: `Get "http://127.0.0.1:8080/v1/alerts"`.
        call: String,
        /// The failure; part of the text above.
        cause: Box<Self>,
    },
    /// The response is a success with an unexpected body.
    #[error("the LAPI at {url} answered {route} with something else: {reason}; does the URL lead to a LAPI?")]
    Unexpected {
        /// The LAPI.
        url: String,
        /// The requested route.
        route: String,
        /// What is wrong with the response.
        reason: String,
    },
    /// No complete response was received.
    #[error(transparent)]
    Failed(#[from] PullError),
}

impl MachineError {
    /// The error for a response that is not a success.
    pub(crate) fn of_answer(status: u16, body: &[u8], advice: String) -> Self {
        // The LAPI's message is not truncated: a validation failure may be long. 422 has errors in another form.
        let own = serde_json::from_slice::<ErrorBody>(body).ok().filter(|_| status != 422);
        let message = match own {
            Some(ErrorBody { message, errors }) if !message.is_empty() && errors.is_empty() => message,
            _ => ErrorBody::describe(status, body),
        };
        Self::Api { status, message, advice }
    }

    /// What to do about it, if the text does not say so.
    pub fn advice(&self) -> Option<&str> {
        match self {
            Self::Api { advice, .. } => Some(advice).filter(|advice| !advice.is_empty()).map(String::as_str),
            Self::Login { cause, .. } => cause.advice(),
            _ => None,
        }
    }

    /// The HTTP status, if the LAPI responded with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            Self::Login { cause, .. } => cause.status(),
            Self::Failed(PullError::Refused { status, .. } | PullError::Status { status, .. }) => {
                Some(*status)
            }
            _ => None,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Token {
    text: Secret,
    until: UnixMillis,
}

impl Token {
    pub(crate) fn new(answer: LoginAnswer, now: UnixMillis) -> Self {
        let until =
            // A token without a readable expiry is still a token. If the assumption is wrong, the next request gets
            // 401 and logs in again.
            UnixMillis::parse_rfc3339(&answer.expire).unwrap_or_else(|| now.plus(ASSUMED_LIFE.into()));
        Self { text: Secret::new(answer.token), until }
    }

    /// The token, unless it is about to expire.
    pub(crate) fn fresh(&self, now: UnixMillis) -> Option<&Secret> {
        // A request may take long, or the two clocks may differ by some seconds.
        (now.plus(RENEW_BEFORE.into()) < self.until).then_some(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_used_in_its_last_minute() {
        let now = UnixMillis::parse_rfc3339("2026-07-01T10:00:00Z").unwrap();
        let token = |expire: &str| {
            Token::new(LoginAnswer { code: 200, expire: expire.into(), token: "t".into() }, now)
        };
        assert!(token("2026-07-01T13:00:00+02:00").fresh(now).is_some());
        assert!(token("2026-07-01T10:00:59Z").fresh(now).is_none());
        assert!(token("whenever").fresh(now).is_some());
    }

    #[test]
    fn errors_read_as_in_stock_clients() {
        let long = "x".repeat(500);
        for (status, body, text) in [
            (500, format!(r#"{{"message":"{long}"}}"#), format!("API error: {long}")),
            (404, String::new(), "API error: http code 404, no response body".into()),
            (
                422,
                "{\"message\":\"m\"}".into(),
                "API error: http code 422, invalid request: {\"message\":\"m\"}".into(),
            ),
            (401, r#"{"code":401,"message":"a\nb"}"#.into(), "API error: a\nb".into()),
        ] {
            let error = MachineError::of_answer(status, body.as_bytes(), String::new());
            assert_eq!((error.to_string(), error.status()), (text, Some(status)));
        }
    }
}
