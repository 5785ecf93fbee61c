//! Deletes what is old, as configured, never what is in force. Of several LAPIs on one database one does it.

use std::time::Duration;

use palisade_lapi_config::{AutoDelete, Flush};
use palisade_store::{Autodelete, Leadership, Retention};
use tokio_util::sync::CancellationToken;

use crate::replication::HISTORY;
use crate::state::Lapi;

/// How often.
const INTERVAL: Duration = Duration::from_secs(60);

/// Runs the retention jobs once a minute until `stop` fires. Without `flush` in the configuration nothing of the
/// operator's is ever deleted; only what is remembered of removed decisions ends with the memory it is for.
pub(crate) async fn run(lapi: Lapi, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut role = LeaderRole { leadership: lapi.store.leadership(), leads: None };
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let round = async {
            if role.acquire().await {
                run_once(&lapi).await;
            }
            // The admin CLI and other LAPIs delete alerts, too: what is counted is counted anew every time.
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

/// Whose turn it is to do the work that one LAPI does for all.
struct LeaderRole {
    leadership: Leadership,
    /// `None` before the first round.
    leads: Option<bool>,
}

impl LeaderRole {
    /// Asked before each round; a change is said once.
    async fn acquire(&mut self) -> bool {
        let leads = match self.leadership.hold().await {
            Ok(leads) => leads,
            Err(error) => {
                // That the database is away is said elsewhere.
                tracing::debug!(error = &error as &dyn std::error::Error, "no round of retention");
                return false;
            }
        };
        match (self.leads.replace(leads), leads) {
            (Some(before), now) if before == now => {}
            (_, true) => tracing::info!("this LAPI deletes what is old"),
            (_, false) => tracing::info!("another LAPI on this database deletes what is old"),
        }
        leads
    }
}

/// One round.
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

/// What is kept, by the configuration.
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
