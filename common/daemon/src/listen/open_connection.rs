//! An open connection: counted and registered until the last part of it has ended.

use std::sync::{Arc, OnceLock};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    activity::ConnectionActivity,
    connection_reaper::{ConnectionReaper, GroupPlace, RegisteredConnection},
};

/// Counted, registered and waited for at shutdown until it is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection {
    pub(super) registered: RegisteredConnection,
    /// Where connections of an address are limited.
    pub(super) group_place: OnceLock<GroupPlace>,
    /// Fires when the drain timeout has passed.
    pub(super) end: CancellationToken,
    _counted: Counted,
    _permit: OwnedSemaphorePermit,
    _tracked: TaskTrackerToken,
}

impl OpenConnection {
    pub(super) fn new(
        registered: RegisteredConnection,
        open: &Gauge,
        permit: OwnedSemaphorePermit,
        tracked: TaskTrackerToken,
        end: CancellationToken,
    ) -> Self {
        let counted = Counted::new(open);
        Self {
            registered,
            group_place: OnceLock::new(),
            end,
            _counted: counted,
            _permit: permit,
            _tracked: tracked,
        }
    }

    pub(super) fn activity(&self) -> &Arc<ConnectionActivity> {
        &self.registered.activity
    }

    pub(super) fn reaper(&self) -> &Arc<ConnectionReaper> {
        &self.registered.reaper
    }
}

/// One of the open connections in the gauge, until it is dropped.
#[derive(Debug)]
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Keeps a connection counted and registered for a tunnel. The connection's idle timeout does not apply to it.
#[derive(Debug)]
pub struct HeldConnection(Arc<OpenConnection>);

impl HeldConnection {
    pub(super) fn new(connection: Arc<OpenConnection>) -> Self {
        connection.activity().hold();
        Self(connection)
    }

    /// Waits until the tunnel must be closed: its client was banned
    /// ([`Connections::close_where`](super::Connections::close_where)), does not read, or the time for requests in
    /// flight is over at shutdown.
    pub async fn closed(&self) {
        tokio::select! {
            () = self.0.activity().immediate_close() => {}
            () = self.0.end.cancelled() => {}
        }
    }
}

impl Drop for HeldConnection {
    fn drop(&mut self) {
        self.0.activity().release();
    }
}
