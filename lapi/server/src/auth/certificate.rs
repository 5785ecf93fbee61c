//! Client certificates: which are accepted for which role, and whether they are still valid.
//!
//! The TLS handshake checks the signature chain against `ca_cert_path` alone. The checks here (organisational unit,
//! validity dates, revocation lists) run for each request, so that a revocation also takes effect on open connections.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use palisade_daemon::listen::{
    Peer,
    tls::{TlsError, TlsServer, read_file},
};
use palisade_lapi_config::TlsConfig;
use palisade_wire::UnixMillis;
use rustls_pki_types::{CertificateRevocationListDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use tracing::warn;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

const MAX_CHAIN: usize = 10;
/// At most this many revocation results are cached.
const MAX_VERDICTS: usize = 16_384;

/// The role a certificate authenticates for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Machine,
    Bouncer,
}

/// Why a certificate is refused, with the stock server's texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CertificateError {
    /// The request has no certificate.
    #[error("no certificate in request")]
    Missing,
    /// The configured `client_verification` does not check who signed it.
    #[error("no verified cert in request")]
    Unverified,
    /// The certificate cannot be parsed.
    #[error("client certificate cannot be read")]
    Unreadable,
    /// The subject has no common name.
    #[error("client certificate has no common name")]
    Nameless,
    /// The organisational unit is not one of those allowed.
    #[error("client certificate OU {found} doesn't match expected OU {expected}")]
    Unit {
        /// The certificate's units, as `[a b]`.
        found: String,
        /// The units allowed for this role.
        expected: String,
    },
    /// Before or after the validity dates.
    #[error("client certificate is expired")]
    Expired,
    /// A revocation list names the certificate or an intermediate of its chain.
    #[error("{}certificate revoked by CRL", if *.cached { "(cache) " } else { "" })]
    Revoked {
        /// Whether the result came from the cache.
        cached: bool,
    },
}

/// Which client certificates are accepted.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    machines: BTreeSet<String>,
    bouncers: BTreeSet<String>,
    roots: Vec<Vec<u8>>,
    /// The file the revocation lists were read from.
    pub(crate) lists_path: Option<PathBuf>,
    lists: Mutex<Vec<RevocationList>>,
    /// How long revocation results are cached.
    keep: Duration,
    verdicts: Mutex<HashMap<[u8; 32], Verdict>>,
}

#[derive(Debug, Clone, Copy)]
struct Verdict {
    revoked: bool,
    until: Instant,
}

/// A parsed certificate revocation list.
#[derive(Debug)]
pub(crate) struct RevocationList {
    der: Vec<u8>,
    issuer: Vec<u8>,
    serials: HashSet<Vec<u8>>,
}

/// Reads the file of revocation lists. A list whose `nextUpdate` is before `now` is logged and still used.
///
/// # Errors
///
/// When the file cannot be used.
pub(crate) fn load_lists(path: &Path, now: UnixMillis) -> Result<Vec<RevocationList>, TlsError> {
    let what = "revocation list";
    parse_lists(&read_file(what, path)?, now).map_err(|reason| TlsError::Unusable {
        what,
        path: path.to_owned(),
        reason,
    })
}

fn parse_lists(pem: &[u8], now: UnixMillis) -> Result<Vec<RevocationList>, String> {
    let mut lists = Vec::new();
    for der in CertificateRevocationListDer::pem_slice_iter(pem) {
        let der = der.map_err(|cause| format!("not PEM: {cause}"))?.to_vec();
        let (_, list) = CertificateRevocationList::from_der(&der)
            .map_err(|cause| format!("not a revocation list: {cause}"))?;
        if list.next_update().is_some_and(|next| next.timestamp() < now.0 / 1000) {
            warn!(issuer = %list.issuer(), "the revocation list is past its nextUpdate; it is still used");
        }
        let serials = list.iter_revoked_certificates().map(|entry| entry.raw_serial().to_vec()).collect();
        let issuer = list.issuer().as_raw().to_vec();
        lists.push(RevocationList { issuer, serials, der });
    }
    if lists.is_empty() { Err("there is no revocation list in it".to_owned()) } else { Ok(lists) }
}

