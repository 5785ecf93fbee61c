//! Deletes old rows as configured, never decisions in force. On a shared database one LAPI does it, as the leader.

use std::time::Duration;

use palisade_lapi_config::{AutoDelete, Flush};
use palisade_store::{Autodelete, Leadership, Retention};
use tokio_util::sync::CancellationToken;

use crate::replication::HISTORY;
use crate::state::Lapi;

const INTERVAL: Duration = Duration::from_secs(60);

/// Runs the retention jobs once a minute until `stop` fires. Without `flush` in the configuration only tombstones and
/// other records of the LAPI itself are deleted.
pub(crate) async fn run(lapi: Lapi, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut role = LeaderRole { leadership: lapi.store.leadership(), leads: None };
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let round = async {
            if role.acquire().await {
                run_once(&lapi).await;
            }
            // The admin CLI and other LAPIs delete alerts too, so the metrics are recounted each time.
            if let Err(error) = lapi.count_alerts().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot count alerts for the metrics"
                );
            }
        };
        if stop.run_until_cancelled(round).await.is_none() {
            break;
        }
    }
    role.leadership.resign().await;
}

/// The leadership that one LAPI per database holds.
struct LeaderRole {
    leadership: Leadership,
    /// `None` before the first attempt.
    leads: Option<bool>,
}

impl LeaderRole {
    /// Called before each run; logs changes of leadership.
    async fn acquire(&mut self) -> bool {
        let leads = match self.leadership.hold().await {
            Ok(leads) => leads,
            Err(error) => {
                // That the database is unavailable is logged by the poll.
                tracing::debug!(error = &error as &dyn std::error::Error, "retention skipped");
                return false;
            }
        };
        match (self.leads.replace(leads), leads) {
            (Some(before), now) if before == now => {}
            (_, true) => tracing::info!("this LAPI runs retention"),
            (_, false) => tracing::info!("another LAPI on this database runs retention"),
        }
        leads
    }
}

pub(crate) async fn run_once(lapi: &Lapi) {
    let flush = lapi.config.database.as_ref().and_then(|database| database.flush.as_ref());
    let keep = keep(flush, lapi.ingest.import_in_progress());
    match lapi.store.flush(lapi.clock.now(), &keep).await {
        Ok(flushed) => {
            lapi.replication.apply_local(flushed.commits).await;
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
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot delete old rows; trying again in a minute"
            );
        }
    }
}

/// The retention settings of a configuration.
fn keep(flush: Option<&Flush>, alerts_paused: bool) -> Retention {
    let by = |delete: AutoDelete| Autodelete { cert: delete.cert, secret: delete.secret };
    let memory = Retention { history: Some(HISTORY), alerts_paused, ..Retention::default() };
    match flush {
        None => memory,
        Some(flush) => Retention {
            max_items: flush.max_items,
            max_age: flush.max_age,
            metrics_max_age: Some(flush.metrics_max_age),
            bouncers: by(flush.bouncers_autodelete),
            machines: by(flush.agents_autodelete),
            ..memory
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_configuration_only_the_memory_of_removals_is_bounded() {
        let none = keep(None, false);
        assert_eq!(none, Retention { history: Some(HISTORY), ..Retention::default() });
        let flush = Flush {
            max_items: Some(5000),
            max_age: Some(Duration::from_secs(60)),
            metrics_max_age: Duration::from_secs(7),
            bouncers_autodelete: AutoDelete { cert: None, secret: Some(Duration::from_secs(1)) },
            agents_autodelete: AutoDelete::default(),
        };
        let some = keep(Some(&flush), true);
        assert_eq!((some.max_items, some.metrics_max_age), (Some(5000), Some(Duration::from_secs(7))));
        assert_eq!((some.bouncers.secret, some.alerts_paused), (Some(Duration::from_secs(1)), true));
    }
}
