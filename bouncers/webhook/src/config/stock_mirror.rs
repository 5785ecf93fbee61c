//! Reads an unchanged `crowdsec-blocklist-mirror.yaml`. Pure.
//!
//! The keys of the LAPI and of logs get this program's names before anything is read ([`translate`]); errors go on naming
//! what is in the file. The other keys become a [`MirrorConfig`] ([`check`]).

use std::collections::HashSet;
use std::path::PathBuf;

use palisade_bouncer::run::{Checked, Note};
use palisade_client::Secret;
use palisade_daemon::{Document, Problems};
use palisade_net::parse_prefix;
use serde::Deserialize;

use super::{FilterConfig, ListAccess, ListConfig, ListFormat, MirrorConfig};

/// The keys of the stock file, for [`Document::unknown_keys`].
pub const STOCK_MIRROR_KEYS: &[&str] = &[
    "config_version",
    "crowdsec_config.lapi_key",
    "crowdsec_config.lapi_url",
    "crowdsec_config.update_frequency",
    "crowdsec_config.insecure_skip_verify",
    "crowdsec_config.cert_path",
    "crowdsec_config.key_path",
    "crowdsec_config.ca_cert_path",
    "crowdsec_config.include_scenarios_containing",
    "crowdsec_config.exclude_scenarios_containing",
    "crowdsec_config.only_include_decisions_from",
    "crowdsec_config.scopes",
    "crowdsec_config.supported_decisions_types",
    "crowdsec_config.listen_uri",
    "blocklists.format",
    "blocklists.endpoint",
    "blocklists.aggregate",
    "blocklists.authentication.type",
    "blocklists.authentication.user",
    "blocklists.authentication.password",
    "blocklists.authentication.token",
    "blocklists.authentication.trusted_ips",
    "listen_uri",
    "tls.cert_file",
    "tls.key_file",
    "metrics.enabled",
    "metrics.endpoint",
    "log_media",
    "enable_access_logs",
];

/// Keys of the stock file that have another name here.
const RENAMED: &[(&str, &str)] = &[
    ("crowdsec_config.lapi_key", "api_key"),
    ("crowdsec_config.lapi_url", "api_url"),
    ("crowdsec_config.update_frequency", "update_frequency"),
    ("crowdsec_config.insecure_skip_verify", "insecure_skip_verify"),
    ("crowdsec_config.cert_path", "cert_path"),
    ("crowdsec_config.key_path", "key_path"),
    ("crowdsec_config.ca_cert_path", "ca_cert_path"),
    ("crowdsec_config.include_scenarios_containing", "scenarios_containing"),
    ("crowdsec_config.exclude_scenarios_containing", "scenarios_not_containing"),
    ("crowdsec_config.only_include_decisions_from", "origins"),
    ("crowdsec_config.scopes", "scopes"),
    ("log_media", "log_mode"),
];

/// Where lists are served when the file does not say.
const DEFAULT_LISTEN: &str = "127.0.0.1:41412";
/// The stock program's limit of a log file, in megabytes.
const LOG_MAX_SIZE: &str = "40";
/// Of the access log, in the directory of logs.
const ACCESS_LOG: &str = "crowdsec-blocklist-mirror_access.log";
/// The most lists.
const MAX_LISTS: usize = 100;

/// Whether a document is the stock program's file.
pub fn is_stock_mirror(document: &Document) -> bool {
    document.has("crowdsec_config") || document.has("blocklists")
}

/// Gives keys of the stock file the names that they have here.
pub fn translate(document: Document) -> Document {
    document.with_renamed(RENAMED).with_default("log_max_size", LOG_MAX_SIZE)
}

