//! Checks `api.server` and `prometheus`: listeners, trusted addresses, registration, metrics.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
};

use ipnet::IpNet;
use palisade_daemon::{
    Problems,
    listen::SocketAccess,
    logs::LogLevel,
    metrics::{Listen, Port},
};

use palisade_net::PrefixSet;

use crate::{
    common::level,
    file, nets,
    paths::absolute,
    tls::{self, TlsConfig},
};

/// Minimum length of a registration token.
const MIN_TOKEN: usize = 32;
/// The default port of `prometheus`.
const METRICS_PORT: u16 = 6060;

/// The block `api.server`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Whether the LAPI is run.
    pub enable: bool,
    /// TCP address to listen on. When the LAPI is run, this or the socket is set.
    pub listen_uri: Option<String>,
    /// Unix socket to listen on.
    pub listen_socket: Option<PathBuf>,
    /// Mode and group of its file.
    pub socket_access: SocketAccess,
    /// Whether the start adds the bouncers and the machine that the environment names.
    pub accounts_from_environment: bool,
    /// The profiles file; set when the LAPI is run.
    pub profiles_path: Option<PathBuf>,
    /// Console options.
    pub console_path: PathBuf,
    /// Level of the access log, if it differs from the common one.
    pub log_level: Option<LogLevel>,
    /// Peers whose `X-Forwarded-For` and `X-Real-IP` are trusted.
    pub trusted_proxies: PrefixSet,
    /// Addresses from which alerts may be deleted, besides loopback and the socket.
    pub trusted_ips: PrefixSet,
    /// Whether machines can be registered only from this host.
    pub disable_remote_lapi_registration: bool,
    /// Whether machines with the token are validated without an administrator.
    pub auto_registration: Option<AutoRegistration>,
    /// Deprecated list of addresses excluded from the central service's decisions.
    pub capi_whitelists_path: Option<PathBuf>,
    /// The central service.
    pub online_client: Option<OnlineClient>,
    /// Whether usage metrics are not sent to the central service.
    pub disable_usage_metrics_export: bool,
    /// TLS, if configured.
    pub tls: Option<TlsConfig>,
}

/// The block `auto_registration`, when enabled.
#[derive(Clone, PartialEq, Eq)]
pub struct AutoRegistration {
    /// The token a machine must present.
    pub token: String,
    /// The ranges it must connect from.
    pub allowed_ranges: PrefixSet,
}

/// Omits the token.
impl fmt::Debug for AutoRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AutoRegistration")
            .field("token", &"[redacted]")
            .field("allowed_ranges", &self.allowed_ranges)
            .finish()
    }
}

/// The block `online_client`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineClient {
    /// Credentials for the central service.
    pub credentials_path: Option<PathBuf>,
    /// Whether signals are sent there.
    pub sharing: bool,
    /// Whether the community list is pulled.
    pub pull_community: bool,
    /// Whether subscribed lists are pulled.
    pub pull_blocklists: bool,
}

/// The block `prometheus`, when enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Where `/metrics` is served.
    pub listen: Listen,
    /// The level of detail.
    pub level: MetricsLevel,
}

/// Level of detail of the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricsLevel {
    /// Only process metrics.
    None,
    /// No labels for machines, bouncers or scenarios.
    Aggregated,
    /// Everything.
    #[default]
    Full,
}

/// Checks `api.server`. Settings needed only to run the LAPI are optional when `enable` is off.
pub(crate) fn check(written: file::Server, warnings: &mut Vec<String>, wrong: &mut Problems) -> ServerConfig {
    let enable = written.enable.unwrap_or(true);
    let listen_uri = written.listen_uri.filter(|uri| !uri.is_empty());
    let listen_socket = absolute(written.listen_socket);
    let profiles_path = absolute(written.profiles_path);
    if enable && listen_uri.is_none() && listen_socket.is_none() {
        wrong.add("api.server", "no listen_uri or listen_socket specified");
    }
    if enable && profiles_path.is_none() {
        wrong.add("api.server.profiles_path", "empty profiles path");
    }
    let proxies = written
        .trusted_proxies
        .as_ref()
        .map(|list| nets::check("api.server.trusted_proxies", list, true, wrong));
    let trusted_proxies = match (proxies, written.use_forwarded_for_headers.unwrap_or(false)) {
        (Some(proxies), _) => proxies,
        // The stock server then trusts every IPv4 peer, so any client could claim to be 127.0.0.1.
        (None, true) => {
            warnings.push(
                "api.server.use_forwarded_for_headers: without trusted_proxies only a proxy on this host is \
                 believed; name yours, for instance trusted_proxies: [ 10.0.0.5 ]"
                    .to_owned(),
            );
            [
                IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8),
                IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)),
            ]
            .into_iter()
            .collect()
        }
        (None, false) => PrefixSet::default(),
    };
    // Only checked: there is no central service yet (`inactive.rs`).
    let _ = level("api.server.papi_log_level", written.papi_log_level.as_deref(), wrong);
    let tls = written.tls.and_then(|block| tls::check(block, wrong));
    ServerConfig {
        enable,
        listen_uri,
        listen_socket,
        socket_access: SocketAccess {
            mode: check_mode(written.listen_socket_mode.as_deref(), wrong),
            group: written.listen_socket_group.filter(|group| !group.is_empty()),
        },
        accounts_from_environment: written.accounts_from_environment.unwrap_or(false),
        profiles_path,
        // Its default is a fixed path, also when the configuration is elsewhere: as in the stock program.
        console_path: absolute(written.console_path).unwrap_or_else(|| "/etc/crowdsec/console.yaml".into()),
        log_level: level("api.server.log_level", written.log_level.as_deref(), wrong),
        trusted_proxies,
        trusted_ips: nets::check(
            "api.server.trusted_ips",
            &written.trusted_ips.unwrap_or_default(),
            true,
            wrong,
        ),
        disable_remote_lapi_registration: written.disable_remote_lapi_registration.unwrap_or(false),
        auto_registration: written.auto_registration.and_then(|block| check_registration(block, wrong)),
        capi_whitelists_path: absolute(written.capi_whitelists_path),
        online_client: written.online_client.map(|block| {
            let pull = block.pull.unwrap_or_default();
            OnlineClient {
                credentials_path: absolute(block.credentials_path),
                sharing: block.sharing.unwrap_or(true),
                pull_community: pull.community.unwrap_or(true),
                pull_blocklists: pull.blocklists.unwrap_or(true),
            }
        }),
        disable_usage_metrics_export: written.disable_usage_metrics_export.unwrap_or(false),
        tls,
    }
}

