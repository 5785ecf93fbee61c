//! Compares everything in the kernel with what is wanted in the background, while transactions go on, so that new bans
//! are not delayed.
//!
//! Opens a socket of its own, reads, and changes nothing. A difference in two successive readings makes
//! [`Enforcer::compare_sets`] read again while nothing is committed.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::task::JoinHandle;

use super::Enforcer;
use crate::error::EnforceError;
use crate::exempt;
use crate::kernel::{Kernel, watched_tables};
use crate::netlink::Reading;
use crate::plan::{Change, Plan};

#[derive(Debug)]
pub(super) struct BackgroundVerification {
    task: JoinHandle<Result<Finding, EnforceError>>,
    /// Differences that the previous verification found.
    before: Option<Differences>,
}

/// The outcome of one reading.
#[derive(Debug)]
enum Finding {
    /// The structure differs from the one that was built.
    OtherStructure,
    /// The structure is unchanged; the differences in the sets.
    Sets(Differences),
}

#[derive(Debug, Default)]
struct Differences {
    elements: HashSet<IpNet>,
    /// Gate cells, of one address each.
    cells: HashSet<IpAddr>,
    /// Some intervals.
    intervals: bool,
}

impl Differences {
    fn of(plan: &Plan) -> Self {
        let mut differences = Self::default();
        for change in &plan.changes {
            match change {
                Change::Element { net, .. } => drop(differences.elements.insert(*net)),
                Change::Cell { cell, .. } => drop(differences.cells.insert(*cell)),
                Change::Intervals { .. } => differences.intervals = true,
            }
        }
        differences
    }

    fn is_none(&self) -> bool {
        self.elements.is_empty() && self.cells.is_empty() && !self.intervals
    }

    // A dump during a transaction may show elements that just came or went, and some twice or not at all. A second
    // reading does not repeat these errors, so only what differs in both is real.
    fn share(&self, other: &Self) -> bool {
        !self.elements.is_disjoint(&other.elements)
            || !self.cells.is_disjoint(&other.cells)
            || (self.intervals && other.intervals)
    }
}

impl Enforcer {
    /// Starts a verification unless one is running; `false` when nothing is installed yet.
    pub(super) fn verify_in_background(&mut self) -> bool {
        // On a slow host a reading may take longer than the interval.
        if self.verification.is_none() {
            self.verification = self.start_verification(None);
        }
        self.verification.is_some()
    }

    fn start_verification(&self, before: Option<Differences>) -> Option<BackgroundVerification> {
        let installed = self.installed.as_ref()?;
        let (layout, prints) = (Arc::clone(&installed.layout), installed.prints.clone());
        let names = installed.own_names();
        let published = self.cache.published();
        let wanted = published.snapshot.clone();
        let exempt = exempt::intervals(&self.current);
        let tables = watched_tables(&self.current.config);
        let lenient = !published.freshness.is_complete();
        let task = tokio::task::spawn_blocking(move || {
            // A socket of its own: transactions use the other one meanwhile, and responses must not mix.
            let mut kernel = Kernel::open()?;
            // Structure first: a missing set would make the dumps below fail.
            if kernel.prints(&tables, &names)? != prints {
                return Ok(Finding::OtherStructure);
            }
            let now = palisade_stream::now();
            let mut found = kernel.compare(Reading::Rough, &layout, &wanted, &exempt, now)?;
            if lenient {
                found.plan.keep_bans(&layout, &exempt);
            }
            Ok(Finding::Sets(Differences::of(&found.plan)))
        });
        Some(BackgroundVerification { task, before })
    }

    /// Waits for the running verification; never returns when none is running.
    pub(super) async fn verified(verification: &mut Option<BackgroundVerification>) -> VerificationResult {
        let Some(under_way) = verification else { return std::future::pending().await };
        // By reference: when `select!` drops this future, the verification stays in its place and goes on.
        let finding = (&mut under_way.task).await;
        let before = under_way.before.take();
        *verification = None;
        VerificationResult {
            finding: finding.map_err(|error| EnforceError::Thread(error.to_string())).flatten(),
            before,
        }
    }

    /// Whether the sets have to be compared while nothing is committed. What differs once is read once more.
    pub(super) fn is_doubtful(&mut self, result: VerificationResult) -> bool {
        let VerificationResult { finding, before } = result;
        match (finding, before) {
            (Ok(Finding::Sets(now)), _) if now.is_none() => false,
            (Ok(Finding::Sets(now)), Some(before)) => before.share(&now),
            // The snapshot may have changed during the reading as well, so the first difference proves nothing.
            (Ok(Finding::Sets(now)), None) => {
                self.verification = self.start_verification(Some(now));
                false
            }
            (Ok(Finding::OtherStructure), _) => true,
            (Err(error), _) => {
                tracing::debug!(%error, "the background verification failed; comparing the sets");
                true
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct VerificationResult {
    finding: Result<Finding, EnforceError>,
    before: Option<Differences>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_twice_is_doubtful() {
        let differ = |hosts: &[&str], intervals| Differences {
            elements: hosts.iter().map(|text| IpNet::from(text.parse::<IpAddr>().unwrap())).collect(),
            intervals,
            ..Differences::default()
        };
        for (before, now, expected) in [
            (differ(&["192.0.2.1"], false), differ(&["192.0.2.2"], false), false),
            (differ(&["192.0.2.1"], true), differ(&["192.0.2.2"], false), false),
            (differ(&["192.0.2.1", "2001:db8::1"], false), differ(&["2001:db8::1"], false), true),
            (differ(&[], true), differ(&[], true), true),
        ] {
            assert_eq!(before.share(&now), expected, "{before:?} {now:?}");
        }
    }
}
