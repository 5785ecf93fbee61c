//! Runs the endpoints of the configuration: starts them, replaces those that a new configuration changes, ends them.
//!
//! ```text
//!   Config ─► prepare (connections, templates, filters; nothing is opened) ─► start ─┬─► delivery::endpoint
//!                                                                                    └─► replace::task
//! ```

pub mod actions;
pub mod metrics;
pub mod show;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use palisade_cache::Decision;
use palisade_stream::CacheHandle;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::{Config, EndpointConfig, ProgramConfig, ProgramMode, Receiver, ReplaceConfig};
use crate::delivery::endpoint::{DRAIN_TIME, Endpoint, EndpointStart, Fault};
use crate::delivery::status::EndpointStatus;
use crate::filter::{Filter, Takes};
use crate::http::{ClientExchange, HttpConnector, USER_AGENT, read_pem};
use crate::program::{self, MaxStartsExceeded, ProgramConnector};
use crate::replace::service::{Service, connect};
use crate::replace::status::ReplaceStatus;
use crate::replace::task::{ReplaceEndpoint, ReplaceStart};
use crate::sink::Connector;
use crate::store::DEFAULT_CACHE_BYTES;

/// Memory for pages of all stores together.
const TOTAL_CACHE_BYTES: usize = 64 << 20;
/// The least for one store.
const MIN_CACHE_BYTES: usize = 512 << 10;
/// The directory of the endpoints' files within the state directory.
const DIRECTORY: &str = "endpoints";

/// What all endpoints share.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The decisions.
    pub cache: CacheHandle,
    /// The state directory.
    pub state_dir: PathBuf,
    /// Whether decisions are known; `Some(false)` when they never will be.
    pub first_decisions: watch::Receiver<Option<bool>>,
    /// Is sent why the daemon must end.
    pub faults: mpsc::Sender<Fault>,
    /// Is sent when a program has ended as often as it may be started, which ends the daemon.
    pub max_starts_exceeded: mpsc::Sender<MaxStartsExceeded>,
    /// Ends all endpoints.
    pub stop: CancellationToken,
}

/// The running endpoints.
#[derive(Debug)]
pub struct Endpoints {
    environment: Environment,
    running: Mutex<BTreeMap<String, Arc<Running>>>,
}

/// A running endpoint.
#[derive(Debug)]
pub struct Running {
    config: Arc<EndpointConfig>,
    certificates: CertificateDigest,
    filter: Arc<Filter>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Delivery(Endpoint),
    Replace(ReplaceEndpoint),
}

/// The state of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointView {
    /// Its name.
    pub name: String,
    /// How often its filter's expression could not be evaluated; such a decision is not taken.
    pub filter_errors: u64,
    /// Its deliveries.
    pub state: StateView,
}

/// The state of an endpoint by what it takes.
#[derive(Debug, Clone, PartialEq)]
pub enum StateView {
    /// It takes changes.
    Delivery(EndpointStatus),
    /// It takes whole lists.
    Replace(ReplaceStatus),
}

/// An endpoint that is ready to start.
pub struct Prepared {
    config: Arc<EndpointConfig>,
    certificates: CertificateDigest,
    filter: Arc<Filter>,
    receiver: PreparedReceiver,
}

enum PreparedReceiver {
    Http(Box<HttpConnector>),
    Program(Arc<ProgramConfig>),
    Replace(Arc<ReplaceConfig>, Box<Service<ClientExchange>>),
}

/// Reads what an endpoint needs: certificates, templates. Opens no connection and starts nothing.
///
/// # Errors
/// What is wrong, with the endpoint's name.
pub fn prepare(config: &Arc<EndpointConfig>) -> anyhow::Result<Prepared> {
    let inner = || -> anyhow::Result<Prepared> {
        // Before they are used: should they change in between, a reload reads them once more.
        let certificates = certificates(config);
        let filter = Arc::new(Filter::compile(&config.filter)?);
        let receiver = match &config.receiver {
            Receiver::Http(http) => {
                PreparedReceiver::Http(Box::new(HttpConnector::new(config, Arc::clone(http), USER_AGENT)?))
            }
            Receiver::Program(program) => PreparedReceiver::Program(Arc::clone(program)),
            Receiver::Replace(replace) => {
                let service = connect(&replace.service, USER_AGENT)?;
                PreparedReceiver::Replace(Arc::clone(replace), Box::new(service))
            }
        };
        Ok(Prepared { config: Arc::clone(config), certificates, filter, receiver })
    };
    inner().with_context(|| format!("endpoint `{}`", config.name))
}