/// Parses the mode as chmod(1) reads numbers: octal, with or without leading zeros.
fn check_mode(written: Option<&str>, wrong: &mut Problems) -> u32 {
    let default = SocketAccess::default().mode;
    let Some(text) = written.filter(|text| !text.is_empty()) else { return default };
    match u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8) {
        Ok(mode) if mode <= 0o777 => mode,
        _ => {
            wrong.add("api.server.listen_socket_mode", "expected permission bits in octal, such as \"0660\"");
            default
        }
    }
}

/// What earlier versions of the multi-server guide had in the place of a token. Long enough to be one.
const PLACEHOLDER_TOKEN: &str = "at least 32 characters, for instance from: openssl rand -hex 24";

fn check_registration(written: file::AutoRegistration, wrong: &mut Problems) -> Option<AutoRegistration> {
    if !written.enabled.unwrap_or(false) {
        return None;
    }
    let token = written.token.unwrap_or_default();
    if token.is_empty() {
        wrong.add(
            "api.server.auto_registration.token",
            "missing token value for api.server.auto_register; invent one of at least 32 characters",
        );
    } else if token == PLACEHOLDER_TOKEN {
        wrong.add(
            "api.server.auto_registration.token",
            "this is the placeholder of a guide, which everybody knows; put the output of `openssl rand -hex 24` there",
        );
    } else if token.len() < MIN_TOKEN {
        wrong.add(
            "api.server.auto_registration.token",
            format!("token value for api.server.auto_register is too short (min {MIN_TOKEN} characters)"),
        );
    }
    let ranges = written.allowed_ranges.unwrap_or_default();
    if ranges.is_empty() {
        wrong.add(
            "api.server.auto_registration.allowed_ranges",
            "missing allowed_ranges value for api.server.auto_register; name the networks machines may join from",
        );
    }
    let allowed_ranges = nets::check("api.server.auto_registration.allowed_ranges", &ranges, false, wrong);
    Some(AutoRegistration { token, allowed_ranges })
}

/// Checks `prometheus`; `None` when metrics are not served.
pub(crate) fn check_metrics(written: file::Prometheus, wrong: &mut Problems) -> Option<Metrics> {
    let level = match written.level.as_deref() {
        None | Some("" | "full") => MetricsLevel::Full,
        Some("aggregated") => MetricsLevel::Aggregated,
        Some("none") => MetricsLevel::None,
        Some(_) => {
            wrong.add("prometheus.level", "expected full, aggregated or none");
            MetricsLevel::Full
        }
    };
    let port = match written.listen_port {
        None | Some(Port::Number(0)) => Some(METRICS_PORT),
        Some(Port::Number(port)) => Some(port),
        Some(Port::Text(text)) if text.is_empty() => Some(METRICS_PORT),
        Some(Port::Text(text)) => text.parse().ok(),
    };
    if port.is_none() {
        wrong.add("prometheus.listen_port", "expected a port number from 1 to 65535");
    }
    // The stock program listens on loopback when no address is given.
    let addr = written.listen_addr.filter(|addr| !addr.is_empty()).unwrap_or_else(|| "127.0.0.1".to_owned());
    let is_ipv6 = addr.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>().is_ok();
    if !is_ipv6
        && addr.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '/' | '[' | ']'))
    {
        wrong.add("prometheus.listen_addr", "expected an address or a host name; the port is listen_port");
    }
    // Checked even when off, so that a mistake appears before metrics are switched on.
    (written.enabled.unwrap_or(false)).then_some(Metrics { listen: Listen { addr, port: port? }, level })
}

/// Checks that the API and `/metrics` have different addresses: whatever listens second could not.
pub(crate) fn check_ports(server: &ServerConfig, metrics: &Metrics, wrong: &mut Problems) {
    let Some((host, port)) = server.listen_uri.as_deref().and_then(|uri| uri.rsplit_once(':')) else {
        return;
    };
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let (ours, theirs) = (bare(host), bare(&metrics.listen.addr));
    let is_any = |host: &str| host.is_empty() || host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    if port.parse() == Ok(metrics.listen.port) && (ours == theirs || is_any(&ours) || is_any(&theirs)) {
        wrong.add(
            "prometheus.listen_port",
            "the same address as api.server.listen_uri; choose another port for one of them",
        );
    }
}
