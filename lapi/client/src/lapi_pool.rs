//! A pool of interchangeable LAPIs, of which one is in use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_wire::UsageMetrics;

use crate::{Client, PullError, PushError};

/// One or more interchangeable LAPIs. Clones share which one is in use.
#[derive(Debug, Clone)]
pub struct LapiPool {
    clients: Arc<[Client]>,
    current: Arc<AtomicUsize>,
}

impl LapiPool {
    /// In order of preference; the first is used first.
    pub fn new(first: Client, others: impl IntoIterator<Item = Client>) -> Self {
        Self { clients: std::iter::once(first).chain(others).collect(), current: Arc::default() }
    }

    /// All of them, in order.
    pub fn all(&self) -> &[Client] {
        &self.clients
    }

    /// The index of the LAPI in use.
    pub fn position(&self) -> usize {
        // Relaxed: it is only a preference. A task that reads an old value uses a LAPI that is just as good.
        self.current.load(Ordering::Relaxed).min(self.clients.len() - 1)
    }

    /// The LAPI in use.
    pub fn current(&self) -> &Client {
        &self.clients[self.position()]
    }

    /// Uses the LAPI at this index from now on.
    pub fn switch_to(&self, position: usize) {
        self.current.store(position % self.clients.len(), Ordering::Relaxed);
    }

    /// Their URLs, for display.
    pub fn urls(&self) -> String {
        self.clients.iter().map(Client::url).collect::<Vec<_>>().join(", ")
    }

    /// The addresses that answered last.
    pub fn peer_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.clients.iter().filter_map(Client::peer_address)
    }

    /// Sends a report to the LAPI in use, or to the next ones, as long as it is certain that none before has accepted
    /// it.
    ///
    /// # Errors
    /// The last error; see [`Client::push_usage_metrics`].
    pub async fn push_usage_metrics(&self, metrics: &UsageMetrics) -> Result<(), PushError> {
        let start = self.position();
        let mut position = start;
        loop {
            let pushed = self.clients[position].push_usage_metrics(metrics).await;
            position = (position + 1) % self.clients.len();
            match pushed {
                // Counters are sums, so a report that reached two LAPIs of one database would be counted twice.
                Err(PushError::Failed(error)) if position != start && surely_not_accepted(&error) => {}
                done => return done,
            }
        }
    }
}

fn surely_not_accepted(error: &PullError) -> bool {
    matches!(error, PullError::Refused { .. } | PullError::Status { .. }) || !error.may_have_reached_lapi()
}

impl From<Client> for LapiPool {
    fn from(client: Client) -> Self {
        Self::new(client, [])
    }
}
