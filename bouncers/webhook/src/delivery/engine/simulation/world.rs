//! The endpoint's surroundings: a LAPI, a clock, sinks, a disk, and what goes wrong with them.

use std::sync::Arc;
use std::time::Duration;

use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Snapshot, Timestamp};

use super::receiver::{Receiver, Versions};
use crate::config::{
    BatchConfig, EndpointConfig, FilterConfig, HistoryConfig, Initial, ProgramConfig, ProgramMode,
    Receiver as ReceiverConfig, RetryConfig,
};
use crate::delivery::engine::{Dispatch, Engine};
use crate::event::{Entry, Grouping, Value};
use crate::sink::{Failure, FailureKind, Outcome};
use crate::store::StoreLimits;
use crate::store::tests::memory::MemoryMedium;
use crate::view::{Texts, entries};

/// Steps of a schedule before the receiver works again and everything must settle.
const STEPS: usize = 60;
/// Calls without progress after which the engine counts as hung.
const MAX_CALLS: usize = 20_000;
const ORIGINS: [&str; 3] = ["crowdsec", "cscli", "CAPI"];
const REMEDIATIONS: [&str; 2] = ["ban", "captcha"];
/// An origin that the endpoint does not take.
const NOT_TAKEN: &str = "CAPI";

/// Whether two entries are the same to a receiver: ends may differ by rounding.
pub(super) fn same(a: &Entry, b: &Entry) -> bool {
    let apart = (a.until.as_millis() - b.until.as_millis()).abs();
    apart <= 2000 && a.remediation == b.remediation && a.origin == b.origin && a.scenario == b.scenario
}

