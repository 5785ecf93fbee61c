//! Opens the database, and logs what the first start took over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use palisade_lapi_config::DbConfig;
use palisade_store::{FirstStart, ImportProgress, ImportReport, OnProgress, Store, StoreError};
use palisade_wire::UnixMillis;
use tracing::{info, warn};

/// Seconds between log lines about the progress of an import.
const REPORT_SECONDS: u64 = 5;

pub(super) async fn open(block: &DbConfig, now: UnixMillis) -> Result<Store, StoreError> {
    let keep = block.flush.clone().unwrap_or_default();
    let (store, first) = Store::open_or_take_over(&block.store, now, &keep, progress()).await?;
    match first {
        FirstStart::Imported(from, report) => log(&from, &report),
        FirstStart::Moved(from) => {
            info!(
                from,
                "moved our database to a place of its own; CrowdSec's programs may use the configured one"
            );
        }
        FirstStart::Earlier | FirstStart::New => {}
    }
    Ok(store)
}

/// Logs progress every few seconds.
fn progress() -> OnProgress {
    let (begun, reported) = (Instant::now(), AtomicU64::new(0));
    Arc::new(move |ImportProgress { done, total }| {
        let seconds = begun.elapsed().as_secs();
        if seconds >= reported.load(Ordering::Relaxed) + REPORT_SECONDS {
            reported.store(seconds, Ordering::Relaxed);
            info!(done, total, "importing CrowdSec's database");
        }
    })
}

fn log(from: &str, report: &ImportReport) {
    info!(
        from,
        machines = report.machines.added,
        bouncers = report.bouncers.added,
        allowlists = report.allowlists.added,
        alerts = report.alerts.added,
        decisions = report.decisions.added,
        in_force = report.in_force,
        "took over CrowdSec's database, which was only read; CrowdSec's own LAPI must stay off"
    );
    for (what, (count, first)) in &report.skipped {
        warn!(count, first, "not taken over: {what}");
    }
}
