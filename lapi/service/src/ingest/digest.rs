//! The digest that identifies a repeated alert.

use std::io::{BufWriter, Write};

use palisade_wire::{Alert, ValidDecision};
use sha2::{Digest, Sha256};

/// SHA-256 over the machine's name and the alert as posted. A log processor resends its whole batch when a response was
/// lost, so equal digests are the same alert.
pub(super) fn of(machine: &str, alert: &Alert, decisions: &[ValidDecision<'_>]) -> [u8; 32] {
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
    // Serialising makes many small writes; buffer them for the hash.
    let mut writer = BufWriter::with_capacity(16 * 1024, hasher);
    let mut written = serde_json::to_writer(&mut writer, alert).map_err(Into::into);
    for decision in decisions {
        written = written.and_then(|()| write_decision(&mut writer, decision));
    }
    let hasher = writer.into_inner().ok().filter(|_| written.is_ok());
    hasher.expect("an alert is texts and numbers, and a hash takes any bytes").0.finalize().into()
}

/// Each text with its length, so that no two decisions are written alike.
fn write_decision(writer: &mut impl Write, decision: &ValidDecision<'_>) -> std::io::Result<()> {
    let ValidDecision { duration, origin, scenario, scope, simulated, kind, value } = decision;
    for text in [duration, origin, scenario, scope, kind, value] {
        writer.write_all(&(text.len() as u64).to_le_bytes())?;
        writer.write_all(text.as_bytes())?;
    }
    writer.write_all(&[u8::from(*simulated)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_distinguishes_machines_and_alerts() {
        let one = Alert { scenario: "a".into(), ..Alert::default() };
        let other = Alert { scenario: "b".into(), ..Alert::default() };
        assert_eq!(of("m", &one, &[]), of("m", &one.clone(), &[]));
        assert_ne!(of("m", &one, &[]), of("m", &other, &[]));
        assert_ne!(of("m", &one, &[]), of("n", &one, &[]));
    }

    #[test]
    fn the_digest_distinguishes_decisions() {
        let alert = Alert::default();
        let on = |scope: &'static str, value: &'static str| ValidDecision {
            scope: scope.into(),
            value: value.into(),
            ..ValidDecision::default()
        };
        let digest = |decisions: &[ValidDecision<'_>]| of("m", &alert, decisions);
        let one = digest(&[on("Ip", "192.0.2.1")]);
        assert_eq!(one, digest(&[on("Ip", "192.0.2.1")]));
        let simulated = ValidDecision { simulated: true, ..on("Ip", "192.0.2.1") };
        let others: [&[ValidDecision<'_>]; 5] = [
            &[],
            &[on("Ip", "192.0.2.2")],
            &[on("Ip1", "92.0.2.1")],
            &[simulated],
            &[on("Ip", "192.0.2.1"), on("Ip", "192.0.2.1")],
        ];
        for other in others {
            assert_ne!(one, digest(other), "{other:?}");
        }
    }
}
