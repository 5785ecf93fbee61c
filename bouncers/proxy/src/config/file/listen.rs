//! The keys of listeners and their certificates.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::AcmeChallenge;

/// An entry of `listen`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ListenFile {
    /// `HOST:PORT` (an empty host for all addresses), `unix:/PATH`, or `systemd:NAME` for a socket of the service
    /// manager (`FileDescriptorName=`). Required.
    ///
    /// - example: `":80"`
    pub address: Option<String>,
    /// TLS; plain HTTP without.
    pub tls: Option<TlsFile>,
    /// Offer HTTP/2: by ALPN with TLS, by prior knowledge without.
    ///
    /// - default: `true`
    /// - example: `false`
    pub http2: Option<bool>,
    /// Peers that must begin with a PROXY protocol header, version 1 or 2. From all others it is never read.
    ///
    /// - default: `[]`
    /// - example: `[10.0.0.0/8]`
    pub proxy_protocol_from: Option<Vec<String>>,
    /// Close connections of addresses that are banned on every route before anything is read; no page is sent.
    ///
    /// - default: `false`
    /// - example: `true`
    pub refuse_at_accept: Option<bool>,
    /// Redirect everything to `https`, except challenges of ACME. Not with `tls`.
    ///
    /// - default: `false`
    /// - example: `true`
    pub redirect_to_https: Option<bool>,
}

/// The `tls` block of a listener.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TlsFile {
    /// Certificates from files. The one whose names cover the requested name is presented, the first one without a
    /// name.
    pub certificates: Option<Vec<CertificateFile>>,
    /// Host names whose certificates are obtained by ACME; no wildcards.
    ///
    /// - default: none
    /// - example: `[shop.example.org]`
    pub acme: Option<Vec<String>>,
    /// Authorities of client certificates (PEM); with it a client certificate is required.
    ///
    /// - default: none
    /// - example: `/etc/ssl/clients.pem`
    pub client_ca: Option<PathBuf>,
    /// Accept TLS 1.2 beside TLS 1.3.
    ///
    /// - default: `true`
    /// - example: `false`
    pub tls12: Option<bool>,
}

/// A certificate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CertificateFile {
    /// The chain (PEM). Required.
    ///
    /// - example: `/etc/ssl/shop.pem`
    pub certificate: Option<PathBuf>,
    /// The key (PEM). Required.
    ///
    /// - example: `/etc/ssl/shop.key`
    pub key: Option<PathBuf>,
    /// A current OCSP response (DER), which another program fetches; it is stapled.
    ///
    /// - default: none
    /// - example: `/etc/ssl/shop.ocsp`
    pub ocsp: Option<PathBuf>,
}

/// The form of the header with the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressForm {
    /// Each proxy appends an address.
    List,
    /// One address.
    Single,
}

/// The `acme` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AcmeFile {
    /// The directory's URL.
    ///
    /// - default: `https://acme-v02.api.letsencrypt.org/directory`
    /// - example: `https://acme.example.org/directory`
    pub directory: Option<String>,
    /// The account's contact.
    ///
    /// - default: none
    /// - example: `admin@example.org`
    pub email: Option<String>,
    /// The folder of account and certificates.
    ///
    /// - default: `acme` in the state directory
    /// - example: `/var/lib/palisade-proxy/acme`
    pub storage: Option<PathBuf>,
    /// Authorities for the directory (PEM).
    ///
    /// - default: the system's
    /// - example: `/etc/ssl/acme-ca.pem`
    pub ca: Option<PathBuf>,
    /// How a name is proven. `http-01` needs a listener without TLS on port 80.
    ///
    /// - default: `http-01`
    /// - example: `tls-alpn-01`
    pub challenge: Option<AcmeChallenge>,
}
