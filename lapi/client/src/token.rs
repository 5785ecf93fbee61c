//! How a machine proves who it is: a login or a certificate buys a token, which is renewed in time.

use std::path::PathBuf;
use std::time::Duration;

use palisade_wire::{ErrorBody, LoginAnswer, UnixMillis};

use crate::{ProxyConfig, PullError, Secret};

/// A token this close to its end is not used any more.
const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// How long a token is taken to last whose end cannot be read; the stock server's last an hour.
const ASSUMED_LIFE: Duration = Duration::from_secs(50 * 60);

/// How a machine proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineAuth {
    /// What the credentials file says.
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
    /// Nothing yet: enough to register.
    None,
}

/// Where the LAPI is and who we are to it.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// As in [`ClientConfig::url`](crate::ClientConfig::url).
    pub url: String,
    /// Who we are.
    pub auth: MachineAuth,
    /// Certificate authorities in PEM, trusted besides those of the system.
    pub ca: Option<PathBuf>,
    /// Accept any server certificate.
    pub insecure_skip_verify: bool,
    /// How long the connection, TLS included, may take to stand.
    pub connect_timeout: Duration,
    /// How long an answer may make no progress; posting a large import takes a LAPI its time.
    pub idle_timeout: Duration,
    /// Used for plain `http` and a host that is not this one.
    pub proxy: ProxyConfig,
    /// The names of the scenarios a log processor runs; the LAPI keeps them at each login.
    pub scenarios: Vec<String>,
    /// What is tried again, and when.
    pub retries: Retries,
}

impl MachineConfig {
    /// Everything else at its default: 10 s to connect, five minutes without progress, no proxy, no retries but
    /// those that a new token may heal.
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
        }
    }
}

/// How long to wait before each further try; as many tries as there are waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retries {
    /// After 429, 503 and 504.
    pub busy: Vec<Duration>,
    /// After 429, 500, 503 and 504 to a login.
    pub login: Vec<Duration>,
}

impl Retries {
    /// For a person at a terminal, who tries again himself.
    pub fn none() -> Self {
        Self::default()
    }

    /// What stock log processors do: 7 to 15 seconds, and from 20 seconds doubling for logins.
    pub fn stock() -> Self {
        let seconds = |list: &[u64]| list.iter().copied().map(Duration::from_secs).collect();
        Self { busy: seconds(&[7, 9, 11, 13, 15]), login: seconds(&[20, 40, 80, 160]) }
    }
}

/// Why a machine's request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The LAPI said no. The text is what stock clients show.
    #[error("API error: {message}")]
    Api {
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The answer is a success, but not what was asked for.
    #[error("the LAPI at {url} answered {route} with something else: {reason}; does the URL lead to a LAPI?")]
    Unexpected {
        /// The LAPI.
        url: String,
        /// What was asked.
        route: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// No whole answer came.
    #[error(transparent)]
    Failed(#[from] PullError),
}

impl MachineError {
    /// The error of an answer that is not a success.
    pub(crate) fn of_answer(status: u16, body: &[u8]) -> Self {
        // The LAPI's own words are not cut: a validation failure may be long.
        let own = serde_json::from_slice::<ErrorBody>(body).ok().filter(|_| status != 422);
        let message = match own {
            Some(ErrorBody { message, errors }) if !message.is_empty() && errors.is_empty() => message,
            _ => ErrorBody::describe(status, body),
        };
        Self::Api { status, message }
    }

    /// The HTTP status, when the LAPI answered with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            Self::Failed(PullError::Refused { status, .. } | PullError::Status { status, .. }) => {
                Some(*status)
            }
            _ => None,
        }
    }
}

/// A token and its end.
#[derive(Clone)]
pub(crate) struct Token {
    text: Secret,
    until: UnixMillis,
}

impl Token {
    pub(crate) fn new(answer: LoginAnswer, now: UnixMillis) -> Self {
        let until =
            UnixMillis::parse_rfc3339(&answer.expire).unwrap_or_else(|| now.plus(ASSUMED_LIFE.into()));
        Self { text: Secret::new(answer.token), until }
    }

    /// The token, if it still lasts.
    pub(crate) fn fresh(&self, now: UnixMillis) -> Option<&Secret> {
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
            let error = MachineError::of_answer(status, body.as_bytes());
            assert_eq!((error.to_string(), error.status()), (text, Some(status)));
        }
    }
}
