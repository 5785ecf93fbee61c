//! Reads the LAPI keys of a bouncer's configuration file, with CrowdSec's names and error texts.

mod instance;
mod key;
mod process_env;

use std::path::PathBuf;
use std::time::Duration;

use palisade_client::{
    Auth, BuildError, Client, ClientConfig, LapiPool, Secret, SettingNames, StreamQuery, UserAgent,
};
use palisade_daemon::{ConfigError, Document, Problems};
use palisade_stream::{Cadence, StateFile};
use palisade_wire::GoDuration;
use serde::Deserialize;

pub use self::process_env::ProcessEnv;

/// The keys read here, for [`Document::unknown_keys`].
pub const LAPI_KEYS: &[&str] = &[
    "api_url",
    "api_urls",
    "api_key",
    "api_key_file",
    "cert_path",
    "key_path",
    "ca_cert_path",
    "insecure_skip_verify",
    "update_frequency",
    "retry_initial_connect",
    "scopes",
    "origins",
    "scenarios_containing",
    "scenarios_not_containing",
    "resync_interval",
    "usage_metrics_interval",
    "state_dir",
    "push_wait",
    "instance",
];

// As in the stock bouncers.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// The longest accepted `push_wait`.
const MAX_PUSH_WAIT: Duration = Duration::from_secs(300);
// As in the stock bouncers.
const USAGE_INTERVAL: Duration = Duration::from_secs(900);

/// The keys as written in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LapiFile {
    /// Where the LAPI is: its root URL without `/v1`, or the path of a unix socket. This or `api_urls` is required.
    ///
    /// - example: `http://127.0.0.1:8080/`
    pub api_url: Option<String>,
    /// More LAPIs on the same database, in the order of preference; `api_url` comes first. When one does not
    /// answer, the next one is asked from where the last answer left off. Palisade's own.
    ///
    /// - value: list of URLs
    /// - example: `[http://lapi-1:8080/, http://lapi-2:8080/]`
    pub api_urls: Option<Vec<String>>,
    /// The key that `palisade bouncers add NAME` or `cscli bouncers add NAME` prints. A key, `api_key_file`, or a
    /// client certificate is required.
    ///
    /// - example: `KEY`
    pub api_key: Option<Secret>,
    /// A file that holds the key, or the name of a systemd credential of the unit; instead of `api_key`. Palisade's
    /// own.
    ///
    /// - example: `/etc/crowdsec/bouncers/api.key`
    pub api_key_file: Option<PathBuf>,
    /// A client certificate (PEM), instead of a key; with `key_path`.
    ///
    /// - example: `/etc/crowdsec/tls/gate.pem`
    pub cert_path: Option<PathBuf>,
    /// The private key of the client certificate (PEM); with `cert_path`.
    ///
    /// - example: `/etc/crowdsec/tls/gate-key.pem`
    pub key_path: Option<PathBuf>,
    /// Certificate authorities (PEM) that are trusted besides the system's, for a LAPI with https.
    ///
    /// - example: `/etc/crowdsec/tls/ca.pem`
    pub ca_cert_path: Option<PathBuf>,
    /// Accept any certificate of the LAPI. Any host on the path can then read the key.
    ///
    /// - default: `false`
    /// - example: `false`
    pub insecure_skip_verify: Option<bool>,
    /// Time between two pulls, where the LAPI does not push.
    ///
    /// - value: duration, longer than 0
    /// - default: `10s`
    /// - example: `30s`
    pub update_frequency: Option<String>,
    /// Whether to go on when the LAPI does not answer at the start. Accepted for compatibility: Palisade's bouncers
    /// always go on.
    ///
    /// - default: always on
    /// - example: `true`
    pub retry_initial_connect: Option<bool>,
    /// Only decisions of these scopes are pulled. Without it a LAPI sends addresses and ranges.
    ///
    /// - default: `[]`
    /// - example: `[ip, range]`
    pub scopes: Option<Vec<String>>,
    /// Only decisions of these origins are pulled.
    ///
    /// - default: `[]`
    /// - example: `[crowdsec, cscli, lists]`
    pub origins: Option<Vec<String>>,
    /// Only decisions whose scenario contains one of these texts are pulled.
    ///
    /// - default: `[]`
    /// - example: `[ssh, http]`
    pub scenarios_containing: Option<Vec<String>>,
    /// No decision whose scenario contains one of these texts is pulled.
    ///
    /// - default: `[]`
    /// - example: `[test]`
    pub scenarios_not_containing: Option<Vec<String>>,
    /// Time between two full pulls from a stock LAPI, which repair what it loses. From a palisade-lapi, which loses
    /// nothing, they are made 24 times as rarely. Palisade's own.
    ///
    /// - value: duration
    /// - default: by the length of the list: 2 minutes up to 6,000 decisions, in proportion beyond, at most 1 hour
    /// - at least: `1s`
    /// - example: `10m`
    pub resync_interval: Option<String>,
    /// How often usage metrics are reported to the LAPI; `0` for never. Palisade's own.
    ///
    /// - value: duration
    /// - default: `15m`
    /// - example: `30m`
    pub usage_metrics_interval: Option<String>,
    /// The folder of the persisted decisions and of the control socket that `lookup` and `status` use; empty for
    /// none. Palisade's own.
    ///
    /// - default: the unit's state directory, `/var/lib/` and the program's name in the packages
    /// - example: `/var/lib/palisade`
    pub state_dir: Option<PathBuf>,
    /// How long a palisade-lapi may park a request until there are changes, so that they arrive at once; `0`
    /// switches push off. Must be shorter than the timeout of a proxy on the way. Palisade's own.
    ///
    /// - value: duration, `0` or from `2s` to `5m`
    /// - default: `25s`
    /// - example: `50s`
    pub push_wait: Option<String>,
    /// The name under which the LAPI lists this host among those that share the key; 1 to 96 visible ASCII
    /// characters. Palisade's own.
    ///
    /// - default: the host's name and eight digits that are kept in `state_dir`
    /// - example: `web-1`
    pub instance: Option<String>,
}

