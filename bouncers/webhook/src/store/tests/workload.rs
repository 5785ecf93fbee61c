//! Commits whose content follows from their number, so that what is found later can be checked by that alone.

use super::*;

/// Most values with a record.
const VALUES: u64 = 40;

/// The commit with this number, from 1. Each touches several values and all tables.
pub(super) fn commit(number: u64) -> Commit {
    let small = u32::try_from(number).unwrap();
    let touched = (0..5).map(|place| (number * 7 + place) % VALUES);
    let records = touched.map(|place| {
        let removed = (number + place).is_multiple_of(4);
        let record = attempt(&format!("scenario {}", number % 50), number.cast_signed(), number);
        (value(u32::try_from(place).unwrap()), (!removed).then_some(record))
    });
    Commit {
        records: records.collect(),
        enqueue: vec![event(small, number.cast_signed())],
        dequeue: number.checked_sub(6).into_iter().collect(),
        dead: vec![DeadLetter { event: event(small, 0), at: NOW, attempts: small, reason: "400".into() }],
        undead: Vec::new(),
        state: Some(EndpointState { sequence: number, ..EndpointState::default() }),
        durable: !number.is_multiple_of(3),
    }
}

/// Everything in a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) records: Vec<(Value, ValueRecord)>,
    queue: Vec<(u64, Event)>,
    dead: Vec<(u64, DeadLetter)>,
    counts: Counts,
}

impl Content {
    pub(super) fn of(store: &Store) -> Self {
        Self {
            records: store.scan(None, 1_000).unwrap(),
            queue: store.queue(None, 1_000).unwrap(),
            dead: store.dead_letters(None, 1_000).unwrap(),
            counts: store.counts(),
        }
    }
}

pub(super) fn limits() -> StoreLimits {
    history(u64::MAX, 100_000)
}

/// What a store has after each of the first commits, from none on.
pub(super) fn contents(commits: u64) -> Vec<Content> {
    let medium = memory::MemoryMedium::default();
    let store = medium.open(limits()).unwrap();
    let mut contents = vec![Content::of(&store)];
    for number in 1..=commits {
        store.commit(&commit(number), NOW).unwrap();
        contents.push(Content::of(&store));
    }
    contents
}
