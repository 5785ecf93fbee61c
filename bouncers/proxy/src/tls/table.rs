//! Chooses a certificate by server name and by what the client can verify. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use smallvec::SmallVec;

use super::certificate::Certificate;

/// Certificates for one name, best first; mostly one, or one for each kind of key.
type Candidates = SmallVec<[Arc<Certificate>; 2]>;

/// Certificates by name.
#[derive(Debug, Default)]
pub(super) struct Table {
    exact: HashMap<String, Candidates>,
    /// By the part behind `*.`.
    wildcard: HashMap<String, Candidates>,
    /// For clients that name no server or an unknown one.
    fallback: Candidates,
}

impl Table {
    /// The first certificate is the fallback, together with others for the same names and with another kind of key.
    pub(super) fn new<'a>(certificates: impl IntoIterator<Item = &'a Arc<Certificate>>) -> Self {
        let mut table = Self::default();
        for certificate in certificates {
            for name in certificate.names.exact() {
                insert(table.exact.entry(name.clone()).or_default(), certificate);
            }
            for parent in certificate.names.wildcard_parents() {
                insert(table.wildcard.entry(parent.clone()).or_default(), certificate);
            }
            if table.fallback.first().is_none_or(|fallback| fallback.names == certificate.names) {
                insert(&mut table.fallback, certificate);
            }
        }
        table
    }

    /// Candidates for a lower-case name: those with exactly this name.
    pub(super) fn exact(&self, name: &str) -> Option<&[Arc<Certificate>]> {
        self.exact.get(name).map(SmallVec::as_slice)
    }

    /// Candidates for a lower-case name: those with a wildcard for it.
    pub(super) fn wildcard(&self, name: &str) -> Option<&[Arc<Certificate>]> {
        let (_, parent) = name.split_once('.')?;
        self.wildcard.get(parent).map(SmallVec::as_slice)
    }

    pub(super) fn fallback(&self) -> Option<&[Arc<Certificate>]> {
        (!self.fallback.is_empty()).then_some(self.fallback.as_slice())
    }
}

fn insert(candidates: &mut Candidates, certificate: &Arc<Certificate>) {
    // Stable: among certificates of one kind the first of the configuration wins.
    let position = candidates.iter().position(|other| other.rank() > certificate.rank());
    candidates.insert(position.unwrap_or(candidates.len()), certificate.clone());
}

/// The best candidate that the client can verify; without one the best one, with which the handshake then fails.
pub(super) fn select<'a>(
    candidates: &'a [Arc<Certificate>],
    schemes: &[SignatureScheme],
) -> Option<&'a Arc<Certificate>> {
    match candidates {
        [only] => Some(only),
        _ => candidates
            .iter()
            .find(|candidate| candidate.key.key.choose_scheme(schemes).is_some())
            .or_else(|| candidates.first()),
    }
}
