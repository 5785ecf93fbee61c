//! Builds everything that one configuration serves with.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use palisade_client::LapiPool;
use palisade_daemon::listen::tls::TlsServer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access_log::AccessLog;
use crate::captcha::Captcha;
use crate::config::{Config, DecisionMode, RouteConfig, StartPolicy};
use crate::metrics::{MeasuredParts, ProxyMetrics, RouteMetrics};
use crate::pages::Pages;
use crate::remediation::Decider;
use crate::remediation::geo::Geo;
use crate::remediation::live::Live;
use crate::remediation::open_requests::SweepScope;
use crate::request_rules::RequestLimits;
use crate::routing::Router;
use crate::tls::{self, Acme, Certificates};
use crate::upstream::Pools;

/// What one configuration serves with. Replaced as a whole by a reload; requests that have begun finish with theirs.
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) request_limits: RequestLimits,
    pub(crate) router: Router,
    /// By the index that the router returns.
    pub(crate) routes: Vec<Arc<SiteRoute>>,
    pub(crate) pools: Pools,
    pub(crate) pages: Pages,
    pub(crate) captcha: Option<Arc<Captcha>>,
    pub(crate) decider: Decider,
    live: Option<Arc<Live>>,
    pub(crate) sweep: Arc<SweepScope>,
    /// By listener; `None` without TLS.
    pub(crate) tls: Vec<Option<SiteTls>>,
    /// Ends the background tasks of this configuration: watching files.
    _watching: tokio_util::sync::DropGuard,
}

/// A route, with its counters.
pub(crate) struct SiteRoute {
    pub(crate) config: Arc<RouteConfig>,
    pub(crate) name: Arc<str>,
    pub(crate) metrics: Arc<RouteMetrics>,
}

impl SiteRoute {
    fn new(config: &Arc<RouteConfig>, metrics: &ProxyMetrics) -> Self {
        let name: Arc<str> = config.name.as_str().into();
        Self { config: Arc::clone(config), metrics: metrics.route(&name), name }
    }
}

/// TLS of a listener.
pub(crate) struct SiteTls {
    pub(crate) certificates: Certificates,
    pub(crate) server: Arc<TlsServer>,
}

/// What stays when the configuration changes.
pub(crate) struct Lasting<'a> {
    pub(crate) cache: &'a palisade_stream::CacheHandle,
    pub(crate) lapis: &'a LapiPool,
    pub(crate) acme: &'a Acme,
    pub(crate) state_dir: Option<&'a Path>,
    pub(crate) metrics: &'a ProxyMetrics,
    pub(crate) tasks: &'a TaskTracker,
    pub(crate) stop: &'a CancellationToken,
}

impl Site {
    /// Reads all files that the configuration names. Nothing outside changes before it has returned.
    ///
    /// # Errors
    /// When a file cannot be used, or routes contradict each other.
    pub(crate) fn new(
        config: Config,
        lasting: &Lasting<'_>,
        previous: Option<&Self>,
    ) -> anyhow::Result<Self> {
        let router = Router::new(&config.routes)?;
        let pages = Pages::load(&config.pages, config.captcha.as_deref())?;
        let captcha = match &config.captcha {
            Some(captcha) => {
                let former = previous.and_then(|site| site.captcha.as_deref());
                Some(Arc::new(Captcha::new(captcha, lasting.state_dir)?.succeeding(former)))
            }
            None => None,
        };
        let geo = Arc::new(Geo::open(&config.geo)?);
        let mut tls = Vec::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            let former = previous.and_then(|site| site.tls_of(&listener.address));
            tls.push(match &listener.tls {
                Some(files) => {
                    let certificates =
                        Certificates::load(files, lasting.acme, former.map(|tls| &tls.certificates))
                            .with_context(|| format!("listen[{index}].tls"))?;
                    let server =
                        tls::server_config(files, listener.http2, &certificates, config.acme.as_ref())
                            .with_context(|| format!("listen[{index}].tls"))?;
                    Some(SiteTls { certificates, server: Arc::new(server) })
                }
                None => None,
            });
        }
        let pools = Pools::start(&config.pools, previous.map(|site| &site.pools), lasting.stop)?;
        let watching = lasting.stop.child_token();
        for tls in tls.iter().flatten() {
            let (certificates, stop) = (tls.certificates.clone(), watching.clone());
            lasting.tasks.spawn(async move { certificates.watch(stop).await });
        }
        lasting.tasks.spawn({
            let (geo, stop) = (Arc::clone(&geo), watching.clone());
            async move { geo.watch(stop).await }
        });
        let mut decider = Decider::new(lasting.cache.clone(), geo, captcha.is_some());
        let uses_live = config.routes.iter().any(|route| route.remediation.mode == DecisionMode::Live);
        let live = uses_live.then(|| Arc::new(Live::new(config.live, lasting.lapis.clone())));
        if let Some(live) = &live {
            decider = decider.with_live(Arc::clone(live));
        }
        Ok(Self {
            request_limits: RequestLimits::new(&config.limits, &config.client_address.source),
            router,
            routes: config
                .routes
                .iter()
                .map(|route| Arc::new(SiteRoute::new(route, lasting.metrics)))
                .collect(),
            pools,
            pages,
            sweep: Arc::new(SweepScope::new(decider.clone(), &config)),
            decider,
            live,
            captcha,
            tls,
            config,
            _watching: watching.drop_guard(),
        })
    }

    fn tls_of(&self, address: &crate::config::ListenAddress) -> Option<&SiteTls> {
        let index = self.config.listeners.iter().position(|listener| listener.address == *address)?;
        self.tls.get(index)?.as_ref()
    }

    /// Exports the counters of this configuration's parts from now on.
    pub(crate) fn measure(&self, metrics: &ProxyMetrics, access_log: &AccessLog) {
        metrics.measure(MeasuredParts {
            live: self.live.clone(),
            captcha: self.captcha.clone(),
            pools: Some(Arc::new(self.pools.clone())),
            access_log: Some(access_log.clone()),
            certificates: self.tls.iter().flatten().map(|tls| tls.certificates.clone()).collect(),
        });
    }

    /// Whether connections are accepted only once decisions are known.
    pub(crate) fn waits_for_decisions(config: &Config) -> bool {
        config.routes.iter().any(|route| {
            let policy = &route.remediation;
            policy.mode == DecisionMode::Stream && policy.on_start == StartPolicy::Wait
        })
    }
}

/// Finds what would make the start fail, for `-t`: reads files and opens no connection.
///
/// # Errors
/// The first reason.
pub(crate) async fn check(config: &Config) -> anyhow::Result<()> {
    Router::new(&config.routes)?;
    Pages::load(&config.pages, config.captcha.as_deref())?;
    if let Some(captcha) = &config.captcha {
        // Without the state directory, so that no keys are written.
        Captcha::new(captcha, None)?;
    }
    Geo::open(&config.geo)?;
    for (index, listener) in config.listeners.iter().enumerate() {
        if let Some(files) = &listener.tls {
            tls::check(files, config.acme.as_ref()).with_context(|| format!("listen[{index}].tls"))?;
        }
    }
    Pools::check(&config.pools)?;
    super::listeners::check(config).await
}
