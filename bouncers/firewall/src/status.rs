//! Describes what is in force, for readiness, logs and metrics. Pure data.

use std::collections::BTreeMap;

use palisade_bouncer::run::EnforcementStatus;
use palisade_cache::Timestamp;

use crate::config::IpFamily;

/// The state of the enforcement. Sent after every transaction and every failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// When decisions were in force for the first time; `None` until then. READY is signalled then.
    pub in_force_since: Option<Timestamp>,
    /// Generation of the snapshot that is in force.
    pub generation: u64,
    /// Elements in the kernel by family and source. Expired ones stay counted until the cache drops them, at the same
    /// moment by its own clock.
    pub in_force: Vec<InForce>,
    /// Why the last attempt failed, while it lasts.
    pub failing: Option<String>,
    /// Attempts that failed.
    pub failures: u64,
    /// Transactions committed over netlink.
    pub transactions: u64,
    /// How often changes by other programs were reverted.
    pub repairs: u64,
    /// Elements the kernel does not take at present.
    pub refused_now: u64,
    /// Elements the kernel ever refused.
    pub refused: u64,
    /// Ranges that an operator's set without the interval flag cannot hold at present.
    pub unenforceable_ranges: u64,
    /// Tracked connections of banned addresses that were removed.
    pub flows_dropped: u64,
}

/// Elements of one source in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The origin, `lists:<name>` for a subscribed list; in set-only mode the name of the set.
    pub source: String,
    /// Address family.
    pub family: IpFamily,
    /// Single addresses.
    pub hosts: u64,
    /// Disjoint ranges.
    pub ranges: u64,
    /// Whether ranges can be enforced: an operator's set without the interval flag holds single addresses only.
    pub takes_ranges: bool,
}

impl Status {
    /// Whether decisions have been put in force since the start.
    pub fn is_ready(&self) -> bool {
        self.in_force_since.is_some()
    }

    /// Elements in force, of all sources and both families.
    pub fn total(&self) -> u64 {
        self.in_force.iter().map(|part| part.hosts + part.ranges).sum()
    }
}

impl EnforcementStatus for Status {
    fn generation(&self) -> Option<u64> {
        self.is_ready().then_some(self.generation)
    }

    fn elements(&self) -> u64 {
        self.total()
    }

    fn failure(&self) -> Option<String> {
        self.failing.as_ref().map(|failing| format!("kernel refuses: {failing}"))
    }

    fn details(&self) -> BTreeMap<String, String> {
        let mut lines = BTreeMap::new();
        let mut say = |key: &str, value: String| lines.insert(key.to_owned(), value);
        say("elements in force", self.total().to_string());
        say("generation in force", self.generation.to_string());
        say("transactions", self.transactions.to_string());
        say("repairs", self.repairs.to_string());
        say("failures", self.failures.to_string());
        if self.refused_now > 0 {
            say("elements the kernel refuses", self.refused_now.to_string());
        }
        if self.unenforceable_ranges > 0 {
            say("ranges the set cannot hold", self.unenforceable_ranges.to_string());
        }
        if let Some(failing) = &self.failing {
            say("failing", failing.clone());
        }
        lines
    }
}