pub(super) struct World {
    rng: fastrand::Rng,
    now: Timestamp,
    ledger: Ledger,
    snapshot: Snapshot,
    values: Vec<Value>,
    versions: Versions,
    texts: Texts,
    config: Arc<EndpointConfig>,
    medium: MemoryMedium,
    engine: Engine,
    flights: Vec<Dispatch>,
    receiver: Receiver,
    /// Whether the receiver lost its state and that is not stored yet. Then a sink reports it again after a crash, as one
    /// does that starts its program anew.
    is_loss_unsaved: bool,
    /// A value that the receiver rejects.
    poison: Option<Value>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = Arc::new(config(&mut rng));
        let nets = ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "192.0.2.0/24", "2001:db8::1/128"];
        let mut values: Vec<Value> = nets.map(|net| Value::Net(net.parse().unwrap())).into();
        values.push(Value::Name { scope: "Country".into(), value: "FR".into() });
        let poison = rng.bool().then(|| values[0].clone()).filter(|_| rng.u8(..4) == 0);
        let mut ledger = Ledger::new(Policy::longest_wins(), seed);
        let snapshot = ledger.snapshot();
        let medium = MemoryMedium::default();
        let now = Timestamp::from_millis(1_700_000_000_000);
        let engine = engine(&config, &medium, &snapshot, now, seed);
        let receiver = Receiver::new(config.history.is_some());
        let mut world = Self {
            rng,
            now,
            ledger,
            snapshot,
            values,
            versions: Versions::new(),
            texts: Texts::default(),
            config,
            medium,
            engine,
            flights: Vec::new(),
            receiver,
            is_loss_unsaved: false,
            poison,
        };
        world.note_versions();
        world
    }

    pub(super) fn play(mut self) {
        for _ in 0..STEPS {
            match self.rng.u8(..100) {
                0..30 => self.decide(),
                30..55 => self.drive(),
                55..80 => self.complete_one(),
                80..88 => self.pass_time(),
                88..91 => self.crash(),
                91..93 => self.engine.snapshot_wanted(),
                93..95 => self.lose(),
                95..97 => self.resume(),
                97..98 => self.replay(),
                98..99 => self.medium.disk().fails_after = Some(self.rng.u64(..6)),
                _ => self.medium.disk().fails_after = None,
            }
        }
        self.settle();
        self.compare();
    }

    /// A response of the LAPI.
    fn decide(&mut self) {
        let mut batch = Batch::new();
        for _ in 0..self.rng.usize(1..4) {
            let value = self.values[self.rng.usize(..self.values.len())].clone();
            let remediation = REMEDIATIONS[self.rng.usize(..REMEDIATIONS.len())];
            let origin = ORIGINS[self.rng.usize(..ORIGINS.len())];
            let reason = Reason { remediation, origin, scenario: "ssh-bf" };
            let until = self.now.saturating_add(Duration::from_secs(self.rng.u64(5..20_000)));
            let id = self.rng.i64(1..1_000_000);
            match (self.rng.u8(..3) > 0, &value) {
                (true, Value::Net(net)) => batch.announce_net(*net, reason, until, id),
                (true, Value::Name { scope, value }) => batch.announce_name(scope, value, reason, until, id),
                (false, Value::Net(net)) => batch.lift_net(*net, remediation),
                (false, Value::Name { scope, value }) => batch.lift_name(scope, value, remediation),
            }
        }
        // A full pull with little in it: most of what was in force is gone.
        let mode = if self.rng.u8(..12) == 0 { Mode::Everything } else { Mode::Changes };
        self.ledger.apply(mode, batch);
        self.publish();
    }

    fn publish(&mut self) {
        self.ledger.expire(self.now);
        self.snapshot = self.ledger.snapshot();
        self.note_versions();
        self.engine.observe(&self.snapshot, self.now);
    }

    fn note_versions(&mut self) {
        for value in &self.values {
            let grouping = self.config.grouping;
            let taken = |decision: &palisade_cache::Decision<'_>| decision.origin != NOT_TAKEN;
            let wanted = entries(&self.snapshot, value, taken, grouping, &mut self.texts);
            let versions = self.versions.entry(value.clone()).or_default();
            if versions.last() != Some(&wanted) {
                versions.push(wanted);
            }
        }
    }

    /// What the endpoint's task does: prepare, and give messages to sinks.
    fn drive(&mut self) {
        for _ in 0..MAX_CALLS {
            if !self.engine.needs_prepare(self.now) {
                while let Some(dispatch) = self.engine.next(self.now) {
                    self.flights.push(dispatch);
                }
                self.is_loss_unsaved &= self.engine.unsaved_since.is_some();
                if !self.engine.needs_prepare(self.now) {
                    return;
                }
            }
            self.engine.prepare(self.now);
        }
        panic!("the engine never has enough: {:?}", self.engine.status(self.now));
    }

    fn complete_one(&mut self) {
        if self.flights.is_empty() {
            return;
        }
        let Dispatch { shipment, message } = self.flights.swap_remove(self.rng.usize(..self.flights.len()));
        let failure = |kind, perhaps_received, retry_after| {
            Outcome::Failed(Failure { kind, perhaps_received, reason: "as simulated".into(), retry_after })
        };
        let is_poisoned = message.events.iter().any(|event| Some(&event.value) == self.poison.as_ref());
        let outcome = match self.rng.u8(..100) {
            0..6 => failure(FailureKind::Retry, false, None),
            6..14 => failure(FailureKind::Retry, true, None),
            14..22 => {
                // The response is lost.
                if !is_poisoned {
                    self.receive(&message);
                }
                failure(FailureKind::Retry, true, None)
            }
            22..25 => failure(FailureKind::Retry, true, Some(Duration::from_secs(120))),
            25..27 => failure(FailureKind::Refusing, true, None),
            27..28 => failure(FailureKind::Gone, true, None),
            28..30 => {
                self.receiver.forget();
                self.is_loss_unsaved = true;
                Outcome::Lost("as simulated".into())
            }
            _ => self.answer(&message),
        };
        self.engine.completed(shipment, outcome, self.now);
    }

    /// The answer of a receiver that works.
    fn answer(&mut self, message: &crate::sink::Message) -> Outcome {
        let rejected: Vec<usize> = (0..message.events.len())
            .filter(|at| Some(&message.events[*at].value) == self.poison.as_ref())
            .collect();
        if rejected.is_empty() {
            self.receive(message);
            return Outcome::Delivered;
        }
        let failure = Failure {
            kind: FailureKind::Rejected,
            perhaps_received: false,
            reason: "not acceptable".into(),
            retry_after: None,
        };
        if self.rng.bool() {
            return Outcome::Failed(failure);
        }
        let mut taken = message.clone();
        taken.events.retain(|event| Some(&event.value) != self.poison.as_ref());
        self.receive(&taken);
        Outcome::Partly(rejected.into_iter().map(|at| (at, failure.clone())).collect())
    }

    fn receive(&mut self, message: &crate::sink::Message) {
        self.receiver.apply(message, self.config.grouping, &self.versions);
    }

    fn pass_time(&mut self) {
        let seconds = [1, 3, 12, 90, 4_000, 90_000][self.rng.usize(..6)];
        self.now = self.now.saturating_add(Duration::from_millis(seconds * 1000 + self.rng.u64(..1000)));
        self.publish();
    }

    /// The program is killed; another one continues with what is on the disk.
    fn crash(&mut self) {
        for dispatch in std::mem::take(&mut self.flights) {
            let is_poisoned =
                dispatch.message.events.iter().any(|event| Some(&event.value) == self.poison.as_ref());
            if self.rng.bool() && !is_poisoned {
                self.receive(&dispatch.message);
            }
        }
        let bytes = self.medium.disk().bytes.clone();
        self.medium = MemoryMedium::with(bytes);
        let seed = self.rng.u64(..);
        self.engine = engine(&self.config, &self.medium, &self.snapshot, self.now, seed);
        if self.is_loss_unsaved {
            self.engine.lost("as simulated", self.now);
        }
    }

    fn lose(&mut self) {
        if self.flights.is_empty() {
            self.receiver.forget();
            self.is_loss_unsaved = true;
            self.engine.lost("as simulated", self.now);
        }
    }

    fn resume(&mut self) {
        self.engine.resume(self.now);
    }

    fn replay(&mut self) {
        // A disk that fails is no matter of this step.
        let letters = self.engine.store.dead_letters(None, 10).unwrap_or_default();
        self.engine.replay(letters);
    }

    /// All works from here on: everything must come to rest.
    fn settle(&mut self) {
        self.medium.disk().fails_after = None;
        self.resume();
        for _ in 0..MAX_CALLS {
            self.drive();
            for Dispatch { shipment, message } in std::mem::take(&mut self.flights) {
                let outcome = self.answer(&message);
                self.engine.completed(shipment, outcome, self.now);
            }
            if self.engine.is_quiet() && !self.engine.needs_prepare(self.now) {
                return;
            }
            let wake = self.engine.wake_at(self.now).filter(|wake| *wake > self.now);
            // What is under way has ended, so the engine acts at once or knows when it will.
            if let Some(wake) = wake
                && !self.engine.needs_prepare(self.now)
            {
                self.now = wake;
                self.publish();
            }
        }
        panic!("it never comes to rest: {:?}, {:?}", self.engine.status(self.now), self.engine.run);
    }

    fn compare(&mut self) {
        let grouping = self.config.grouping;
        let equal = |a: &[Entry], b: &[Entry]| {
            a.len() == b.len() && a.iter().all(|one| b.iter().any(|other| same(one, other)))
        };
        for value in &self.values {
            let wanted = self.versions[value].last().unwrap();
            let held = self.receiver.holds.get(value).map_or(&[][..], Vec::as_slice);
            let stored = self.engine.store.records(std::slice::from_ref(value)).unwrap().pop().flatten();
            let stored = stored.unwrap_or_default();
            assert!(stored.attempted.is_none(), "{value}: an attempt without an end");
            assert!(
                equal(&stored.entries, wanted),
                "{value}: stored {:?}, wanted {wanted:?}",
                stored.entries
            );
            if Some(value) == self.poison.as_ref() {
                continue;
            }
            match self.config.initial {
                Initial::Snapshot => {
                    assert!(equal(held, wanted), "{value} ({grouping:?}): held {held:?}, wanted {wanted:?}");
                }
                // What was in force at the start is not sent, so less may be held, but nothing else.
                Initial::Skip => {
                    let is_part = held.iter().all(|one| wanted.iter().any(|other| same(one, other)));
                    assert!(is_part, "{value}: held {held:?}, wanted {wanted:?}");
                }
            }
        }
    }
}

