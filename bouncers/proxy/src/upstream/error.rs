//! Defines why a request could not be forwarded.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use http::StatusCode;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why the pools cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A file that `tls` of a pool names cannot be read.
    #[error("pools.{pool}.tls.{key}: cannot read {}: {source}; check the path and its permissions", path.display())]
    Read {
        /// The pool's name.
        pool: String,
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file that `tls` of a pool names has unusable content.
    #[error("pools.{pool}.tls.{key}: {} is not usable: {reason}", path.display())]
    Content {
        /// The pool's name.
        pool: String,
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("pools.{pool}.tls: {source}")]
    Tls {
        /// The pool's name.
        pool: String,
        /// The reason.
        source: rustls::Error,
    },
    /// A server name that TLS cannot verify.
    #[error("pools.{pool}: `{name}` is not a name that a certificate can have; set tls.server_name")]
    ServerName {
        /// The pool's name.
        pool: String,
        /// The name.
        name: String,
    },
    /// A PROXY protocol header is for one client, a connection with HTTP/2 for many.
    #[error("pools.{pool}: send_proxy_protocol does not go together with HTTP/2; set protocol to http1")]
    ProxyProtocolOverHttp2 {
        /// The pool's name.
        pool: String,
    },
}

/// What went wrong with a request, for metrics and logs. The texts of [`ErrorKind::as_str`] are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No upstream of the pool is up.
    NoneUp,
    /// The connection was refused, reset, or its address not found.
    Connect,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The TLS handshake failed.
    Tls,
    /// The upstream closed the connection before a complete response head.
    Closed,
    /// The upstream took no bytes of the request for too long.
    SendTimeout,
    /// The upstream sent no response head in time.
    HeadTimeout,
    /// The response breaks a rule.
    BadAnswer(BadAnswer),
    /// The client's body ended with an error.
    ClientBody,
    /// `Host` is not an authority, which HTTP/2 needs.
    ClientHost,
    /// The upstream's protocol has no way to do the upgrade.
    UpgradeUnsupported,
}

impl ErrorKind {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoneUp => "no_upstream_up",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Closed => "closed",
            Self::SendTimeout => "send_timeout",
            Self::HeadTimeout => "head_timeout",
            Self::BadAnswer(_) => "bad_answer",
            Self::ClientBody => "client_body",
            Self::ClientHost => "client_host",
            Self::UpgradeUnsupported => "upgrade_unsupported",
        }
    }

    /// The status for the client. For [`ErrorKind::ClientBody`] the error's source may ask for another one.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoneUp => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout | Self::SendTimeout | Self::HeadTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Connect | Self::Tls | Self::Closed | Self::BadAnswer(_) | Self::UpgradeUnsupported => {
                StatusCode::BAD_GATEWAY
            }
            Self::ClientBody | Self::ClientHost => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether the client caused it.
    pub(crate) fn is_client(self) -> bool {
        matches!(self, Self::ClientBody | Self::ClientHost)
    }

    /// Whether it says something about the upstream's health. An invalid response does not: the upstream is there, and
    /// clients that know how to provoke one could take it away from all others.
    pub(crate) fn counts_against_upstream(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::ConnectTimeout
                | Self::Tls
                | Self::Closed
                | Self::SendTimeout
                | Self::HeadTimeout
        )
    }
}

/// Which rule a response breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BadAnswer {
    /// The head exceeds 64 KiB.
    HeadTooLarge,
    /// The head has more than 100 fields.
    TooManyFields,
    /// The head is not HTTP.
    Malformed,
    /// A line ends with LF alone.
    BareLf,
    /// `Content-Length` is not a number, or there are several that differ.
    ContentLength,
    /// `Transfer-Encoding` is anything but one `chunked`, or is used with HTTP/1.0.
    TransferEncoding,
    /// Status 101 without a request for the protocol.
    UnrequestedSwitch,
    /// More than 16 interim responses.
    TooManyInterim,
    /// A response before the request's head was sent.
    BeforeRequest,
    /// The upstream broke the rules of HTTP/2.
    Http2,
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeadTooLarge => "the response head is larger than 64 KiB",
            Self::TooManyFields => "the response head has more than 100 fields",
            Self::Malformed => "the response is not valid HTTP/1",
            Self::BareLf => "a line of the response head ends with LF alone",
            Self::ContentLength => "Content-Length of the response is invalid or contradictory",
            Self::TransferEncoding => "Transfer-Encoding of the response is not `chunked`",
            Self::UnrequestedSwitch => "the upstream switched to a protocol that was not requested",
            Self::TooManyInterim => "the upstream sent too many interim responses",
            Self::BeforeRequest => "the upstream responded before the request was sent",
            Self::Http2 => "the upstream broke the rules of HTTP/2",
        })
    }
}

/// A request that got no response.
#[derive(Debug)]
pub struct ForwardError {
    /// What went wrong, in the last attempt.
    pub kind: ErrorKind,
    /// The upstream of the last attempt; `None` when none was up.
    pub server: Option<Arc<str>>,
    /// How many upstreams were tried.
    pub attempts: u8,
    pub(crate) source: Option<BoxError>,
}

impl ForwardError {
    pub(crate) fn new(kind: ErrorKind, source: Option<BoxError>) -> Self {
        Self { kind, server: None, attempts: 0, source }
    }

    /// The status for the client.
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// Whether the client caused it, and not an upstream.
    pub fn is_client(&self) -> bool {
        self.kind.is_client()
    }

    /// The error of the client's body, or of the connection.
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.source.as_deref()
    }
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ErrorKind::NoneUp => f.write_str("no upstream of the pool is up"),
            ErrorKind::Connect => f.write_str("cannot connect to the upstream"),
            ErrorKind::ConnectTimeout => {
                f.write_str("the connection to the upstream was not established in time")
            }
            ErrorKind::Tls => f.write_str("the TLS handshake with the upstream failed"),
            ErrorKind::Closed => f.write_str("the upstream closed the connection before it responded"),
            ErrorKind::SendTimeout => f.write_str("the upstream accepted no more of the request in time"),
            ErrorKind::HeadTimeout => f.write_str("the upstream did not respond in time"),
            ErrorKind::BadAnswer(reason) => reason.fmt(f),
            ErrorKind::ClientHost => f.write_str("the request's Host is not an authority"),
            ErrorKind::ClientBody => f.write_str("the request's body could not be read"),
            ErrorKind::UpgradeUnsupported => f.write_str(
                "the upstream speaks HTTP/2 without extended CONNECT, or the upgrade is not a WebSocket",
            ),
        }
    }
}

impl std::error::Error for ForwardError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}
