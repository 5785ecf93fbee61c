//! Counters with a client's name among their labels: series of clients that are gone can be removed.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use prometheus_client::metrics::{counter::Counter, family::Family};

/// A family of counters that keeps its label sets, because [`Family`] does not list them.
#[derive(Debug)]
pub(super) struct ClientCounters<L> {
    family: Family<L, Counter>,
    known: Mutex<HashSet<L>>,
}

impl<L: Clone + Eq + Hash> Default for ClientCounters<L> {
    fn default() -> Self {
        Self { family: Family::default(), known: Mutex::default() }
    }
}

impl<L: Clone + Eq + Hash> ClientCounters<L> {
    /// The family, for registration.
    pub(super) fn family(&self) -> Family<L, Counter> {
        self.family.clone()
    }

    pub(super) fn inc(&self, labels: L) {
        if let Some(counter) = self.family.get(&labels) {
            counter.inc();
            return;
        }
        // Held until the series exists, so that `retain` sees both or none.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.family.get_or_create(&labels).inc();
        known.insert(labels);
    }

    /// Removes the series that `keep` rejects.
    pub(super) fn retain(&self, keep: impl Fn(&L) -> bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|labels| {
            let kept = keep(labels);
            if !kept {
                self.family.remove(labels);
            }
            kept
        });
    }
}
