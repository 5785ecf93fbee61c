//! Errors of the clients, and how to react to them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use palisade_go_compat::with_causes;
use palisade_wire::DecodeError;

/// Why a client cannot be created. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The URL cannot be used.
    #[error("{setting} {url:?} cannot be used: {reason}; it should look like http://127.0.0.1:8080/")]
    Url {
        /// The name of the setting, quoted.
        setting: String,
        /// As configured, without a password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The URL refers to an environment variable that is not set.
    #[error(
        "the environment variable {name}, which {setting} refers to, is not set; set it for this program, or write \
         the URL itself"
    )]
    UnsetVariable {
        /// The name of the setting, quoted.
        setting: String,
        /// The variable.
        name: String,
    },
    /// The key contains characters that are not allowed in an HTTP header.
    #[error("`api_key` holds characters that cannot be sent, such as a line break; copy it again")]
    Key,
    /// The bouncer's name or version cannot be part of a User-Agent.
    #[error("{part:?} cannot be half of a User-Agent: it must be visible ASCII without a slash")]
    UserAgent {
        /// The part in question.
        part: String,
    },
    /// A client certificate requires TLS.
    #[error("certificate authentication needs an https URL in {setting}, not {url}")]
    CertificateWithoutTls {
        /// The name of the setting, quoted.
        setting: String,
        /// The LAPI.
        url: String,
    },
    /// The client certificate or its key.
    #[error("unable to load certificate '{}' and key '{}': {reason}; {advice}", cert.display(), key.display())]
    Certificate {
        /// `cert_path`.
        cert: PathBuf,
        /// `key_path`.
        key: PathBuf,
        /// What is wrong with them.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// The additional certificate authorities.
    #[error("unable to load CA certificate '{}': {reason}; correct {setting}", path.display())]
    Ca {
        /// The name of the setting, quoted.
        setting: String,
        /// `ca_cert_path`.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The proxy of the environment.
    #[error("the proxy in HTTP_PROXY cannot be used: {reason}; correct it, or name the LAPI in NO_PROXY")]
    Proxy {
        /// What is wrong with it.
        reason: String,
    },
    /// The instance name cannot be sent.
    #[error(
        "the instance name {name:?} cannot be sent: it must be 1 to {} characters of visible ASCII",
        palisade_wire::follow::MAX_INSTANCE_NAME
    )]
    Instance {
        /// As written.
        name: String,
    },
    /// TLS could not be set up.
    #[error("TLS cannot be set up for {url}: {reason}; is the package `ca-certificates` installed?")]
    Tls {
        /// The LAPI.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

/// Why a pull failed. What the sink received must be discarded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// No connection, or one that broke before a response.
    #[error("{problem}")]
    Unreachable {
        /// What happened, and which setting to check.
        problem: String,
        /// The underlying error; its text is part of `problem`.
        cause: reqwest::Error,
    },
    /// 401 or 403: the LAPI does not accept the credentials.
    #[error("the LAPI at {url} refused {credential} ({status}: {message}){advice}")]
    Refused {
        /// The LAPI.
        url: String,
        /// The kind of credential that was sent.
        credential: Credential,
        /// 401 or 403.
        status: u16,
        /// The LAPI's message.
        message: String,
        /// What to do: a clause that begins with a semicolon.
        advice: String,
        /// The `Retry-After` of the response.
        retry_after: Option<Duration>,
    },
    /// Any other error status.
    #[error("the LAPI at {url} answered {status}: {message}{advice}")]
    Status {
        /// The LAPI.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The LAPI's message.
        message: String,
        /// What to do: empty, or a clause that begins with a semicolon.
        advice: String,
        /// The `Retry-After` of the response.
        retry_after: Option<Duration>,
    },
    /// 3xx: not followed, because the key would be sent along.
    #[error(
        "the LAPI at {url} redirects to {location:?} ({status}), which is not followed because our key would go \
         with it; put the address it means into {setting}"
    )]
    Redirected {
        /// The name of the setting, quoted.
        setting: String,
        /// The LAPI.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Where to.
        location: String,
    },
    /// The body is not a decision stream.
    #[error("what answers at {url} does not speak like a LAPI; does {setting} lead to another service?")]
    Malformed {
        /// The name of the setting, quoted.
        setting: String,
        /// The LAPI.
        url: String,
        /// The position and the error.
        #[source]
        cause: DecodeError,
    },
    /// A header of a LAPI that keeps cursors is malformed.
    #[error(
        "the LAPI at {url} sends a header this version does not understand ({name}: {text:?}); is it of another \
         version, or does a proxy change its headers?"
    )]
    Header {
        /// The LAPI.
        url: String,
        /// Which header.
        name: &'static str,
        /// Its value; empty when it is missing.
        text: String,
    },
    /// The body ended too early.
    #[error("the answer of the LAPI at {url} was cut short after {received} bytes")]
    CutShort {
        /// The LAPI.
        url: String,
        /// The number of bytes received.
        received: u64,
        /// The connection's error; `None` when it just ended.
        #[source]
        cause: Option<reqwest::Error>,
    },
    /// The LAPI sent nothing for too long.
    #[error("the LAPI at {url} sent nothing for {} s {while_awaiting}", after.as_secs_f64().round())]
    TimedOut {
        /// The LAPI.
        url: String,
        /// What was awaited.
        while_awaiting: &'static str,
        /// For how long.
        after: Duration,
    },
    /// The body made too little progress.
    #[error(
        "the answer of the LAPI at {url} is given up: it brought less than {least} bytes in {} s",
        window.as_secs_f64().round()
    )]
    TooSlow {
        /// The LAPI.
        url: String,
        /// The number of bytes required.
        least: u64,
        /// In what time.
        window: Duration,
    },
}

