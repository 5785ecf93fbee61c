//! Machines and bouncers in memory: who may ask, and what each of them has got so far.
//!
//! The store is the truth about who exists; the roster is loaded from it and loaded again whenever `head.roster` has
//! moved. When somebody called last, from where and with which version changes all the time; that is kept here and
//! written back in batches, about once a second and at the end. What is lost with the process only repeats a delta.

mod entry;

pub use entry::{AuthType, Bouncer, BouncerLive, Machine, MachineLive, Seen};

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

/// Everybody, and the number of the roster they were read at.
#[derive(Debug, Default)]
struct Everybody {
    machines: HashMap<String, Arc<Machine>>,
    /// By key hash; rows in ascending order of their number.
    keys: HashMap<String, Vec<Arc<Bouncer>>>,
    bouncers: HashMap<String, Arc<Bouncer>>,
}

/// Machines and bouncers in memory.
#[derive(Debug, Default)]
pub struct Roster {
    everybody: RwLock<Everybody>,
}

impl Roster {
    /// The machine of this name.
    pub fn machine(&self, name: &str) -> Option<Arc<Machine>> {
        self.read().machines.get(name).cloned()
    }

    /// The bouncer of this name.
    pub fn bouncer(&self, name: &str) -> Option<Arc<Bouncer>> {
        self.read().bouncers.get(name).cloned()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Everybody> {
        // Readers see whole states only: a state is replaced, never half changed.
        self.everybody.read().unwrap_or_else(PoisonError::into_inner)
    }
}
