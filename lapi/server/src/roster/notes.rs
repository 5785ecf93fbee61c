//! What was learned about machines and bouncers and is not in the store yet.

use std::{collections::HashMap, time::Duration};

use palisade_active::Commit;
use palisade_store::{BouncerUpdate, MachineUpdate, StoreError};
use palisade_wire::UnixMillis;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::seen::{Instances, Seen};
use super::{AuthType, Bouncer, Machine, Roster};
use crate::state::Clock;

/// How often what was learned is written.
const EVERY: Duration = Duration::from_secs(1);
/// How many machines that share keys are written at a time: a ban must not wait until ten thousand are.
const AT_A_TIME: usize = 2000;

/// By number of the row; newer news replace older ones.
#[derive(Debug, Default)]
pub(super) struct Notes {
    machines: HashMap<i64, MachineUpdate>,
    bouncers: HashMap<i64, BouncerUpdate>,
    instances: Instances,
}

impl Notes {
    pub(super) fn bouncer(&mut self, id: i64) -> &mut BouncerUpdate {
        self.bouncers.entry(id).or_insert_with(|| BouncerUpdate { id, ..BouncerUpdate::default() })
    }

    fn machine(&mut self, id: i64) -> &mut MachineUpdate {
        self.machines.entry(id).or_insert_with(|| MachineUpdate { id, ..MachineUpdate::default() })
    }
}

/// Takes over every field of `from` that says something, into `to`.
macro_rules! lay_over {
    ($to:expr, $from:expr, $($field:ident)*) => { $( if $from.$field.is_some() { $to.$field = $from.$field; } )* };
}

fn lay_over_bouncer(to: &mut BouncerUpdate, from: BouncerUpdate) {
    lay_over!(to, from, last_pull cursor ip kind version os feature_flags);
}

fn lay_over_machine(to: &mut MachineUpdate, from: MachineUpdate) {
    lay_over!(to, from, ip version scenarios last_heartbeat last_push os feature_flags hub_state datasources);
}

impl Roster {
    /// A bouncer has been told everything up to `commit` by an answer to a request that began at `started` and was
    /// written completely.
    pub fn pulled(&self, bouncer: &Bouncer, started: UnixMillis, commit: Commit) {
        // While the database is away a fresh row serves whoever comes with its key: none of them has a place there,
        // or one would miss what another was told. Each is told everything until its row is settled.
        let settled = bouncer.auth == AuthType::Tls || !bouncer.lock().ip.is_empty();
        let update = BouncerUpdate {
            last_pull: Some(started),
            cursor: settled.then_some((commit, started)),
            ..BouncerUpdate::default()
        };
        self.record_bouncer(bouncer, update);
    }

    /// A bouncer asked a live question. Its last pull moves when it is older than a minute, as in the stock server; how
    /// far it has been told by streams does not.
    pub fn asked(&self, bouncer: &Bouncer, now: UnixMillis) {
        const MINUTE: i64 = 60_000;
        self.asked_after(bouncer, now, MINUTE);
    }

    /// A bouncer that keeps its own place in the stream asked. Its last pull moves when it is older than a second.
    pub fn followed(&self, bouncer: &Bouncer, now: UnixMillis) {
        const SECOND: i64 = 1_000;
        self.asked_after(bouncer, now, SECOND);
    }

    /// Moves the last pull unless it was moved less than so many milliseconds ago.
    fn asked_after(&self, bouncer: &Bouncer, now: UnixMillis, millis: i64) {
        // One that is later than now was noted by a clock that has been put right since.
        if bouncer.last_pull().is_none_or(|last| !(0..millis).contains(&now.0.saturating_sub(last.0))) {
            let update = BouncerUpdate { last_pull: Some(now), ..BouncerUpdate::default() };
            self.record_bouncer(bouncer, update);
        }
    }

    /// A machine that shares the bouncer's key, and names itself, asked.
    pub fn seen(&self, bouncer: &Bouncer, seen: Seen) {
        self.notes().instances.add(bouncer.id, seen);
    }

