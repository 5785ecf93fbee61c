//! Runs the LAPI: start, reload, shutdown.

mod accounts;
mod file_access;
mod files;
mod first_start;
mod reload;
mod secret;

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use palisade_daemon::{
    listen::{self, Limits, Listeners, OpenFiles, Serving, SocketFile},
    logs::{AccessLog, LogLevel},
    metrics,
    runtime::DaemonContext,
};
use palisade_lapi_config::{Config, DbConfig, MetricsLevel, ServerConfig};
use palisade_replica::CursorSigner;
use palisade_service::{clock::Clock, registry::Registry};
use palisade_store::Store;
use palisade_wire::UnixMillis;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use accounts::Accounts;
pub use file_access::check_access;
use files::{Files, enabled};

use crate::{
    auth::Authenticator,
    background,
    cli::configure_access_log,
    metrics::LapiMetrics,
    router::router,
    state::{Lapi, Setup},
};

/// Checked here and not with the other keys: commands that only use the API run without a database.
const NO_DATABASE: &str =
    "no database configuration provided; the LAPI keeps everything there, add `db_config`";

/// What is read before anything is opened.
struct Prepared {
    server: ServerConfig,
    database: DbConfig,
    secret: Option<Vec<u8>>,
    accounts: Option<Accounts>,
    files: Files,
}

impl Prepared {
    fn load(config: &Config, now: UnixMillis) -> anyhow::Result<Self> {
        let server = enabled(config)?.clone();
        let database = config.database.as_ref().context(NO_DATABASE)?.clone();
        let secret = secret::from_environment()?;
        let accounts = match server.accounts_from_environment {
            true => Some(Accounts::from_environment().context(ACCOUNTS)?),
            false => None,
        };
        let files = Files::load(config, &server, now)?;
        Ok(Self { server, database, secret, accounts, files })
    }
}

/// `-t`: finds what [`serve`] would refuse, by the same functions but without making, opening for writing or connecting to
/// anything. Not found is what only an attempt shows: an address or socket in use, a server that does not answer.
///
/// # Errors
///
/// What would prevent the start.
pub async fn check(config: &Config) -> anyhow::Result<()> {
    let is_on = config.access_log.level >= LogLevel::Info;
    for log in [Some(&config.logs), is_on.then_some(&config.access_log)].into_iter().flatten() {
        if let Err(error) = log.check() {
            warn!(
                error = &error as &dyn std::error::Error,
                "the start logs to standard error instead of a file"
            );
        }
    }
    let Prepared { server, database, .. } = Prepared::load(config, UnixMillis::now())?;
    if let Some(uri) = &server.listen_uri {
        listen::check_bind(uri).await.context(STARTING)?;
    }
    if let Some(path) = &server.listen_socket {
        listen::check_socket(path, &server.socket_access).context(STARTING)?;
    }
    Store::check(&database.store).await.context(OPENING)?;
    // The start goes on without metrics, and logs it.
    if let Some(block) = &config.prometheus
        && let Err(cause) = metrics::check(&block.listen).await
    {
        warn!(
            error = &cause as &dyn std::error::Error,
            addr = %block.listen.addr,
            port = block.listen.port,
            "metrics cannot be served; set another prometheus.listen_addr"
        );
    }
    Ok(())
}

/// What a failure with accounts of the environment is reported with.
const ACCOUNTS: &str = "api.server.accounts_from_environment";
/// What a listener's failure is reported with.
const STARTING: &str = "while starting API server";
/// What the database's failure is reported with.
const OPENING: &str = "unable to create database client";

