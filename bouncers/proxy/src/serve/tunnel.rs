//! Connects a client and an upstream that have switched protocols.

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use palisade_daemon::listen::HeldConnection;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::remediation::open_requests::OpenRequest;
use crate::upstream::{UpstreamTunnel, tunnel};

/// Copies in both directions until one side ends, nothing has come for `idle`, or the client's connection must be closed:
/// its client was banned, or the program ends.
pub(crate) fn spawn(
    tasks: &TaskTracker,
    client: OnUpgrade,
    upstream: UpstreamTunnel,
    idle: Duration,
    held: Option<HeldConnection>,
    mut open: Option<OpenRequest>,
) {
    // The connection may have been closed since.
    let Some(held) = held else { return };
    tasks.spawn(async move {
        match client.await {
            Ok(client) => {
                let closed = async {
                    tokio::select! {
                        () = held.closed() => {}
                        () = ended(&mut open) => {}
                    }
                };
                let report = tunnel::run(TokioIo::new(client), upstream, idle, closed).await;
                debug!(to_upstream = report.to_upstream, to_client = report.to_client, "tunnel ended");
            }
            Err(error) => debug!(%error, "the client went away before the tunnel was open"),
        }
    });
}

/// Waits until a request is to be ended because its client is banned; for ever without one.
pub(crate) async fn ended(open: &mut Option<OpenRequest>) {
    match open {
        Some(open) => open.ended().await,
        None => std::future::pending().await,
    }
}
