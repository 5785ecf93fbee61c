//! Implements the reverse proxy as a bouncer program: its name, its flags, and how it is configured and observed.

use std::io;
use std::time::Duration;

use palisade_bouncer::control::{Effect, Subject};
use palisade_bouncer::run::{
    Bouncer, CHECK, Checked, CommandContext, Enforcement, LOOKUP, PROGRAM_FLAGS, ProgramInfo, STATUS, Start,
};
use palisade_bouncer::settings::read_secret;
use palisade_bouncer::usage::Meter;
use palisade_cache::{Policy, Snapshot};
use palisade_client::LapiPool;
use palisade_daemon::file_access::Unit;
use palisade_daemon::flags::Program;
use palisade_daemon::{Document, Problems};
use tokio::sync::watch;

use crate::config::{Config, ConfigFile, file::PROXY_KEYS};
use crate::explain::{EXPLAIN, explain};
use crate::serve::{self, Server, ServerStatus};

const NAME: &str = "palisade-proxy";
/// What a shutdown takes beside the drain timeout.
const GRACE_MARGIN: Duration = Duration::from_secs(5);

/// The running proxy.
pub struct Proxy {
    server: Server,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}

impl Bouncer for Proxy {
    type Config = Config;
    type Status = ServerStatus;

    const INFO: ProgramInfo = ProgramInfo {
        program: Program {
            name: NAME,
            about: "Reverse proxy that keeps clients out for which a CrowdSec LAPI has decisions.",
            flags: PROGRAM_FLAGS,
            commands: &[CHECK, LOOKUP, STATUS, EXPLAIN],
        },
        version: concat!("v", env!("CARGO_PKG_VERSION")),
        stock_name: NAME,
        unit: Unit {
            name: "palisade-proxy",
            config: "/etc/crowdsec/bouncers/palisade-proxy.yaml",
            handed_over: &[
                "/etc/crowdsec/bouncers/palisade-proxy.yaml",
                "/etc/crowdsec/bouncers/palisade-proxy.yaml.local",
            ],
            own_directories: &["/var/lib/palisade-proxy", "/var/log/palisade-proxy", "/run/palisade-proxy"],
        },
        keys: PROXY_KEYS,
    };

    fn read_config(document: &Document, problems: &mut Problems) -> Option<Checked<Config>> {
        let file = document.parse_into::<ConfigFile>(problems)?;
        match file.check(&|path| read_secret(NAME, path)) {
            Ok((config, notes)) => Some(Checked { config, notes }),
            Err(more) => {
                problems.extend(more);
                None
            }
        }
    }

    fn scopes(config: &Config) -> &[&'static str] {
        match (config.geo.country.is_some(), config.geo.asn.is_some()) {
            (false, false) => &[],
            (true, false) => &["ip", "range", "country"],
            (false, true) => &["ip", "range", "as"],
            (true, true) => &["ip", "range", "country", "as"],
        }
    }

    fn grace(config: &Config) -> Duration {
        config.limits.drain + GRACE_MARGIN
    }

    fn policy() -> Policy {
        crate::remediation::policy()
    }

    async fn check(config: &Config) -> anyhow::Result<()> {
        serve::check(config).await
    }

    async fn start(start: Start<Config>) -> anyhow::Result<(Self, Enforcement)> {
        let (server, task) = Server::start(start).await?;
        Ok((Self { server }, Box::pin(task)))
    }

    fn status(&self) -> watch::Receiver<ServerStatus> {
        self.server.status()
    }

    async fn reload(&self, config: Config, lapis: &LapiPool) -> anyhow::Result<()> {
        self.server.reload(config, lapis).await
    }

    fn meter(&self) -> impl Meter + 'static {
        self.server.meter()
    }

    fn effect(&self, subject: &Subject, snapshot: &Snapshot) -> Effect {
        self.server.effect(subject, snapshot)
    }

    fn command(context: &CommandContext<'_, Self>) -> anyhow::Result<()> {
        explain(context, &mut io::stdout())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_packaged_one() {
        let file = include_str!("../../../packaging/systemd/palisade-proxy.service");
        assert_eq!(Proxy::INFO.unit.compare(file), Ok(()));
    }
}
