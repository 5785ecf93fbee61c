//! The digest that identifies a repeated alert.

use std::io::{BufWriter, Write};

use palisade_wire::Alert;
use sha2::{Digest, Sha256};

/// SHA-256 over the machine's name and the alert as posted. A log processor resends its whole batch when a response was
/// lost, so equal digests are the same alert.
pub(super) fn of(machine: &str, alert: &Alert) -> [u8; 32] {
    struct Hasher(Sha256);
    impl Write for Hasher {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut hasher = Hasher(Sha256::new());
    // With the length, so that no name can run into the alert that follows it.
    hasher.0.update((machine.len() as u64).to_le_bytes());
    hasher.0.update(machine.as_bytes());
    // Serialising a hundred thousand decisions makes many small writes; buffer them for the hash.
    let mut writer = BufWriter::with_capacity(64 * 1024, hasher);
    let written = serde_json::to_writer(&mut writer, alert);
    let hasher = writer.into_inner().ok().filter(|_| written.is_ok());
    hasher.expect("an alert is texts and numbers, and a hash takes any bytes").0.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_distinguishes_machines_and_alerts() {
        let one = Alert { scenario: "a".into(), ..Alert::default() };
        let other = Alert { scenario: "b".into(), ..Alert::default() };
        assert_eq!(of("m", &one), of("m", &one.clone()));
        assert_ne!(of("m", &one), of("m", &other));
        assert_ne!(of("m", &one), of("n", &one));
    }
}
