//! Certificates that are made here: for names without one, and those that answer challenges in the handshake.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::super::certificate::Certificate;
use super::super::error::TlsError;

/// A self-signed certificate, which is presented until there is one that clients accept.
pub(super) fn generate(name: &str) -> Result<Certificate, TlsError> {
    let failed = |cause: rcgen::Error| TlsError::Generate { name: name.to_owned(), cause };
    let mut params = CertificateParams::new([name.to_owned()]).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "palisade-proxy placeholder");
    let (certificate, key) = self_signed(&params).map_err(failed)?;
    Certificate::new(vec![certificate], key, &aws_lc_rs::default_provider())
        .map_err(|cause| TlsError::Rustls(rustls::Error::General(cause.to_string())))
}

/// The certificate that answers a TLS-ALPN-01 challenge (RFC 8737), given the SHA-256 digest of the answer.
pub(super) fn challenge(name: &str, digest: &[u8; 32]) -> Result<Arc<CertifiedKey>, TlsError> {
    let failed = |cause: rcgen::Error| TlsError::Generate { name: name.to_owned(), cause };
    let mut params = CertificateParams::new([name.to_owned()]).map_err(failed)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let (certificate, key) = self_signed(&params).map_err(failed)?;
    // Not checked against each other: the critical extension is unknown to what checks.
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key)?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate], key)))
}

fn self_signed(
    params: &CertificateParams,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into())))
}
