//! Blocks and files that have no effect yet: the Central API, the console, CTI, notifications. They are checked as the
//! stock server does, so that a mistake in them appears now, and each is warned of.

use std::{
    collections::BTreeSet,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use palisade_daemon::{Document, Problems};
use palisade_net::parse_prefix;
use palisade_wire::GoDuration;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use crate::{Config, Credentials, common::level, config::unknown, credentials::plain, file};

/// Blocks without effect, and why.
const BLOCKS: [(&str, &str); 6] = [
    ("api.server.online_client", "nothing is sent to the Central API or pulled from it"),
    ("api.server.console_path", "no option of the console is used"),
    ("api.server.capi_whitelists_path", "no blocklist is pulled; allowlists hold for everything else"),
    ("api.server.papi_log_level", "there is no connection to the console"),
    ("api.cti", "CrowdsecCTI is not available in profiles"),
    ("plugin_config", "no notification plugin is run"),
];

/// A warning for each block without effect.
pub(crate) fn blocks(document: &Document) -> impl Iterator<Item = String> {
    BLOCKS
        .into_iter()
        .filter(|(key, _)| document.has(key))
        .map(|(key, why)| format!("{key} has no effect yet: {why}"))
}

/// Checks `api.cti`.
pub(crate) fn check_cti(written: file::Cti, wrong: &mut Problems) {
    if written.key.as_deref() == Some("") {
        wrong.add("api.cti.key", "loading CTI configuration: empty cti key");
    }
    if let Some(Err(cause)) = written.cache_timeout.as_deref().map(check_duration) {
        wrong.add("api.cti.cache_timeout", cause);
    }
    let _ = level("api.cti.log_level", written.log_level.as_deref(), wrong);
}

/// Go's YAML reads a bare number as nanoseconds.
fn check_duration(text: &str) -> Result<(), String> {
    match text.parse::<GoDuration>() {
        Err(cause) if text.parse::<i64>().is_err() => Err(cause.to_string()),
        _ => Ok(()),
    }
}

/// A file without effect yet that the stock server would refuse. The texts are the stock server's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InactiveFileError(String);

impl Config {
    /// Checks the files that only blocks without effect name, and the notifications that profiles name. Returns warnings.
    ///
    /// # Errors
    ///
    /// When the stock server would refuse to start.
    pub fn check_inactive_files(&self, notifications: &[&str]) -> Result<Vec<String>, InactiveFileError> {
        let mut warnings = Vec::new();
        let Some(server) = &self.server else { return Ok(warnings) };
        if let Some(path) = server.online_client.as_ref().and_then(|block| block.credentials_path.as_deref())
        {
            let checked = online_credentials(path, &mut warnings);
            checked.map_err(|reason| {
                InactiveFileError(format!("loading online client credentials: {reason}"))
            })?;
        }
        if let Some(path) = &server.capi_whitelists_path {
            capi_whitelists(path, &mut warnings).map_err(InactiveFileError)?;
        }
        let checked = console_options(&server.console_path, &mut warnings);
        checked.map_err(|reason| InactiveFileError(format!("while loading console options: {reason}")))?;
        if !notifications.is_empty() {
            warnings.push(format!(
                "notifications in profiles have no effect yet: nothing is sent to {}",
                notifications.join(", ")
            ));
            self.check_notifications(notifications, &mut warnings).map_err(InactiveFileError)?;
        }
        Ok(warnings)
    }

    /// The folder of the notifications' configurations.
    fn notification_dir(&self) -> PathBuf {
        let default = || {
            let folder = self.paths.config_dir.clone();
            folder.or_else(|| Some(self.path.parent()?.to_owned())).unwrap_or_default().join("notifications")
        };
        self.paths.notification_dir.clone().unwrap_or_else(default)
    }

    fn check_notifications(&self, names: &[&str], warnings: &mut Vec<String>) -> Result<(), String> {
        let Some(plugins) = &self.plugins else {
            return Err(
                "plugins are enabled, but the plugin_config section is missing in the configuration".into()
            );
        };
        let is_set = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
        if self.paths.plugin_dir.is_none() {
            return Err("plugins are enabled, but config_paths.plugin_dir is not defined".into());
        }
        const BROKER: &str = "api server init: plugin broker: loading";
        let defined = notification_files(&self.notification_dir(), warnings)
            .map_err(|reason| format!("{BROKER} config: {reason}"))?;
        if let Some(defined) = defined
            && let Some(name) = names.iter().find(|name| !defined.contains(**name))
        {
            return Err(format!("{BROKER} config: config file for plugin {name} not found"));
        }
        if is_set(&plugins.user) != is_set(&plugins.group) {
            return Err(format!(
                "{BROKER} plugin: while getting process attributes: both plugin user and group must be set"
            ));
        }
        Ok(())
    }
}

/// Reads a file. `None`, with a warning, when this user may not: the stock server runs as root, and nothing depends on
/// the file yet.
fn read(path: &Path, warnings: &mut Vec<String>) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            warnings.push(format!("{} is not checked: permission denied", path.display()));
            Ok(None)
        }
        Err(cause) => Err(cause),
    }
}

fn open_failed(path: &Path, cause: &io::Error) -> String {
    format!("open {}: {}", path.display(), plain(cause))
}

/// Parses all documents of a text that are not empty.
fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| error.without_snippet().to_string().lines().next().unwrap_or_default().to_owned())
}

