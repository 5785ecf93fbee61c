//! What is thrown away, and when: `db_config.flush`.

use std::time::Duration;

use palisade_active::{Change, Commit};
use palisade_wire::UnixMillis;

use crate::{Store, StoreError};

/// How long things are kept. `None` for ever, zero counts as `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// How many of the newest alerts (`max_items`).
    pub max_items: Option<u64>,
    /// For how long alerts (`max_age`).
    pub max_age: Option<Duration>,
    /// For how long usage metrics (`metrics_max_age`).
    pub metrics_max_age: Option<Duration>,
    /// After which silence bouncers go.
    pub bouncers: Autodelete,
    /// After which silence machines go; never those with alerts or on this host.
    pub machines: Autodelete,
    /// For how long it is remembered that a decision was removed; no bouncer with an older cursor gets a delta.
    pub history: Option<Duration>,
    /// False while an import runs: alerts stay as they are.
    pub alerts_paused: bool,
}

/// By how they authenticate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Autodelete {
    /// Those with a certificate (`cert`).
    pub cert: Option<Duration>,
    /// Those with a key or a password (`api_key`, `login_password`).
    pub secret: Option<Duration>,
}

/// How many went.
#[derive(Debug, Clone, Default)]
pub struct Flushed {
    /// Alerts.
    pub alerts: u64,
    /// Usage reports.
    pub usage: u64,
    /// Bouncers.
    pub bouncers: u64,
    /// Machines.
    pub machines: u64,
    /// Items of allowlists that had run out.
    pub allowlist_items: u64,
    /// What happened to decisions, in commit order.
    pub commits: Vec<(Commit, Vec<Change>)>,
}

impl Store {
    /// Throws away what is too old or too much, in bounded steps. Never an alert with a decision in force.
    ///
    /// # Errors
    ///
    /// When the database fails; what went until then is gone.
    pub async fn flush(&self, now: UnixMillis, keep: &Retention) -> Result<Flushed, StoreError> {
        let _ = (now, keep);
        todo!()
    }
}
