//! Limits how many solutions a client may send.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::binding::ClientPrefix;

/// Solutions of one client in a minute.
pub(super) const ATTEMPTS_PER_MINUTE: u32 = 20;

/// Counters. Clients with the same counter share its limit; the hash is random, so that collisions cannot be chosen.
const COUNTERS: usize = 8192;

/// One counter for each client's hash: the minute in the upper half, the count in the lower.
#[derive(Debug)]
pub(super) struct Attempts {
    hasher: RandomState,
    counters: Box<[AtomicU64]>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { hasher: RandomState::new(), counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Attempts {
    /// Counts a solution; `false` when there were too many in this minute.
    pub(super) fn admit(&self, client: ClientPrefix, now: u64) -> bool {
        let minute = (now / 60) & 0xffff_ffff;
        let counter = &self.counters[self.hasher.hash_one(client) as usize % COUNTERS];
        let updated = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| {
            let count = if value >> 32 == minute { value & 0xffff_ffff } else { 0 };
            (count < u64::from(ATTEMPTS_PER_MINUTE)).then_some(minute << 32 | (count + 1))
        });
        updated.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_attempts_in_each_minute() {
        let attempts = Attempts::default();
        let client = ClientPrefix::new("192.0.2.1".parse().unwrap(), (32, 64));
        assert!((0..ATTEMPTS_PER_MINUTE).all(|_| attempts.admit(client, 6_000)));
        assert!(!attempts.admit(client, 6_059));
        assert!(attempts.admit(client, 6_060));
    }
}