/// Checks what an endpoint needs of the system. A program that is missing does not prevent the start: the endpoint then
/// waits for it, and others are served.
///
/// # Errors
/// What is wrong, with the endpoint's name.
pub fn check(config: &Arc<EndpointConfig>) -> anyhow::Result<()> {
    let prepared = prepare(config)?;
    if let PreparedReceiver::Program(program) = &prepared.receiver {
        program::check(program).with_context(|| format!("endpoint `{}`", config.name))?;
    }
    Ok(())
}

/// How long endpoints may take to end: what is under way, and programs that end in order.
pub fn grace(config: &Config) -> Duration {
    let programs = config.endpoints.iter().filter_map(|endpoint| match &endpoint.receiver {
        Receiver::Program(program) => match program.mode {
            ProgramMode::StandardInput { stop_timeout, .. } => Some(stop_timeout),
            ProgramMode::Arguments { .. } => None,
        },
        _ => None,
    });
    // With a second for the disk.
    DRAIN_TIME + programs.max().unwrap_or_default() + Duration::from_secs(1)
}

impl Endpoints {
    /// Starts endpoints.
    ///
    /// # Errors
    /// When one cannot be prepared; then none is started.
    pub fn start(environment: Environment, configs: &[Arc<EndpointConfig>]) -> anyhow::Result<Self> {
        let prepared = configs.iter().map(prepare).collect::<anyhow::Result<Vec<_>>>()?;
        let endpoints = Self { environment, running: Mutex::default() };
        for one in prepared {
            endpoints.start_one(one, configs.len());
        }
        Ok(endpoints)
    }

    /// Starts endpoints that are new, ends those that are gone, and both for those that differ. Others go on.
    ///
    /// # Errors
    /// When one cannot be prepared; then all go on as before.
    pub async fn reload(&self, configs: &[Arc<EndpointConfig>]) -> anyhow::Result<()> {
        let keeps = |config: &EndpointConfig| {
            let running = self.running().get(&config.name).map(Arc::clone);
            running.is_some_and(|one| *one.config == *config && one.certificates == certificates(config))
        };
        let changed = configs.iter().filter(|config| !keeps(config));
        let prepared = changed.map(prepare).collect::<anyhow::Result<Vec<_>>>()?;
        let kept: Vec<&str> =
            configs.iter().filter(|config| keeps(config)).map(|config| &*config.name).collect();
        let ended: Vec<Arc<Running>> =
            self.running().extract_if(.., |name, _| !kept.contains(&&**name)).map(|(_, one)| one).collect();
        let stays = |name: &str| configs.iter().any(|config| config.name == name);
        for one in ended.iter().filter(|one| !stays(&one.config.name)) {
            info!(endpoint = one.config.name, "the endpoint ends; what it has received stays on the disk");
        }
        stop_all(ended).await;
        for one in prepared {
            info!(endpoint = one.config.name, "the endpoint starts with a new configuration");
            self.start_one(one, configs.len());
        }
        Ok(())
    }

    /// Ends all endpoints in order.
    pub async fn stop(&self) {
        let ended = std::mem::take(&mut *self.running()).into_values().collect();
        stop_all(ended).await;
    }

    /// The states, by name.
    pub fn views(&self) -> Vec<EndpointView> {
        let running: Vec<Arc<Running>> = self.running().values().map(Arc::clone).collect();
        running.iter().map(|one| one.view()).collect()
    }

