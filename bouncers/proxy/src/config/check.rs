//! Checks the configuration file and completes it with defaults.
//!
//! Pure, except that a captcha provider's secret may be read from a file of its own.

mod listen;
mod remediation;
mod upstreams;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use palisade_bouncer::run::Note;
use palisade_client::Secret;
use palisade_daemon::Problems;

use super::file::{AccessLogFile, GeoFile, LimitsFile, LiveFile, PagesFile, RouteFile};
use super::{
    AccessLogConfig, AccessLogFormat, Config, ConfigFile, GeoFiles, LimitsConfig, LiveConfig, PagesConfig,
    PoolConfig, RouteConfig,
};

/// The most entries of a list in the file: listeners, pools, routes, servers.
const MAX_ENTRIES: usize = 10_000;

/// Reads a secret from a file, or from a systemd credential.
pub(crate) type SecretReader<'a> = &'a dyn Fn(&std::path::Path) -> Result<Secret, String>;

impl ConfigFile {
    /// Checks everything and reports all problems at once, or returns the configuration with messages for the operator.
    ///
    /// # Errors
    /// All problems, with their keys.
    pub fn check(self, read_secret: SecretReader<'_>) -> Result<(Config, Vec<Note>), Problems> {
        let mut check = Check { wrong: Problems::new(), notes: Vec::new() };
        let listeners = check.listeners(self.listen.unwrap_or_default());
        let client_address = check.client_address(
            self.trusted_proxies.unwrap_or_default(),
            self.client_address_header,
            self.client_address_form,
            self.trusted_hops,
        );
        let geo = geo(self.geo.unwrap_or_default());
        let mut pools = check.pools(self.upstreams.unwrap_or_default());
        let defaults = self.decisions.unwrap_or_default();
        check.policy_alone("decisions", &defaults, &geo);
        let routes = check.routes(self.routes.unwrap_or_default(), &defaults, &geo, &mut pools);
        let acme = check.acme(self.acme, &listeners);
        let captcha = check.captcha(self.captcha.unwrap_or_default(), read_secret);
        let config = Config {
            listeners,
            client_address,
            pools: pools.into_iter().map(Arc::new).collect(),
            routes,
            captcha: captcha.map(Arc::new),
            pages: check.pages(self.pages.unwrap_or_default()),
            geo,
            live: check.live(self.live.unwrap_or_default()),
            acme,
            limits: check.limits(self.limits.unwrap_or_default()),
            access_log: self.access_log.map(access_log),
            debug_headers: self.debug_headers.unwrap_or(false),
        };
        let notes = check.notes;
        check.wrong.or((config, notes))
    }
}

fn geo(file: GeoFile) -> GeoFiles {
    GeoFiles { country: file.country, asn: file.asn }
}

fn access_log(file: AccessLogFile) -> AccessLogConfig {
    AccessLogConfig { file: file.file, format: file.format.unwrap_or(AccessLogFormat::Json) }
}

struct Check {
    wrong: Problems,
    notes: Vec<Note>,
}

impl Check {
    fn routes(
        &mut self,
        files: Vec<RouteFile>,
        defaults: &super::file::DecisionsFile,
        geo: &GeoFiles,
        pools: &mut Vec<PoolConfig>,
    ) -> Vec<Arc<RouteConfig>> {
        if files.is_empty() {
            self.wrong.add(
                "routes",
                "config does not contain 'routes'; name the application, for example `routes: [{upstream: \
                 \"http://127.0.0.1:3000\"}]`",
            );
        }
        let mut routes: Vec<Arc<RouteConfig>> = Vec::new();
        for (index, file) in files.into_iter().enumerate().take(MAX_ENTRIES) {
            let key = format!("routes[{index}]");
            if let Some(route) = self.route(&key, file, defaults, geo, pools) {
                if routes.iter().any(|other| other.name == route.name) {
                    self.wrong.add(
                        format!("{key}.name"),
                        format!("another route is called {:?}; give each a name of its own", route.name),
                    );
                }
                routes.push(Arc::new(route));
            }
        }
        routes
    }

