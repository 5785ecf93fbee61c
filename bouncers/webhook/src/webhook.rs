//! Implements the webhook bouncer as a bouncer program: its name, its flags, and how it is configured and observed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use palisade_bouncer::control::{Effect, Subject};
use palisade_bouncer::run::{
    Bouncer, CHECK, Checked, CommandContext, DEBUG_FLAG, Enforcement, EnforcementStatus, FirstDecisions,
    LOOKUP, Note, PROGRAM_FLAGS, ProgramInfo, STATUS, Start, TRACE_FLAG,
};
use palisade_bouncer::settings::read_secret;
use palisade_cache::Snapshot;
use palisade_client::LapiPool;
use palisade_daemon::file_access::Unit;
use palisade_daemon::flags::{Flag, Program, Typed};
use palisade_daemon::{Document, Problems};
use palisade_stream::{CacheHandle, now};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::adopt::{ADOPT, adopt};
use crate::commands::{self, DEADLETTER, RENDER, RESUME, SNAPSHOT};
use crate::config::stock_custom::{self, STOCK_CUSTOM, STOCK_CUSTOM_KEYS};
use crate::config::stock_mirror::{self, STOCK_MIRROR_KEYS};
use crate::config::{Config, ConfigFile, Files, WEBHOOK_KEYS, read_text};
use crate::delivery::endpoint::Fault;
use crate::endpoints::metrics::EndpointCollector;
use crate::endpoints::{self, Endpoints, Environment, grace, show};
use crate::mirror::Mirror;
use crate::program::MaxStartsExceeded;

const NAME: &str = "palisade-webhook";
/// What the stock mirror calls itself to a LAPI.
const STOCK_MIRROR: &str = "crowdsec-blocklist-mirror";

/// The running program. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Webhook {
    endpoints: Option<Arc<Endpoints>>,
    mirror: Option<Mirror>,
    status: watch::Sender<WebhookStatus>,
}

/// The state of the program.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WebhookStatus {
    /// The generation of the snapshot that is served; `None` until there is one.
    pub generation: Option<u64>,
    /// Decisions held.
    pub decisions: u64,
    /// Its own lines of `status`.
    pub details: BTreeMap<String, String>,
    /// The same for programs.
    pub report: serde_json::Value,
    /// What fails now.
    pub failure: Option<String>,
}

impl EnforcementStatus for WebhookStatus {
    fn generation(&self) -> Option<u64> {
        self.generation
    }

    fn elements(&self) -> u64 {
        self.decisions
    }

    // Lists are refused with 503 until decisions are known, which readers understand better than a closed port.
    fn is_ready_without_decisions(&self) -> bool {
        true
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    fn details(&self) -> BTreeMap<String, String> {
        self.details.clone()
    }

    fn report(&self) -> Option<serde_json::Value> {
        Some(self.report.clone())
    }
}

impl Bouncer for Webhook {
    type Config = Config;
    type Status = WebhookStatus;

    const INFO: ProgramInfo = ProgramInfo {
        program: Program {
            name: NAME,
            about: "Delivers the decisions of a CrowdSec LAPI to HTTP endpoints and programs, and serves them as lists.",
            flags: FLAGS,
            commands: &[CHECK, LOOKUP, STATUS, RENDER, RESUME, SNAPSHOT, DEADLETTER, ADOPT],
        },
        version: concat!("v", env!("CARGO_PKG_VERSION")),
        stock_name: NAME,
        unit: Unit {
            name: "palisade-webhook",
            config: "/etc/crowdsec/bouncers/palisade-webhook.yaml",
            handed_over: &[
                "/etc/crowdsec/bouncers/palisade-webhook.yaml",
                "/etc/crowdsec/bouncers/palisade-webhook.yaml.local",
            ],
            own_directories: &[
                "/var/lib/palisade-webhook",
                "/var/log/palisade-webhook",
                "/run/palisade-webhook",
            ],
        },
        keys: KEYS,
    };

    fn translate(document: Document) -> Document {
        match StockFile::of(&document) {
            Some(StockFile::Custom) => stock_custom::translate(document),
            Some(StockFile::Mirror) if stock_mirror::is_stock_mirror(&document) => {
                stock_mirror::translate(document)
            }
            Some(StockFile::Mirror) | None => document,
        }
    }

    fn stock_name(document: &Document) -> &'static str {
        match StockFile::of(document) {
            Some(StockFile::Custom) => STOCK_CUSTOM,
            Some(StockFile::Mirror) => STOCK_MIRROR,
            None => NAME,
        }
    }

