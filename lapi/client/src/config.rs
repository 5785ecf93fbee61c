//! Client configuration: the LAPI's address, credentials, timeouts.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::{BuildError, SettingNames};

/// A text that is never displayed: it prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the code that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A bouncer's credentials. LAPI ignores a key sent with a client certificate, so there is one or the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// The key printed by `cscli bouncers add NAME`, sent as `X-Api-Key`.
    Key(Secret),
    /// A client certificate and its private key, both PEM.
    Certificate {
        /// The certificate, followed by intermediate ones if any.
        cert: PathBuf,
        /// Its private key: PKCS #8, PKCS #1 or SEC1.
        key: PathBuf,
    },
}

/// The HTTP proxy from the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Its URL (may contain a password); `None` connects directly.
    pub url: Option<Secret>,
    /// Hosts, domains and prefixes to reach directly, separated by commas.
    pub except: Option<String>,
}

impl ProxyConfig {
    /// The proxy in `HTTP_PROXY` and `NO_PROXY` (or their lower-case forms), read through `lookup`, such as `|name|
    /// std::env::var(name).ok()`.
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&str; 2]| names.into_iter().filter_map(&lookup).find(|text| !text.is_empty());
        Self {
            // Not HTTPS_PROXY: only plain HTTP goes through a proxy, as in the stock bouncers.
            url: first(["HTTP_PROXY", "http_proxy"]).map(Secret::new),
            except: first(["NO_PROXY", "no_proxy"]),
        }
    }
}

/// The configuration of a [`Client`](crate::Client).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// `http://…` or `https://…`, with or without a slash at the end; `/path/to.sock` or `unix:///path/to.sock`
    /// for a unix socket. Without a scheme `http://` is assumed.
    pub url: String,
    /// Key or certificate.
    pub auth: Auth,
    /// Certificate authorities in PEM, trusted besides those of the system.
    pub ca: Option<PathBuf>,
    /// Accept any server certificate.
    pub insecure_skip_verify: bool,
    /// Timeout of connecting, including TLS.
    pub connect_timeout: Duration,
    /// Timeout of the head of a response, and the time in which its body must deliver 4 KiB (blanks not counted) or
    /// end.
    pub idle_timeout: Duration,
    /// The longest timeout of a full pull's head, which a stock LAPI with millions of rows prepares for minutes. The
    /// first two attempts use `idle_timeout`; it doubles with each further one, up to this.
    pub startup_idle_timeout: Duration,
    /// Used for plain `http` with a key and a remote host, as in the stock bouncers.
    pub proxy: ProxyConfig,
    /// The instance name, by which machines that share a key are distinguished in listings; see
    /// [`palisade_wire::follow`].
    pub instance: Option<String>,
    /// The names of the settings, for messages.
    pub names: SettingNames,
}

impl ClientConfig {
    /// The defaults: 10 s to connect, 30 s without progress, up to five minutes for the head of a full pull that timed
    /// out before, no proxy.
    pub fn new(url: impl Into<String>, auth: Auth) -> Self {
        Self {
            url: url.into(),
            auth,
            ca: None,
            insecure_skip_verify: false,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            startup_idle_timeout: Duration::from_secs(300),
            proxy: ProxyConfig::default(),
            instance: None,
            names: SettingNames::bouncer(),
        }
    }
}

/// The client's name, `type/version`. LAPI stores the halves as the bouncer's type and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserAgent(String);

impl UserAgent {
    /// Joins a type, such as `palisade-firewall`, and a version, such as `v0.1.0`.
    ///
    /// # Errors
    /// When one of them is empty or contains a slash, white space or anything but visible ASCII.
    pub fn new(kind: &str, version: &str) -> Result<Self, BuildError> {
        for part in [kind, version] {
            // With any other number of slashes a stock LAPI stores the whole text as type and refuses the login of a
            // machine.
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
                return Err(BuildError::UserAgent { part: part.to_owned() });
            }
        }
        Ok(Self(format!("{kind}/{version}")))
    }

    /// `type/version`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let config = ClientConfig {
            proxy: ProxyConfig { url: Some(Secret::new("http://u:hunter2@proxy")), except: None },
            ..ClientConfig::new("http://lapi", Auth::Key(Secret::new("hunter2")))
        };
        let shown = format!("{config:?} {config:#?}");
        assert!(shown.contains("[redacted]") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_user_agent_has_one_slash() {
        assert_eq!(
            UserAgent::new("palisade-firewall", "v0.1.0").unwrap().as_str(),
            "palisade-firewall/v0.1.0"
        );
        for (kind, version) in
            [("", "v1"), ("a", ""), ("a/b", "v1"), ("a", "v1/x"), ("a b", "v1"), ("a", "v1\n")]
        {
            assert!(UserAgent::new(kind, version).is_err(), "{kind}/{version}");
        }
    }

    #[test]
    fn the_environment_names_the_proxy_in_either_case() {
        let lookup = |name: &str| match name {
            "HTTP_PROXY" => Some(String::new()),
            "http_proxy" => Some("http://proxy:3128".to_owned()),
            "NO_PROXY" => Some("lapi".to_owned()),
            _ => None,
        };
        let proxy = ProxyConfig::from_environment(lookup);
        assert_eq!(proxy.url, Some(Secret::new("http://proxy:3128")));
        assert_eq!(proxy.except.as_deref(), Some("lapi"));
        assert_eq!(ProxyConfig::from_environment(|_| None), ProxyConfig::default());
    }
}
