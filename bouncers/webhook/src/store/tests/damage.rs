//! Records with wrong bytes.

use proptest::prelude::*;

use super::super::format::{
    decode_dead_letter, decode_event, decode_record, decode_state, encode_dead_letter, encode_event,
    encode_record, encode_state, labels_of,
};
use super::super::labels::Labels;
use super::*;

/// A record of each kind.
fn records(labels: &mut Labels) -> [Vec<u8>; 4] {
    let record =
        ValueRecord { entries: vec![entry("a", 7), entry(&"b".repeat(300), -9)], ..attempt("c", 8, 1 << 40) };
    let event = event(1, 5);
    let paused = Some(PausedState { reason: "410".into(), since: NOW, gone: true });
    let state =
        EndpointState { sequence: 300, last_snapshot_at: Some(NOW), paused, ..EndpointState::default() };
    let letter = DeadLetter { event: event.clone(), at: NOW, attempts: 3, reason: "400".into() };
    [encode_record(&record, labels), encode_event(&event), encode_dead_letter(&letter), encode_state(&state)]
}

/// Whether the bytes are a record of the kind; must not panic.
fn is_read(kind: usize, bytes: &[u8], labels: &mut Labels) -> bool {
    match kind {
        0 => {
            let _ = labels_of(bytes, |_| ());
            decode_record(bytes, labels).is_ok()
        }
        1 => decode_event(bytes, labels).is_ok(),
        2 => decode_dead_letter(bytes, labels).is_ok(),
        _ => decode_state(bytes).is_ok(),
    }
}

#[test]
fn a_record_that_ends_early_or_late_is_refused() {
    let mut labels = Labels::default();
    for (kind, record) in records(&mut labels).into_iter().enumerate() {
        assert!(is_read(kind, &record, &mut labels));
        for end in 0..record.len() {
            assert!(!is_read(kind, &record[..end], &mut labels), "{kind}: {end} of {} bytes", record.len());
        }
        assert!(!is_read(kind, &[&record[..], &[0]].concat(), &mut labels));
    }
}

#[test]
fn every_label_of_a_record_is_found() {
    let mut labels = Labels::default();
    let [record, ..] = records(&mut labels);
    let mut found = std::collections::BTreeSet::new();
    labels_of(&record, |number| {
        found.insert(number);
    })
    .unwrap();
    let numbers: std::collections::BTreeSet<_> = labels.numbers().map(u64::from).collect();
    assert_eq!(found, numbers);
}

proptest! {
    #[test]
    fn no_bytes_make_reading_a_record_panic(
        kind in 0_usize..4,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut labels = Labels::default();
        let mut record = records(&mut labels)[kind].clone();
        for (place, byte) in changes {
            let place = place.index(record.len());
            record[place] = byte;
        }
        is_read(kind, &record, &mut labels);
        is_read(kind, &bytes, &mut labels);
    }
}
