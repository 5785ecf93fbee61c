//! The LAPIs of a list: any of them will do, and one of them is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_wire::UsageMetrics;

use crate::{Client, PullError, PushError};

/// One or more LAPIs that stand for each other. Clones share which one is asked.
#[derive(Debug, Clone)]
pub struct LapiPool {
    clients: Arc<[Client]>,
    current: Arc<AtomicUsize>,
}

impl LapiPool {
    /// These, in the order in which they are tried; the first is asked first.
    pub fn new(first: Client, others: impl IntoIterator<Item = Client>) -> Self {
        Self { clients: std::iter::once(first).chain(others).collect(), current: Arc::default() }
    }

    /// All of them, in order.
    pub fn all(&self) -> &[Client] {
        &self.clients
    }

    /// The place of the one that is asked.
    pub fn place(&self) -> usize {
        self.current.load(Ordering::Relaxed).min(self.clients.len() - 1)
    }

    /// The one that is asked.
    pub fn current(&self) -> &Client {
        &self.clients[self.place()]
    }

    /// Asks the one at this place from now on.
    pub fn move_to(&self, place: usize) {
        self.current.store(place % self.clients.len(), Ordering::Relaxed);
    }

    /// Where they are, as it may be shown.
    pub fn urls(&self) -> String {
        self.clients.iter().map(Client::url).collect::<Vec<_>>().join(", ")
    }

    /// The addresses that answered last.
    pub fn peer_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.clients.iter().filter_map(Client::peer_address)
    }

    /// Reports to the one that is asked, or to the next one that takes the report: only where it is sure that none
    /// before has taken it.
    ///
    /// # Errors
    /// The last one's; see [`Client::push_usage_metrics`].
    pub async fn push_usage_metrics(&self, metrics: &UsageMetrics) -> Result<(), PushError> {
        let start = self.place();
        let mut place = start;
        loop {
            let pushed = self.clients[place].push_usage_metrics(metrics).await;
            place = (place + 1) % self.clients.len();
            match pushed {
                Err(PushError::Failed(error)) if place != start && not_taken(&error) => {}
                done => return done,
            }
        }
    }
}

fn not_taken(error: &PullError) -> bool {
    matches!(error, PullError::Refused { .. } | PullError::Status { .. }) || !error.may_have_reached_lapi()
}

impl From<Client> for LapiPool {
    fn from(client: Client) -> Self {
        Self::new(client, [])
    }
}
