//! What all requests share.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use palisade_active::CursorSigner;
use palisade_lapi_config::{Config, ServerConfig};
use palisade_profiles::Profiles;
use palisade_store::Store;
use palisade_wire::UnixMillis;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    allowlists, auth::Auth, ingest, long_poll, metrics::LapiMetrics, registry::Registry, replication,
};

/// The LAPI. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Lapi(Arc<Parts>);

/// What the LAPI consists of.
#[derive(Debug)]
pub struct Parts {
    /// The configuration it was started with.
    pub config: Config,
    /// Its block `api.server`.
    pub server: ServerConfig,
    /// What time it is.
    pub clock: Clock,
    /// Which alert becomes which decisions; replaced at a reload.
    pub profiles: ArcSwap<Profiles>,
    /// Where everything is kept.
    pub store: Store,
    /// Machines and bouncers.
    pub registry: Registry,
    /// Counters.
    pub metrics: LapiMetrics,
    /// Tokens, passwords, certificates, throttling.
    pub auth: Auth,
    /// What feeds the active decisions with commits.
    pub(crate) replication: replication::Replication,
    /// Requests that are held until there is something for them.
    pub(crate) long_poll: Arc<long_poll::LongPoll>,
    /// What takes alerts in.
    pub(crate) ingest: ingest::Ingest,
    /// Allowlists in memory.
    pub(crate) allowlists: allowlists::Allowlists,
    /// Fires when no new requests are taken: whoever is held is to be answered.
    pub closing: CancellationToken,
    /// Fires when the LAPI must end.
    pub stop: CancellationToken,
    /// Owner of tasks that outlive a request.
    pub tasks: TaskTracker,
}

impl Deref for Lapi {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What a LAPI is made of.
#[derive(Debug)]
pub struct Setup {
    /// The configuration; its block `api.server` is there.
    pub config: Config,
    /// That block.
    pub server: ServerConfig,
    /// What time it is.
    pub clock: Clock,
    /// The profiles.
    pub profiles: Profiles,
    /// The store, open.
    pub store: Store,
    /// Machines and bouncers, loaded.
    pub registry: Registry,
    /// Counters.
    pub metrics: LapiMetrics,
    /// Tokens, passwords, certificates, throttling.
    pub auth: Auth,
    /// Seals the cursors of clients.
    pub signer: CursorSigner,
    /// Fires when no new requests are taken.
    pub closing: CancellationToken,
    /// Fires when the LAPI must end.
    pub stop: CancellationToken,
    /// Owner of tasks that outlive a request.
    pub tasks: TaskTracker,
}

impl Lapi {
    /// Puts the parts together.
    pub fn new(setup: Setup) -> Self {
        let Setup {
            config,
            server,
            clock,
            profiles,
            store,
            registry,
            metrics,
            auth,
            signer,
            closing,
            stop,
            tasks,
        } = setup;
        Self(Arc::new(Parts {
            config,
            server,
            clock,
            profiles: ArcSwap::from_pointee(profiles),
            store,
            registry,
            metrics,
            auth,
            replication: replication::Replication::default(),
            long_poll: Arc::new(long_poll::LongPoll::new(signer)),
            ingest: ingest::Ingest::default(),
            allowlists: allowlists::Allowlists::default(),
            closing,
            stop,
            tasks,
        }))
    }
}

/// Where the time comes from.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system.
    #[default]
    System,
    /// A test that moves it.
    Set(Arc<AtomicI64>),
}

impl Clock {
    /// What time it is.
    pub fn now(&self) -> UnixMillis {
        match self {
            Self::System => UnixMillis::now(),
            Self::Set(millis) => UnixMillis(millis.load(Ordering::Relaxed)),
        }
    }
}