fn online_credentials(path: &Path, warnings: &mut Vec<String>) -> Result<(), String> {
    let Some(text) = read(path, warnings).map_err(|cause| open_failed(path, &cause))? else { return Ok(()) };
    let failed = |cause: &dyn std::fmt::Display| {
        format!("failed to parse api server credentials configuration file '{}': {cause}", path.display())
    };
    let credentials: Credentials = if documents::<IgnoredAny>(&text)
        .is_ok_and(|documents| documents.is_empty())
    {
        Credentials::default()
    } else {
        let document = Document::from_text(path, &text, None, &|_| None).map_err(|cause| failed(&cause))?;
        let mut wrong = unknown(&document, crate::credentials::CREDENTIALS_KEYS);
        let read = document.parse_into(&mut wrong);
        wrong.or(read).map_err(|cause| failed(&cause))?.unwrap_or_default()
    };
    let is_empty = |value: &Option<String>| value.as_ref().is_none_or(String::is_empty);
    let fields =
        [("login", &credentials.login), ("password", &credentials.password), ("url", &credentials.url)];
    if let Some((field, _)) = fields.into_iter().find(|(_, value)| is_empty(value)) {
        warnings
            .push(format!("can't load CAPI credentials from '{}' (missing {field} field)", path.display()));
    }
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Whitelists {
    ips: Option<Vec<String>>,
    cidrs: Option<Vec<String>>,
}

fn capi_whitelists(path: &Path, warnings: &mut Vec<String>) -> Result<(), String> {
    let text = match read(path, warnings) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            return Err(format!("capi whitelist file '{}' does not exist", path.display()));
        }
        Err(cause) => {
            return Err(format!("while opening capi whitelist file: {}", open_failed(path, &cause)));
        }
    };
    let failed = |reason: String| format!("while parsing capi whitelist file '{}': {reason}", path.display());
    let lists: Vec<Whitelists> = documents(&text).map_err(failed)?;
    let Some(lists) = lists.into_iter().next() else { return Err(failed("empty file".to_owned())) };
    if let Some(ip) = lists.ips.unwrap_or_default().iter().find(|ip| ip.parse::<IpAddr>().is_err()) {
        return Err(failed(format!("invalid IP address: {ip}")));
    }
    let is_range = |text: &str| text.contains('/') && parse_prefix(text).is_ok();
    match lists.cidrs.unwrap_or_default().iter().find(|range| !is_range(range)) {
        Some(range) => Err(failed(format!("invalid CIDR address: {range}"))),
        None => Ok(()),
    }
}

/// The keys of `console.yaml`; others are ignored, as the stock server does.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ConsoleOptions {
    #[serde(rename = "share_manual_decisions")]
    _manual: Option<bool>,
    #[serde(rename = "share_tainted")]
    _tainted: Option<bool>,
    #[serde(rename = "share_custom")]
    _custom: Option<bool>,
    #[serde(rename = "share_context")]
    _context: Option<bool>,
    #[serde(rename = "console_management")]
    _management: Option<bool>,
}

fn console_options(path: &Path, warnings: &mut Vec<String>) -> Result<(), String> {
    let text = match read(path, warnings) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(()),
        // The defaults hold.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => {
            let reason = open_failed(path, &cause);
            return Err(format!("reading console config file '{}': {reason}", path.display()));
        }
    };
    documents::<ConsoleOptions>(&text)
        .map(drop)
        .map_err(|reason| format!("unmarshaling console config file '{}': {reason}", path.display()))
}

/// A notification's configuration; the other keys belong to its type.
#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    group_wait: Option<String>,
    timeout: Option<String>,
    #[serde(rename = "group_threshold")]
    _group_threshold: Option<i64>,
    #[serde(rename = "max_retry")]
    _max_retry: Option<i64>,
    #[serde(rename = "format")]
    _format: Option<String>,
}

/// The names that the files of a folder define; `None` when a file could not be read.
fn notification_files(folder: &Path, warnings: &mut Vec<String>) -> Result<Option<BTreeSet<String>>, String> {
    let entries = fs::read_dir(folder).map_err(|cause| open_failed(folder, &cause))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml") && !path.is_dir());
    files.sort();
    let (mut names, mut is_complete) = (BTreeSet::new(), true);
    for path in files {
        let text =
            read(&path, warnings).map_err(|cause| format!("while opening {}", open_failed(&path, &cause)))?;
        let Some(text) = text else {
            is_complete = false;
            continue;
        };
        let failed = |reason: String| format!("error in {}: {reason}", path.display());
        for name in notification_names(&text).map_err(failed)? {
            if !names.insert(name.clone()) {
                warnings.push(format!("notification '{name}' is defined multiple times"));
            }
        }
    }
    Ok(is_complete.then_some(names))
}

/// The names that the documents of a file define.
fn notification_names(text: &str) -> Result<Vec<String>, String> {
    // Only as many as could be read before a mistake: the document at fault is the next one.
    let whole: Vec<Notification> = documents(text).map_err(|reason| {
        let good = text.match_indices("\n---").map(|(at, _)| &text[..=at]);
        let read = good.filter(|start| documents::<Notification>(start).is_ok()).count();
        format!("document {read}: {reason}")
    })?;
    let mut names = Vec::new();
    for (index, document) in whole.into_iter().enumerate() {
        if document.kind.is_none_or(|kind| kind.is_empty()) {
            return Err(format!("document {index}: missing required field 'type'"));
        }
        for (key, value) in [("group_wait", document.group_wait), ("timeout", document.timeout)] {
            if let Some(Err(cause)) = value.as_deref().map(check_duration) {
                return Err(format!("document {index}: {key}: {cause}"));
            }
        }
        names.push(document.name.unwrap_or_default());
    }
    Ok(names)
}
