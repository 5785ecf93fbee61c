//! The state shared by all requests.

use std::{ops::Deref, sync::Arc};

use arc_swap::ArcSwap;
use palisade_daemon::logs::AccessLog;
use palisade_lapi_config::{Config, ServerConfig};
use palisade_profiles::Profiles;
use palisade_replica::CursorSigner;
use palisade_service::{
    alert_counts::AlertCounts,
    allowlists::Allowlists,
    clock::Clock,
    ingest::{self, Ingest},
    long_poll::LongPoll,
    registry::Registry,
    replication::{self, Replication},
};
use palisade_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::{auth::Authenticator, limits::BodyPlaces, metrics::LapiMetrics};

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
    pub(crate) store: Store,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: LapiMetrics,
    pub(crate) access: AccessLog,
    pub(crate) auth: Authenticator,
    pub(crate) body_places: BodyPlaces,
    pub(crate) replication: Arc<Replication>,
    pub(crate) long_poll: Arc<LongPoll>,
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) allowlists: Arc<Allowlists>,
    pub(crate) alert_counts: Arc<AlertCounts>,
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
    pub(crate) access: AccessLog,
    pub(crate) auth: Authenticator,
    pub(crate) signer: CursorSigner,
    /// Fires when no new requests are accepted.
    pub(crate) closing: CancellationToken,
}

impl Lapi {
    /// Loads the active decisions and allowlists, and connects the parts.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub(crate) async fn load(setup: Setup) -> Result<Self, StoreError> {
        let Setup {
            config,
            server,
            clock,
            profiles,
            store,
            registry,
            metrics,
            access,
            auth,
            signer,
            closing,
        } = setup;
        let registry = Arc::new(registry);
        let allowlists = Arc::new(Allowlists::new(store.clone()));
        let replication = Replication::load(replication::Setup {
            store: store.clone(),
            clock: clock.clone(),
            registry: registry.clone(),
            allowlists: allowlists.clone(),
            metrics: metrics.database.clone(),
        })
        .await?;
        let alert_counts = Arc::new(AlertCounts::new(store.clone()));
        alert_counts.recount().await?;
        let ingest = Arc::new(Ingest::new(ingest::Setup {
            store: store.clone(),
            clock: clock.clone(),
            profiles: ArcSwap::from_pointee(profiles),
            allowlists: allowlists.clone(),
            replication: replication.clone(),
            alert_counts: alert_counts.clone(),
            metrics: metrics.ingest.clone(),
        }));
        let long_poll = Arc::new(LongPoll::new(signer, replication.clone(), clock.clone()));
        Ok(Self(Arc::new(Parts {
            config,
            server,
            clock,
            store,
            body_places: BodyPlaces::default(),
            registry,
            metrics,
            access,
            auth,
            replication,
            long_poll,
            ingest,
            allowlists,
            alert_counts,
            closing,
        })))
    }
}
