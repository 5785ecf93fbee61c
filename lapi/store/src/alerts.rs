//! Alerts: taking them in with their decisions, finding and deleting them.

use palisade_active::{Change, Commit};
use palisade_wire::{Alert, UnixMillis};
use uuid::Uuid;

use crate::{AlertQuery, Store, StoreError};

/// An alert to be stored.
#[derive(Debug, Clone)]
pub struct NewAlert {
    /// What happened. The decisions, id, machine and creation time inside are ignored; without a `uuid` it gets one.
    pub alert: Alert,
    /// What is to be done about it.
    pub decisions: Vec<NewDecision>,
    /// SHA-256 over the machine and the alert as posted. An alert of the same machine with the same digest, stored
    /// within the last hour and not lifted altogether, is not stored again. `None`: always stored.
    pub digest: Option<[u8; 32]>,
}

/// A decision to be stored.
#[derive(Debug, Clone)]
pub struct NewDecision {
    /// When it ends; may lie in the past.
    pub until: UnixMillis,
    /// `crowdsec`, `cscli`, ….
    pub origin: String,
    /// The scenario, or a reason.
    pub scenario: String,
    /// `Ip`, `Range`, `Country`, `AS`, or any other word, normalised.
    pub scope: String,
    /// `ban`, `captcha`, ….
    pub kind: String,
    /// As it was posted. With scope `Ip` or `Range` it must be an address or a prefix.
    pub value: String,
    /// Only a rehearsal.
    pub simulated: bool,
    /// Its public name.
    pub uuid: Option<Uuid>,
}

/// What became of the alerts of one call.
#[derive(Debug, Clone, Default)]
pub struct Added {
    /// One for each alert, in their order.
    pub ids: Vec<Stored>,
    /// What happened to decisions, in commit order.
    pub commits: Vec<(Commit, Vec<Change>)>,
}

/// An alert that is stored now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub alert: i64,
    /// It was there already: nothing was written.
    pub repeated: bool,
}

/// Alerts that are gone.
#[derive(Debug, Clone, Default)]
pub struct Deleted {
    /// How many alerts.
    pub count: u64,
    /// What happened to their decisions, in commit order.
    pub commits: Vec<(Commit, Vec<Change>)>,
}

impl Store {
    /// Stores alerts with their decisions, all or nothing. Only an alert of more than 10,000 decisions is written in
    /// several transactions, after the others; a reader sees it once it is whole, and if the process dies halfway,
    /// what it left is taken back at the next opening.
    ///
    /// A machine of that name has its `last_push` set to `now`; alerts of unknown machines are unowned.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when a decision's value does not fit its scope; else when the database fails.
    pub async fn add_alerts(
        &self,
        now: UnixMillis,
        machine: Option<&str>,
        alerts: Vec<NewAlert>,
    ) -> Result<Added, StoreError> {
        let _ = (now, machine, alerts);
        todo!()
    }

    /// The alerts that match, each with all its decisions and their remaining time at `now`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn alerts(&self, query: &AlertQuery, now: UnixMillis) -> Result<Vec<Alert>, StoreError> {
        let _ = (query, now);
        todo!()
    }

    /// One alert; `None` when there is none of that number.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn alert(&self, id: i64, now: UnixMillis) -> Result<Option<Alert>, StoreError> {
        let _ = (id, now);
        todo!()
    }

    /// Deletes every alert that matches, whatever the query's limit, in bounded steps.
    ///
    /// # Errors
    ///
    /// When the database fails; what was deleted until then stays deleted.
    pub async fn delete_alerts(&self, now: UnixMillis, query: &AlertQuery) -> Result<Deleted, StoreError> {
        let _ = (now, query);
        todo!()
    }

    /// Deletes one alert; `count` is 0 when there is none of that number.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn delete_alert(&self, now: UnixMillis, id: i64) -> Result<Deleted, StoreError> {
        let _ = (now, id);
        todo!()
    }

    /// How many alerts each scenario has, without those of community lists: `cs_alerts`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn alert_counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        todo!()
    }
}
