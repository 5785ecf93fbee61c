//! What was learned about machines and bouncers and is not in the store yet.

use std::{collections::HashMap, time::Duration};

use palisade_active::Commit;
use palisade_store::{BouncerUpdate, MachineUpdate, StoreError};
use palisade_wire::UnixMillis;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Bouncer, Machine, Roster};
use crate::state::Clock;

/// How often what was learned is written.
const EVERY: Duration = Duration::from_secs(1);

/// By number of the row; newer news replace older ones.
#[derive(Debug, Default)]
pub(super) struct Notes {
    machines: HashMap<i64, MachineUpdate>,
    bouncers: HashMap<i64, BouncerUpdate>,
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
    lay_over!(to, from, last_pull cursor_commit ip kind version os feature_flags);
}

fn lay_over_machine(to: &mut MachineUpdate, from: MachineUpdate) {
    lay_over!(to, from, ip version scenarios last_heartbeat last_push os feature_flags hub_state datasources);
}

impl Roster {
    /// A bouncer has been told everything up to `commit` by an answer to a request that began at `started` and was
    /// written completely.
    pub fn pulled(&self, bouncer: &Bouncer, started: UnixMillis, commit: Commit) {
        let update = BouncerUpdate {
            last_pull: Some(started),
            cursor_commit: Some(commit),
            ..BouncerUpdate::default()
        };
        self.learned_of_bouncer(bouncer, update);
    }

    /// A bouncer asked a live question. Its last pull moves when it is older than a minute, as in the stock server; how
    /// far it has been told by streams does not.
    pub fn asked(&self, bouncer: &Bouncer, now: UnixMillis) {
        const MINUTE: i64 = 60_000;
        if bouncer.pulled().0.is_none_or(|last| now.0 - last.0 >= MINUTE) {
            let update = BouncerUpdate { last_pull: Some(now), ..BouncerUpdate::default() };
            self.learned_of_bouncer(bouncer, update);
        }
    }

    /// Takes note of whatever was learned about a bouncer; what is `None` stays as it is.
    pub fn learned_of_bouncer(&self, bouncer: &Bouncer, update: BouncerUpdate) {
        {
            let mut live = bouncer.lock();
            let update = update.clone();
            live.last_pull = update.last_pull.or(live.last_pull);
            live.cursor = update.cursor_commit.or(live.cursor);
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
        self.learned_of_machine(machine, update);
    }

    /// A machine sent alerts.
    pub fn pushed(&self, machine: &Machine, now: UnixMillis) {
        let update = MachineUpdate { last_push: Some(now), ..MachineUpdate::default() };
        self.learned_of_machine(machine, update);
    }

    /// Takes note of whatever was learned about a machine; what is `None` stays as it is.
    pub fn learned_of_machine(&self, machine: &Machine, update: MachineUpdate) {
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
        let taken = std::mem::take(&mut *self.notes());
        if !taken.bouncers.is_empty() {
            let updates: Vec<BouncerUpdate> = taken.bouncers.values().cloned().collect();
            if let Err(cause) = self.store.update_bouncers(now, updates).await {
                self.keep(taken);
                return Err(cause);
            }
        }
        if !taken.machines.is_empty() {
            let updates: Vec<MachineUpdate> = taken.machines.values().cloned().collect();
            if let Err(cause) = self.store.update_machines(now, updates).await {
                self.keep(Notes { bouncers: HashMap::new(), machines: taken.machines });
                return Err(cause);
            }
        }
        Ok(())
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
    }

    /// Writes back once a second until `stop` fires. The last writing is the caller's, when no request is left.
    pub async fn keep_writing(&self, clock: Clock, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.write_back(clock.now()).await {
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
