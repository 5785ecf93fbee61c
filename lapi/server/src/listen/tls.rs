//! TLS configuration: the server's certificate and the verification of client certificates.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use palisade_lapi_config::{ClientVerification, TlsConfig};
use palisade_wire::UnixMillis;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _};

use crate::auth::certificate::{Certificates, RevocationList, read_lists};

/// Why TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TlsError {
    #[error("cannot read {what} {}", path.display())]
    Unreadable {
        /// The kind of file.
        what: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// A file has the wrong content.
    #[error("{what} {}: {reason}", path.display())]
    Unusable {
        /// The expected kind of file.
        what: &'static str,
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The TLS configuration of the listener.
#[derive(Debug)]
pub(crate) struct TlsServer {
    pub(super) config: Arc<ServerConfig>,
    /// Whether the handshake verifies who signed a client's certificate.
    pub(super) verifies: bool,
}

/// Reads all files of the `tls` block.
///
/// # Errors
///
/// When a file cannot be used.
pub(crate) fn load(tls: &TlsConfig, now: UnixMillis) -> Result<(TlsServer, Certificates), TlsError> {
    let chain = certificates("certificate", &tls.cert_file)?;
    let pem = read("key", &tls.key_file)?;
    let unusable =
        |what, path: &Path, reason: String| TlsError::Unusable { what, path: path.to_owned(), reason };
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|cause| {
        unusable("key", &tls.key_file, format!("there is no private key in it ({cause})"))
    })?;
    let roots = match &tls.ca_cert_path {
        Some(path) => certificates("CA certificate", path)?,
        None => Vec::new(),
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = versions.map_err(|cause| unusable("certificate", &tls.cert_file, cause.to_string()))?;
    let (verifier, verifies) = verifier(tls, &roots, provider)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|cause| unusable("certificate", &tls.cert_file, cause.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let lists = match &tls.crl_path {
        Some(path) => lists(path, now)?,
        None => Vec::new(),
    };
    let mut certificates = Certificates::new(
        tls.agents_allowed_ou.clone(),
        tls.bouncers_allowed_ou.clone(),
        &roots,
        lists,
        tls.cache_expiration,
    );
    certificates.lists_path = tls.crl_path.clone();
    Ok((TlsServer { config: Arc::new(config), verifies }, certificates))
}

/// Reads the file of revocation lists.
///
/// # Errors
///
/// When it cannot be used.
pub(crate) fn lists(path: &Path, now: UnixMillis) -> Result<Vec<RevocationList>, TlsError> {
    let what = "revocation list";
    read_lists(&read(what, path)?, now).map_err(|reason| TlsError::Unusable {
        what,
        path: path.to_owned(),
        reason,
    })
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|cause| TlsError::Unreadable { what, path: path.to_owned(), cause })
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(what, path)?;
    let unusable = |reason: String| TlsError::Unusable { what, path: path.to_owned(), reason };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(unusable("there is no certificate in it".to_owned())),
        Err(cause) => Err(unusable(format!("not PEM: {cause}"))),
    }
}

type Verifier = Option<Arc<dyn ClientCertVerifier>>;

/// The verifier for client certificates, and whether it checks signatures. Only `ca_cert_path` is trusted: with the
/// system's roots, as in the stock server, any certificate of a public authority with the right organisational unit
/// would be accepted.
fn verifier(
    tls: &TlsConfig,
    roots: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<(Verifier, bool), TlsError> {
    let mandatory = match tls.client_verification {
        ClientVerification::None => return Ok((None, false)),
        ClientVerification::Request => {
            return Ok((Some(Arc::new(AcceptAnyCertificate { mandatory: false, provider })), false));
        }
        ClientVerification::RequireAny => {
            return Ok((Some(Arc::new(AcceptAnyCertificate { mandatory: true, provider })), false));
        }
        ClientVerification::VerifyIfGiven => false,
        ClientVerification::RequireAndVerify => true,
    };
    let Some(path) = &tls.ca_cert_path else { return Ok((None, false)) };
    let unusable = |reason: String| TlsError::Unusable { what: "CA certificate", path: path.clone(), reason };
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|cause| unusable(cause.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
    let builder = if mandatory { builder } else { builder.allow_unauthenticated() };
    let verifier = builder.build().map_err(|cause| unusable(cause.to_string()))?;
    Ok((Some(verifier), true))
}

/// Accepts any certificate whose key the client holds. Such a certificate authenticates no one: requests are refused
/// later.
#[derive(Debug)]
struct AcceptAnyCertificate {
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AcceptAnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
