//! Certificates of listeners: chosen by server name, reloaded when their files change, and obtained by ACME.
//!
//! ```text
//! files ──► FileCertificate ─┐                      ┌─► Resolver (rustls): certificate of a handshake
//!           (OCSP staple)    ├─► Certificates ──────┤
//! ACME ───► Acme ────────────┘   (one a listener)   └─► same_certificate: whether a `Host` may be served
//! ```
//!
//! [`Certificates`] is what a listener presents, [`server_config`] the rustls configuration around it, and
//! [`Acme`] obtains and renews certificates for all listeners. [`check`] finds what would make the start fail.
//!
//! On a reload, [`Certificates::load`] with the listener's certificates as `previous` and [`server_config`] come first,
//! since they can fail; then [`Acme::reconfigure`], which has the names' certificates ready when it returns; then the new
//! [`TlsServer`](palisade_daemon::listen::tls::TlsServer) replaces the one in use.

pub mod acme;
mod certificate;
mod certificates;
mod der;
mod error;
mod file_certificate;
mod names;
mod ocsp;
mod pem_file;
mod server;
mod table;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use self::acme::{Acme, AcmeStatus, Challenges};
pub use self::certificate::Certificate;
pub use self::certificates::{CertificateStatus, Certificates};
pub use self::error::TlsError;
pub use self::names::Names;
pub use self::server::{check, server_config};

/// The protocol name (ALPN) of connections that validate a name by a challenge in the handshake (RFC 8737). They carry
/// nothing else, and must be closed after the handshake.
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";
