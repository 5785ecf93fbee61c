//! `config show`, `config show-yaml` and `version`: the effective configuration of this host.

use palisade_lapi_config::Output;
use palisade_store::{Engine, SslMode};
use palisade_wire::GoDuration;
use serde_json::{Value, json};

use crate::command_line::given;
use crate::failure::Failure;
use crate::output::{self, line, print, yaml};
use crate::session::Session;

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
    let tree = tree(session);
    if let Some(key) = key {
        return match (session.output, lookup(&tree, key)?) {
            (Output::Json, found) => line(&output::json(found, 2)),
            (_, Value::String(text)) => line(text),
            // An optional setting that is unset, in Go's spelling.
            (_, Value::Null) => line("<nil>"),
            (_, found) => line(&found.to_string()),
        };
    }
    match session.output {
        Output::Json => line(&output::json(&tree["Config"], 2)),
        Output::Raw => print(&yaml(&tree["Config"])?),
        Output::Human => print(&human(&tree["Config"])),
    }
}

/// The value at a dotted path such as `Config.API.Server.ListenURI`.
fn lookup<'a>(tree: &'a Value, key: &str) -> Result<&'a Value, Failure> {
    let unknown = || {
        Failure::Command(format!(
            "unable to get a value for '{key}': there is none; `config show -o json` shows all of them"
        ))
    };
    let mut place = tree;
    for name in key.split('.') {
        let (name, index) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            Some((name, index)) => (name, Some(index.parse::<usize>().map_err(|_| unknown())?)),
            None => (name, None),
        };
        place = place.get(name).ok_or_else(unknown)?;
        if let Some(index) = index {
            place = place.get(index).ok_or_else(unknown)?;
        }
    }
    Ok(place)
}

/// The configuration under the names of `cscli config show --key`, without secrets.
fn tree(session: &Session) -> Value {
    let config = &session.config;
    let text = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let credentials = session.credentials().ok();
    let client = config.credentials_path.as_ref().map(|path| {
        let known = credentials.unwrap_or_default();
        json!({
            "CredentialsFilePath": path.display().to_string(),
            "InsecureSkipVerify": config.insecure_skip_verify,
            "Credentials": {"URL": known.base_url().unwrap_or_default(), "Login": known.login.unwrap_or_default()},
        })
    });
    let server = config.server.as_ref().map(|server| {
        json!({
            "Enable": server.enable,
            "ListenURI": server.listen_uri.clone().unwrap_or_default(),
            "ListenSocket": text(&server.listen_socket).unwrap_or_default(),
            "ProfilesPath": text(&server.profiles_path).unwrap_or_default(),
            "ConsoleConfigPath": server.console_path.display().to_string(),
            "TrustedIPs": server.trusted_ips.prefixes().map(|net| net.to_string()).collect::<Vec<_>>(),
            "UseForwardedForHeaders": !server.trusted_proxies.is_empty(),
            "DisableRemoteLapiRegistration": server.disable_remote_lapi_registration,
            "AutoRegister": {"Enable": server.auto_registration.is_some()},
            "TLS": server.tls.is_some(),
        })
    });
    let database = config.database.as_ref().map(|database| {
        let flush = database.flush.as_ref().map(|flush| {
            json!({
                "MaxItems": flush.max_items,
                "MaxAge": flush.max_age.map(|age| GoDuration::from(age).to_string()),
            })
        });
        match &database.store.engine {
            Engine::Sqlite { path, wal } => {
                json!({"Type": "sqlite", "DbPath": path.display().to_string(), "UseWal": wal, "Flush": flush})
            }
            Engine::Postgres(server) => json!({
                "Type": "postgresql", "Host": server.host, "Port": server.port, "User": server.user,
                "DbName": server.name, "SSLMode": server.sslmode.map_or("", SslMode::name), "Flush": flush,
            }),
        }
    });
    let paths = &config.paths;
    json!({"Config": {
        "FilePath": config.path.display().to_string(),
        "ConfigPaths": {
            "ConfigDir": text(&paths.config_dir),
            "DataDir": text(&paths.data_dir),
            "HubDir": text(&paths.hub_dir),
            "HubIndexFile": text(&paths.index_path),
            "NotificationDir": text(&paths.notification_dir),
            "PluginDir": text(&paths.plugin_dir),
            "SimulationFilePath": text(&paths.simulation_path),
            "PatternDir": text(&paths.pattern_dir),
        },
        "Common": {"LogLevel": format!("{:?}", config.logs.level).to_lowercase()},
        "Cscli": {
            "Output": match config.output { Output::Human => "human", Output::Json => "json", Output::Raw => "raw" },
            "Color": config.color.clone().unwrap_or_default(),
        },
        "API": {"Client": client, "Server": server},
        "DbConfig": database,
        "Prometheus": config.prometheus.as_ref().map(|metrics| {
            json!({"ListenAddr": metrics.listen.addr, "ListenPort": metrics.listen.port})
        }),
    }})
}

