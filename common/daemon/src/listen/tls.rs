//! TLS configuration: the server's certificate and the verification of client certificates.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

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

/// The files of a TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Certificate authorities of client certificates, PEM. No other is trusted, not even the system's.
    pub client_authorities: Option<PathBuf>,
    /// What clients must present.
    pub client_verification: ClientVerification,
}

/// What clients must present in the TLS handshake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientVerification {
    /// Nothing is requested.
    None,
    /// A certificate is optional and not verified.
    Request,
    /// A certificate is required and not verified.
    RequireAny,
    /// A certificate is optional and verified.
    #[default]
    VerifyIfGiven,
    /// A certificate is required and verified.
    RequireAndVerify,
}

/// Why TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {what} {}", path.display())]
    Unreadable {
        /// The kind of file.
        what: &'static str,
        /// As configured.
        path: PathBuf,
        /// The system's reason.
        #[source]
        cause: io::Error,
    },
    /// A file has the wrong content.
    #[error("{what} {}: {reason}", path.display())]
    Unusable {
        /// The expected kind of file.
        what: &'static str,
        /// As configured.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The TLS configuration of the listener.
#[derive(Debug)]
pub struct TlsServer {
    pub(super) config: Arc<ServerConfig>,
    /// Whether the handshake verifies the signature of a client's certificate.
    pub(super) verifies: bool,
    client_authorities: Vec<CertificateDer<'static>>,
}

impl TlsServer {
    /// Reads all files.
    ///
    /// # Errors
    ///
    /// When a file cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let wrong = |cause: rustls::Error| unusable("certificate", &files.certificate, cause.to_string());
        let chain = certificates("certificate", &files.certificate)?;
        let pem = read_file("key", &files.key)?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|cause| {
            let reason = match is_encrypted_key(&pem) {
                true => format!(
                    "the private key is encrypted; write it without passphrase, with `openssl pkey -in {} -out FILE`",
                    files.key.display()
                ),
                false => format!("there is no private key in it ({cause})"),
            };
            unusable("key", &files.key, reason)
        })?;
        let client_authorities = match &files.client_authorities {
            Some(path) => certificates("CA certificate", path)?,
            None => Vec::new(),
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(wrong)?;
        let (verifier, verifies) = verifier(files, &client_authorities, provider)?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(wrong)?;
        // Both, as the stock server offers them.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), verifies, client_authorities })
    }

    /// A configuration made elsewhere. `verifies` says whether its handshake verifies the signature of a client's
    /// certificate; [`TlsServer::client_authorities`] of it is empty.
    pub fn from_config(config: ServerConfig, verifies: bool) -> Self {
        Self { config: Arc::new(config), verifies, client_authorities: Vec::new() }
    }

    /// The authorities whose client certificates the handshake accepts, as DER.
    pub fn client_authorities(&self) -> &[CertificateDer<'static>] {
        &self.client_authorities
    }
}

/// Whether a PEM file holds an encrypted private key, in either of OpenSSL's forms.
fn is_encrypted_key(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn unusable(what: &'static str, path: &Path, reason: String) -> TlsError {
    TlsError::Unusable { what, path: path.to_owned(), reason }
}

/// Reads a file of the TLS configuration; `what` is its kind, for the error.
///
/// # Errors
///
/// [`TlsError::Unreadable`].
pub fn read_file(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|cause| TlsError::Unreadable { what, path: path.to_owned(), cause })
}

pub(super) fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read_file(what, path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(unusable(what, path, "there is no certificate in it".to_owned())),
        Err(cause) => Err(unusable(what, path, format!("not PEM: {cause}"))),
    }
}

type Verifier = Option<Arc<dyn ClientCertVerifier>>;

/// The verifier for client certificates, and whether it checks signatures.
fn verifier(
    files: &TlsFiles,
    roots: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<(Verifier, bool), TlsError> {
    let mandatory = match files.client_verification {
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
    // Without authorities no certificate could be verified, so none is asked for.
    let Some(path) = &files.client_authorities else { return Ok((None, false)) };
    let unusable = |reason: String| unusable("CA certificate", path, reason);
    // Only the configured authorities. With the system's roots, as in the stock server, any certificate of a public
    // authority with the right organisational unit would be accepted.
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|cause| unusable(cause.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
    let builder = if mandatory { builder } else { builder.allow_unauthenticated() };
    let verifier = builder.build().map_err(|cause| unusable(cause.to_string()))?;
    Ok((Some(verifier), true))
}

/// Accepts any certificate whose key the client holds. Such a certificate does not authenticate: requests are refused
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
        // Whatever its signature. The methods below still verify that the client holds the key.
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