/// The settings, checked and ready to use.
#[derive(Debug, Clone)]
pub struct LapiSettings {
    /// The LAPI's address and the client's identity.
    pub client: ClientConfig,
    /// The URLs of all LAPIs in the order of preference; the first is that of `client`.
    pub urls: Vec<String>,
    /// The filters of the stream.
    pub query: StreamQuery,
    /// Request timing.
    pub cadence: Cadence,
    /// Between two reports of usage metrics; zero for never.
    pub usage_interval: Duration,
    /// `retry_initial_connect` as written; the default depends on the bouncer.
    pub retry_initial_connect: Option<bool>,
    /// The directory of persisted decisions and the control socket; `None` for none.
    pub state_dir: Option<PathBuf>,
    /// Warnings for the operator, to be logged once logging is set up.
    pub warnings: Vec<String>,
}

/// Why the settings cannot be used. The texts have the stock prefixes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A value has the wrong type.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// Values are missing, invalid, or contradict each other.
    #[error("unable to configure bouncer: {0}")]
    Invalid(Problems),
    /// An HTTP client cannot be created. Not a `source`: the text is the same and would be printed twice.
    #[error("unable to configure bouncer: {0}")]
    Client(BuildError),
}

impl From<BuildError> for SettingsError {
    fn from(error: BuildError) -> Self {
        Self::Client(error)
    }
}

/// Reads a secret other than the API key from a file, or from a systemd credential of the unit of `program`.
///
/// # Errors
/// What is wrong with the file, and the next step.
pub fn read_secret(program: &str, file: &std::path::Path) -> Result<palisade_client::Secret, String> {
    key::from_file(file, &ProcessEnv::of_process(program))
}

impl LapiSettings {
    /// Reads and checks the LAPI keys of a configuration file. Reads no other file than that of the key.
    ///
    /// # Errors
    /// All problems at once, with file and line.
    pub fn of(document: &Document, env: &ProcessEnv<'_>) -> Result<Self, SettingsError> {
        let file: LapiFile = document.parse()?;
        file.check(env).map_err(|wrong| SettingsError::Invalid(document.locate(wrong)))
    }

    /// Assigns the instance name, unless the file does, and stores it in the state directory: for the daemon, not for
    /// commands.
    pub fn assign_instance(&mut self) {
        if self.client.instance.is_none() {
            let host = rustix::system::uname();
            let host = host.nodename().to_string_lossy();
            self.client.instance = Some(instance::name(self.state_dir.as_deref(), &host));
        }
    }

    /// Creates the HTTP clients. Reads the certificate files; does not connect.
    ///
    /// # Errors
    /// When a URL, the key or a certificate cannot be used.
    pub fn connect(&self, agent: &UserAgent) -> Result<LapiPool, SettingsError> {
        let first = Client::new(&self.client, agent)?;
        // One identity for all: LAPIs on one database share their keys and cursors.
        let others = self.urls.iter().skip(1).map(|url| {
            let config =
                ClientConfig { url: url.clone(), names: SettingNames::bouncer_list(), ..self.client.clone() };
            Client::new(&config, agent)
        });
        Ok(LapiPool::new(first, others.collect::<Result<Vec<_>, _>>()?))
    }