/// Runs the LAPI until shutdown.
///
/// # Errors
///
/// What prevents the start.
pub async fn serve(config: Config, level: Option<LogLevel>, daemon: DaemonContext) -> anyhow::Result<()> {
    let access = AccessLog::start()?;
    configure_access_log(&access, &config.access_log)?;
    let clock = Clock::System;
    let Prepared { server, database, secret, accounts, files } = Prepared::load(&config, clock.now())?;
    let open_files = OpenFiles::raise();
    let database = DbConfig { store: database.store.within(open_files.quarter()), ..database };
    let limits =
        Limits { connections: open_files.connections(database.store.open_files()), ..Limits::default() };
    // Bind first, so that a second instance fails before it opens the database.
    let (listeners, socket) = bind(&server).await.context(STARTING)?;

    let store = first_start::open(&database, clock.now()).await.context(OPENING)?;
    if let Some(accounts) = accounts {
        accounts.add_to(&store, clock.now()).await.context(ACCOUNTS)?;
    }
    let secret = match secret {
        Some(secret) => secret,
        None => secret::stored_token_secret(&store, clock.now())
            .await
            .context("while keeping the secret for tokens")?,
    };
    let cursor_key =
        secret::stored_cursor_key(&store, clock.now()).await.context("while keeping the key for cursors")?;
    let metrics_level = config.prometheus.as_ref().map_or(MetricsLevel::None, |block| block.level);
    let background_stop = CancellationToken::new();
    let lapi = Lapi::load(Setup {
        auth: Authenticator::new(&secret, files.certificates)
            .context("cannot start the threads for passwords")?,
        registry: Registry::load(store.clone()).await.context("unable to read machines and bouncers")?,
        metrics: LapiMetrics::new(metrics_level, &daemon.metrics),
        access: access.clone(),
        profiles: files.profiles,
        store: store.clone(),
        signer: CursorSigner::new(&cursor_key),
        closing: daemon.stop.clone(),
        server,
        clock,
        config,
    })
    .await
    .context("unable to load the active decisions")?;
    let (machines, bouncers) = lapi.registry.len();
    info!(machines, bouncers, "active decisions, machines and bouncers loaded");

    let tls = Arc::new(ArcSwapOption::from_pointee(files.tls));
    let serving = Serving {
        service: router(lapi.clone()),
        tls: tls.clone(),
        limits,
        metrics: lapi.metrics.connections.clone(),
    };
    background::spawn(&lapi, &daemon, &background_stop);
    serve_metrics(&lapi, &daemon);
    let (watched, stop) = (lapi.clone(), daemon.stop.clone());
    daemon.spawn("revocations", async move {
        reload::watch_revocations(watched, stop).await;
        Ok(())
    });
    daemon.tasks.spawn(reload::follow(lapi.clone(), level, tls, daemon.clone()));
    for line in listening_lines(&lapi, &listeners) {
        info!("{line}");
    }
    let ready = daemon.latch();
    ready.release();
    daemon.status("serving");
    listeners.serve(serving, daemon.stop.clone()).await;

    // No requests are left: write pending updates, then close.
    drop(socket);
    background_stop.cancel();
    if let Err(cause) = lapi.registry.activity.write_back(lapi.clock.now()).await {
        warn!(
            error = &cause as &dyn std::error::Error,
            "cannot write last pulls and heartbeats; bouncers will receive their last changes again"
        );
    }
    store.close().await;
    access.flush();
    Ok(())
}

async fn bind(server: &ServerConfig) -> anyhow::Result<(Listeners, Option<SocketFile>)> {
    let mut listeners = Listeners::default();
    if let Some(uri) = &server.listen_uri {
        listeners.tcp = Some(listen::bind(uri).await?);
    }
    let mut file = None;
    if let Some(path) = &server.listen_socket {
        let (socket, made) = listen::bind_socket(path, &server.socket_access)?;
        listeners.unix = Some(socket);
        file = Some(made);
    }
    Ok((listeners, file))
}

fn listening_lines(lapi: &Lapi, listeners: &Listeners) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(address) = listeners.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok()) {
        // All interfaces as configured, and not as the socket for both families has them.
        let host = lapi.server.listen_uri.as_deref().and_then(|uri| uri.rsplit_once(':'));
        let address = match host {
            Some((host, _)) if address.ip().is_unspecified() => format!("{host}:{}", address.port()),
            _ => address.to_string(),
        };
        let tls = if lapi.server.tls.is_some() { " (TLS)" } else { "" };
        lines.push(format!("CrowdSec Local API listening on {address}{tls}"));
    }
    if let Some(path) = &lapi.server.listen_socket {
        lines.push(format!("CrowdSec Local API listening on Unix socket {}", path.display()));
    }
    lines
}

/// Serves `/metrics`, if configured.
fn serve_metrics(lapi: &Lapi, daemon: &DaemonContext) {
    let Some(block) = &lapi.config.prometheus else { return };
    let shown = lapi.clone();
    daemon.metrics.before_scrape(move || {
        let shown = shown.clone();
        async move {
            // Counting many decisions takes a moment: on a blocking thread, and on a snapshot, so that it blocks no one.
            let _ = tokio::task::spawn_blocking(move || show(&shown)).await;
        }
    });
    let serving = metrics::serve(block.listen.clone(), daemon.metrics.clone(), daemon.stop.clone());
    daemon.tasks.spawn(serving);
}

/// Updates the gauges that are computed from memory.
fn show(lapi: &Lapi) {
    lapi.metrics.writable.set(i64::from(lapi.store.write_problem().is_none()));
    lapi.metrics.waiting.set(i64::try_from(lapi.long_poll.waiters()).unwrap_or(i64::MAX));
    lapi.metrics.show_clients(&lapi.registry);
    lapi.metrics.show(lapi.replication.view().counts(lapi.clock.now()), lapi.alert_counts.all());
}
