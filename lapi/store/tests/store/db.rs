//! A database for one test, and helpers for frequent operations.

use palisade_model::{Change, Commit, StoredDecision, Target};
use palisade_store::{DbConfig, NewAlert, NewDecision, Store};
use palisade_wire::{Alert, Source, UnixMillis};
use tempfile::TempDir;

/// 1 July 2026, 10:00 UTC.
pub(crate) const NOW: UnixMillis = UnixMillis(1_782_900_000_000);
pub(crate) const SECOND: i64 = 1000;
pub(crate) const HOUR: i64 = 3600 * SECOND;
pub(crate) const DAY: i64 = 24 * HOUR;

/// Where a test keeps things.
pub(crate) struct Db {
    pub(crate) config: DbConfig,
    _folder: Option<TempDir>,
}

impl Db {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { config: DbConfig::sqlite(folder.path().join("palisade.db")), _folder: Some(folder) }
    }

    pub(crate) fn postgres() -> Self {
        Self { config: super::postgres::shared().database(), _folder: None }
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.config).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

pub(crate) fn later(millis: i64) -> UnixMillis {
    UnixMillis(NOW.0 + millis)
}

/// An alert about an address, without decisions.
pub(crate) fn alert(scenario: &str, value: &str) -> Alert {
    Alert {
        scenario: scenario.to_owned(),
        message: format!("{value} did {scenario}"),
        events_count: 6,
        capacity: 5,
        leakspeed: "10s".to_owned(),
        start_at: "2026-07-01T11:59:00+02:00".to_owned(),
        stop_at: "2026-07-01T09:59:30.5Z".to_owned(),
        remediation: true,
        source: Source {
            scope: "Ip".to_owned(),
            value: value.to_owned(),
            ip: value.to_owned(),
            ..Source::default()
        },
        ..Alert::default()
    }
}

/// A ban of an address or range for an hour.
pub(crate) fn ban(value: &str) -> NewDecision {
    NewDecision {
        until: later(HOUR),
        origin: "crowdsec".into(),
        scenario: "ssh-bf".into(),
        target: Target::stored(if value.contains('/') { "Range" } else { "Ip" }, value),
        remediation: "ban".into(),
        simulated: false,
        uuid: Some(uuid::Uuid::new_v4()),
    }
}

/// An alert with bans of these.
pub(crate) fn banning(values: &[&str]) -> NewAlert {
    let decisions = values.iter().map(|value| ban(value)).collect();
    NewAlert { alert: alert("ssh-bf", values.first().unwrap_or(&"192.0.2.1")), decisions, digest: None }
}

/// Stores one alert; returns its number, its decisions' rows, its commit.
pub(crate) async fn store_one(store: &Store, new: NewAlert) -> (i64, Vec<StoredDecision>, Option<Commit>) {
    let added = store.add_alerts(NOW, None, vec![new]).await.unwrap();
    let commit = added.commits.first().map(|(commit, _)| *commit);
    let rows = added.commits.into_iter().flat_map(|(_, changes)| changes).map(row).collect();
    (added.ids[0].alert, rows, commit)
}

/// The row a change is about.
pub(crate) fn row(change: Change) -> StoredDecision {
    match change {
        Change::Put(row) | Change::Removed(row) => row,
    }
}

/// Everything there is to replay.
pub(crate) async fn loaded(store: &Store, now: UnixMillis) -> (Vec<Change>, Commit) {
    let mut all = Vec::new();
    let day = std::time::Duration::from_secs(86_400);
    let commit = store.load(now, day, &mut |change| all.push(change)).await.unwrap();
    (all, commit)
}