    fn route(
        &mut self,
        key: &str,
        file: RouteFile,
        defaults: &super::file::DecisionsFile,
        geo: &GeoFiles,
        pools: &mut Vec<PoolConfig>,
    ) -> Option<RouteConfig> {
        let mut hosts = Vec::new();
        for (index, host) in file.hosts.unwrap_or_default().into_iter().enumerate() {
            match words::host_pattern(&host) {
                Some(host) => hosts.push(host),
                None => self.wrong.add(
                    format!("{key}.hosts[{index}]"),
                    "it must be a host name without port, such as app.example.org or *.example.org",
                ),
            }
        }
        let path_prefix = file.path_prefix.unwrap_or_else(|| "/".to_owned());
        let path_prefix = words::path_prefix(&path_prefix).unwrap_or_else(|| {
            self.wrong.add(
                format!("{key}.path_prefix"),
                "it must begin with / and have no empty segment, `.`, `..`, `%`, `?` or `#`",
            );
            "/".to_owned()
        });
        let mut methods = Vec::new();
        for (index, method) in file.methods.unwrap_or_default().into_iter().enumerate() {
            match http::Method::from_bytes(method.as_bytes()) {
                Ok(method) => methods.push(method),
                Err(_) => self.wrong.add(format!("{key}.methods[{index}]"), "this is not an HTTP method"),
            }
        }
        let max_body = file
            .max_body
            .map(|text| self.wrong.size(format!("{key}.max_body"), Some(&text), u64::MAX, (0, u64::MAX)));
        let decisions = file.decisions.unwrap_or_default();
        let policy = self.policy(&format!("{key}.decisions"), decisions, defaults, geo);
        let pool = self.pool_of(key, file.upstream, pools)?;
        let name = file.name.unwrap_or_else(|| {
            let host = hosts.first().map_or("", String::as_str);
            format!("{host}{path_prefix}")
        });
        Some(RouteConfig { name, hosts, path_prefix, methods, pool, remediation: Arc::new(policy), max_body })
    }

    fn pages(&mut self, file: PagesFile) -> PagesConfig {
        PagesConfig {
            directory: file.directory,
            contact: file.contact.unwrap_or_default(),
            default_language: file.language,
        }
    }

    fn live(&mut self, file: LiveFile) -> LiveConfig {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        LiveConfig {
            timeout: self.wrong.duration("live.timeout", file.timeout, ms(200), ms(1)),
            hit_ttl: self.wrong.duration("live.hit_ttl", file.hit_ttl, s(60), ms(1)),
            miss_ttl: self.wrong.duration("live.miss_ttl", file.miss_ttl, s(10), ms(1)),
            entries: self.wrong.number("live.entries", file.entries, 100_000, (16, 10_000_000)),
            breaker_failures: self.wrong.number("live.breaker_failures", file.breaker_failures, 5, (1, 1000)),
            breaker_pause: self.wrong.duration("live.breaker_pause", file.breaker_pause, s(5), ms(10)),
        }
    }

    fn limits(&mut self, file: LimitsFile) -> LimitsConfig {
        let (ms, s) = (Duration::from_millis(10), Duration::from_secs);
        LimitsConfig {
            connections: file
                .connections
                .map(|given| self.wrong.number("limits.connections", Some(given), given, (8, 500_000))),
            connections_per_address: self.wrong.number(
                "limits.connections_per_address",
                file.connections_per_address,
                256,
                (1, 500_000),
            ),
            head_bytes: self.wrong.number(
                "limits.head_bytes",
                file.head_bytes,
                32 * 1024,
                (8 * 1024, 64 * 1024),
            ),
            target_bytes: self.wrong.number(
                "limits.target_bytes",
                file.target_bytes,
                8 * 1024,
                (256, 32 * 1024),
            ),
            head_timeout: self.wrong.duration("limits.head_timeout", file.head_timeout, s(15), ms),
            body_idle: self.wrong.duration("limits.body_idle", file.body_idle, s(30), ms),
            body_rate: self.wrong.number("limits.body_rate", file.body_rate, 500, (0, 1 << 30)),
            body_grace: self.wrong.duration("limits.body_grace", file.body_grace, s(10), ms),
            keep_alive: self.wrong.duration("limits.keep_alive", file.keep_alive, s(60), ms),
            handshake: self.wrong.duration("limits.handshake", file.handshake, s(10), ms),
            drain: self.wrong.duration("limits.drain", file.drain, s(20), Duration::ZERO),
            write_stalled: self.wrong.duration("limits.write_stalled", file.write_stalled, s(60), ms),
        }
    }
}

/// The folder that `acme.storage` names, inside the state directory unless it is absolute.
pub(super) const ACME_STORAGE: &str = "acme";

/// A relative path stands for one below the state directory.
pub(super) fn storage(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| PathBuf::from(ACME_STORAGE))
}
