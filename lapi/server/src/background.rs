//! The tasks that run beside the requests.

use std::{sync::Arc, time::Duration};

use palisade_daemon::runtime::DaemonContext;
use palisade_service::{
    jobs::{self, Job},
    retention_job::{self, Retention},
};
use tokio_util::sync::CancellationToken;

use crate::{log_limits, state::Lapi};

/// How often the alerts are counted: the admin CLI and other LAPIs add and delete some too.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);

/// How often it is tried whether a database can be written again.
const WRITE_RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// How often the numbers of log lines are logged that were left out.
const LOG_REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Starts the tasks; they run until `stop` fires.
pub(crate) fn spawn(lapi: &Lapi, daemon: &DaemonContext, stop: &CancellationToken) {
    let (registry, clock, until) = (lapi.registry.clone(), lapi.clock.clone(), stop.clone());
    spawn_one(daemon, "replication", lapi.replication.clone().run(stop.clone()));
    spawn_one(daemon, "long-poll", lapi.long_poll.clone().run(stop.clone()));
    spawn_one(daemon, "registry", async move { registry.activity.run_writer(clock, until).await });
    spawn_one(daemon, "jobs", jobs::run(jobs(lapi), lapi.store.leadership(), stop.clone()));
}

fn spawn_one(daemon: &DaemonContext, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    daemon.spawn(name, async move {
        task.await;
        Ok(())
    });
}

fn jobs(lapi: &Lapi) -> Vec<Job> {
    let (retention, counts) = (Arc::new(retention(lapi)), lapi.alert_counts.clone());
    let (access, store) = (lapi.access.clone(), lapi.store.clone());
    vec![
        Job::for_leader("retention", retention_job::INTERVAL, move || {
            let retention = retention.clone();
            async move { Ok(retention.run_once().await?) }
        }),
        Job::for_all("alert counts", COUNT_INTERVAL, move || {
            let counts = counts.clone();
            async move { Ok(counts.recount().await?) }
        }),
        Job::for_all("database", WRITE_RETRY_INTERVAL, move || {
            let store = store.clone();
            async move {
                // Reported where the problem began.
                store.retry_writing().await.ok();
                Ok(())
            }
        }),
        Job::for_all("log limits", LOG_REPORT_INTERVAL, move || {
            log_limits::report();
            access.report();
            async { Ok(()) }
        }),
    ]
}

pub(crate) fn retention(lapi: &Lapi) -> Retention {
    Retention {
        store: lapi.store.clone(),
        clock: lapi.clock.clone(),
        flush: lapi.config.database.as_ref().and_then(|database| database.flush.clone()),
        ingest: lapi.ingest.clone(),
        replication: lapi.replication.clone(),
        alert_counts: lapi.alert_counts.clone(),
    }
}
