//! The look at everything that is due now and then, while work goes on: a ban that comes meanwhile does not wait for it.
//!
//! What is read while transactions are committed may be wrong in places: elements that just came or went, and a few that
//! the kernel shows twice or not at all. None of that is there twice, so what differs is looked at once more; what
//! differs again is a matter for [`Enforcer::compare_sets`], which reads while nothing else is done.

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

/// A look that is under way.
#[derive(Debug)]
pub(super) struct Glance {
    looking: JoinHandle<Result<Seen, EnforceError>>,
    /// What the look before this one found, if it found something.
    before: Option<Differences>,
}

/// What there was to see.
#[derive(Debug)]
enum Seen {
    /// The structure is not the one that was made.
    OtherStructure,
    /// It is; and this is what differs in the sets.
    Sets(Differences),
}

/// What differs from what is wanted.
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

    fn share(&self, other: &Self) -> bool {
        !self.elements.is_disjoint(&other.elements)
            || !self.cells.is_disjoint(&other.cells)
            || (self.intervals && other.intervals)
    }
}

impl Enforcer {
    /// Begins a look unless one is under way; `false` when nothing stands that could be looked at.
    pub(super) fn glance(&mut self) -> bool {
        if self.glance.is_none() {
            self.glance = self.look(None);
        }
        self.glance.is_some()
    }

    fn look(&self, before: Option<Differences>) -> Option<Glance> {
        let standing = self.standing.as_ref()?;
        let (layout, prints) = (Arc::clone(&standing.layout), standing.prints.clone());
        let names = standing.own_names();
        let published = self.cache.published();
        let wanted = published.snapshot.clone();
        let exempt = exempt::intervals(&self.current);
        let tables = watched_tables(&self.current.config);
        let lenient = !published.freshness.is_complete();
        let looking = tokio::task::spawn_blocking(move || {
            // A socket of its own: the other one is for those who are in a hurry.
            let mut kernel = Kernel::open()?;
            if kernel.prints(&tables, &names)? != prints {
                return Ok(Seen::OtherStructure);
            }
            let now = palisade_stream::now();
            let mut found = kernel.compare(Reading::Rough, &layout, &wanted, &exempt, now)?;
            if lenient {
                found.plan.keep_bans(&layout, &exempt);
            }
            Ok(Seen::Sets(Differences::of(&found.plan)))
        });
        Some(Glance { looking, before })
    }

    /// Waits for the look that is under way, for ever when there is none, and judges what it saw.
    pub(super) async fn looked(glance: &mut Option<Glance>) -> Looked {
        let Some(under_way) = glance else { return std::future::pending().await };
        let seen = (&mut under_way.looking).await;
        let before = under_way.before.take();
        *glance = None;
        Looked { seen: seen.map_err(|error| EnforceError::Thread(error.to_string())).flatten(), before }
    }

    /// Whether what was seen has to be compared while nothing else is done. What differs once is looked at once more.
    pub(super) fn is_doubtful(&mut self, looked: Looked) -> bool {
        let Looked { seen, before } = looked;
        match (seen, before) {
            (Ok(Seen::Sets(now)), _) if now.is_none() => false,
            (Ok(Seen::Sets(now)), Some(before)) => before.share(&now),
            (Ok(Seen::Sets(now)), None) => {
                self.glance = self.look(Some(now));
                false
            }
            (Ok(Seen::OtherStructure), _) => true,
            (Err(error), _) => {
                tracing::debug!(%error, "looking at the sets failed; comparing them");
                true
            }
        }
    }
}

/// What a look came to.
#[derive(Debug)]
pub(super) struct Looked {
    seen: Result<Seen, EnforceError>,
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
