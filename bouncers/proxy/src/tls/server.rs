//! The rustls configuration of a listener.

use std::sync::Arc;

use palisade_daemon::listen::tls::TlsServer;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::ACME_TLS_ALPN;
use super::acme::{self, Acme};
use super::certificates::{Certificates, Resolver};
use super::error::TlsError;
use super::pem_file::{self, unusable};
use crate::config::{AcmeChallenge, AcmeConfig, TlsConfig};

/// The TLS configuration of a listener that presents `certificates`. Built anew on reload, which also replaces the keys
/// of session tickets; connections that are open keep theirs.
///
/// # Errors
///
/// When the authorities of client certificates cannot be used.
pub fn server_config(
    config: &TlsConfig,
    http2: bool,
    certificates: &Certificates,
    acme: Option<&AcmeConfig>,
) -> Result<TlsServer, TlsError> {
    let server = rustls_config(config, http2, certificates, acme)?;
    Ok(TlsServer::from_config(server, config.client_ca.is_some()))
}

pub(super) fn rustls_config(
    config: &TlsConfig,
    http2: bool,
    certificates: &Certificates,
    acme: Option<&AcmeConfig>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match config.tls12 {
        true => &[&rustls::version::TLS13, &rustls::version::TLS12],
        false => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let builder = match &config.client_ca {
        Some(path) => {
            let what = "file of client authorities";
            let refused = |cause: String| unusable(what, path, cause);
            let mut roots = RootCertStore::empty();
            for authority in pem_file::certificates(what, path, &pem_file::read(what, path)?)? {
                roots.add(authority).map_err(|cause| refused(cause.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|cause| refused(cause.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_cert_resolver(Arc::new(Resolver(certificates.clone())));
    if http2 {
        server.alpn_protocols.push(b"h2".to_vec());
    }
    server.alpn_protocols.push(b"http/1.1".to_vec());
    if uses_tls_alpn(config, acme) {
        // Last: a client that offers more than the challenge gets HTTP.
        server.alpn_protocols.push(ACME_TLS_ALPN.to_vec());
    }
    // Keys are replaced every six hours and never leave the process.
    server.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(server)
}

/// Finds what would make TLS of a listener fail at start, for `-t`. Reads files and changes nothing.
///
/// # Errors
///
/// The first reason.
pub fn check(config: &TlsConfig, acme: Option<&AcmeConfig>) -> Result<(), TlsError> {
    if config.certificates.is_empty() && config.acme_names.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    for name in &config.acme_names {
        acme::check_name(name)?;
    }
    if config.client_ca.is_some() && uses_tls_alpn(config, acme) {
        return Err(TlsError::ClientCaWithTlsAlpn);
    }
    if let Some(acme) = acme {
        acme::check(acme)?;
    }
    let certificates = Certificates::load(config, &Acme::new(None, None)?, None)?;
    server_config(config, true, &certificates, acme).map(|_| ())
}

/// Whether validating servers connect to the listener.
fn uses_tls_alpn(config: &TlsConfig, acme: Option<&AcmeConfig>) -> bool {
    !config.acme_names.is_empty() && acme.is_some_and(|acme| acme.challenge == AcmeChallenge::TlsAlpn01)
}
