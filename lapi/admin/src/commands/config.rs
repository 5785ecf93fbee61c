//! `config show`, `config show-yaml` and `version`: the effective configuration of this host.

mod go_value;
mod overview;
mod schema;

use std::path::{Component, Path, PathBuf};

use palisade_lapi_config::{Config, Output};
use serde_json::{Map, Value, json};

use self::go_value::GoValue;
use crate::command_line::given;
use crate::failure::Failure;
use crate::output::{json as json_text, line, print};
use crate::session::Session;
use crate::yaml;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Displays current config
    Show {
        /// Display only this value (Config.API.Server.ListenURI)
        #[arg(long)]
        key: Option<String>,
    },
    /// Displays merged config.yaml + config.yaml.local
    ShowYaml,
}

impl Command {
    pub(super) fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Show { key } => show(session, given(&key)),
            Self::ShowYaml => print(&session.config.merged_text),
        }
    }
}

fn show(session: &Session, key: Option<&str>) -> Result<(), Failure> {
    let config = read(session)?;
    if let Some(key) = key {
        let found = lookup(&config, key)?.without_secrets();
        return match (session.output, &found) {
            (Output::Json, found) => line(&json_text(found, 2)),
            (_, GoValue::Text(text)) => line(text),
            (_, found) => line(&found.syntax()),
        };
    }
    let config = config.without_secrets();
    match session.output {
        Output::Json => line(&json_text(&config, 2)),
        Output::Raw => print(&yaml::document(&config.yaml())),
        Output::Human => print(&overview::text(&config)),
    }
}

/// The value at a path such as `Config.API.Server.TrustedIPs[0]`.
fn lookup(config: &GoValue, key: &str) -> Result<GoValue, Failure> {
    let unknown = || {
        Failure::Command(format!(
            "unable to get a value for '{key}': there is none; `config show -o json` shows all of them"
        ))
    };
    let mut names = key.split('.').map(|name| name.trim_end_matches('?'));
    if names.next() != Some("Config") {
        return Err(unknown());
    }
    let mut place = config.clone();
    for name in names {
        if matches!(place, GoValue::Nil) {
            return Err(Failure::Command(format!("cannot fetch {name} from <nil>")));
        }
        let (name, index) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            Some((name, index)) => (name, Some(index.parse::<usize>().map_err(|_| unknown())?)),
            None => (name, None),
        };
        place = place.field(name).ok_or_else(unknown)?.clone();
        if let Some(index) = index {
            place = place.item(index).ok_or_else(unknown)?;
        }
    }
    Ok(place)
}

/// The configuration as the structs of the stock program.
fn read(session: &Session) -> Result<GoValue, Failure> {
    let path = &session.config.path;
    let mut written: Value = Config::written(path)?;
    if !written.is_object() {
        written = json!({});
    }
    complete(&mut written, path, session.output);
    let client = written.pointer_mut("/api/client").and_then(Value::as_object_mut);
    match (session.credentials(), client) {
        (Ok(credentials), Some(client)) => {
            let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
            client.insert(
                "-Credentials".to_owned(),
                json!({
                    "url": credentials.url.as_deref().map(shown_url),
                    "login": credentials.login,
                    "password": credentials.password,
                    "papi_url": credentials.papi_url,
                    "ca_cert_path": path(&credentials.ca_cert_path),
                    "cert_path": path(&credentials.cert_path),
                    "key_path": path(&credentials.key_path),
                }),
            );
        }
        (Ok(_), None) => {}
        // The rest is shown all the same.
        (Err(failure), _) => {
            let text = failure.to_string();
            let cause = text.trim_start_matches("loading api client: ");
            session.log.error(&format!("failed to load API client configuration: {cause}"));
        }
    }
    Ok(schema::CONFIG.read(Some(&written)))
}

/// With the slash that the stock program adds; a unix socket has none.
fn shown_url(url: &str) -> String {
    if url.starts_with("http") && !url.ends_with('/') { format!("{url}/") } else { url.to_owned() }
}

