//! Delivers messages to HTTP endpoints.
//!
//! ```text
//!   sink ── sends, classifies
//!     ├─ requests      bodies, headers, signatures            (pure)
//!     ├─ credentials   fixed headers, bearer, basic           (pure)
//!     ├─ signature     Standard Webhooks, HMAC in a header    (pure)
//!     ├─ response      what follows from a status             (pure)
//!   exchange ── sends what services of whole lists need
//!     └─ client ── one endpoint, one connection at a time
//!          ├─ dial ── resolution, connection, TLS
//!          │    └─ guard   which addresses may be connected to (pure)
//!          └─ connection ── exchanges on a connection
//! ```

mod client;
mod connection;
mod credentials;
mod dial;
mod exchange;
pub mod guard;
mod reason;
pub(crate) mod requests;
mod response;
mod secrets;
mod signature;
mod sink;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

use std::io;
use std::path::PathBuf;

use http::HeaderName;

pub(crate) use self::credentials::fixed_headers;

pub use self::client::{Client, ClientRequest, ClientResponse, DEFAULT_RESPONSE_LIMIT};
pub use self::connection::{MAX_RESPONSE_HEAD, MAX_RESPONSE_HEADERS, MAX_RESPONSE_HEADS};
pub(crate) use self::exchange::list_id;
pub use self::exchange::{ClientExchange, MAX_ANSWER_BYTES};
pub use self::response::MAX_RETRY_AFTER;
pub(crate) use self::response::{kind, retry_after};
pub use self::signature::{HeaderSigner, SecretError, Signer, public_key};
pub use self::sink::{ConnectError, HttpConnector, HttpSink};
pub(crate) use self::tls::read_pem;

/// What requests to receivers are sent with, unless `headers` has another.
pub const USER_AGENT: &str = concat!("palisade-webhook/", env!("CARGO_PKG_VERSION"));

/// An endpoint's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Its URL, which may be secret and is not shown.
    #[error("`url` cannot be used: {0}")]
    Url(&'static str),
    /// A header.
    #[error("header {name} cannot be sent: {reason}")]
    Header {
        /// The header.
        name: HeaderName,
        /// Why.
        reason: &'static str,
    },
    /// A signing secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has not what it should have.
    #[error("{path} cannot be used: {reason}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS cannot be configured.
    #[error("TLS cannot be configured; do certificate and key belong together?")]
    Tls(#[source] rustls::Error),
}
