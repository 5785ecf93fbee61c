//! What is shown of a configuration.

use super::*;

const FILE: &str = "/etc/crowdsec/config.yaml";

/// The configuration that this file gives.
fn config(mut written: Value) -> GoValue {
    complete(&mut written, Path::new(FILE), Output::Human);
    schema::CONFIG.read(Some(&written))
}

fn sample() -> GoValue {
    config(json!({
        "common": {"log_level": "warn", "log_media": "file", "log_dir": "/var/log/"},
        "config_paths": {"config_dir": "/etc/crowdsec/", "data_dir": "/var/lib/crowdsec/data/",
            "simulation_path": "/etc/crowdsec//simulation.yaml"},
        "cscli": {"color": "no"},
        "db_config": {"type": "sqlite", "db_path": "/x.db", "password": "pw", "use_wal": true,
            "flush": {"max_items": 5000, "max_age": "7d", "metrics_max_age": "10m"}},
        "api": {
            "client": {"insecure_skip_verify": false, "credentials_path": "/c.yaml",
                "-Credentials": {"url": "http://127.0.0.1:8080/", "login": "m", "password": "secret"}},
            "server": {"listen_uri": "127.0.0.1:8080", "trusted_ips": ["127.0.0.1", "::1"],
                "auto_registration": {"enabled": true, "token": "t"}},
        },
        "plugin_config": {"user": "nobody", "group": "nogroup"},
        "prometheus": {"enabled": true, "level": "full", "listen_addr": "127.0.0.1", "listen_port": 6060},
    }))
}

fn by_key(config: &GoValue, key: &str) -> String {
    match lookup(config, key).unwrap().without_secrets() {
        GoValue::Text(text) => text,
        other => other.syntax(),
    }
}

#[test]
fn a_key_leads_to_the_value_that_cscli_prints() {
    let sample = sample();
    for (key, shown) in [
        ("Config.FilePath", FILE),
        ("Config.Common.LogLevel", "3"),
        ("Config.Common.LogMedia", "file"),
        ("Config.Common.LogConfig.LogMedia", "file"),
        ("Config.Common.LogDir", "/var/log"),
        ("Config.Common.CompressLogs", "nil"),
        ("Config.Prometheus.Enabled", "true"),
        ("Config.Prometheus.ListenPort", "6060"),
        ("Config.API.Server.Enable", "nil"),
        ("Config.API.Server.ListenURI", "127.0.0.1:8080"),
        ("Config.API.Server.TrustedIPs[1]", "::1"),
        ("Config.API.Server.TrustedIPs", "[]string{\n  \"127.0.0.1\",\n  \"::1\",\n}"),
        ("Config.API.Server.AutoRegister.Enable", "&true"),
        ("Config.API.Server.TLS", "nil"),
        ("Config.API.Client.Credentials.URL", "http://127.0.0.1:8080/"),
        ("Config.API?.Client?.InsecureSkipVerify", "&false"),
        ("Config.API.Client.UnregisterOnExit", "false"),
        ("Config.ConfigPaths.ConfigDir", "/etc/crowdsec"),
        ("Config.ConfigPaths.DataDir", "/var/lib/crowdsec/data"),
        ("Config.ConfigPaths.HubIndexFile", "/etc/crowdsec/hub/.index.json"),
        ("Config.ConfigPaths.SimulationFilePath", "/etc/crowdsec/simulation.yaml"),
        ("Config.Hub.InstallDataDir", "/var/lib/crowdsec/data"),
        ("Config.DbConfig.Flush.MaxItems", "&5000"),
        ("Config.DbConfig.Flush.MaxAge", "&\"7d\""),
        ("Config.DbConfig.Flush.MetricsMaxAge", "&600000000000"),
        ("Config.DbConfig.UseWal", "&true"),
        // A value that is requested by name is shown: the file is readable anyway.
        ("Config.DbConfig.Password", "pw"),
        ("Config.PluginConfig", "&csconfig.PluginCfg{\n  User: \"nobody\",\n  Group: \"nogroup\",\n}"),
        ("Config.Cscli.PrometheusUrl", "http://127.0.0.1:6060/metrics"),
        ("Config.Cscli.Color", "no"),
        (
            "Config.Prometheus",
            "&csconfig.PrometheusCfg{\n  Enabled: true,\n  Level: \"full\",\n  ListenAddr: \"127.0.0.1\",\n  \
             ListenPort: 6060,\n}",
        ),
    ] {
        assert_eq!(by_key(&sample, key), shown, "{key}");
    }
    let empty = config(json!({"api": {"server": {"enable": false}}}));
    for (key, shown) in [
        ("Config.Common.LogLevel", "4"),
        ("Config.Common.LogMedia", "stdout"),
        ("Config.Prometheus.Enabled", "false"),
        ("Config.API.Server.Enable", "&false"),
        ("Config.API.Client", "nil"),
        ("Config.API.Server.TrustedIPs", "nil"),
    ] {
        assert_eq!(by_key(&empty, key), shown, "{key}");
    }
    assert_eq!(
        lookup(&empty, "Config.API.Client.Credentials").unwrap_err().to_string(),
        "cannot fetch Credentials from <nil>"
    );
    for key in ["Config.API.Nope", "Config.API.Server.TrustedIPs[7]", "Nope", "Config.Common.LogMedia.x", ""]
    {
        let error = lookup(&sample, key).unwrap_err().to_string();
        assert!(error.contains(&format!("'{key}'")), "{error}");
    }
}

