//! Identifies events, so that a receiver can drop repeats.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{Entry, EventKind, Value};

/// A 128-bit digest of what happened. The same event has the same id whenever it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId([u8; 16]);

impl EventId {
    /// The id of an event. `sequence` is stored with the attempt to send it and tells the same change at another time
    /// apart, such as a ban that is lifted and put back with the same end.
    pub fn of(endpoint: &str, sequence: u64, kind: &EventKind, value: &Value, entry: &Entry) -> Self {
        let mut digest = Sha256::new();
        // Lengths first, so that two lists of texts never have the same bytes.
        let mut text = |text: &str| {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        };
        for part in [endpoint, kind.as_str(), &*entry.remediation, &*entry.origin, &*entry.scenario] {
            text(part);
        }
        digest.update(sequence.to_be_bytes());
        digest.update(entry.until.as_millis().to_be_bytes());
        digest.update(value.to_key());
        Self::first_half(digest)
    }

    /// The id of this event as part of a snapshot. It is another one in each: a receiver that drops repeats must take the
    /// event as part of the second snapshot, too, or it would be absent from that one.
    pub fn in_snapshot(self, snapshot: u64) -> Self {
        let mut digest = Sha256::new();
        digest.update(self.0);
        digest.update(snapshot.to_be_bytes());
        Self::first_half(digest)
    }

    /// The id of a message with these events: of one event its own.
    pub fn of_message(events: &[Self]) -> Self {
        if let [one] = events {
            return *one;
        }
        let mut digest = Sha256::new();
        for Self(id) in events {
            digest.update(id);
        }
        Self::first_half(digest)
    }

    fn first_half(digest: Sha256) -> Self {
        let whole: [u8; 32] = digest.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        Self(half)
    }

    /// From its 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// `evt_` and 32 hexadecimal digits.
impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("evt_")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