    fn read_config(document: &Document, problems: &mut Problems) -> Option<Checked<Config>> {
        match StockFile::of(document) {
            Some(StockFile::Custom) => return stock_custom::check(document, problems),
            Some(StockFile::Mirror) => {
                let Checked { config: mirror, notes } = stock_mirror::check(document, problems)?;
                let config = Config {
                    endpoints: Vec::new(),
                    mirror: Some(Arc::new(mirror)),
                    present_as: STOCK_MIRROR.to_owned(),
                };
                return Some(Checked { config, notes });
            }
            None => {}
        }
        let file = document.parse_into::<ConfigFile>(problems)?;
        let files = Files { secret: &|path| read_secret(NAME, path), text: &read_text };
        match file.check(files) {
            Ok(config) => {
                let asked = config.scopes_to_ask_for();
                let mut notes = Vec::new();
                if !document.has("scopes") && !asked.is_empty() {
                    let asked = asked.into_iter().collect::<Vec<_>>().join(", ");
                    notes.push(Note::warn(format!(
                        "a filter names {asked}, which a LAPI sends only when it is asked; add `scopes: [ip, range, {asked}]`"
                    )));
                }
                Some(Checked { config, notes })
            }
            Err(more) => {
                problems.extend(more);
                None
            }
        }
    }

    fn present_as(config: &Config) -> &str {
        &config.present_as
    }

    fn grace(config: &Config) -> Duration {
        grace(config)
    }

    async fn check(config: &Config) -> anyhow::Result<()> {
        config.endpoints.iter().try_for_each(endpoints::check)?;
        match &config.mirror {
            Some(mirror) => Mirror::check(mirror).await,
            None => Ok(()),
        }
    }

    fn command_without_config(typed: &Typed) -> Option<anyhow::Result<()>> {
        // Its `-c` is a file that the service does not read yet.
        (typed.command() == Some(ADOPT.name)).then(|| adopt(typed))
    }

    fn command(context: &CommandContext<'_, Self>) -> anyhow::Result<()> {
        commands::run(context)
    }

    async fn start(start: Start<Config>) -> anyhow::Result<(Self, Enforcement)> {
        let Start { config, cache, metrics, stop, stopping, first_decisions, state_dir, .. } = start;
        let (status, _) = watch::channel(WebhookStatus::default());
        let (known, first) = watch::channel(None);
        let (fault, faults) = mpsc::channel(1);
        let (exceeded, max_starts_exceeded) = mpsc::channel(1);
        let endpoints = state_dir
            .map(|state_dir| {
                let environment = Environment {
                    cache: cache.clone(),
                    state_dir,
                    first_decisions: first,
                    faults: fault,
                    max_starts_exceeded: exceeded,
                    // Ended in order, and with the program in any case.
                    stop: stop.clone(),
                };
                Endpoints::start(environment, &config.endpoints).map(Arc::new)
            })
            .transpose()?;
        if endpoints.is_none() && !config.endpoints.is_empty() {
            anyhow::bail!(NO_STATE_DIR);
        }
        if let Some(endpoints) = &endpoints {
            metrics.register(|registry| {
                registry.register_collector(Box::new(EndpointCollector::new(endpoints)));
            });
        }
        let (mirror, serving) = match config.mirror {
            Some(mirror) => {
                let (mirror, serving) = Mirror::start(mirror, cache.clone(), &metrics, stop.clone()).await?;
                (Some(mirror), Some(serving))
            }
            None => (None, None),
        };
        let this = Self { endpoints, mirror, status };
        let work = Work { cache, known, first_decisions, faults, max_starts_exceeded, stopping, stop };
        let observed = this.clone();
        let enforcement = async move {
            let serve = async {
                if let Some(serving) = serving {
                    serving.await;
                }
            };
            tokio::join!(work.run(observed), serve).0
        };
        Ok((this, Box::pin(enforcement)))
    }

    fn status(&self) -> watch::Receiver<WebhookStatus> {
        self.status.subscribe()
    }

    async fn reload(&self, config: Config, _lapis: &LapiPool) -> anyhow::Result<()> {
        if self.mirror.is_some() != config.mirror.is_some() {
            anyhow::bail!("`mirror` was added or removed; restart the program for that");
        }
        match &self.endpoints {
            Some(endpoints) => endpoints.reload(&config.endpoints).await?,
            None if config.endpoints.is_empty() => {}
            None => anyhow::bail!(NO_STATE_DIR),
        }
        match (&self.mirror, config.mirror) {
            (Some(mirror), Some(config)) => mirror.reload(config).await,
            _ => Ok(()),
        }
    }

    async fn tick(&self, _lapis: &LapiPool) {
        self.update_status();
    }

    fn act(&self, name: &str, arguments: &[String]) -> Result<serde_json::Value, String> {
        let endpoints = self.endpoints.as_ref().ok_or("there are no endpoints")?;
        endpoints.act(name, arguments).map_err(|error| error.to_string())
    }

