//! Finds the addresses of the environment that are never blocked: the LAPIs' and this host's own. Asks name servers and
//! the kernel.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use palisade_client::{Client, LapiPool};
use tokio::task::JoinSet;
use tracing::debug;

use crate::config::Config;
use crate::{EnforcerConfig, LocalNetwork};

/// Timeout of the look-up of a LAPI's host name.
// The start and each reload wait for it.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The configuration together with the addresses that are exempt because of the environment.
pub(crate) async fn enforcer_config(config: &Config, lapis: &LapiPool) -> EnforcerConfig {
    EnforcerConfig {
        protected: protected(config, lapis).await,
        config: Arc::new(config.clone()),
        local: local_network().await.unwrap_or_default(),
    }
}

/// This host's addresses and neighbourhood; `None` when the kernel does not list them.
pub(crate) async fn local_network() -> Option<LocalNetwork> {
    match tokio::task::spawn_blocking(LocalNetwork::read).await {
        Ok(Ok(local)) => Some(local),
        Ok(Err(error)) => {
            debug!(%error, "the addresses of this host cannot be read");
            None
        }
        Err(_) => None, // the runtime is going down
    }
}

/// The LAPIs' own addresses, as far as they are known now.
pub(crate) async fn protected(config: &Config, lapis: &LapiPool) -> Vec<IpAddr> {
    if !config.protect_lapi {
        return Vec::new();
    }
    let mut found: Vec<IpAddr> = lapis.peer_addresses().map(|peer| peer.ip()).collect();
    // Side by side: a name server that does not respond costs its timeout once, and not once per LAPI.
    let mut lookups = JoinSet::new();
    for (host, port) in lapis.all().iter().filter_map(Client::host_and_port) {
        let host = host.to_owned();
        lookups.spawn(async move {
            let lookup = tokio::net::lookup_host((host, port));
            // A name that cannot be resolved is left out: a connection will show its address.
            let addresses = tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await.ok()?.ok()?;
            Some(addresses.map(|address| address.ip()).collect::<Vec<_>>())
        });
    }
    found.extend(lookups.join_all().await.into_iter().flatten().flatten());
    found.sort_unstable();
    found.dedup();
    found
}
