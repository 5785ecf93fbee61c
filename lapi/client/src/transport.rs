//! Builds the HTTP client of a configuration: trust anchors, identity, proxy, timeouts. Reads the certificate files.

use std::path::Path;
use std::time::Duration;

use palisade_go_compat::with_causes;
use palisade_wire::follow::{INSTANCE_HEADER, MAX_INSTANCE_NAME};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity, NoProxy, Proxy};
use tracing::{info, warn};

use crate::SettingNames;
use crate::config::{Auth, ClientConfig, ProxyConfig, Secret, UserAgent};
use crate::endpoint::Endpoint;
use crate::error::BuildError;

const API_KEY: &str = "x-api-key";

pub(crate) struct Setup<'a> {
    pub(crate) identity: Identification<'a>,
    pub(crate) ca: Option<&'a Path>,
    pub(crate) insecure_skip_verify: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) proxy: &'a ProxyConfig,
    pub(crate) instance: Option<&'a str>,
    pub(crate) names: &'a SettingNames,
}

impl Setup<'_> {
    /// Whether requests go through the proxy: plain ones to other hosts.
    pub(crate) fn is_proxied(&self, endpoint: &Endpoint) -> bool {
        self.proxy.url.is_some()
            && !endpoint.is_tls()
            && !endpoint.is_local()
            && !matches!(self.identity, Identification::Certificate { .. })
    }
}

pub(crate) enum Identification<'a> {
    Key(&'a Secret),
    Certificate {
        cert: &'a Path,
        key: &'a Path,
    },
    /// None: each request carries its own token.
    None,
}

impl<'a> From<&'a ClientConfig> for Setup<'a> {
    fn from(config: &'a ClientConfig) -> Self {
        let identity = match &config.auth {
            Auth::Key(key) => Identification::Key(key),
            Auth::Certificate { cert, key } => Identification::Certificate { cert, key },
        };
        Self {
            identity,
            ca: config.ca.as_deref(),
            insecure_skip_verify: config.insecure_skip_verify,
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
            proxy: &config.proxy,
            instance: config.instance.as_deref(),
            names: &config.names,
        }
    }
}

pub(crate) fn build(
    config: &Setup<'_>,
    endpoint: &Endpoint,
    agent: &UserAgent,
) -> Result<reqwest::Client, BuildError> {
    let tls_error = |error: reqwest::Error| {
        let reason = deepest(&error);
        match config.identity {
            // The only error that concerns both files together.
            Identification::Certificate { cert, key } if reason.contains("KeyMismatch") => {
                BuildError::Certificate {
                    cert: cert.into(),
                    key: key.into(),
                    reason: "the private key does not belong to the certificate".into(),
                    advice: format!("correct `cert_path` or {}", config.names.key("key_path")),
                }
            }
            _ => BuildError::Tls { url: endpoint.to_string(), reason },
        }
    };
    let mut builder = reqwest::Client::builder()
        .user_agent(agent.as_str())
        // A redirect would send the key to another host.
        .redirect(Policy::none())
        // A request that was sent twice can consume changes of a stock LAPI twice. Only the caller knows what a retry
        // means.
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(config.connect_timeout)
        .tcp_keepalive(config.idle_timeout)
        // One request at a time, so one connection is enough.
        .pool_max_idle_per_host(1)
        // Off by default: reqwest would read the environment by rules of its own. `with_proxy` adds what the stock
        // bouncers do.
        .no_proxy();

    if let Some(path) = &endpoint.socket {
        builder = builder.unix_socket(path.as_path());
    }
    let mut headers = HeaderMap::new();
    if let Some(name) = config.instance {
        headers.insert(HeaderName::from_static(INSTANCE_HEADER), instance(name)?);
    }
    match config.identity {
        Identification::Key(key) => {
            info!("Using API key auth");
            let mut value = HeaderValue::from_str(key.reveal()).map_err(|_| BuildError::Key)?;
            // Keeps the key out of debug output and out of the HPACK table.
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(API_KEY), value);
            if !endpoint.is_tls() && !endpoint.is_local() {
                builder = with_proxy(builder, config.proxy)?;
            }
        }
        Identification::Certificate { cert, key } => {
            info!("Using cert auth with cert '{}' and key '{}'", cert.display(), key.display());
            if !endpoint.is_tls() {
                return Err(BuildError::CertificateWithoutTls {
                    setting: config.names.url().to_owned(),
                    url: endpoint.to_string(),
                });
            }
            builder = builder.identity(identity(cert, key, config.names)?);
        }
        Identification::None => {
            if !endpoint.is_tls() && !endpoint.is_local() {
                builder = with_proxy(builder, config.proxy)?;
            }
        }
    }
    builder = builder.default_headers(headers);
    if !endpoint.is_tls() {
        // Without TLS the system's authorities are not read, so that a host without any can start.
        builder = builder.tls_certs_only([]);
    } else if config.insecure_skip_verify {
        warn!(
            "the LAPI's certificate is not verified (insecure_skip_verify): anyone in between can lift bans"
        );
        builder = builder.tls_danger_accept_invalid_certs(true);
    } else if let Some(path) = config.ca {
        info!("Using CA cert '{}'", path.display());
        builder = builder.tls_certs_merge(authorities(path, config.names)?);
    }
    builder.build().map_err(tls_error)
}

