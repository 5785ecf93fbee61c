//! The state shared by all requests.

#[cfg(test)]
use std::sync::atomic::{AtomicI64, Ordering};
use std::{ops::Deref, sync::Arc};

use arc_swap::ArcSwap;
use palisade_lapi_config::{Config, ServerConfig};
use palisade_profiles::Profiles;
use palisade_replica::CursorSigner;
use palisade_store::Store;
use palisade_wire::UnixMillis;
use tokio_util::sync::CancellationToken;

use crate::{
    allowlists, auth::Auth, ingest, long_poll, metrics::LapiMetrics, registry::Registry, replication,
};

/// A handle to the LAPI's state; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Lapi(Arc<Parts>);

/// The LAPI's state.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The configuration at start.
    pub(crate) config: Config,
    /// Its block `api.server`.
    pub(crate) server: ServerConfig,
    pub(crate) clock: Clock,
    /// Replaced on reload.
    pub(crate) profiles: ArcSwap<Profiles>,
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) metrics: LapiMetrics,
    pub(crate) auth: Auth,
    pub(crate) replication: replication::Replication,
    pub(crate) long_poll: Arc<long_poll::LongPoll>,
    pub(crate) ingest: ingest::Ingest,
    pub(crate) allowlists: allowlists::Allowlists,
    /// Fires when no new requests are accepted: parked requests must be answered.
    pub(crate) closing: CancellationToken,
}

impl Deref for Lapi {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What a LAPI is created from.
#[derive(Debug)]
pub(crate) struct Setup {
    /// With the block `api.server` present.
    pub(crate) config: Config,
    /// That block.
    pub(crate) server: ServerConfig,
    pub(crate) clock: Clock,
    pub(crate) profiles: Profiles,
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) metrics: LapiMetrics,
    pub(crate) auth: Auth,
    pub(crate) signer: CursorSigner,
    /// Fires when no new requests are accepted.
    pub(crate) closing: CancellationToken,
}

impl Lapi {
    pub(crate) fn new(setup: Setup) -> Self {
        let Setup { config, server, clock, profiles, store, registry, metrics, auth, signer, closing } =
            setup;
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
        }))
    }
}

/// The source of the current time.
#[derive(Debug, Clone, Default)]
pub(crate) enum Clock {
    #[default]
    System,
    #[cfg(test)]
    /// A clock that tests advance.
    Set(Arc<AtomicI64>),
}

impl Clock {
    pub(crate) fn now(&self) -> UnixMillis {
        match self {
            Self::System => UnixMillis::now(),
            #[cfg(test)]
            Self::Set(millis) => UnixMillis(millis.load(Ordering::Relaxed)),
        }
    }
}