    /// Logs the warnings.
    pub fn log_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }

    /// The file of persisted decisions of these LAPIs. `types` are the admitted decision types: a file written for
    /// others is not used.
    pub fn state_file(&self, types: Option<&[String]>) -> Option<StateFile> {
        // Part of the file's identity: decisions of other LAPIs or types must not be enforced.
        let types = types.map_or_else(|| "all".to_owned(), |types| types.join(","));
        let urls = self.urls.iter().map(|url| url.trim_end_matches('/'));
        Some(StateFile::new(self.state_dir.as_ref()?.join("decisions"), urls, types))
    }

    /// The control socket.
    pub fn control_socket(&self) -> Option<PathBuf> {
        Some(self.state_dir.as_ref()?.join("control.sock"))
    }
}

impl LapiFile {
    /// Checks the values. Pure, except that `env` reads the file of the key.
    ///
    /// # Errors
    /// All problems at once.
    pub fn check(self, env: &ProcessEnv<'_>) -> Result<LapiSettings, Problems> {
        let mut wrong = Problems::new();
        let mut warnings = Vec::new();
        let interval = self.interval(&mut wrong, &mut warnings);
        let resync = self.resync(&mut wrong);
        let resync_by_size = self.resync_interval.as_deref().is_none_or(str::is_empty);
        let usage_interval = self.usage_interval(&mut wrong);
        let max_wait = self.push_wait(&mut wrong);
        let urls = self.urls(&mut wrong);
        if self.instance.as_deref().is_some_and(|name| !instance::is_sendable(name)) {
            wrong.add("instance", "must be 1 to 96 characters of visible ASCII; for example web-1");
        }
        let auth = self.auth(env, &mut wrong, &mut warnings);
        // Here and not earlier, so that all problems are reported at once.
        let (Some(url), Some(auth), true) = (urls.first(), auth, wrong.is_empty()) else { return Err(wrong) };
        let list = |list: Option<Vec<String>>| list.unwrap_or_default();
        let is_in_list = self.api_url.as_deref().is_none_or(|url| url.trim().is_empty());
        Ok(LapiSettings {
            client: ClientConfig {
                ca: self.ca_cert_path.filter(|path| !path.as_os_str().is_empty()),
                insecure_skip_verify: self.insecure_skip_verify.unwrap_or(false),
                proxy: env.proxy.clone(),
                instance: self.instance,
                names: if is_in_list { SettingNames::bouncer_list() } else { SettingNames::bouncer() },
                ..ClientConfig::new(url.as_str(), auth)
            },
            urls,
            query: StreamQuery {
                startup: false,
                scopes: list(self.scopes),
                origins: list(self.origins),
                scenarios_containing: list(self.scenarios_containing),
                scenarios_not_containing: list(self.scenarios_not_containing),
                ..StreamQuery::default()
            },
            cadence: Cadence { interval, resync, resync_by_size, max_wait, ..Cadence::default() },
            usage_interval,
            retry_initial_connect: self.retry_initial_connect,
            state_dir: match self.state_dir {
                Some(path) => Some(path).filter(|path| !path.as_os_str().is_empty()),
                None => env.state_dir.clone(),
            },
            warnings,
        })
    }

    /// `api_url` and `api_urls`, without duplicates.
    fn urls(&self, wrong: &mut Problems) -> Vec<String> {
        let mut urls: Vec<String> = Vec::new();
        let more = self.api_urls.iter().flatten();
        for url in self.api_url.iter().chain(more.clone()).map(|url| url.trim()) {
            // A LAPI listed twice would count as two, and an attempt at the second as a fail-over.
            let known = urls.iter().any(|known| known.trim_end_matches('/') == url.trim_end_matches('/'));
            if !url.is_empty() && !known {
                urls.push(url.to_owned());
            }
        }
        if more.clone().any(|url| url.trim().is_empty()) {
            wrong.add("api_urls", "holds an empty entry; each is a URL, for example http://192.0.2.1:8080/");
        }
        if urls.is_empty() {
            wrong.add(
                "api_url",
                "config does not contain LAPI url; add it, for example http://127.0.0.1:8080/",
            );
        }
        urls
    }

    fn push_wait(&self, wrong: &mut Problems) -> Duration {
        let default = Cadence::default().max_wait;
        let Some(text) = self.push_wait.as_deref().filter(|text| !text.is_empty()) else {
            return default;
        };
        match text.parse::<GoDuration>().map(GoDuration::to_std) {
            Err(error) => wrong.add("push_wait", error.to_string()),
            Ok(Some(span)) if span.is_zero() => return span,
            Ok(Some(span)) if (Duration::from_secs(2)..=MAX_PUSH_WAIT).contains(&span) => return span,
            Ok(_) => wrong.add("push_wait", "must be from 2s to 5m, or 0 to ask at `update_frequency` only"),
        }
        default
    }