    fn start_one(&self, prepared: Prepared, count: usize) {
        let cache_bytes = (TOTAL_CACHE_BYTES / count.max(1)).clamp(MIN_CACHE_BYTES, DEFAULT_CACHE_BYTES);
        let Prepared { config, certificates, filter, receiver } = prepared;
        let kind = match receiver {
            PreparedReceiver::Http(connector) => self.deliver(&config, &filter, *connector, cache_bytes),
            PreparedReceiver::Program(program) => {
                let exceeded = self.environment.max_starts_exceeded.clone();
                let connector = ProgramConnector::new(program, exceeded);
                self.deliver(&config, &filter, connector, cache_bytes)
            }
            PreparedReceiver::Replace(replace, service) => {
                let start = ReplaceStart {
                    config: Arc::clone(&config),
                    replace,
                    replacer: *service,
                    takes: takes(&filter),
                    cache: self.environment.cache.clone(),
                    state_file: self.file(&config.name, "list"),
                    stop: self.environment.stop.clone(),
                };
                Kind::Replace(ReplaceEndpoint::start(start, self.first_decisions()))
            }
        };
        let name = config.name.clone();
        self.running().insert(name, Arc::new(Running { config, certificates, filter, kind }));
    }

    fn deliver(
        &self,
        config: &Arc<EndpointConfig>,
        filter: &Arc<Filter>,
        connector: impl Connector,
        cache_bytes: usize,
    ) -> Kind {
        let start = EndpointStart {
            config: Arc::clone(config),
            connector,
            takes: takes(filter),
            cache: self.environment.cache.clone(),
            store: self.file(&config.name, "redb"),
            cache_bytes,
            faults: self.environment.faults.clone(),
            stop: self.environment.stop.clone(),
        };
        Kind::Delivery(Endpoint::start(start, self.first_decisions()))
    }

    fn first_decisions(&self) -> impl Future<Output = bool> + Send + 'static + use<> {
        let mut known = self.environment.first_decisions.clone();
        // The sender is gone only at the end of the program.
        async move { known.wait_for(Option::is_some).await.is_ok_and(|known| *known == Some(true)) }
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.environment.state_dir.join(DIRECTORY).join(format!("{name}.{extension}"))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn view(&self) -> EndpointView {
        EndpointView {
            name: self.config.name.clone(),
            filter_errors: self.filter.evaluation_errors(),
            state: match &self.kind {
                Kind::Delivery(endpoint) => StateView::Delivery(endpoint.status()),
                Kind::Replace(endpoint) => StateView::Replace(endpoint.status()),
            },
        }
    }
}

/// The content of an endpoint's certificates and keys, which are renewed under the same names.
type CertificateDigest = [u8; 32];

fn certificates(config: &EndpointConfig) -> CertificateDigest {
    let http = match &config.receiver {
        Receiver::Http(http) => Some(http),
        Receiver::Program(_) => None,
        Receiver::Replace(replace) => Some(replace.service.http()),
    };
    let mut digest = Sha256::new();
    let tls = http.map(|http| &http.tls);
    let pair = tls.and_then(|tls| tls.certificate.as_ref()).map(|(certificate, key)| [certificate, key]);
    for path in tls.and_then(|tls| tls.ca.as_ref()).into_iter().chain(pair.into_iter().flatten()) {
        // One that cannot be read is reported when it is used.
        let content = read_pem(path).unwrap_or_default();
        digest.update((content.len() as u64).to_le_bytes());
        digest.update(content);
    }
    digest.finalize().into()
}

/// Ends endpoints, all at once.
async fn stop_all(endpoints: Vec<Arc<Running>>) {
    let mut ending = JoinSet::new();
    for endpoint in endpoints {
        ending.spawn(async move {
            match &endpoint.kind {
                Kind::Delivery(one) => one.stop().await,
                Kind::Replace(one) => one.stop().await,
            }
        });
    }
    while ending.join_next().await.is_some() {}
}

fn takes(filter: &Arc<Filter>) -> Takes {
    let filter = Arc::clone(filter);
    match filter.is_empty() {
        true => Arc::new(|_: &Decision<'_>| true),
        false => Arc::new(move |decision: &Decision<'_>| filter.matches(decision)),
    }
}