fn engine(
    config: &Arc<EndpointConfig>,
    medium: &MemoryMedium,
    snapshot: &Snapshot,
    now: Timestamp,
    seed: u64,
) -> Engine {
    let limits = StoreLimits {
        history: config.history,
        max_dead_letters: config.max_dead_letters,
        ..StoreLimits::default()
    };
    let store = Arc::new(medium.open(limits).unwrap());
    let takes = Arc::new(|decision: &palisade_cache::Decision<'_>| decision.origin != NOT_TAKEN);
    Engine::new(Arc::clone(config), takes, store, snapshot.clone(), now, seed)
}

fn config(rng: &mut fastrand::Rng) -> EndpointConfig {
    let seconds = Duration::from_secs;
    let history =
        (rng.u8(..4) == 0).then_some(HistoryConfig { max_age: seconds(10_000_000), max_bytes: 1 << 30 });
    EndpointConfig {
        name: "simulated".to_owned(),
        grouping: [Grouping::Value, Grouping::Remediation, Grouping::Decision][rng.usize(..3)],
        filter: FilterConfig::default(),
        initial: if rng.u8(..4) == 0 { Initial::Skip } else { Initial::Snapshot },
        snapshot_interval: (rng.u8(..4) == 0).then_some(seconds(3600)),
        batch: BatchConfig { events: rng.usize(1..5), bytes: 1 << 20, wait: seconds(rng.u64(..2) * 5) },
        parallel: rng.usize(1..4),
        hold_repeats: seconds(rng.u64(..2) * 10),
        replay_at_start: false,
        history,
        retry: RetryConfig {
            first: seconds(1),
            max: seconds(600),
            breaker_failures: 3,
            max_retry_after: seconds(3600),
            refused: seconds(300),
        },
        max_dead_letters: 100,
        // Which receiver it is does not matter here: messages are answered by the simulation.
        receiver: ReceiverConfig::Program(Arc::new(ProgramConfig {
            path: "/bin/true".into(),
            arguments: Vec::new(),
            mode: ProgramMode::Arguments { timeout: seconds(1) },
            inherit_environment: false,
        })),
    }
}
