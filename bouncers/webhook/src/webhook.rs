//! Implements the webhook bouncer as a bouncer program: its name, its flags, and how it is configured and observed.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_bouncer::control::{Effect, Subject};
use palisade_bouncer::run::{
    Bouncer, CHECK, Checked, DEBUG_FLAG, Enforcement, EnforcementStatus, LOOKUP, PROGRAM_FLAGS, ProgramInfo,
    STATUS, Start, TRACE_FLAG,
};
use palisade_bouncer::settings::read_secret;
use palisade_cache::Snapshot;
use palisade_client::LapiPool;
use palisade_daemon::flags::{Flag, Program};
use palisade_daemon::{Document, Problems};
use tokio::sync::watch;

use crate::config::stock_mirror::{self, STOCK_MIRROR_KEYS};
use crate::config::{Config, ConfigFile, Files, WEBHOOK_KEYS, read_text};
use crate::mirror::Mirror;

const NAME: &str = "palisade-webhook";
/// What the stock mirror calls itself to a LAPI.
const STOCK_MIRROR: &str = "crowdsec-blocklist-mirror";

/// The running program.
#[derive(Debug)]
pub struct Webhook {
    mirror: Option<Mirror>,
    status: watch::Sender<WebhookStatus>,
}

/// The state of the program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookStatus {
    /// The generation of the snapshot that is served; `None` until there is one.
    pub generation: Option<u64>,
    /// Decisions held.
    pub decisions: u64,
    /// Its own lines of `status`.
    pub details: BTreeMap<String, String>,
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

    fn details(&self) -> BTreeMap<String, String> {
        self.details.clone()
    }
}

impl Bouncer for Webhook {
    type Config = Config;
    type Status = WebhookStatus;

    const INFO: ProgramInfo = ProgramInfo {
        program: Program {
            name: NAME,
            about: "Serves the decisions of a CrowdSec LAPI as lists over HTTP.",
            flags: FLAGS,
            commands: &[CHECK, LOOKUP, STATUS],
        },
        version: concat!("v", env!("CARGO_PKG_VERSION")),
        stock_name: STOCK_MIRROR,
        packaged_config: "/etc/crowdsec/bouncers/palisade-webhook.yaml",
        log_file: "crowdsec-blocklist-mirror.log",
        keys: KEYS,
    };

    fn translate(document: Document) -> Document {
        match stock_mirror::is_stock_mirror(&document) {
            true => stock_mirror::translate(document),
            false => document,
        }
    }

    fn read_config(document: &Document, problems: &mut Problems) -> Option<Checked<Config>> {
        if stock_mirror::is_stock_mirror(document) || document.has("listen_uri") {
            let Checked { config: mirror, notes } = stock_mirror::check(document, problems)?;
            let config = Config {
                endpoints: Vec::new(),
                mirror: Some(Arc::new(mirror)),
                present_as: STOCK_MIRROR.to_owned(),
                scopes: Vec::new(),
            };
            return Some(Checked { config, notes });
        }
        let file = document.parse_into::<ConfigFile>(problems)?;
        let files = Files { secret: &|path| read_secret(NAME, path), text: &read_text };
        match file.check(files) {
            Ok(config) if !config.endpoints.is_empty() => {
                // Not silently: whoever configures an endpoint relies on its deliveries.
                problems.add(
                    "endpoints",
                    "this version serves lists only and delivers to no endpoint; remove the key",
                );
                None
            }
            Ok(config) => Some(Checked { config, notes: Vec::new() }),
            Err(more) => {
                problems.extend(more);
                None
            }
        }
    }

    fn present_as(config: &Config) -> &str {
        &config.present_as
    }

    async fn check(config: &Config) -> anyhow::Result<()> {
        match &config.mirror {
            Some(mirror) => Mirror::check(mirror).await,
            None => Ok(()),
        }
    }

    async fn start(start: Start<Config>) -> anyhow::Result<(Self, Enforcement)> {
        let Start { config, cache, metrics, stop, .. } = start;
        let (status, _) = watch::channel(WebhookStatus::default());
        let (mirror, serving) = match config.mirror {
            Some(mirror) => {
                let (mirror, serving) = Mirror::start(mirror, cache.clone(), &metrics, stop.clone()).await?;
                (Some(mirror), Some(serving))
            }
            None => (None, None),
        };
        let observed = (mirror.clone(), status.clone());
        let enforcement = async move {
            let mut generations = cache.changed();
            let observe = async {
                loop {
                    let (mirror, status) = &observed;
                    status.send_replace(status_of(mirror.as_ref(), &cache.load()));
                    if generations.changed().await.is_err() {
                        return;
                    }
                }
            };
            let serve = async {
                if let Some(serving) = serving {
                    serving.await;
                }
                stop.cancelled().await;
            };
            tokio::select! {
                () = serve => {}
                () = observe => stop.cancelled().await,
            }
            Ok(())
        };
        Ok((Self { mirror, status }, Box::pin(enforcement)))
    }

    fn status(&self) -> watch::Receiver<WebhookStatus> {
        self.status.subscribe()
    }

    async fn reload(&self, config: Config, _lapis: &LapiPool) -> anyhow::Result<()> {
        match (&self.mirror, config.mirror) {
            (Some(mirror), Some(config)) => mirror.reload(config).await,
            (None, None) => Ok(()),
            _ => anyhow::bail!("`mirror` was added or removed; restart the program for that"),
        }
    }

    async fn tick(&self, _lapis: &LapiPool) {
        let lines = details(self.mirror.as_ref());
        self.status.send_if_modified(|status| {
            let is_changed = status.details != lines;
            status.details = lines;
            is_changed
        });
    }

    fn effect(&self, _subject: &Subject, _snapshot: &Snapshot) -> Effect {
        Effect { denied: None, reason: "it is listed; whoever reads the list enforces it".to_owned() }
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

const KEYS: &[&str] = &{
    let mut keys = [""; WEBHOOK_KEYS.len() + STOCK_MIRROR_KEYS.len()];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = if at < WEBHOOK_KEYS.len() {
            WEBHOOK_KEYS[at]
        } else {
            STOCK_MIRROR_KEYS[at - WEBHOOK_KEYS.len()]
        };
        at += 1;
    }
    keys
};

fn status_of(mirror: Option<&Mirror>, snapshot: &Snapshot) -> WebhookStatus {
    WebhookStatus {
        generation: Some(snapshot.generation()),
        decisions: snapshot.len() as u64,
        details: details(mirror),
    }
}

fn details(mirror: Option<&Mirror>) -> BTreeMap<String, String> {
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
