//! Holds all pools, and carries them over from one configuration to the next.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::balance::Balancer;
use super::connect::{Target, TlsMaterial};
use super::error::PoolError;
use super::health;
use super::metrics::ServerMetrics;
use super::pool::Pool;
use super::server::{SWEEP_INTERVAL, Server};
use crate::config::{PoolConfig, UpstreamProtocol};

/// The pools of a configuration.
#[derive(Debug, Clone)]
pub struct Pools {
    pools: Arc<[Arc<Pool>]>,
    tasks: TaskTracker,
}

impl Pools {
    /// Sets up the pools, in the order given, and starts their background tasks, which end with `stop` or with the last
    /// clone.
    ///
    /// A pool of `previous` with the same configuration and the same certificates is carried over with its connections
    /// and health; others keep the counters of upstreams that they share with the pool of the same name. Nothing of the
    /// network is touched.
    pub fn start(
        configs: &[Arc<PoolConfig>],
        previous: Option<&Self>,
        stop: &CancellationToken,
    ) -> Result<Self, PoolError> {
        let tasks = previous.map_or_else(TaskTracker::new, |previous| previous.tasks.clone());
        let counters = previous.map(Self::counters).unwrap_or_default();
        let pools: Result<Vec<_>, _> =
            configs.iter().map(|config| set_up(config, previous, &counters, &tasks, stop)).collect();
        Ok(Self { pools: pools?.into(), tasks })
    }

    /// Loads what [`Pools::start`] loads, to find out whether it would succeed.
    pub fn check(configs: &[Arc<PoolConfig>]) -> Result<(), PoolError> {
        configs.iter().try_for_each(|config| prepare(config).map(|_| ()))
    }

    /// The pool at this place of the configuration.
    ///
    /// # Panics
    ///
    /// When there is none; routes only contain indices that exist.
    pub fn get(&self, index: usize) -> &Arc<Pool> {
        &self.pools[index]
    }

    /// All pools.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.iter()
    }

    fn counters(&self) -> Counters {
        let servers = self.pools.iter().flat_map(|pool| pool.servers());
        servers
            .map(|server| {
                ((Arc::clone(server.pool()), Arc::clone(server.name())), Arc::clone(server.metrics()))
            })
            .collect()
    }
}

/// By pool and upstream.
type Counters = HashMap<(Arc<str>, Arc<str>), Arc<ServerMetrics>>;

fn prepare(config: &PoolConfig) -> Result<(TlsMaterial, Vec<Target>), PoolError> {
    if config.protocol == UpstreamProtocol::Http2 && config.send_proxy_protocol.is_some() {
        return Err(PoolError::ProxyProtocolOverHttp2 { pool: config.name.clone() });
    }
    let material = TlsMaterial::load(config)?;
    let tls = material.client_config(config)?;
    let targets: Result<_, _> =
        config.servers.iter().map(|server| Target::new(config, server, tls.as_ref())).collect();
    Ok((material, targets?))
}

fn set_up(
    config: &Arc<PoolConfig>,
    previous: Option<&Pools>,
    counters: &Counters,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Arc<Pool>, PoolError> {
    let (material, targets) = prepare(config)?;
    let unchanged = previous.and_then(|previous| {
        previous.pools.iter().find(|pool| *pool.config == **config && pool.material == material)
    });
    if let Some(pool) = unchanged {
        return Ok(Arc::clone(pool));
    }
    let servers: Vec<_> = config
        .servers
        .iter()
        .zip(targets)
        .map(|(server, target)| {
            let key = (Arc::from(config.name.as_str()), Arc::from(server.url.as_str()));
            let metrics = counters.get(&key).cloned().unwrap_or_default();
            Arc::new(Server::new(config, server, target, metrics, tasks.clone()))
        })
        .collect();
    let stop = stop.child_token();
    spawn_tasks(config, &servers, tasks, &stop);
    let shares = config.servers.iter().map(|server| (server.url.as_str(), server.weight));
    let balancer = Balancer::new(config.balance, shares);
    Ok(Arc::new(Pool { config: Arc::clone(config), material, servers, balancer, _stop: stop.drop_guard() }))
}

fn spawn_tasks(
    config: &Arc<PoolConfig>,
    servers: &[Arc<Server>],
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let swept = servers.to_vec();
    tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            interval.tick().await;
            swept.iter().for_each(|server| server.sweep_idle());
        }
    }));
    let Some(check) = &config.health_check else { return };
    for server in servers {
        let checks = health::run_checks(check.clone(), config.protocol, Arc::clone(server));
        tasks.spawn(stop.clone().run_until_cancelled_owned(checks));
    }
}