/// The keys as written, after [`translate`].
#[derive(Default, Deserialize)]
#[serde(default)]
struct MirrorFile {
    config_version: Option<String>,
    crowdsec_config: Option<CrowdsecFile>,
    // Of the LAPI's keys those that the stock program requires, with its texts.
    api_key: Option<Secret>,
    api_key_file: Option<PathBuf>,
    cert_path: Option<PathBuf>,
    api_url: Option<String>,
    api_urls: Option<Vec<String>>,
    blocklists: Option<Vec<ListFile>>,
    listen_uri: Option<String>,
    tls: Option<TlsFile>,
    metrics: Option<MetricsFile>,
    log_mode: Option<String>,
    log_dir: Option<PathBuf>,
    enable_access_logs: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CrowdsecFile {
    supported_decisions_types: Option<Vec<String>>,
    /// Where the documentation puts it by mistake.
    listen_uri: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListFile {
    format: Option<String>,
    endpoint: Option<String>,
    aggregate: Option<bool>,
    authentication: Option<AuthenticationFile>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthenticationFile {
    r#type: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
    trusted_ips: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TlsFile {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetricsFile {
    enabled: Option<bool>,
    endpoint: Option<String>,
}

/// Checks the stock file, after [`translate`]. `None` when problems were added.
pub fn check(document: &Document, problems: &mut Problems) -> Option<Checked<MirrorConfig>> {
    let file: MirrorFile = document.parse_into(problems)?;
    let mut wrong = Problems::new();
    let mut notes = Vec::new();
    required(&file, &mut wrong);
    if text(file.config_version).is_none() {
        notes.push(Note::warn("config version is not provided; assuming v1.0"));
    }
    let crowdsec = file.crowdsec_config.unwrap_or_default();
    let listen = text(file.listen_uri).or(text(crowdsec.listen_uri)).unwrap_or_else(|| {
        notes.push(Note::warn(format!("listen_uri is not provided ; assuming {DEFAULT_LISTEN}")));
        DEFAULT_LISTEN.to_owned()
    });
    let types = crowdsec.supported_decisions_types.unwrap_or_default();
    let types = types.iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty());
    let filter = FilterConfig { types: types.collect(), ..FilterConfig::default() };
    let lists = lists(file.blocklists.unwrap_or_default(), &filter, &mut wrong, &mut notes);
    let config = MirrorConfig {
        listen,
        tls: tls(file.tls.unwrap_or_default(), &mut wrong),
        metrics_path: metrics_path(file.metrics.unwrap_or_default(), &lists, &mut wrong),
        lists,
        access_log: file.enable_access_logs.unwrap_or(false).then(|| match file.log_mode.as_deref() {
            Some("file") => {
                let dir = file.log_dir.filter(|dir| !dir.as_os_str().is_empty());
                dir.unwrap_or_else(|| "/var/log/".into()).join(ACCESS_LOG)
            }
            _ => "/dev/stderr".into(),
        }),
        empty_is_not_found: true,
    };
    let is_sound = wrong.is_empty();
    problems.extend(wrong);
    is_sound.then_some(Checked { config, notes })
}

/// An empty text means that the key is absent, as in Go.
fn text(value: Option<String>) -> Option<String> {
    value.filter(|text| !text.is_empty())
}

fn path(value: Option<PathBuf>) -> Option<PathBuf> {
    value.filter(|path| !path.as_os_str().is_empty())
}

/// The keys that the stock program requires, with its texts, beside those that stand for them here.
fn required(file: &MirrorFile, wrong: &mut Problems) {
    let has_key = file.api_key.as_ref().is_some_and(|key| !key.is_empty());
    let is_given = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| !path.as_os_str().is_empty());
    if !has_key && !is_given(&file.cert_path) && !is_given(&file.api_key_file) {
        wrong.add("crowdsec_config.lapi_key", "one of lapi_key or cert_path is required");
    }
    let has_url = file.api_url.as_ref().is_some_and(|url| !url.is_empty());
    if !has_url && file.api_urls.as_ref().is_none_or(Vec::is_empty) {
        wrong.add("crowdsec_config.lapi_url", "lapi_url is required");
    }
}

fn tls(file: TlsFile, wrong: &mut Problems) -> Option<(PathBuf, PathBuf)> {
    match (path(file.cert_file), path(file.key_file)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        // The stock program then serves without TLS, which nobody means.
        (Some(_), None) => {
            wrong.add(
                "tls.key_file",
                "missing; `cert_file` is given, and the certificate needs its private key",
            );
            None
        }
        (None, Some(_)) => {
            wrong.add(
                "tls.cert_file",
                "missing; `key_file` is given, and the private key needs its certificate",
            );
            None
        }
    }
}

fn metrics_path(file: MetricsFile, lists: &[ListConfig], wrong: &mut Problems) -> Option<String> {
    if !file.enabled.unwrap_or(false) {
        return None;
    }
    let path = text(file.endpoint)?;
    if !path.starts_with('/') || lists.iter().any(|list| list.path == path) {
        wrong.add("metrics.endpoint", "must begin with / and not be the endpoint of a blocklist");
        return None;
    }
    Some(path)
}

fn lists(
    files: Vec<ListFile>,
    filter: &FilterConfig,
    wrong: &mut Problems,
    notes: &mut Vec<Note>,
) -> Vec<ListConfig> {
    if files.len() > MAX_LISTS {
        wrong.add("blocklists", format!("at most {MAX_LISTS} are possible"));
    }
    let mut endpoints = HashSet::new();
    let mut lists = Vec::new();
    for (index, file) in files.into_iter().take(MAX_LISTS).enumerate() {
        let at = |key: &str| format!("blocklists[{index}].{key}");
        let endpoint = file.endpoint.unwrap_or_default();
        if !endpoint.starts_with('/') {
            wrong.add(at("endpoint"), "must be a path that begins with /, for example /security/blocklist");
        } else if !endpoints.insert(endpoint.clone()) {
            wrong.add(at("endpoint"), format!("{endpoint} endpoint used more than once"));
        }
        let format = format(&file.format.unwrap_or_default(), &at("format"), wrong);
        let key = at("authentication");
        let access = access(file.authentication.unwrap_or_default(), &key, wrong, notes);
        let (Some(format), Some(access)) = (format, access) else { continue };
        let aggregate = file.aggregate.unwrap_or(false);
        lists.push(ListConfig { path: endpoint, format, access, filter: filter.clone(), aggregate });
    }
    lists
}

fn format(name: &str, key: &str, wrong: &mut Problems) -> Option<ListFormat> {
    Some(match name {
        "plain_text" => ListFormat::PlainText,
        "mikrotik" => ListFormat::Mikrotik,
        "f5" => ListFormat::F5,
        "juniper" => ListFormat::Juniper,
        other => {
            wrong.add(
                key,
                format!(
                    "{other} format is not supported. Supported formats are 'plain_text,mikrotik,f5,juniper'"
                ),
            );
            return None;
        }
    })
}

fn access(
    file: AuthenticationFile,
    key: &str,
    wrong: &mut Problems,
    notes: &mut Vec<Note>,
) -> Option<ListAccess> {
    let kind = file.r#type.unwrap_or_default();
    match kind.to_ascii_lowercase().as_str() {
        "" | "none" => Some(ListAccess::Open),
        "basic" => {
            let password = file.password.unwrap_or_else(|| Secret::new(""));
            // `basic` without name and password would accept the credentials `:`.
            if file.user.as_deref().unwrap_or_default().is_empty() && password.is_empty() {
                wrong.add(format!("{key}.user"), "basic authentication needs `user` and `password`");
                return None;
            }
            Some(ListAccess::Basic { user: file.user.unwrap_or_default(), password })
        }
        "ip_based" => {
            let mut prefixes = Vec::new();
            for (index, written) in file.trusted_ips.unwrap_or_default().iter().enumerate() {
                match parse_prefix(written) {
                    Ok(prefix) => prefixes.push(prefix),
                    Err(error) => wrong.add(format!("{key}.trusted_ips[{index}]"), error.to_string()),
                }
            }
            if prefixes.is_empty() {
                notes.push(Note::warn(format!("{key}.trusted_ips is empty: nobody may read this list")));
            }
            Some(ListAccess::Addresses(Box::new(prefixes.into_iter().collect())))
        }
        _ => {
            wrong.add(
                format!("{key}.type"),
                format!(
                    "{kind} authentication type is not supported. Supported authentication types are 'basic,ip_based,none'"
                ),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests;