    /// Takes note of whatever was learned about a bouncer; what is `None` stays as it is.
    pub fn record_bouncer(&self, bouncer: &Bouncer, update: BouncerUpdate) {
        {
            let mut live = bouncer.lock();
            let update = update.clone();
            live.last_pull = update.last_pull.or(live.last_pull);
            live.cursor = update.cursor.or(live.cursor);
            if let Some(kind) = update.kind {
                live.kind = kind;
            }
            if let Some(version) = update.version {
                live.version = version;
            }
        }
        lay_over_bouncer(self.notes().bouncer(bouncer.id), update);
    }

    /// A machine said that it lives.
    pub fn heartbeat(&self, machine: &Machine, now: UnixMillis) {
        let update = MachineUpdate { last_heartbeat: Some(now), ..MachineUpdate::default() };
        self.record_machine(machine, update);
    }

    /// A machine sent alerts.
    pub fn pushed(&self, machine: &Machine, now: UnixMillis) {
        let update = MachineUpdate { last_push: Some(now), ..MachineUpdate::default() };
        self.record_machine(machine, update);
    }

    /// Takes note of whatever was learned about a machine; what is `None` stays as it is.
    pub fn record_machine(&self, machine: &Machine, update: MachineUpdate) {
        {
            let mut live = machine.lock();
            let update = update.clone();
            live.last_heartbeat = update.last_heartbeat.or(live.last_heartbeat);
            live.last_push = update.last_push.or(live.last_push);
            if let Some(ip) = update.ip {
                live.ip = ip;
            }
            if let Some(version) = update.version {
                live.version = version;
            }
            if let Some(scenarios) = update.scenarios {
                live.scenarios = scenarios;
            }
        }
        lay_over_machine(self.notes().machine(machine.id), update);
    }

    /// Writes everything that was learned. What cannot be written is kept for the next time.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn write_back(&self, now: UnixMillis) -> Result<(), StoreError> {
        self.write_some(now, usize::MAX).await
    }

    /// As [`Roster::write_back`], with so many machines that share keys; the others are kept too.
    async fn write_some(&self, now: UnixMillis, instances: usize) -> Result<(), StoreError> {
        let taken = {
            let mut notes = self.notes();
            let instances = notes.instances.take(instances);
            let rest = std::mem::take(&mut notes.instances);
            Notes {
                instances,
                ..std::mem::replace(&mut *notes, Notes { instances: rest, ..Notes::default() })
            }
        };
        let bouncers: Vec<BouncerUpdate> = taken.bouncers.values().cloned().collect();
        let machines: Vec<MachineUpdate> = taken.machines.values().cloned().collect();
        // At once: the writer of the store takes them in one transaction.
        let (bouncers, instances, machines) = tokio::join!(
            self.store.update_bouncers(now, bouncers),
            self.store.note_instances(taken.instances.rows()),
            self.store.update_machines(now, machines),
        );
        let mut unwritten = Notes::default();
        if bouncers.is_err() {
            unwritten.bouncers = taken.bouncers;
        }
        if instances.is_err() {
            unwritten.instances = taken.instances;
        }
        if machines.is_err() {
            unwritten.machines = taken.machines;
        }
        self.keep(unwritten);
        bouncers.and(instances).and(machines)
    }

    /// Puts notes back under those that came since.
    fn keep(&self, older: Notes) {
        let mut notes = self.notes();
        let newer = std::mem::replace(&mut *notes, older);
        for (id, update) in newer.bouncers {
            lay_over_bouncer(notes.bouncer(id), update);
        }
        for (id, update) in newer.machines {
            lay_over_machine(notes.machine(id), update);
        }
        notes.instances.take_in(newer.instances);
    }

    /// Writes back once a second until `stop` fires. The last writing is the caller's, when no request is left.
    pub async fn keep_writing(&self, clock: Clock, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.write_some(clock.now(), AT_A_TIME).await {
                Ok(()) if failing => {
                    info!("last pulls and heartbeats are written again");
                    failing = false;
                }
                Ok(()) => {}
                Err(cause) if !failing => {
                    warn!(
                        error = &cause as &dyn std::error::Error,
                        "last pulls and heartbeats cannot be written; they are kept and tried again every second"
                    );
                    failing = true;
                }
                Err(_) => {}
            }
        }
    }
}