/// The kind of credential that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// The API key.
    Key,
    /// The client certificate.
    Certificate,
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "the key in `api_key`",
            Self::Certificate => "the client certificate in `cert_path`",
        })
    }
}

impl Credential {
    /// What to do when it is refused.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Key => {
                "run `cscli bouncers add NAME` where the LAPI is and put the key it prints in `api_key`"
            }
            Self::Certificate => {
                "is its organizational unit among `bouncers_allowed_ou` of the LAPI, is it not revoked, and has no bouncer \
                 with a key its name?"
            }
        }
    }
}

impl PullError {
    /// The shortest delay before a retry is worthwhile: the LAPI's `Retry-After`, or enough for one that is starting.
    pub fn shortest_retry(&self) -> Duration {
        match self {
            // Nothing was processed, so trying again costs the LAPI little. Growing delays come from `Backoff`.
            Self::Unreachable { .. } => Duration::from_millis(100),
            Self::Status { retry_after: Some(wait), .. } | Self::Refused { retry_after: Some(wait), .. } => {
                // At least a second: `Retry-After: 0` must not cause a busy loop.
                (*wait).clamp(Duration::from_secs(1), MAX_RETRY_AFTER)
            }
            Self::Status { status: 500.., .. } => Duration::from_millis(500),
            Self::Status { status: 429, .. } | Self::Header { .. } => Duration::from_secs(5),
            Self::Refused { .. } | Self::Redirected { .. } | Self::Status { .. } => Duration::from_secs(2),
            Self::Malformed { .. } | Self::CutShort { .. } | Self::TimedOut { .. } | Self::TooSlow { .. } => {
                Duration::from_secs(1)
            }
        }
    }

    /// The same once the failure has lasted for minutes. A refused key or a wrong address is often corrected at once;
    /// later on, frequent retries do not help.
    pub fn settled_retry(&self) -> Duration {
        match self {
            Self::Refused { .. } | Self::Redirected { .. } => Duration::from_secs(60),
            // Not 429, which is about load and passes by itself.
            Self::Status { status: ..=428 | 430..=499, .. } => Duration::from_secs(30),
            _ => Duration::ZERO,
        }
    }

    /// Whether a stock LAPI may have moved its position, so that only a full pull gets back what it sent. Only a
    /// request that was never sent cannot have used up changes.
    pub fn may_have_reached_lapi(&self) -> bool {
        // Even an error status or a broken connection proves nothing: up to 1.7.7 a stock LAPI moves the position
        // although writing the response failed.
        !matches!(self, Self::Unreachable { cause, .. } if cause.is_connect())
    }

    /// Whether the credentials were refused, which an operator must correct.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether the request may have failed because it was parked: a proxy, a firewall that drops idle connections, or
    /// the LAPI's shutdown.
    pub fn may_end_a_hold(&self) -> bool {
        match self {
            Self::CutShort { .. } | Self::TimedOut { .. } => true,
            Self::Unreachable { cause, .. } => !cause.is_connect(),
            // What proxies send when the LAPI behind them has not answered in time.
            Self::Status { status, .. } => matches!(status, 502..=504),
            _ => false,
        }
    }

    /// What to do, without the LAPI's own message.
    pub fn advice(&self) -> String {
        match self {
            Self::Refused { url, credential, status, advice, .. } => {
                format!("the LAPI at {url} refused {credential} ({status}){advice}")
            }
            other => with_causes(other),
        }
    }

    /// The stock bouncers' log text for this failure, for log searches.
    pub fn stock_text(&self) -> String {
        match self {
            Self::Unreachable { cause, .. } => {
                format!("auth-api: auth with api key failed return nil response, error: {}", chain(cause))
            }
            Self::Refused { message, .. } | Self::Status { message, .. } => format!("API error: {message}"),
            Self::Redirected { status, .. } => format!("API error: http code {status}, no response body"),
            Self::Malformed { cause, .. } => format!("API error: {cause}"),
            Self::Header { .. } => format!("API error: {self}"),
            Self::CutShort { cause: Some(cause), .. } => format!("API error: {}", chain(cause)),
            // Go's text for `io.ErrUnexpectedEOF`; the one below is `context.DeadlineExceeded`.
            Self::CutShort { cause: None, .. } => "API error: unexpected EOF".to_owned(),
            Self::TimedOut { .. } | Self::TooSlow { .. } => "API error: context deadline exceeded".to_owned(),
        }
    }
}

/// The longest `Retry-After` that is obeyed: a firewall must not go without updates for a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Why a report was not delivered. It can be sent again: the sender keeps the counters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// 404: a LAPI before 1.6.3, without usage metrics.
    #[error("the LAPI at {url} knows no usage metrics (they came with CrowdSec 1.6.3)")]
    Unsupported {
        /// The LAPI.
        url: String,
    },
    /// Any failure of a request.
    #[error(transparent)]
    Failed(#[from] PullError),
}

/// An error with its causes, including Go's term for it.
fn chain(error: &reqwest::Error) -> String {
    let mut text = with_causes(error);
    if text.contains("UnknownIssuer") {
        text.push_str(" (x509: certificate signed by unknown authority)");
    }
    text
}