    fn interval(&self, wrong: &mut Problems, warnings: &mut Vec<String>) -> Duration {
        let Some(text) = self.update_frequency.as_deref().filter(|text| !text.is_empty()) else {
            // The stock bouncers' texts, here and below.
            warnings.push("lapi update interval is not defined, using default value of 10s".to_owned());
            return DEFAULT_INTERVAL;
        };
        match text.parse::<GoDuration>() {
            Err(error) => {
                wrong.add(
                    "update_frequency",
                    format!("unable to parse lapi update interval '{text}': {error}"),
                );
            }
            Ok(span) if span <= GoDuration::ZERO => {
                wrong.add("update_frequency", "lapi update interval must be positive");
            }
            Ok(span) => return span.to_std().unwrap_or(DEFAULT_INTERVAL),
        }
        DEFAULT_INTERVAL
    }

    fn usage_interval(&self, wrong: &mut Problems) -> Duration {
        let Some(text) = self.usage_metrics_interval.as_deref().filter(|text| !text.is_empty()) else {
            return USAGE_INTERVAL;
        };
        match text.parse::<GoDuration>() {
            Err(error) => wrong.add("usage_metrics_interval", error.to_string()),
            Ok(span) => match span.to_std() {
                Some(span) => return span,
                None => wrong.add("usage_metrics_interval", "must not be negative; 0 switches reports off"),
            },
        }
        USAGE_INTERVAL
    }

    fn resync(&self, wrong: &mut Problems) -> Duration {
        let default = Cadence::default().resync;
        let Some(text) = self.resync_interval.as_deref().filter(|text| !text.is_empty()) else {
            return default;
        };
        match text.parse::<GoDuration>() {
            Err(error) => wrong.add("resync_interval", error.to_string()),
            Ok(span) if span < GoDuration::from(Duration::from_secs(1)) => {
                wrong.add("resync_interval", "must be at least 1s; 1h is what most want");
            }
            Ok(span) => return span.to_std().unwrap_or(default),
        }
        default
    }

    fn auth(&self, env: &ProcessEnv<'_>, wrong: &mut Problems, warnings: &mut Vec<String>) -> Option<Auth> {
        // An empty text means that the key is absent, as in the stock bouncers.
        let path = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let (cert, cert_key) = (path(&self.cert_path), path(&self.key_path));
        let in_file = path(&self.api_key_file);
        let written = self.api_key.clone().filter(|key| !key.is_empty());
        if (written.is_some() || in_file.is_some()) && (cert.is_some() || cert_key.is_some()) {
            wrong.add(
                "cert_path",
                "api client init: cannot use both API key and certificate auth; remove one of them",
            );
            return None;
        }
        match (cert, cert_key) {
            (Some(cert), Some(key)) => return Some(Auth::Certificate { cert, key }),
            (Some(_), None) => {
                wrong.add(
                    "key_path",
                    "missing; `cert_path` is given, and the certificate needs its private key",
                );
                return None;
            }
            (None, Some(_)) => {
                wrong.add(
                    "cert_path",
                    "missing; `key_path` is given, and the private key needs its certificate",
                );
                return None;
            }
            (None, None) => {}
        }
        match (written, in_file) {
            (Some(_), Some(_)) => {
                wrong.add("api_key_file", "the key is given in `api_key` too; remove one of them");
                None
            }
            (Some(key), None) => {
                // Only a warning: the start goes on, and the LAPI's refusal ends it as it ends the stock bouncer.
                if key::is_placeholder(&key) {
                    warnings.push(
                        "api_key is still the placeholder of the package; run `cscli bouncers add NAME` where \
                         the LAPI is and put the key it prints in its place"
                            .to_owned(),
                    );
                }
                Some(Auth::Key(key))
            }
            (None, Some(file)) => match key::from_file(&file, env) {
                Ok(key) => Some(Auth::Key(key)),
                Err(text) => {
                    wrong.add("api_key_file", text);
                    None
                }
            },
            (None, None) => {
                // Without any key in the file, a systemd credential of the unit is used.
                let credential = key::from_credentials(env);
                if credential.is_none() {
                    wrong.add(
                        "api_key",
                        "config does not contain LAPI key or certificate; run `cscli bouncers add NAME` where \
                         the LAPI is and put the key it prints here",
                    );
                }
                credential.map(Auth::Key)
            }
        }
    }
}

#[cfg(test)]
#[path = "settings/tests.rs"]
mod tests;