fn human(config: &Value) -> String {
    let mut text = String::new();
    let shown = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut block = |title: &str, from: &Value, rows: &[(&str, &str)]| {
        if from.is_null() {
            return;
        }
        text.push_str(&format!("{title}:\n"));
        for (name, pointer) in rows {
            let value = shown(from.pointer(pointer).unwrap_or(&Value::Null));
            text.push_str(&format!("  - {name:<23} : {value}\n"));
        }
        text.push('\n');
    };
    block(
        "Global",
        config,
        &[
            ("Configuration Folder", "/ConfigPaths/ConfigDir"),
            ("Data Folder", "/ConfigPaths/DataDir"),
            ("Hub Folder", "/ConfigPaths/HubDir"),
            ("Notification Folder", "/ConfigPaths/NotificationDir"),
            ("Simulation File", "/ConfigPaths/SimulationFilePath"),
            ("Log level", "/Common/LogLevel"),
        ],
    );
    block("cscli", config, &[("Output", "/Cscli/Output"), ("Color", "/Cscli/Color")]);
    block(
        "API Client",
        &config["API"]["Client"],
        &[
            ("URL", "/Credentials/URL"),
            ("Login", "/Credentials/Login"),
            ("Credentials File", "/CredentialsFilePath"),
        ],
    );
    block(
        "Local API Server",
        &config["API"]["Server"],
        &[
            ("Enabled", "/Enable"),
            ("Listen URL", "/ListenURI"),
            ("Listen Socket", "/ListenSocket"),
            ("Profile File", "/ProfilesPath"),
            ("Trusted IPs", "/TrustedIPs"),
            ("Auto registration", "/AutoRegister/Enable"),
            ("TLS", "/TLS"),
        ],
    );
    block(
        "Database",
        &config["DbConfig"],
        &[
            ("Type", "/Type"),
            ("Path", "/DbPath"),
            ("Host", "/Host"),
            ("Port", "/Port"),
            ("User", "/User"),
            ("DB Name", "/DbName"),
            ("Flush age", "/Flush/MaxAge"),
            ("Flush size", "/Flush/MaxItems"),
        ],
    );
    text
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
mod tests {
    use super::*;

    #[test]
    fn a_path_of_names_leads_to_a_value() {
        let tree =
            json!({"Config": {"API": {"Server": {"ListenURI": "127.0.0.1:8080", "TrustedIPs": ["::1"]}}}});
        assert_eq!(lookup(&tree, "Config.API.Server.ListenURI").unwrap(), "127.0.0.1:8080");
        assert_eq!(lookup(&tree, "Config.API.Server.TrustedIPs[0]").unwrap(), "::1");
        assert!(lookup(&tree, "Config.API.Server.TrustedIPs[1]").is_err());
        assert!(lookup(&tree, "Config.API.Nope").unwrap_err().to_string().contains("'Config.API.Nope'"));
    }

    #[test]
    fn only_what_is_configured_is_shown() {
        let text = human(&json!({"API": {"Client": null}, "Cscli": {"Output": "human"}}));
        assert!(text.contains("cscli:\n  - Output                  : human\n"), "{text}");
        assert!(!text.contains("API Client"), "{text}");
        assert!(version().starts_with("version: v"));
    }
}
