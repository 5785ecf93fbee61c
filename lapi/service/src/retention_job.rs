//! Deletes old rows as configured, never decisions in force.

use std::sync::Arc;
use std::time::Duration;

use palisade_store::{Retention as Keep, Store, StoreError};

use crate::{
    alert_counts::AlertCounts,
    clock::Clock,
    ingest::Ingest,
    replication::{HISTORY, Replication},
};

/// How often old rows are deleted.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// Deletes old rows. Without `flush` in the configuration only tombstones and other records of the LAPI itself are
/// deleted.
#[derive(Debug)]
pub struct Retention {
    /// Where the rows are.
    pub store: Store,
    /// The time against which ages are measured.
    pub clock: Clock,
    /// `db_config.flush`.
    pub flush: Option<Keep>,
    /// An import in progress pauses the deletion of alerts.
    pub ingest: Arc<Ingest>,
    /// Applies the commits of deletions.
    pub replication: Arc<Replication>,
    /// Recounted after deletions.
    pub alert_counts: Arc<AlertCounts>,
}

impl Retention {
    /// Deletes what is old now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn run_once(&self) -> Result<(), StoreError> {
        let keep = keep(self.flush.as_ref(), self.ingest.import_in_progress());
        // On failure the commits made so far are not reported; the poll fetches them.
        let flushed = self.store.flush(self.clock.now(), &keep).await?;
        // At once, so that bouncers do not receive the ends only with the next poll.
        self.replication.apply_local(flushed.commits).await;
        if flushed.alerts > 0 {
            self.alert_counts.recount().await?;
        }
        let quiet = flushed.alerts + flushed.usage + flushed.bouncers + flushed.machines == 0;
        if !quiet || flushed.allowlist_items + flushed.instances > 0 {
            tracing::info!(
                alerts = flushed.alerts,
                usage_reports = flushed.usage,
                bouncers = flushed.bouncers,
                machines = flushed.machines,
                instances = flushed.instances,
                allowlist_items = flushed.allowlist_items,
                "old rows deleted"
            );
        }
        Ok(())
    }
}

/// The configured periods with those of the LAPI itself.
fn keep(flush: Option<&Keep>, alerts_paused: bool) -> Keep {
    Keep { history: Some(HISTORY), alerts_paused, ..flush.cloned().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_configuration_only_the_memory_of_removals_is_bounded() {
        let none = keep(None, false);
        assert_eq!(none, Keep { history: Some(HISTORY), ..Keep::default() });
        let flush = Keep { max_items: Some(5000), ..Keep::default() };
        let some = keep(Some(&flush), true);
        assert_eq!((some.max_items, some.history, some.alerts_paused), (Some(5000), Some(HISTORY), true));
    }
}
