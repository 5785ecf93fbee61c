//! The keys of signatures, authentication and TLS of an endpoint.

use std::path::PathBuf;

use palisade_client::Secret;
use serde::Deserialize;

use super::super::{HmacAlgorithm, HmacEncoding};

/// The `hmac` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HmacFile {
    /// The header.
    ///
    /// - default: `X-Hub-Signature-256`
    /// - example: `X-Signature`
    pub header: Option<String>,
    /// The digest.
    ///
    /// - default: `sha256`
    /// - example: `sha512`
    pub algorithm: Option<HmacAlgorithm>,
    /// Text before the signature.
    ///
    /// - default: the algorithm and `=`, such as `sha256=`
    /// - example: `""`
    pub prefix: Option<String>,
    /// How the signature is written.
    ///
    /// - default: `hex`
    /// - example: `base64`
    pub encoding: Option<HmacEncoding>,
    /// The key. This or `secret_file` is required.
    ///
    /// - example: `SECRET`
    pub secret: Option<Secret>,
    /// A file or systemd credential that holds it.
    ///
    /// - example: `/etc/crowdsec/webhook/hmac`
    pub secret_file: Option<PathBuf>,
}

/// The `basic` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BasicFile {
    /// The name, without a colon. Required.
    ///
    /// - example: `palisade`
    pub user: Option<String>,
    /// The password. This or `password_file` is required.
    ///
    /// - example: `PASSWORD`
    pub password: Option<Secret>,
    /// A file or systemd credential that holds it.
    ///
    /// - example: `/etc/crowdsec/webhook/password`
    pub password_file: Option<PathBuf>,
}

/// The `tls` block of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TlsFile {
    /// Authorities that are trusted instead of the system's (PEM).
    ///
    /// - default: the system's authorities
    /// - example: `/etc/crowdsec/tls/ca.pem`
    pub ca: Option<PathBuf>,
    /// A certificate (PEM); with `key`.
    ///
    /// - example: `/etc/crowdsec/tls/webhook.pem`
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    ///
    /// - example: `/etc/crowdsec/tls/webhook-key.pem`
    pub key: Option<PathBuf>,
    /// Accept any certificate.
    ///
    /// - default: `false`
    /// - example: `true`
    pub insecure_skip_verify: Option<bool>,
}
