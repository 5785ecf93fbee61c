//! Any sequence of calls against maps in memory that do the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::memory::MemoryMedium;
use super::*;

const MAX_DEAD: usize = 3;
const MAX_QUEUED_BYTES: u64 = 1_500;
const MAX_AGE: u64 = 50;

#[derive(Debug, Clone)]
enum Call {
    Commit(Box<Commit>),
    /// The store is closed in order and opened again.
    Reopen,
    /// The storage is taken as it is: what is not durable is gone.
    Crash,
    Sync,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    records: BTreeMap<Value, ValueRecord>,
    queue: BTreeMap<u64, Event>,
    dead: BTreeMap<u64, DeadLetter>,
    state: EndpointState,
    next: (u64, u64),
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let scenario = prop_oneof![4 => "[ab]", 1 => "[a-zé]{100,200}"];
    proptest::collection::vec((scenario, any::<i64>()).prop_map(|(text, until)| entry(&text, until)), 0..3)
}

fn tells() -> impl Strategy<Value = (Value, Option<ValueRecord>)> {
    let value = prop_oneof![
        (0_u32..12).prop_map(value),
        "[a-c]{0,2}".prop_map(|name| Value::Name { scope: "Country".into(), value: name.as_str().into() }),
    ];
    let attempted = proptest::option::of((entries(), entries(), any::<u64>()));
    let record = (entries(), attempted).prop_map(|(entries, attempted)| ValueRecord {
        entries,
        attempted: attempted.map(|(entries, maybe, sequence)| Attempt { entries, maybe, sequence }),
    });
    (value, proptest::option::weighted(0.8, record))
}

fn commits() -> impl Strategy<Value = Commit> {
    let events = || {
        proptest::collection::vec((0_u32..50, 0_i64..100).prop_map(|(number, at)| event(number, at)), 0..4)
    };
    let dead = events().prop_map(|events| {
        let letter = |event| DeadLetter { event, at: NOW, attempts: 1, reason: "r".into() };
        events.into_iter().map(letter).collect::<Vec<_>>()
    });
    let numbers = || proptest::collection::vec(0_u64..30, 0..3);
    let state = proptest::option::of(any::<u64>().prop_map(|sequence| EndpointState {
        sequence,
        paused: sequence.is_multiple_of(2).then(|| PausedState {
            reason: "403".into(),
            since: NOW,
            gone: false,
        }),
        ..EndpointState::default()
    }));
    let records = proptest::collection::vec(tells(), 0..8);
    (records, events(), numbers(), dead, numbers(), state, any::<bool>()).prop_map(
        |(records, enqueue, dequeue, dead, undead, state, durable)| Commit {
            records,
            enqueue,
            dequeue,
            dead,
            undead,
            state,
            durable,
        },
    )
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = prop_oneof![
        8 => commits().prop_map(|commit| Call::Commit(Box::new(commit))),
        1 => Just(Call::Reopen),
        1 => Just(Call::Crash),
        1 => Just(Call::Sync),
    ];
    proptest::collection::vec(call, 1..25)
}

impl Model {
    fn commit(&mut self, commit: &Commit, now: i64) {
        for (value, record) in &commit.records {
            match record {
                Some(record) if !record.is_nothing() => {
                    drop(self.records.insert(value.clone(), record.clone()))
                }
                _ => drop(self.records.remove(value)),
            }
        }
        commit.dequeue.iter().for_each(|number| drop(self.queue.remove(number)));
        for event in &commit.enqueue {
            self.queue.insert(self.next.0, event.clone());
            self.next.0 += 1;
        }
        while let Some(first) = self.queue.first_entry() {
            let is_old = now - first.get().at.as_millis() > MAX_AGE.cast_signed();
            if !is_old && self.queued_bytes() <= MAX_QUEUED_BYTES {
                break;
            }
            self.queue.pop_first();
        }
        commit.undead.iter().for_each(|number| drop(self.dead.remove(number)));
        for letter in &commit.dead {
            self.dead.insert(self.next.1, letter.clone());
            self.next.1 += 1;
        }
        while self.dead.len() > MAX_DEAD {
            self.dead.pop_first();
        }
        if let Some(state) = &commit.state {
            self.state.clone_from(state);
        }
    }

    fn queued_bytes(&self) -> u64 {
        self.queue.values().map(|event| format::encode_event(event).len() as u64 + 8).sum()
    }

    fn check(&self, store: &Store) {
        let records: Vec<_> = self.records.clone().into_iter().collect();
        let mut stored = store.scan(None, 100).unwrap();
        stored.sort_by(|(a, _), (b, _)| a.cmp(b));
        assert_eq!(stored, records);
        let values: Vec<_> = (0..12).map(value).collect();
        let expected: Vec<_> = values.iter().map(|value| self.records.get(value).cloned()).collect();
        assert_eq!(store.records(&values).unwrap(), expected);
        assert_eq!(store.queue(None, 100).unwrap(), self.queue.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(store.dead_letters(None, 9).unwrap(), self.dead.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(store.state(), self.state);
        let counts = store.counts();
        let numbers = (counts.records, counts.queued, counts.queued_bytes, counts.dead);
        let lengths =
            (records.len() as u64, self.queue.len() as u64, self.queued_bytes(), self.dead.len() as u64);
        assert_eq!(numbers, lengths);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_does_what_maps_in_memory_do(calls in calls()) {
        let limits = StoreLimits { max_dead_letters: MAX_DEAD, ..history(MAX_AGE, MAX_QUEUED_BYTES) };
        let mut medium = MemoryMedium::default();
        let mut store = medium.open(limits.clone()).unwrap();
        let (mut model, mut durable) = (Model::default(), Model::default());
        for (step, call) in calls.iter().enumerate() {
            match call {
                Call::Commit(commit) => {
                    let now = i64::try_from(step).unwrap() * 5;
                    store.commit(commit, Timestamp::from_millis(now)).unwrap();
                    model.commit(commit, now);
                    if commit.durable {
                        durable = model.clone();
                    }
                }
                Call::Reopen => {
                    drop(store);
                    store = medium.open(limits.clone()).unwrap();
                    durable = model.clone();
                }
                Call::Crash => {
                    let bytes = medium.disk().bytes.clone();
                    medium = MemoryMedium::with(bytes);
                    store = medium.open(limits.clone()).unwrap();
                    model = durable.clone();
                }
                Call::Sync => {
                    store.sync().unwrap();
                    durable = model.clone();
                }
            }
            model.check(&store);
        }
    }
}
