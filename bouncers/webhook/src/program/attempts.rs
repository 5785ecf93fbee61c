//! Counts how often a program has failed for the same change, so that one it cannot process does not block its value for
//! ever. Pure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::call::Action;
use crate::event::Value;

/// How often a change is tried before it becomes a dead letter.
pub(super) const MAX_ATTEMPTS: u32 = 3;

/// The most changes that are counted. While so many fail, further ones become dead letters at their first failure.
const MAX_COUNTED: usize = 10_000;

/// What a change is about: value, remediation, action. Not the event's id, which another end of a decision changes.
pub(super) type ChangeKey = (Value, Arc<str>, Action);

/// Failures in a row, for each change that has failed.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempts(Arc<Mutex<HashMap<ChangeKey, u32>>>);

impl Attempts {
    /// Counts a failure. Whether the change is to be tried again.
    pub(super) fn failed(&self, key: ChangeKey) -> bool {
        // A panic elsewhere leaves counters that are still right.
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_COUNTED && !counts.contains_key(&key) {
            return false;
        }
        let count = counts.entry(key.clone()).or_default();
        *count += 1;
        let again = *count < MAX_ATTEMPTS;
        if !again {
            // A later change of the value starts anew.
            counts.remove(&key);
        }
        again
    }

    /// Notes a success.
    pub(super) fn succeeded(&self, key: &ChangeKey) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.is_empty() {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: u32) -> ChangeKey {
        let net = ipnet::Ipv4Net::from(std::net::Ipv4Addr::from(address));
        (Value::Net(net.into()), "ban".into(), Action::Add)
    }

    #[test]
    fn a_change_is_given_up_after_three_failures_in_a_row() {
        let attempts = Attempts::default();
        assert_eq!([1, 1, 1, 1].map(|address| attempts.failed(key(address))), [true, true, false, true]);
        attempts.succeeded(&key(1));
        assert_eq!([1, 1, 1].map(|address| attempts.failed(key(address))), [true, true, false]);
        assert!(attempts.failed((key(2).0, "captcha".into(), Action::Add)), "counted on its own");
    }

    #[test]
    fn the_number_of_counted_changes_is_bounded() {
        let attempts = Attempts::default();
        let again = (0..11_000).filter(|&address| attempts.failed(key(address))).count();
        assert_eq!(again, MAX_COUNTED);
        assert_eq!(attempts.0.lock().unwrap().len(), MAX_COUNTED);
    }
}