    fn effect(&self, _subject: &Subject, _snapshot: &Snapshot) -> Effect {
        let reason = "it is delivered and listed; enforcing it is up to the receiver or reader";
        Effect { denied: None, reason: reason.to_owned() }
    }
}

/// Why endpoints cannot start: there is no place for what each of them has received.
const NO_STATE_DIR: &str = "endpoints need `state_dir`, for what each of them has received; set it to a directory that \
                            this program may write";

/// What the running program waits for.
struct Work {
    cache: CacheHandle,
    known: watch::Sender<Option<bool>>,
    first_decisions: FirstDecisions,
    faults: mpsc::Receiver<Fault>,
    max_starts_exceeded: mpsc::Receiver<MaxStartsExceeded>,
    stopping: CancellationToken,
    stop: CancellationToken,
}

impl Work {
    /// Works until the program ends, or an endpoint fails in a way that ends it.
    async fn run(mut self, webhook: Webhook) -> anyhow::Result<()> {
        let mut generations = self.cache.changed();
        let confirm = async {
            self.known.send_replace(Some(self.first_decisions.wait_complete().await));
            std::future::pending::<()>().await;
        };
        let observe = async {
            loop {
                webhook.observe(&self.cache.load());
                if generations.changed().await.is_err() {
                    return std::future::pending::<()>().await;
                }
            }
        };
        let failure = tokio::select! {
            Some(fault) = self.faults.recv() => Some(anyhow::Error::new(fault)),
            // In the words of the stock bouncer.
            Some(exceeded) = self.max_starts_exceeded.recv() => {
                Some(anyhow::Error::new(exceeded).context("process terminated with error"))
            }
            () = self.stopping.cancelled() => None,
            () = self.stop.cancelled() => None,
            () = confirm => None,
            () = observe => None,
        };
        if let Some(endpoints) = &webhook.endpoints {
            endpoints.stop().await;
        }
        match failure {
            Some(failure) => Err(failure),
            None => {
                self.stop.cancelled().await;
                Ok(())
            }
        }
    }
}

impl Webhook {
    fn observe(&self, snapshot: &Snapshot) {
        self.status.send_modify(|status| {
            (status.generation, status.decisions) = (Some(snapshot.generation()), snapshot.len() as u64);
        });
        self.update_status();
    }

    fn update_status(&self) {
        let views = self.endpoints.as_ref().map(|endpoints| endpoints.views()).unwrap_or_default();
        let time = now();
        let mut details = mirror_details(self.mirror.as_ref());
        for view in &views {
            details.insert(format!("endpoint {}", view.name), show::line(view, time));
        }
        let report = json!({ "endpoints": views.iter().map(show::report).collect::<Vec<_>>() });
        let failure = views.iter().find_map(show::failure);
        self.status.send_if_modified(|status| {
            let is_changed = status.details != details || status.report != report;
            (status.details, status.report, status.failure) = (details, report, failure);
            is_changed
        });
    }
}

/// The flags of every bouncer, and those of the stock mirror.
const FLAGS: &[Flag] = &{
    let mut flags = [DEBUG_FLAG; PROGRAM_FLAGS.len() + 2];
    let mut at = 0;
    while at < PROGRAM_FLAGS.len() {
        flags[at] = PROGRAM_FLAGS[at];
        at += 1;
    }
    flags[at + 1] = TRACE_FLAG;
    flags
};

/// The stock program whose file a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StockFile {
    Custom,
    Mirror,
}

impl StockFile {
    fn of(document: &Document) -> Option<Self> {
        if stock_custom::is_stock_custom(document) {
            return Some(Self::Custom);
        }
        // After the translation only a key of its own is left to recognise it by.
        let is_mirror = stock_mirror::is_stock_mirror(document) || document.has("listen_uri");
        is_mirror.then_some(Self::Mirror)
    }
}

const KEYS: &[&str] = &{
    let parts = [WEBHOOK_KEYS, STOCK_MIRROR_KEYS, STOCK_CUSTOM_KEYS];
    let mut keys = [""; WEBHOOK_KEYS.len() + STOCK_MIRROR_KEYS.len() + STOCK_CUSTOM_KEYS.len()];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let mut within = 0;
        while within < parts[part].len() {
            keys[at] = parts[part][within];
            at += 1;
            within += 1;
        }
        part += 1;
    }
    keys
};

fn mirror_details(mirror: Option<&Mirror>) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let Some(mirror) = mirror else { return lines };
    let status = mirror.status();
    lines.insert("mirror".to_owned(), format!("{}, {} connections", status.listen, status.connections));
    for (path, list) in status.lists {
        lines.insert(
            format!("list {path}"),
            format!("{} requests, rendered {} times", list.requests, list.rendered),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_packaged_one() {
        let file = include_str!("../../../packaging/systemd/palisade-webhook.service");
        assert_eq!(Webhook::INFO.unit.compare(file), Ok(()));
    }
}
