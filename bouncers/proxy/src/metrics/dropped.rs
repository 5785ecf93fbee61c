//! Counts what is dropped of requests that are forwarded.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::client_address::Cut;
use crate::headers::Dropped;

/// Counters of fields, and of forwarded headers that were read only in part.
#[derive(Debug, Default)]
pub(super) struct DroppedCounters {
    forwarded: AtomicU64,
    odd_names: AtomicU64,
    own: AtomicU64,
    cuts: [AtomicU64; Cut::ALL.len()],
}

impl DroppedCounters {
    pub(super) fn fields(&self, dropped: Dropped) {
        let counts = [
            (&self.forwarded, dropped.forwarded),
            (&self.odd_names, dropped.odd_names),
            (&self.own, dropped.own),
        ];
        // Most requests have none, and shared counters cost the processors more than a comparison.
        for (counter, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    pub(super) fn cut(&self, cut: Cut) {
        if let Some(at) = Cut::ALL.iter().position(|known| *known == cut) {
            self.cuts[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Fields by reason.
    pub(super) fn read_fields(&self) -> [(&'static str, u64); 3] {
        [("forwarded", &self.forwarded), ("odd_name", &self.odd_names), ("own", &self.own)]
            .map(|(reason, counter)| (reason, counter.load(Ordering::Relaxed)))
    }

    /// Headers by reason.
    pub(super) fn read_cuts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Cut::ALL.iter().zip(&self.cuts).map(|(cut, counter)| (cut.label(), counter.load(Ordering::Relaxed)))
    }
}
