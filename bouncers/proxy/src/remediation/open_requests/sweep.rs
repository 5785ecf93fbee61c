//! Looks at everything that is open whenever decisions are published.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_daemon::listen::Connections;
use palisade_net::PrefixSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::OpenRequests;
use crate::config::{Config, RemediationPolicy};
use crate::remediation::{Decider, Outcome, RemediationKind};

/// Time between two sweeps at least.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// After the last publication everything is looked at once more.
// A request that was decided about just before the publication may register just after the first sweep.
const SECOND_SWEEP: Duration = Duration::from_millis(300);

/// What a sweep judges by.
#[derive(Debug)]
pub struct SweepScope {
    decider: Decider,
    /// Those of all routes, each once.
    policies: Vec<Arc<RemediationPolicy>>,
    /// Peers whose connections carry requests of others.
    trusted: PrefixSet,
}

impl SweepScope {
    /// The scope of a configuration.
    pub fn new(decider: Decider, config: &Config) -> Self {
        let routes = config.routes.iter().map(|route| Arc::clone(&route.remediation));
        let address = &config.client_address;
        // Without a list, `trusted_hops` makes a proxy of every peer.
        let trusted = match address.trusted_hops {
            Some(_) if address.trusted_proxies.is_empty() => {
                [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())].into_iter().collect()
            }
            _ => address.trusted_proxies.clone(),
        };
        Self::of(decider, routes, trusted)
    }

    pub(super) fn of(
        decider: Decider,
        all: impl IntoIterator<Item = Arc<RemediationPolicy>>,
        trusted: PrefixSet,
    ) -> Self {
        let mut policies = Vec::new();
        for policy in all {
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        Self { decider, policies, trusted }
    }

    fn is_banned(&self, client: IpAddr, policy: &RemediationPolicy) -> bool {
        match self.decider.decide(policy, client) {
            Outcome::Remediate(remediation) => {
                remediation.kind == RemediationKind::Ban && !remediation.log_only
            }
            Outcome::Pass(_) | Outcome::Unavailable(_) => false,
        }
    }

    /// Whether a connection of this peer can be of no use to it: whatever the next request on it asks for is refused.
    pub fn is_useless(&self, peer: IpAddr) -> bool {
        !self.policies.is_empty()
            && self.policies.iter().all(|policy| self.is_banned(peer, policy))
            && !self.trusted.contains(peer)
    }

    /// Ends what is banned; returns how many requests and connections.
    fn sweep(&self, requests: &OpenRequests, connections: &Connections) -> (usize, usize) {
        let ended = requests.end_where(|client, policy| self.is_banned(client, policy));
        (ended, connections.close_where(|peer| self.is_useless(peer)))
    }
}

/// Ends requests, tunnels and connections of banned clients, at each publication of decisions, until `stop`. `scope`
/// returns that of the current configuration, and `closed` counts connections.
pub async fn end_banned(
    scope: impl Fn() -> Arc<SweepScope>,
    requests: Arc<OpenRequests>,
    connections: Connections,
    closed: Arc<AtomicU64>,
    stop: CancellationToken,
) {
    let mut generations = scope().decider.cache().changed();
    let sweeping = async {
        let mut again: Option<Instant> = None;
        loop {
            tokio::select! {
                changed = generations.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    again = Some(Instant::now() + SECOND_SWEEP);
                }
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => again = None,
            }
            let (scope, requests, connections) = (scope(), Arc::clone(&requests), connections.clone());
            let began = Instant::now();
            // The time it takes grows with what is open; requests must not wait for it.
            let swept = tokio::task::spawn_blocking(move || scope.sweep(&requests, &connections)).await;
            if let Ok((ended, closed_now)) = swept
                && ended + closed_now > 0
            {
                closed.fetch_add((ended + closed_now) as u64, Ordering::Relaxed);
                info!(requests = ended, connections = closed_now, "ended what banned clients had open");
            }
            sleep_until(began + SWEEP_INTERVAL).await;
        }
    };
    stop.run_until_cancelled(sweeping).await;
}
