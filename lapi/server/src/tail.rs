//! Follows the store's commits and keeps the active decisions up to date.

use tokio_util::sync::CancellationToken;

use crate::state::Lapi;

/// What the tail keeps.
#[derive(Debug, Default)]
pub(crate) struct Tail {}

/// Loads the active decisions and allowlists. Called once, before anybody is served.
pub(crate) async fn load(_lapi: &Lapi) -> anyhow::Result<()> {
    Ok(())
}

/// Polls `head`, applies commits that others made, re-reads the roster and the allowlists when they changed, and ends
/// decisions on time, until `stop` fires.
pub(crate) async fn follow(_lapi: Lapi, stop: CancellationToken) {
    stop.cancelled().await;
}

/// Brings the gauges that are read from memory up to date; called before each scrape.
pub(crate) fn show(lapi: &Lapi) {
    lapi.metrics.show([]);
}
