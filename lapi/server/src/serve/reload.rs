//! Reload: replaces profiles, certificates, revocation lists and log settings while serving.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use palisade_daemon::{listen::tls::TlsServer, logs::LogLevel, runtime::DaemonContext};
use palisade_lapi_config::Config;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::files::{Files, enabled};
use crate::{
    auth::certificate::load_lists,
    cli::{configure_access_log, configure_logs, log_loaded},
    state::Lapi,
};

/// How often the file of revocation lists is checked for changes.
const CRL_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Handles reload requests until shutdown. A configuration that cannot be used changes nothing.
pub(super) async fn follow(
    lapi: Lapi,
    level: Option<LogLevel>,
    tls: Arc<ArcSwapOption<TlsServer>>,
    daemon: DaemonContext,
) {
    let mut asked = daemon.reload.clone();
    loop {
        match daemon.stop.run_until_cancelled(asked.changed()).await {
            Some(Ok(())) => {}
            _ => return,
        }
        match reload(&lapi, level, &tls, &daemon) {
            Ok(()) => info!("configuration reloaded"),
            Err(cause) => warn!("the configuration was not reloaded, the old one stays in force: {cause:#}"),
        }
        daemon.reloaded();
    }
}

fn reload(
    lapi: &Lapi,
    level: Option<LogLevel>,
    tls: &ArcSwapOption<TlsServer>,
    daemon: &DaemonContext,
) -> anyhow::Result<()> {
    let mut config = Config::load(&lapi.config.path)?;
    if let Some(level) = level {
        config.set_log_level(level);
    }
    let server = enabled(&config)?;
    let files = Files::load(&config, server, lapi.clock.now())?;
    if files.tls.is_some() != lapi.server.tls.is_some() {
        warn!("api.server.tls was added or removed; restart to apply it");
    } else {
        tls.store(files.tls.map(Arc::new));
        lapi.auth.certificates.store(Arc::new(files.certificates));
        lapi.registry.certificates_changed();
    }
    configure_logs(&daemon.logs, &config.logs)?;
    configure_access_log(&lapi.access, &config.access_log)?;
    lapi.ingest.set_profiles(files.profiles);
    log_loaded(&config);
    for key in needs_restart(&lapi.config, &config) {
        warn!("{key} has changed; restart to apply it");
    }
    Ok(())
}

/// Configuration blocks that differ and are only read at start. Pure.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    if old.database != new.database {
        keys.push("db_config");
    }
    if old.prometheus != new.prometheus {
        keys.push("prometheus");
    }
    // TLS files and profiles are reloaded even when their paths have changed, and so is the access log.
    let rest = |config: &Config| {
        config.server.clone().map(|server| {
            (server.tls.is_some(), {
                let mut server = server;
                server.tls = None;
                server.profiles_path = None;
                server.log_level = None;
                server
            })
        })
    };
    if rest(old) != rest(new) {
        keys.push("api.server");
    }
    keys
}

/// Reloads the revocation lists whenever their file changes.
pub(super) async fn watch_revocations(lapi: Lapi, stop: CancellationToken) {
    let path = || lapi.auth.certificates.load().lists_path.clone();
    let mut known = path().map(|path| (stamp(&path), path));
    let mut ticks = tokio::time::interval(CRL_CHECK_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = path().map(|path| (stamp(&path), path));
        if now == known {
            continue;
        }
        known = now;
        let Some((_, path)) = &known else { continue };
        match load_lists(path, lapi.clock.now()) {
            Ok(lists) => {
                lapi.auth.certificates.load().relist(lists);
                lapi.registry.certificates_changed();
                info!(path = %path.display(), "revocation lists reloaded");
            }
            Err(cause) => warn!(
                error = &cause as &dyn std::error::Error,
                "the revocation lists have changed but cannot be used; the old ones stay in force"
            ),
        }
    }
}

/// Modification time and size of a file.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let there = std::fs::metadata(path).ok()?;
    Some((there.modified().ok()?, there.len()))
}