/// Adds the defaults that loading a configuration sets, and what is not in the file: under its Go name with a dash.
fn complete(config: &mut Value, path: &Path, output: Output) {
    let output = match output {
        Output::Human => "human",
        Output::Json => "json",
        Output::Raw => "raw",
    };
    config["-FilePath"] = json!(path);
    let common = block(config, "common");
    default(common, "log_media", "stdout");
    default(common, "log_level", "info");
    make_absolute(common, "log_dir");
    let prometheus = block(config, "prometheus");
    default(prometheus, "listen_addr", "127.0.0.1");
    if prometheus.get("listen_port").is_none_or(|port| port.is_null() || port == 0) {
        prometheus.insert("listen_port".to_owned(), json!(6060));
    }
    let page = |key: &str| prometheus.get(key).map(|value| value.to_string().trim_matches('"').to_owned());
    let page = (page("listen_addr").unwrap_or_default(), page("listen_port").unwrap_or_default());
    let cscli = block(config, "cscli");
    cscli.insert("output".to_owned(), json!(output));
    default(cscli, "color", "auto");
    default(cscli, "__hub_url_template__", "https://cdn-hub.crowdsec.net/crowdsecurity/%s/%s");
    cscli.insert("prometheus_uri".to_owned(), json!(format!("http://{}:{}/metrics", page.0, page.1)));
    if config.get("config_paths").is_some_and(Value::is_object) {
        let paths = block(config, "config_paths");
        default(paths, "config_dir", &path.parent().unwrap_or(Path::new("/")).display().to_string());
        let below = |folder: &Value, name: &str| {
            Path::new(folder.as_str().unwrap_or_default()).join(name).display().to_string()
        };
        let folder = paths["config_dir"].clone();
        default(paths, "hub_dir", &below(&folder, "hub"));
        default(paths, "index_path", &below(&paths["hub_dir"].clone(), ".index.json"));
        default(paths, "notification_dir", &below(&folder, "notifications"));
        default(paths, "pattern_dir", &below(&folder, "patterns"));
        for key in [
            "config_dir",
            "data_dir",
            "simulation_path",
            "index_path",
            "hub_dir",
            "plugin_dir",
            "notification_dir",
            "pattern_dir",
        ] {
            make_absolute(paths, key);
        }
        let hub = json!({
            "-HubIndexFile": paths["index_path"],
            "-HubDir": paths["hub_dir"],
            "-InstallDir": paths["config_dir"],
            "-InstallDataDir": paths.get("data_dir"),
        });
        config["-Hub"] = hub;
    }
}

/// The block of this name, made if there is none.
fn block<'a>(config: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    if !config[name].is_object() {
        config[name] = json!({});
    }
    config[name].as_object_mut().expect("it is one now")
}

fn default(block: &mut Map<String, Value>, key: &str, value: &str) {
    if block.get(key).is_none_or(|value| value.is_null() || value == "") {
        block.insert(key.to_owned(), json!(value));
    }
}

/// Makes a path absolute and without a slash at its end, dots or double slashes, as Go does.
fn make_absolute(block: &mut Map<String, Value>, key: &str) {
    if let Some(Value::String(path)) = block.get_mut(key)
        && !path.is_empty()
    {
        let absolute = std::path::absolute(&*path).unwrap_or_else(|_| PathBuf::from(&*path));
        let mut clean = PathBuf::new();
        for part in absolute.components() {
            match part {
                Component::ParentDir => {
                    clean.pop();
                }
                Component::CurDir => {}
                part => clean.push(part),
            }
        }
        *path = clean.display().to_string();
    }
}

pub(crate) fn version() -> String {
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    format!(
        "version: {version}\nCodename: palisade\nBuildDate: unknown\nGoVersion: none (Rust)\nPlatform: {}\n\
         libre2: none\nUser-Agent: palisade/{version}\nConstraint_parser: none\nConstraint_scenario: none\n\
         Constraint_api: 1.0\nConstraint_acquis: none\n",
        std::env::consts::OS
    )
}

#[cfg(test)]
mod tests;
