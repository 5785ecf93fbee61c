//! Why TLS of a listener cannot be configured.

use std::io;
use std::path::PathBuf;

/// Why TLS of a listener cannot be configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "cannot read the {what} {}; check that it exists and that the user of palisade-proxy may read it",
        path.display()
    )]
    Unreadable {
        /// The kind of file.
        what: &'static str,
        /// As configured.
        path: PathBuf,
        /// The system's reason.
        #[source]
        cause: io::Error,
    },
    /// A file has the wrong content; the reason includes what to do.
    #[error("the {what} {} cannot be used: {reason}", path.display())]
    Unusable {
        /// The expected kind of file.
        what: &'static str,
        /// As configured.
        path: PathBuf,
        /// What is wrong, and the next step.
        reason: String,
    },
    /// Neither files nor names for ACME.
    #[error(
        "the listener has no certificate; set `certificates`, or `acme` with the names to obtain them for"
    )]
    NoCertificate,
    /// A name that the challenges in use cannot prove.
    #[error("no certificate can be obtained by ACME for `{name}`: {reason}")]
    AcmeName {
        /// As configured.
        name: String,
        /// Why, and the next step.
        reason: &'static str,
    },
    /// Client certificates with challenges in the handshake.
    #[error(
        "`client_ca` and the ACME challenge `tls-alpn-01` cannot be used on one listener, because the validating \
         server has no client certificate; use the challenge `http-01`"
    )]
    ClientCaWithTlsAlpn,
    /// The storage directory of ACME cannot be used.
    #[error(
        "the ACME storage {} cannot be used; create the directory, owned by the user of palisade-proxy and with \
         mode 0700",
        path.display()
    )]
    Storage {
        /// The directory or a file in it.
        path: PathBuf,
        /// The system's reason.
        #[source]
        cause: io::Error,
    },
    /// There is no place for keys and certificates.
    #[error(
        "there is no place for certificates by ACME; set `acme.storage` to an absolute path, or set `state_dir`"
    )]
    NoStorage,
    /// The HTTP client for the ACME directory cannot be made.
    #[error("the ACME directory cannot be used: no HTTPS client for it; check the system's CA certificates")]
    AcmeClient {
        /// The library's reason.
        #[source]
        cause: reqwest::Error,
    },
    /// The URL of the ACME directory is not one of HTTPS.
    #[error(
        "the ACME directory `{url}` is not an https:// URL; the account's requests are not sent without TLS"
    )]
    Directory {
        /// As configured.
        url: String,
    },
    /// The cryptographic library refuses the combination.
    #[error("TLS cannot be configured")]
    Rustls(#[from] rustls::Error),
    /// A certificate cannot be made.
    #[error("cannot make a certificate for `{name}`")]
    Generate {
        /// Its name.
        name: String,
        /// The library's reason.
        #[source]
        cause: rcgen::Error,
    },
}
