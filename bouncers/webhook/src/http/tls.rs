//! Builds the TLS configuration towards a receiver: trusted authorities, the client's certificate.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use palisade_bouncer::outbound::AnyCertificate;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::HttpError;
use crate::config::ClientTlsConfig;

/// The longest file of certificates or keys; a system's whole list of authorities has a quarter of a megabyte.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// Reads the files, so that one that is missing is found when the configuration is checked.
pub(super) fn client_config(tls: &ClientTlsConfig) -> Result<Arc<ClientConfig>, HttpError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(HttpError::Tls)?;
    let builder = match &tls.ca {
        _ if tls.insecure_skip_verify => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
        }
        Some(path) => builder.with_root_certificates(roots(path)?),
        None => {
            let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(HttpError::Tls)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match &tls.certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain)?;
            let key = PrivateKeyDer::from_pem_slice(&read_pem(key)?).map_err(|error| content(key, error))?;
            builder.with_client_auth_cert(chain, key).map_err(HttpError::Tls)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(path: &Path) -> Result<RootCertStore, HttpError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| content(path, error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read_pem(path)?).collect();
    let certificates = certificates.map_err(|error| content(path, error))?;
    if certificates.is_empty() { Err(content(path, "it contains no certificate")) } else { Ok(certificates) }
}

/// Reads a file of certificates or keys.
pub(crate) fn read_pem(path: &Path) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    // One byte more than allowed, in case the path names a device or a log.
    let read = File::open(path).and_then(|file| file.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|source| HttpError::Read { path: path.to_owned(), source })?;
    match bytes.len() as u64 > MAX_PEM_BYTES {
        true => Err(content(path, format!("it is longer than {MAX_PEM_BYTES} bytes"))),
        false => Ok(bytes),
    }
}

fn content(path: &Path, reason: impl ToString) -> HttpError {
    HttpError::Content { path: path.to_owned(), reason: reason.to_string() }
}
