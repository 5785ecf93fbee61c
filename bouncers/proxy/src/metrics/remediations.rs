//! Counts remediated requests by kind, origin and address family.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::remediation::{Remediation, RemediationKind};

/// Origins that are counted apart on each route; further ones are counted together.
// There are as many as subscribed lists. Their names come from the LAPI.
const MAX_ORIGINS: usize = 200;
/// The origin of all others.
const OTHER_ORIGIN: &str = "other";

#[derive(Debug, Default)]
pub(super) struct Remediations(Mutex<BTreeMap<Box<str>, Counts>>);

/// By kind, whether it was only logged, and family.
type Counts = [[[u64; 2]; 2]; 3];

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemediationCount {
    pub(super) origin: String,
    pub(super) kind: RemediationKind,
    pub(super) log_only: bool,
    pub(super) v6: bool,
    pub(super) value: u64,
}

impl Remediations {
    pub(super) fn count(&self, remediation: &Remediation, v6: bool) {
        let source = remediation.decision.source();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = counts.contains_key(&*source);
        let origin = if is_known || counts.len() < MAX_ORIGINS { &*source } else { OTHER_ORIGIN };
        if !counts.contains_key(origin) {
            counts.insert(origin.into(), Counts::default());
        }
        if let Some(of_origin) = counts.get_mut(origin) {
            let of_kind = &mut of_origin[position(remediation.kind)];
            of_kind[usize::from(remediation.log_only)][usize::from(v6)] += 1;
        }
    }

    /// All counters that are not zero.
    pub(super) fn read(&self) -> Vec<RemediationCount> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (origin, of_origin) in &*counts {
            for kind in RemediationKind::ALL {
                for log_only in [false, true] {
                    for v6 in [false, true] {
                        let value = of_origin[position(kind)][usize::from(log_only)][usize::from(v6)];
                        if value > 0 {
                            all.push(RemediationCount {
                                origin: origin.to_string(),
                                kind,
                                log_only,
                                v6,
                                value,
                            });
                        }
                    }
                }
            }
        }
        all
    }
}

fn position(kind: RemediationKind) -> usize {
    match kind {
        RemediationKind::Ban => 0,
        RemediationKind::Captcha => 1,
        RemediationKind::Throttle => 2,
    }
}
