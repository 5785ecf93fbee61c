//! `config show` for people: the most important settings, in the order and with the names of `cscli`.

use std::fmt::Write as _;

use super::go_value::GoValue;

/// The value at a path of names below the configuration; not set if any of them is not.
fn at<'a>(config: &'a GoValue, path: &str) -> &'a GoValue {
    path.split('.').try_fold(config, |place, name| place.field(name)).unwrap_or(&GoValue::Nil)
}

fn is_set(value: &GoValue) -> bool {
    !matches!(value, GoValue::Nil)
}

/// ` (disabled)` where a service is switched off; without the key it is on.
fn disabled(enable: &GoValue) -> &'static str {
    if enable.plain() == "false" { " (disabled)" } else { "" }
}

/// A block of lines `  - NAME : VALUE`.
struct Lines<'a> {
    text: &'a mut String,
    config: &'a GoValue,
    indent: usize,
    width: usize,
}

impl Lines<'_> {
    fn add(&mut self, name: &str, path: &str) {
        let (indent, width) = (self.indent, self.width);
        let value = at(self.config, path).plain();
        let _ = writeln!(self.text, "{:indent$}- {name:<width$} : {value}", "");
    }

    /// The same, but for what is not set.
    fn add_if_set(&mut self, name: &str, path: &str) {
        if !matches!(at(self.config, path).plain().as_str(), "" | "0") {
            self.add(name, path);
        }
    }
}

pub(super) fn text(config: &GoValue) -> String {
    let mut text = "Global:\n".to_owned();
    let mut lines = Lines { text: &mut text, config, indent: 3, width: 22 };
    if is_set(at(config, "ConfigPaths")) {
        lines.add("Configuration Folder", "ConfigPaths.ConfigDir");
        lines.add("Data Folder", "ConfigPaths.DataDir");
        lines.add("Hub Folder", "ConfigPaths.HubDir");
        lines.add("Notification Folder", "ConfigPaths.NotificationDir");
        lines.add("Simulation File", "ConfigPaths.SimulationFilePath");
    }
    lines.add("Log Folder", "Common.LogDir");
    lines.add("Log level", "Common.LogLevel");
    lines.add("Log Media", "Common.LogMedia");
    if is_set(at(config, "Crowdsec")) {
        let _ = writeln!(text, "Crowdsec{}:", disabled(at(config, "Crowdsec.Enable")));
        let mut lines = Lines { text: &mut text, config, indent: 2, width: 23 };
        lines.add("Acquisition File", "Crowdsec.AcquisitionFilePath");
        lines.add("Parsers routines", "Crowdsec.ParserRoutinesCount");
        lines.add_if_set("Acquisition Folder", "Crowdsec.AcquisitionDirPath");
    }
    text.push_str("cscli:\n");
    let mut lines = Lines { text: &mut text, config, indent: 2, width: 23 };
    lines.add("Output", "Cscli.Output");
    lines.add("Hub Branch", "Cscli.HubBranch");
    if is_set(at(config, "API.Client")) {
        text.push_str("API Client:\n");
        let mut lines = Lines { text: &mut text, config, indent: 2, width: 23 };
        if is_set(at(config, "API.Client.Credentials")) {
            lines.add("URL", "API.Client.Credentials.URL");
            lines.add("Login", "API.Client.Credentials.Login");
        }
        lines.add("Credentials File", "API.Client.CredentialsFilePath");
    }
    if is_set(at(config, "API.Server")) {
        server(&mut text, config);
    }
    if is_set(at(config, "DbConfig")) {
        database(&mut text, config);
    }
    text
}

fn server(text: &mut String, config: &GoValue) {
    let _ = writeln!(text, "Local API Server{}:", disabled(at(config, "API.Server.Enable")));
    let mut lines = Lines { text, config, indent: 2, width: 23 };
    lines.add("Listen URL", "API.Server.ListenURI");
    lines.add("Listen Socket", "API.Server.ListenSocket");
    lines.add("Profile File", "API.Server.ProfilesPath");
    for (name, field, width) in [
        ("Cert File", "CertFilePath", 0),
        ("Key File", "KeyFilePath", 9),
        ("CA Cert", "CACertPath", 9),
        ("CRL", "CRLPath", 9),
        ("Cache Expiration", "CacheExpiration", 0),
        ("Client Verification", "ClientVerification", 0),
    ] {
        lines.width = width;
        lines.add_if_set(name, &format!("API.Server.TLS.{field}"));
    }
    for (name, field) in
        [("Allowed Agents OU       ", "AllowedAgentsOU"), ("Allowed Bouncers OU       ", "AllowedBouncersOU")]
    {
        for unit in at(config, &format!("API.Server.TLS.{field}")).texts() {
            let _ = writeln!(lines.text, "  - {name}: {unit}");
        }
    }
    text.push_str("\n  - Trusted IPs: \n");
    for address in at(config, "API.Server.TrustedIPs").texts() {
        let _ = writeln!(text, "      - {address}");
    }
}

fn database(text: &mut String, config: &GoValue) {
    text.push_str("  - Database:\n");
    let mut lines = Lines { text, config, indent: 6, width: 19 };
    lines.add("Type", "DbConfig.Type");
    if at(config, "DbConfig.Type").plain() == "sqlite" {
        lines.add("Path", "DbConfig.DbPath");
    } else {
        lines.add("Host", "DbConfig.Host");
        lines.add("Port", "DbConfig.Port");
        lines.add("User", "DbConfig.User");
        lines.add("DB Name", "DbConfig.DbName");
    }
    lines.add_if_set("Max Open Conns", "DbConfig.MaxOpenConns");
    lines.add_if_set("Decision Bulk Size", "DbConfig.DecisionBulkSize");
    lines.add_if_set("Flush age", "DbConfig.Flush.MaxAge");
    lines.add_if_set("Flush size", "DbConfig.Flush.MaxItems");
}
