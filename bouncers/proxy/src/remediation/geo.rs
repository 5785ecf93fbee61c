//! Looks up country and autonomous system of an address in MaxMind databases, which are reloaded when they change.

mod database;
mod place;

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub use self::database::{Database, GeoError};
pub use self::place::{CountryCode, SystemNumber, SystemText};
use crate::config::GeoFiles;

/// Time between two looks at the files.
const WATCH_INTERVAL: Duration = Duration::from_secs(30);

/// Where addresses are.
pub trait Places {
    /// The country, if it is known.
    fn country(&self, address: IpAddr) -> Option<CountryCode>;
    /// The autonomous system, if it is known.
    fn autonomous_system(&self, address: IpAddr) -> Option<SystemNumber>;
}

/// The databases. Without one, nothing is known.
#[derive(Debug, Default)]
pub struct Geo {
    country: Option<Database>,
    asn: Option<Database>,
}

impl Geo {
    /// Reads the configured files.
    ///
    /// # Errors
    /// When one cannot be read, or is no MaxMind database.
    pub fn open(files: &GeoFiles) -> Result<Self, GeoError> {
        let open = |path: &Option<_>| path.as_deref().map(Database::open).transpose();
        Ok(Self { country: open(&files.country)?, asn: open(&files.asn)? })
    }

    /// Replaces databases whose files have changed, until `stop`. A file that cannot be used is logged, and the database
    /// stays.
    pub async fn watch(&self, stop: CancellationToken) {
        self.watch_every(WATCH_INTERVAL, stop).await;
    }

    async fn watch_every(&self, interval: Duration, stop: CancellationToken) {
        let databases: Vec<_> = self.country.iter().chain(&self.asn).collect();
        if databases.is_empty() {
            return;
        }
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            for database in &databases {
                database.reload_if_changed().await;
            }
        }
    }
}

impl Places for Geo {
    fn country(&self, address: IpAddr) -> Option<CountryCode> {
        self.country.as_ref()?.country(address)
    }

    fn autonomous_system(&self, address: IpAddr) -> Option<SystemNumber> {
        self.asn.as_ref()?.autonomous_system(address)
    }
}

#[cfg(test)]
mod tests;
