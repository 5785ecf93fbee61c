//! The files that `api.server` names; read at start and on reload.

use anyhow::Context as _;
use palisade_daemon::listen::tls::TlsServer;
use palisade_lapi_config::{Config, ServerConfig};
use palisade_profiles::Profiles;
use palisade_wire::UnixMillis;
use tracing::warn;

use crate::auth::certificate::Certificates;

/// The contents of the files named in `api.server`.
pub(super) struct Files {
    pub(super) profiles: Profiles,
    pub(super) tls: Option<TlsServer>,
    pub(super) certificates: Certificates,
}

impl Files {
    /// Reads all files, those that have no effect yet too, and logs warnings about them.
    pub(super) fn load(config: &Config, server: &ServerConfig, now: UnixMillis) -> anyhow::Result<Self> {
        let path = server.profiles_path.as_deref().context("empty profiles path")?;
        let profiles = Profiles::load(path).context("while loading profiles for LAPI")?;
        let (tls, certificates) = match &server.tls {
            Some(block) => {
                let tls = TlsServer::load(&block.files).context("while creating TLS config")?;
                let certificates =
                    Certificates::load(block, &tls, now).context("while creating TLS config")?;
                (Some(tls), certificates)
            }
            None => (None, Certificates::default()),
        };
        for warning in config.check_inactive_files(&profiles.notifications())? {
            warn!("{warning}");
        }
        Ok(Self { profiles, tls, certificates })
    }
}

/// The block `api.server`, if it is enabled.
pub(super) fn enabled(config: &Config) -> anyhow::Result<&ServerConfig> {
    config.server.as_ref().filter(|server| server.enable).context(
        "you must run at least the API Server or crowdsec: api.server is missing or disabled, and there is no log \
         processor in here",
    )
}
