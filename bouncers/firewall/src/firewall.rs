//! Implements the firewall as a bouncer program: its name, its flags, and the enforcement of decisions.
//!
//! ```text
//!  palisade_bouncer::run ──► Firewall::start ──► Enforcer (task) ──► kernel
//!                │                                   ▲ EnforcerConfig
//!                └──► reload, tick ──────────────────┘
//! ```

use std::io;
use std::sync::Arc;

use palisade_bouncer::control::{Effect, Subject};
use palisade_bouncer::run::{
    Bouncer, CHECK, Checked, CommandContext, Enforcement, LOOKUP, PROGRAM_FLAGS, ProgramInfo, STATUS, Start,
};
use palisade_bouncer::usage::Meter;
use palisade_cache::Snapshot;
use palisade_client::LapiPool;
use palisade_daemon::file_access::Unit;
use palisade_daemon::flags::Program;
use palisade_daemon::{Document, Problems};
use tokio::sync::watch;
use tracing::info;

use crate::adopt::{ADOPT, REMOVE_RULES, adopt, remove_rules};
use crate::config::{Config, ConfigFile, FIREWALL_KEYS, Mode};
use crate::effect::effect;
use crate::environment::{enforcer_config, local_network, protected};
use crate::explain::arguments::{EXPLAIN, parse};
use crate::explain::explain;
use crate::metrics::Counters;
use crate::{Enforcer, EnforcerConfig, Status, check, dry_run};

/// The running firewall.
#[derive(Debug)]
pub struct Firewall {
    enforcer_config: watch::Sender<EnforcerConfig>,
    status: watch::Receiver<Status>,
    counters: Counters,
}

impl Bouncer for Firewall {
    type Config = Config;
    type Status = Status;

    const INFO: ProgramInfo = ProgramInfo {
        program: Program {
            name: "palisade-firewall",
            about: "Keeps addresses banned by a CrowdSec LAPI out with nftables.",
            flags: PROGRAM_FLAGS,
            commands: &[CHECK, LOOKUP, STATUS, EXPLAIN, ADOPT, REMOVE_RULES],
        },
        version: concat!("v", env!("CARGO_PKG_VERSION")),
        stock_name: "crowdsec-firewall-bouncer",
        unit: Unit {
            name: "palisade-firewall",
            config: "/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml",
            handed_over: &[
                "/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml",
                "/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml.local",
            ],
            own_directories: &[
                "/var/lib/palisade-firewall",
                "/var/log/palisade-firewall",
                "/run/palisade-firewall",
            ],
        },
        // The stock bouncer's, so that log collectors find it.
        keys: FIREWALL_KEYS,
    };

    fn read_config(document: &Document, problems: &mut Problems) -> Option<Checked<Config>> {
        match document.parse_into::<ConfigFile>(problems)?.check() {
            Ok((config, notes)) => Some(Checked { config, notes }),
            Err(more) => {
                problems.extend(more);
                None
            }
        }
    }

    fn types(config: &Config) -> Option<&[String]> {
        Some(&config.types)
    }

    fn present_as(config: &Config) -> &str {
        config.present_as.as_str()
    }

    fn is_dry_run(config: &Config) -> bool {
        config.mode == Mode::DryRun
    }

    fn announce(config: &Config) {
        match config.mode {
            Mode::Nftables => info!("backend type: nftables"),
            Mode::DryRun => {
                info!("backend type: dry-run");
                dry_run::init();
            }
        }
    }

    async fn check(config: &Config) -> anyhow::Result<()> {
        Ok(check(config).await?)
    }

    fn command(context: &CommandContext<'_, Self>) -> anyhow::Result<()> {
        match context.typed.command() {
            Some("adopt") => return adopt(context),
            Some("remove-rules") => return remove_rules(context),
            // `explain`.
            _ => {}
        }
        let packet = parse(context.typed)?;
        let cache = context.query().decisions_on(&Subject::Address(packet.source));
        // Without a daemon the kernel is explained all the same.
        let cache = cache.map_err(|error| error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let enforcer_config = runtime.block_on(enforcer_config(&context.loaded.config, context.lapis));
        explain(&enforcer_config, packet, cache, context.json(), &mut io::stdout())
    }

    async fn start(start: Start<Config>) -> anyhow::Result<(Self, Enforcement)> {
        let Start { config, lapis, cache, first_decisions, metrics, stop, .. } = start;
        let (sender, receiver) = watch::channel(enforcer_config(&config, &lapis).await);
        let (mut enforcer, status) = Enforcer::new(receiver.clone(), cache);
        let counters = Counters::new(receiver, status.clone());
        // In dry-run mode nothing is counted, and the stock metrics would show zeros.
        if config.mode != Mode::DryRun {
            metrics.register(|registry| registry.register_collector(Box::new(counters.clone())));
        }
        // The collector is synchronous, so the kernel is read before it runs.
        metrics.before_scrape({
            let counters = counters.clone();
            move || {
                let counters = counters.clone();
                async move { counters.refresh().await }
            }
        });
        let enforcement = async move {
            enforcer.prepare().await;
            // Until decisions are known, the elements that an earlier process left in the kernel are all that is
            // enforced, so nothing is changed.
            if first_decisions.wait().await {
                enforcer.run(stop).await?;
            }
            Ok(())
        };
        Ok((Self { enforcer_config: sender, status, counters }, Box::pin(enforcement)))
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    async fn reload(&self, config: Config, lapis: &LapiPool) -> anyhow::Result<()> {
        let protected = protected(&config, lapis).await;
        // Where they cannot be read, the former addresses stay exempt.
        let local = local_network().await.unwrap_or_else(|| self.enforcer_config.borrow().local.clone());
        self.enforcer_config.send_replace(EnforcerConfig { config: Arc::new(config), protected, local });
        Ok(())
    }

    /// Passes new addresses of the LAPIs and of this host to the enforcer.
    async fn tick(&self, lapis: &LapiPool) {
        let config = Arc::clone(&self.enforcer_config.borrow().config);
        if let Some(local) = local_network().await {
            // Addresses come and go with DHCP and containers. Only a change wakes the enforcer, which then compares
            // everything.
            self.enforcer_config.send_if_modified(|enforcer_config| {
                let changed = enforcer_config.local != local;
                enforcer_config.local = local;
                changed
            });
        }
        if !config.protect_lapi {
            return;
        }
        // Connections show the address in use without a query: name servers are asked only when a new one appears.
        let is_known = {
            let known = self.enforcer_config.borrow();
            lapis.peer_addresses().all(|peer| known.protected.contains(&peer.ip()))
        };
        if !is_known {
            let protected = protected(&config, lapis).await;
            self.enforcer_config.send_modify(|enforcer_config| enforcer_config.protected = protected);
        }
    }

    fn effect(&self, subject: &Subject, snapshot: &Snapshot) -> Effect {
        // Copied out: a walk over all decisions must not delay a reload or a usage report.
        let (enforcer_config, status) = (self.enforcer_config.borrow().clone(), self.status.borrow().clone());
        effect(&enforcer_config, &status, snapshot, subject)
    }

    fn meter(&self) -> impl Meter + 'static {
        self.counters.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_packaged_one() {
        let file = include_str!("../../../packaging/systemd/palisade-firewall.service");
        assert_eq!(Firewall::INFO.unit.compare(file), Ok(()));
    }
}