#[test]
fn the_whole_is_shown_without_secrets() {
    let shown = sample().without_secrets();
    let json: Value = serde_json::from_str(&json_text(&shown, 2)).unwrap();
    assert_eq!(json["Common"]["LogLevel"], "warning");
    assert_eq!(json["Common"]["LogMedia"], "file", "beside the others");
    assert_eq!(json["API"]["Client"]["Credentials"]["url"], "http://127.0.0.1:8080/");
    assert_eq!(json["API"]["Client"]["Credentials"]["password"], Value::Null);
    assert_eq!(json["DbConfig"]["Password"], "[redacted]");
    assert_eq!(json["API"]["Server"]["AutoRegister"]["Token"], "[redacted]");
    assert_eq!(json["DbConfig"]["Flush"]["MetricsMaxAge"], 600_000_000_000_i64);
    assert_eq!(
        (&json["API"]["Server"]["Enable"], &json["API"]["Server"]["TLS"]),
        (&Value::Null, &Value::Null)
    );
    let text = json_text(&shown, 2);
    assert!(text.starts_with(
        "{\n  \"FilePath\": \"/etc/crowdsec/config.yaml\",\n  \"Self\": null,\n  \"Common\": {"
    ));
    assert!(!text.contains("secret") && !shown.syntax().contains("\"pw\""), "{text}");

    let yaml = yaml::document(&shown.yaml());
    for line in [
        "common:",
        "    log_level: warning",
        "    log_media: file",
        "config_paths:",
        "cscli:",
        "db_config:",
        "    password: '[redacted]'",
        "        metrics_max_age: 10m0s",
        "plugin_config:",
        "api:",
        "        insecure_skip_verify: false",
        "        enable: null",
        "            - 127.0.0.1",
        "prometheus:",
    ] {
        assert!(yaml.lines().any(|shown| shown == line), "{line} in {yaml}");
    }
    assert!(!yaml.contains("Credentials") && !yaml.contains("8080/"), "not of the file: {yaml}");
}

#[test]
fn the_overview_has_the_lines_of_cscli() {
    assert_eq!(
        overview::text(&sample()),
        concat!(
            "Global:\n",
            "   - Configuration Folder   : /etc/crowdsec\n",
            "   - Data Folder            : /var/lib/crowdsec/data\n",
            "   - Hub Folder             : /etc/crowdsec/hub\n",
            "   - Notification Folder    : /etc/crowdsec/notifications\n",
            "   - Simulation File        : /etc/crowdsec/simulation.yaml\n",
            "   - Log Folder             : /var/log\n",
            "   - Log level              : warning\n",
            "   - Log Media              : file\n",
            "cscli:\n",
            "  - Output                  : human\n",
            "  - Hub Branch              : \n",
            "API Client:\n",
            "  - URL                     : http://127.0.0.1:8080/\n",
            "  - Login                   : m\n",
            "  - Credentials File        : /c.yaml\n",
            "Local API Server:\n",
            "  - Listen URL              : 127.0.0.1:8080\n",
            "  - Listen Socket           : \n",
            "  - Profile File            : \n",
            "\n",
            "  - Trusted IPs: \n",
            "      - 127.0.0.1\n",
            "      - ::1\n",
            "  - Database:\n",
            "      - Type                : sqlite\n",
            "      - Path                : /x.db\n",
            "      - Flush age           : 7d\n",
            "      - Flush size          : 5000\n",
        )
    );
    let other = config(json!({
        "api": {"server": {"enable": false, "tls": {"cert_file": "/c", "key_file": "/k", "agents_allowed_ou": ["a"]}}},
        "crowdsec_service": {"enable": false, "acquisition_path": "/a", "parser_routines": 2},
        "db_config": {"type": "pgx", "host": "db", "port": 5432},
    }));
    let text = overview::text(&other);
    for part in [
        "Crowdsec (disabled):\n  - Acquisition File        : /a\n  - Parsers routines        : 2\n",
        "Local API Server (disabled):\n",
        "  - Cert File : /c\n  - Key File  : /k\n  - Allowed Agents OU       : a\n\n  - Trusted IPs: \n",
        "      - Host                : db\n      - Port                : 5432\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("API Client"), "{text}");
}

#[test]
fn urls_end_in_a_slash_and_sockets_do_not() {
    assert_eq!(shown_url("http://127.0.0.1:8080"), "http://127.0.0.1:8080/");
    assert_eq!(shown_url("https://lapi/"), "https://lapi/");
    assert_eq!(shown_url("/run/lapi.sock"), "/run/lapi.sock");
    assert!(version().starts_with("version: v"));
}
