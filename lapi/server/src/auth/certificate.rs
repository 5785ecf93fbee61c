//! Client certificates: whose they are, and whether they still hold.
//!
//! Who signed a certificate is checked in the TLS handshake, against `ca_cert_path` alone. Here follow the checks of
//! each request, so that a revocation also ends connections that are open: organisational unit, dates, revocation
//! lists.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use palisade_wire::UnixMillis;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use tracing::warn;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::address::Peer;

/// Longest chain that is followed.
const MAX_CHAIN: usize = 10;
/// How many verdicts are kept.
const MAX_VERDICTS: usize = 16_384;

/// What a certificate is to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A machine's.
    Machine,
    /// A bouncer's.
    Bouncer,
}

/// Why a certificate is not taken, in the stock server's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is none.
    #[error("no certificate in request")]
    Missing,
    /// `client_verification` does not check who signed it.
    #[error("no verified cert in request")]
    Unverified,
    /// It cannot be read.
    #[error("client certificate cannot be read")]
    Unreadable,
    /// It has no name.
    #[error("client certificate has no common name")]
    Nameless,
    /// It is for something else.
    #[error("client certificate OU {found} doesn't match expected OU {expected}")]
    Unit {
        /// Its units, `[a b]`.
        found: String,
        /// Those allowed.
        expected: String,
    },
    /// It does not hold yet, or no more.
    #[error("client certificate is expired")]
    Expired,
    /// A list names it, or the one that signed it.
    #[error("certificate revoked by CRL{}", if *.cached { " (cache)" } else { "" })]
    Revoked {
        /// Whether that was known.
        cached: bool,
    },
}

/// Which client certificates are taken.
#[derive(Debug, Default)]
pub struct Certificates {
    machines: BTreeSet<String>,
    bouncers: BTreeSet<String>,
    roots: Vec<Vec<u8>>,
    /// The file the lists come from.
    pub(crate) lists_path: Option<std::path::PathBuf>,
    lists: Mutex<Vec<RevocationList>>,
    keep: Duration,
    verdicts: Mutex<HashMap<[u8; 32], Verdict>>,
}

#[derive(Debug, Clone, Copy)]
struct Verdict {
    revoked: bool,
    until: Instant,
}

/// A list of revoked certificates, read once.
#[derive(Debug)]
pub struct RevocationList {
    der: Vec<u8>,
    issuer: Vec<u8>,
    serials: HashSet<Vec<u8>>,
}

/// Reads lists from PEM. Of a list that should have been renewed by `now` a warning is logged; it is used all the same.
///
/// # Errors
///
/// What is wrong, in words.
pub fn read_lists(pem: &[u8], now: UnixMillis) -> Result<Vec<RevocationList>, String> {
    let mut lists = Vec::new();
    for der in CertificateRevocationListDer::pem_slice_iter(pem) {
        let der = der.map_err(|cause| format!("not PEM: {cause}"))?.to_vec();
        let (_, list) = CertificateRevocationList::from_der(&der)
            .map_err(|cause| format!("not a revocation list: {cause}"))?;
        if list.next_update().is_some_and(|next| next.timestamp() < now.0 / 1000) {
            warn!(issuer = %list.issuer(), "the revocation list should have been renewed; it is still used");
        }
        let serials = list.iter_revoked_certificates().map(|entry| entry.raw_serial().to_vec()).collect();
        let issuer = list.issuer().as_raw().to_vec();
        lists.push(RevocationList { issuer, serials, der });
    }
    if lists.is_empty() { Err("there is no revocation list in it".to_owned()) } else { Ok(lists) }
}

impl Certificates {
    /// Certificates of these organisational units, signed (over any number of steps) by one of `roots`, not named by
    /// one of `lists`. Verdicts are kept for `keep`.
    pub fn new(
        machines: BTreeSet<String>,
        bouncers: BTreeSet<String>,
        roots: &[CertificateDer<'_>],
        lists: Vec<RevocationList>,
        keep: Duration,
    ) -> Self {
        Self {
            machines,
            bouncers,
            roots: roots.iter().map(|root| root.to_vec()).collect(),
            lists_path: None,
            lists: Mutex::new(lists),
            keep,
            verdicts: Mutex::default(),
        }
    }

    /// Replaces the lists, and forgets all verdicts.
    pub fn relist(&self, lists: Vec<RevocationList>) {
        *self.lists.lock().unwrap_or_else(PoisonError::into_inner) = lists;
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The common name in a peer's certificate, if it may act in this role now.
    ///
    /// # Errors
    ///
    /// See [`CertificateError`].
    pub fn admit(&self, role: Role, peer: &Peer, now: UnixMillis) -> Result<String, CertificateError> {
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

/// Walks from the leaf towards a root; asks the lists of whoever signed each certificate on the way.
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
