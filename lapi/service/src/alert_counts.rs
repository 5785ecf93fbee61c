//! The numbers of stored alerts by scenario, for the metrics.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use palisade_store::{Store, StoreError};

/// The numbers of stored alerts by scenario. Alerts of this process are counted as they are stored; those that others
/// add or delete are seen by the next recount.
#[derive(Debug)]
pub struct AlertCounts {
    store: Store,
    counts: Mutex<HashMap<String, i64>>,
}

impl AlertCounts {
    /// Without any alert, until the first recount.
    pub fn new(store: Store) -> Self {
        Self { store, counts: Mutex::default() }
    }

    /// One more alert of this scenario is stored.
    pub fn add(&self, scenario: &str) {
        *self.lock().entry(scenario.to_owned()).or_default() += 1;
    }

    /// Counts the alerts in the database.
    ///
    /// # Errors
    ///
    /// When the database fails; the numbers stay.
    pub async fn recount(&self) -> Result<(), StoreError> {
        let counts = self.store.alert_counts().await?;
        let counts = counts.into_iter().map(|(scenario, n)| (scenario, i64::try_from(n).unwrap_or(i64::MAX)));
        *self.lock() = counts.collect();
        Ok(())
    }

    /// Counts the alerts after some were deleted; a failure is only logged.
    pub async fn recount_or_warn(&self) {
        if let Err(error) = self.recount().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot count alerts for the metrics");
        }
    }

    /// The numbers, by scenario.
    pub fn all(&self) -> HashMap<String, i64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