/// This host's name as a header value.
fn instance(name: &str) -> Result<HeaderValue, BuildError> {
    let wrong = || BuildError::Instance { name: name.to_owned() };
    if !(1..=MAX_INSTANCE_NAME).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong());
    }
    HeaderValue::from_str(name).map_err(|_| wrong())
}

fn with_proxy(
    builder: reqwest::ClientBuilder,
    proxy: &ProxyConfig,
) -> Result<reqwest::ClientBuilder, BuildError> {
    let Some(url) = &proxy.url else { return Ok(builder) };
    // As in curl and Go: a proxy without a scheme is an HTTP one.
    let url = url.reveal();
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(BuildError::Proxy { reason: "it is no HTTP proxy".into() });
    }
    let wrong = |error: reqwest::Error| BuildError::Proxy { reason: deepest(&error.without_url()) };
    // HTTP only: TLS connections and this host are always reached directly.
    let except = proxy.except.as_deref().and_then(NoProxy::from_string);
    Ok(builder.proxy(Proxy::http(url).map_err(wrong)?.no_proxy(except)))
}

fn identity(cert: &Path, key: &Path, names: &SettingNames) -> Result<Identity, BuildError> {
    let wrong = |reason: String, advice: String| BuildError::Certificate {
        cert: cert.into(),
        key: key.into(),
        reason,
        advice,
    };
    let correct = || format!("correct `cert_path` or {}", names.key("key_path"));
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            wrong(format!("cannot read {}: {}", path.display(), with_causes(&error)), correct())
        })
    };
    let mut pem = read(cert)?;
    // A file without a line break at its end would join two PEM markers on one line.
    pem.push(b'\n');
    let key_pem = read(key)?;
    if is_encrypted(&key_pem) {
        let advice = format!(
            "write it without one, with `openssl pkey -in {} -out FILE`, and name that file in {}",
            key.display(),
            names.key("key_path")
        );
        return Err(wrong(
            "the private key is encrypted, and there is nowhere to enter its passphrase".into(),
            advice,
        ));
    }
    pem.extend(key_pem);
    Identity::from_pem(&pem).map_err(|error| wrong(deepest(&error), correct()))
}

/// Whether a PEM file holds an encrypted private key, in either of OpenSSL's forms.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn authorities(path: &Path, names: &SettingNames) -> Result<Vec<Certificate>, BuildError> {
    let wrong =
        |reason: String| BuildError::Ca { setting: names.key("ca_cert_path"), path: path.into(), reason };
    let pem = std::fs::read(path).map_err(|error| wrong(with_causes(&error)))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(deepest(&error)))?;
    // An empty or DER file parses as no certificates, after which every connection would fail with a less useful
    // message.
    if found.is_empty() {
        return Err(wrong("it holds no certificate in PEM form".into()));
    }
    Ok(found)
}

/// The innermost cause, which is the most specific.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}
