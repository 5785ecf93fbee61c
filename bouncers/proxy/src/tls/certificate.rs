//! A certificate with its key, and what is known about it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureAlgorithm};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::X509Certificate;

use super::names::Names;
use super::ocsp::Subject;

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(super) names: Names,
    pub(super) key: Arc<CertifiedKey>,
    pub(super) validity: Validity,
    pub(super) subject: Subject,
    /// What clients may stumble over though the certificate can be used.
    pub(super) doubts: Vec<Doubt>,
}

/// From when until when a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: i64,
    pub(super) until: i64,
}

/// What clients may refuse though the certificate can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Doubt {
    #[error("the certificates of the chain are not in order; each must be followed by the one of its issuer")]
    Chain,
    #[error("the certificate has no names that clients verify (subjectAltName)")]
    NoNames,
    #[error("the certificate is not valid yet; check the clock")]
    NotYetValid,
    #[error("the certificate has expired; replace it")]
    Expired,
}

/// Why a chain and a key do not make a certificate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("certificate {0} of the chain cannot be parsed")]
    Certificate(usize),
    #[error("the key cannot be used ({0})")]
    Key(rustls::Error),
    #[error("the certificate cannot be used ({0})")]
    Unsupported(rustls::Error),
    #[error(
        "the key does not belong to the certificate; give the key that the certificate was requested with"
    )]
    KeyMismatch,
}

impl Certificate {
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let parsed = parse(&chain)?;
        let leaf = parsed.first().ok_or(CertificateError::Certificate(1))?;
        let issuer_key = parsed.get(1).map(|issuer| issuer.public_key().subject_public_key.data.to_vec());
        let subject = Subject {
            serial: leaf.raw_serial().to_vec(),
            issuer: leaf.issuer().as_raw().to_vec(),
            issuer_key,
        };
        let names = Names::of(leaf);
        let validity = leaf.validity();
        let validity =
            Validity { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() };
        let mut doubts = Vec::new();
        if !parsed
            .is_sorted_by(|certificate, issuer| certificate.issuer().as_raw() == issuer.subject().as_raw())
        {
            doubts.push(Doubt::Chain);
        }
        if leaf.subject_alternative_name().ok().flatten().is_none() {
            doubts.push(Doubt::NoNames);
        }
        let key = provider.key_provider.load_private_key(key).map_err(CertificateError::Key)?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            // A key that cannot tell its public half cannot be compared.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(CertificateError::KeyMismatch),
            Err(cause) => return Err(CertificateError::Unsupported(cause)),
        }
        Ok(Self { names, key: Arc::new(key), validity, subject, doubts })
    }

    /// The same certificate with this OCSP response.
    pub(super) fn with_staple(&self, staple: Option<Vec<u8>>) -> Self {
        let key = CertifiedKey { ocsp: staple, ..CertifiedKey::clone(&self.key) };
        Self { key: Arc::new(key), ..self.clone() }
    }

    /// The names it is valid for.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The end of its validity, in seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.validity.until
    }

    /// All doubts at `now`.
    pub(super) fn doubts_at(&self, now: i64) -> impl Iterator<Item = Doubt> {
        let by_clock = match now {
            now if now < self.validity.from => Some(Doubt::NotYetValid),
            now if now >= self.validity.until => Some(Doubt::Expired),
            _ => None,
        };
        self.doubts.iter().copied().chain(by_clock)
    }

    /// Order among several certificates for one name: small keys and fast signatures first. Clients that cannot verify
    /// the signature get the next one.
    pub(super) fn rank(&self) -> u8 {
        match self.key.key.algorithm() {
            SignatureAlgorithm::ECDSA => 0,
            SignatureAlgorithm::ED25519 => 1,
            _ => 2,
        }
    }
}

fn parse<'a>(chain: &'a [CertificateDer<'static>]) -> Result<Vec<X509Certificate<'a>>, CertificateError> {
    let parse = |(index, der): (usize, &'a CertificateDer<'static>)| match parse_x509_certificate(der) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(CertificateError::Certificate(index + 1)),
    };
    chain.iter().enumerate().map(parse).collect()
}

/// Seconds since 1970.
pub(super) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