impl Certificates {
    /// Accepts certificates of the configured organisational units, signed (through any number of intermediates) by an
    /// authority that `server` trusts and not named by a revocation list.
    ///
    /// # Errors
    ///
    /// When the file of revocation lists cannot be used.
    pub(crate) fn load(config: &TlsConfig, server: &TlsServer, now: UnixMillis) -> Result<Self, TlsError> {
        let lists = match &config.crl_path {
            Some(path) => load_lists(path, now)?,
            None => Vec::new(),
        };
        Ok(Self {
            machines: config.agents_allowed_ou.clone(),
            bouncers: config.bouncers_allowed_ou.clone(),
            roots: server.client_authorities().iter().map(|root| root.to_vec()).collect(),
            lists_path: config.crl_path.clone(),
            lists: Mutex::new(lists),
            keep: config.cache_expiration,
            verdicts: Mutex::default(),
        })
    }

    /// Replaces the revocation lists and clears the cache.
    pub(crate) fn relist(&self, lists: Vec<RevocationList>) {
        *self.lists.lock().unwrap_or_else(PoisonError::into_inner) = lists;
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The common name of the peer's certificate, if the certificate is accepted for this role now.
    ///
    /// # Errors
    ///
    /// See [`CertificateError`].
    pub(crate) fn admit(&self, role: Role, peer: &Peer, now: UnixMillis) -> Result<String, CertificateError> {
        let own = peer.certificates.first().ok_or(CertificateError::Missing)?;
        if !peer.verified {
            return Err(CertificateError::Unverified);
        }
        let (_, leaf) = X509Certificate::from_der(own).map_err(|_| CertificateError::Unreadable)?;
        let units: Vec<&str> =
            leaf.subject().iter_organizational_unit().filter_map(|unit| unit.as_str().ok()).collect();
        let allowed = if role == Role::Machine { &self.machines } else { &self.bouncers };
        if !units.iter().any(|unit| allowed.contains(*unit)) {
            let expected: Vec<&str> = allowed.iter().map(String::as_str).collect();
            return Err(CertificateError::Unit {
                found: format!("[{}]", units.join(" ")),
                expected: format!("[{}]", expected.join(" ")),
            });
        }
        let seconds = now.0.div_euclid(1000);
        let dates = leaf.validity();
        if seconds < dates.not_before.timestamp() || seconds > dates.not_after.timestamp() {
            return Err(CertificateError::Expired);
        }
        self.not_revoked(own, &leaf, &peer.certificates)?;
        let name = leaf.subject().iter_common_name().find_map(|name| name.as_str().ok());
        name.filter(|name| !name.is_empty()).map(str::to_owned).ok_or(CertificateError::Nameless)
    }

    fn not_revoked(
        &self,
        own: &[u8],
        leaf: &X509Certificate<'_>,
        shown: &[Vec<u8>],
    ) -> Result<(), CertificateError> {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.is_empty() {
            return Ok(());
        }
        let (print, now) = (<[u8; 32]>::from(Sha256::digest(own)), Instant::now());
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verdict) = verdicts.get(&print).filter(|verdict| verdict.until > now) {
            return if verdict.revoked { Err(CertificateError::Revoked { cached: true }) } else { Ok(()) };
        }
        let revoked = is_revoked(leaf, shown, &self.roots, &lists);
        if verdicts.len() >= MAX_VERDICTS {
            verdicts.clear();
        }
        verdicts.insert(print, Verdict { revoked, until: now + self.keep });
        if revoked { Err(CertificateError::Revoked { cached: false }) } else { Ok(()) }
    }
}

/// Walks from the leaf towards a root and checks each certificate against the lists of its issuer.
fn is_revoked(
    leaf: &X509Certificate<'_>,
    shown: &[Vec<u8>],
    roots: &[Vec<u8>],
    lists: &[RevocationList],
) -> bool {
    let signers: Vec<X509Certificate<'_>> = roots
        .iter()
        .chain(shown.iter().skip(1))
        .filter_map(|der| X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate))
        .collect();
    let mut current = leaf;
    for _ in 0..MAX_CHAIN {
        let is_signer = |signer: &&X509Certificate<'_>| {
            signer.subject().as_raw() == current.issuer().as_raw()
                && current.verify_signature(Some(signer.public_key())).is_ok()
        };
        let Some(signer) = signers.iter().find(is_signer) else { return false };
        for list in lists.iter().filter(|list| list.issuer == current.issuer().as_raw()) {
            let signed = CertificateRevocationList::from_der(&list.der)
                .is_ok_and(|(_, parsed)| parsed.verify_signature(signer.public_key()).is_ok());
            if signed && list.serials.contains(current.raw_serial()) {
                return true;
            }
        }
        if signer.subject().as_raw() == signer.issuer().as_raw() {
            return false;
        }
        current = signer;
    }
    false
}
