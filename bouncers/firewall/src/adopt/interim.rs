//! Keeps the decisions in force in tables of their own while one service hands over to the other.
//!
//! The tables have names that neither service uses, so that whatever the one removes at its stop and the other builds at
//! its start, the packet of a banned address meets these. They are filled and kept up by the same [`Enforcer`] that the
//! daemon runs, within this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use palisade_bouncer::Subscription;
use palisade_bouncer::run::{Bouncer as _, CommandContext};
use palisade_bouncer::settings::LapiSettings;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Family, Mode};
use crate::environment::enforcer_config;
use crate::{Enforcer, EnforcerConfig, Firewall, Status};

/// How long the decisions may take to be in force.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often that is looked at.
const POLL: Duration = Duration::from_millis(20);

/// The tables, and what keeps them up.
#[derive(Debug)]
pub(super) struct Interim {
    runtime: Runtime,
    stop_following: CancellationToken,
    stop_enforcing: CancellationToken,
    enforcing: JoinHandle<anyhow::Result<()>>,
    status: watch::Receiver<Status>,
}

/// The configuration of the tables: that of the file under other names. `None` when no family is managed.
pub(super) fn interim_config(config: &Config) -> Option<Config> {
    let renamed = |family: &Option<Family>, table: &str| {
        // In set-only mode the operator's rules decide what a ban means, and only in the operator's table.
        let family = family.as_ref().filter(|family| !family.set_only)?;
        Some(Family { table: table.to_owned(), ..family.clone() })
    };
    let config = Config {
        mode: Mode::Nftables,
        v4: renamed(&config.v4, "palisade-interim"),
        v6: renamed(&config.v6, "palisade-interim6"),
        keep_on_stop: false,
        // Each packet is logged by the service.
        log: None,
        ..config.clone()
    };
    config.families().next()?;
    Some(config)
}

impl Interim {
    /// Pulls the decisions and brings them into force.
    ///
    /// # Errors
    /// The LAPI or the kernel refuses, or it takes too long. Nothing is left then.
    pub(super) fn start(context: &CommandContext<'_, Firewall>, config: &Config) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        // The state folder belongs to the daemon.
        let settings = LapiSettings { state_dir: None, ..context.settings.clone() };
        let types = Firewall::types(&context.loaded.config).map(<[String]>::to_vec);
        let subscription = {
            let _entered = runtime.enter();
            Subscription::open(&settings, context.lapis.clone(), types, Firewall::policy())
        };
        let cache = subscription.cache.clone();
        let enforcer_config = runtime.block_on(enforcer_config(config, context.lapis));
        let (sender, receiver) = watch::channel(enforcer_config);
        let (enforcer, status) = Enforcer::new(receiver, cache.clone());
        let (stop_following, stop_enforcing) = (CancellationToken::new(), CancellationToken::new());
        let follow = {
            let stop = stop_following.clone();
            async move {
                // Never used, but a closed channel would be read again and again.
                let (_changes, changed) = mpsc::channel(1);
                subscription.run(changed, stop).await
            }
        };
        let following = runtime.spawn(follow);
        let enforcing = runtime.spawn({
            let stop = stop_enforcing.clone();
            async move {
                // Addresses of this host do not change in the seconds that this takes.
                let _sender = sender;
                while !cache.published().freshness.is_complete() {
                    if stop.is_cancelled() {
                        return Ok(());
                    }
                    if following.is_finished() {
                        following.await??;
                        bail!("the LAPI is not followed any more");
                    }
                    tokio::time::sleep(POLL).await;
                }
                Ok(enforcer.run(stop).await?)
            }
        });
        runtime.spawn(ignore_signals());
        let mut interim = Self { runtime, stop_following, stop_enforcing, enforcing, status };
        match interim.wait() {
            Ok(()) => Ok(interim),
            Err(error) => {
                interim.end().context("while the interim tables were removed")?;
                Err(error)
            }
        }
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + TIMEOUT;
        loop {
            let status = self.status.borrow().clone();
            if status.is_ready() && status.failing.is_none() {
                return Ok(());
            }
            if self.enforcing.is_finished() {
                // Taken, so that the end does not await it again.
                let ended = std::mem::replace(&mut self.enforcing, self.runtime.spawn(async { Ok(()) }));
                self.runtime.block_on(ended)??;
                bail!("the interim tables were given up");
            }
            if Instant::now() >= until {
                let failing = status.failing.unwrap_or_else(|| "the LAPI has not answered".to_owned());
                bail!("decisions were not in force within {} s: {failing}", TIMEOUT.as_secs());
            }
            std::thread::sleep(POLL);
        }
    }

    /// How many addresses and ranges are in force.
    pub(super) fn elements(&self) -> u64 {
        self.status.borrow().total()
    }

    /// How many single addresses are in force.
    pub(super) fn hosts(&self) -> u64 {
        self.status.borrow().in_force.iter().map(|part| part.hosts).sum()
    }

    /// Removes the tables.
    ///
    /// # Errors
    /// The task that enforces has failed.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.stop_following.cancel();
        self.stop_enforcing.cancel();
        self.runtime.block_on(self.enforcing)?
    }
}

/// Ignores SIGINT, SIGHUP and SIGTERM from now on: a change-over takes seconds, and must not end half-way.
async fn ignore_signals() {
    let kinds = [SignalKind::interrupt(), SignalKind::hangup(), SignalKind::terminate()];
    // Once a handler is set, the signal's own action stays off.
    let _streams: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    std::future::pending::<()>().await;
}

/// What [`Enforcer::remove_rules`] removes of a killed change-over.
pub(super) fn interim_enforcer_config(config: &Config) -> Option<EnforcerConfig> {
    let config = Arc::new(interim_config(config)?);
    Some(EnforcerConfig { config, protected: Vec::new(), local: crate::LocalNetwork::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;
    use palisade_daemon::{Document, Problems};

    fn config(text: &str) -> Config {
        let document = Document::from_text(std::path::Path::new("f.yaml"), text, None, &|_| None).unwrap();
        let mut problems = Problems::new();
        document.parse_into::<ConfigFile>(&mut problems).unwrap().check().unwrap().0
    }

    #[test]
    fn only_managed_tables_have_an_interim_one() {
        let both = interim_config(&config("mode: nftables\nkeep_on_stop: true\ndeny_log: true\n")).unwrap();
        let tables: Vec<_> = both.families().map(|(_, family)| family.table.as_str()).collect();
        assert_eq!(tables, ["palisade-interim", "palisade-interim6"]);
        assert!(!both.keep_on_stop && both.log.is_none());
        let set_only = "mode: nftables\nnftables: {ipv4: {set-only: true}, ipv6: {set-only: true}}\n";
        assert_eq!(interim_config(&config(set_only)), None);
    }
}
