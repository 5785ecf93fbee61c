//! The configuration as the structs of CrowdSec 1.7.8: names, types and order, which `config show` prints.

use super::go_value::{Field, Kind, StructType};

use Kind::{Bool, Duration, Int, Level, Nothing, Pointer, Struct, Text, Texts};

/// A field that the file has.
const fn field(name: &'static str, key: &'static str, kind: Kind) -> Field {
    Field { name, kind, key: Some(key), optional: false, json: None, embedded: false, secret: false }
}

/// The same, left out of YAML when it is empty.
const fn optional(name: &'static str, key: &'static str, kind: Kind) -> Field {
    Field { optional: true, ..field(name, key, kind) }
}

/// A field that is not read from the file.
const fn computed(name: &'static str, kind: Kind) -> Field {
    Field { key: None, ..field(name, "", kind) }
}

const fn secret(field: Field) -> Field {
    Field { secret: true, ..field }
}

const fn json(name: &'static str, field: Field) -> Field {
    Field { json: Some(name), ..field }
}

pub(super) static CONFIG: Kind = Struct(&StructType {
    name: "Config",
    fields: &[
        computed("FilePath", Text),
        computed("Self", Nothing),
        optional("Common", "common", Pointer(&COMMON)),
        optional("Prometheus", "prometheus", Pointer(&PROMETHEUS)),
        optional("Crowdsec", "crowdsec_service", Pointer(&CROWDSEC)),
        optional("Cscli", "cscli", Pointer(&CSCLI)),
        optional("DbConfig", "db_config", Pointer(&DATABASE)),
        optional("API", "api", Pointer(&API)),
        optional("ConfigPaths", "config_paths", Pointer(&PATHS)),
        optional("PluginConfig", "plugin_config", Pointer(&PLUGINS)),
        computed("DisableAPI", Bool),
        computed("DisableAgent", Bool),
        computed("Hub", Pointer(&HUB)),
    ],
});

static COMMON: Kind = Struct(&StructType {
    name: "CommonCfg",
    fields: &[
        field("Daemonize", "daemonize", Text),
        optional("PidDir", "pid_dir", Text),
        optional("WorkingDir", "working_dir", Text),
        optional("ForceColorLogs", "force_color_logs", Bool),
        field("LogLevel", "log_level", Level),
        Field { embedded: true, ..computed("LogConfig", Struct(&LOG)) },
    ],
});

static LOG: StructType = StructType {
    name: "LogConfig",
    fields: &[
        field("LogMedia", "log_media", Text),
        optional("LogDir", "log_dir", Text),
        optional("CompressLogs", "compress_logs", Pointer(&Bool)),
        optional("LogMaxSize", "log_max_size", Int),
        optional("LogFormat", "log_format", Text),
        optional("LogMaxAge", "log_max_age", Int),
        optional("LogMaxFiles", "log_max_files", Int),
    ],
};

static PROMETHEUS: Kind = Struct(&StructType {
    name: "PrometheusCfg",
    fields: &[
        field("Enabled", "enabled", Bool),
        field("Level", "level", Text),
        field("ListenAddr", "listen_addr", Text),
        field("ListenPort", "listen_port", Int),
    ],
});

static CROWDSEC: Kind = Struct(&StructType {
    name: "CrowdsecServiceCfg",
    fields: &[
        field("Enable", "enable", Pointer(&Bool)),
        optional("AcquisitionFilePath", "acquisition_path", Text),
        optional("AcquisitionDirPath", "acquisition_dir", Text),
        field("ConsoleContextPath", "console_context_path", Text),
        field("ConsoleContextValueLength", "console_context_value_length", Int),
        computed("AcquisitionFiles", Texts),
        field("ParserRoutinesCount", "parser_routines", Int),
        field("BucketsRoutinesCount", "buckets_routines", Int),
        field("OutputRoutinesCount", "output_routines", Int),
        computed("SimulationConfig", Nothing),
        optional("BucketStateFile", "state_input_file", Text),
        optional("BucketStateDumpDir", "state_output_dir", Text),
        computed("BucketsGCEnabled", Bool),
        computed("SimulationFilePath", Text),
        computed("ContextToSend", Nothing),
    ],
});

static CSCLI: Kind = Struct(&StructType {
    name: "CscliCfg",
    fields: &[
        optional("Output", "output", Text),
        optional("Color", "color", Text),
        field("HubBranch", "hub_branch", Text),
        optional("HubURLTemplate", "__hub_url_template__", Text),
        optional("HubWithContent", "hub_with_content", Bool),
        computed("SimulationConfig", Nothing),
        computed("DbConfig", Nothing),
        computed("SimulationFilePath", Text),
        field("PrometheusUrl", "prometheus_uri", Text),
    ],
});

static DATABASE: Kind = Struct(&StructType {
    name: "DatabaseCfg",
    fields: &[
        field("User", "user", Text),
        secret(field("Password", "password", Text)),
        field("DbName", "db_name", Text),
        field("Sslmode", "sslmode", Text),
        optional("SSLCACert", "ssl_ca_cert", Text),
        optional("SSLClientCert", "ssl_client_cert", Text),
        optional("SSLClientKey", "ssl_client_key", Text),
        field("Host", "host", Text),
        field("Port", "port", Int),
        field("DbPath", "db_path", Text),
        field("Type", "type", Text),
        field("Flush", "flush", Pointer(&FLUSH)),
        field("LogLevel", "log_level", Pointer(&Level)),
        optional("MaxOpenConns", "max_open_conns", Int),
        optional("UseWal", "use_wal", Pointer(&Bool)),
        optional("DecisionBulkSize", "decision_bulk_size", Int),
    ],
});

static FLUSH: Kind = Struct(&StructType {
    name: "FlushDBCfg",
    fields: &[
        optional("MaxItems", "max_items", Pointer(&Int)),
        optional("MaxAge", "max_age", Pointer(&Text)),
        optional("BouncersGC", "bouncers_autodelete", Pointer(&AUTO_DELETE)),
        optional("AgentsGC", "agents_autodelete", Pointer(&AUTO_DELETE)),
        optional("MetricsMaxAge", "metrics_max_age", Pointer(&Duration)),
    ],
});

static AUTO_DELETE: Kind = Struct(&StructType {
    name: "AuthGCCfg",
    fields: &[
        optional("Cert", "cert", Pointer(&Text)),
        computed("CertDuration", Nothing),
        optional("Api", "api_key", Pointer(&Text)),
        computed("ApiDuration", Nothing),
        optional("LoginPassword", "login_password", Pointer(&Text)),
        computed("LoginPasswordDuration", Nothing),
    ],
});

static API: Kind = Struct(&StructType {
    name: "APICfg",
    fields: &[
        field("Client", "client", Pointer(&CLIENT)),
        field("Server", "server", Pointer(&SERVER)),
        field("CTI", "cti", Pointer(&CTI)),
    ],
});

static CLIENT: Kind = Struct(&StructType {
    name: "LocalApiClientCfg",
    fields: &[
        optional("CredentialsFilePath", "credentials_path", Text),
        computed("Credentials", Pointer(&CREDENTIALS)),
        field("InsecureSkipVerify", "insecure_skip_verify", Pointer(&Bool)),
        optional("UnregisterOnExit", "unregister_on_exit", Bool),
    ],
});

static CREDENTIALS: Kind = Struct(&StructType {
    name: "ApiCredentialsCfg",
    fields: &[
        json("papi_url", optional("PapiURL", "papi_url", Text)),
        json("url", optional("URL", "url", Text)),
        json("login", optional("Login", "login", Text)),
        json("-", secret(optional("Password", "password", Text))),
        optional("CACertPath", "ca_cert_path", Text),
        optional("KeyPath", "key_path", Text),
        optional("CertPath", "cert_path", Text),
    ],
});

static SERVER: Kind = Struct(&StructType {
    name: "LocalApiServerCfg",
    fields: &[
        field("Enable", "enable", Pointer(&Bool)),
        optional("ListenURI", "listen_uri", Text),
        optional("ListenSocket", "listen_socket", Text),
        field("TLS", "tls", Pointer(&TLS)),
        computed("DbConfig", Nothing),
        field("OnlineClient", "online_client", Pointer(&ONLINE_CLIENT)),
        optional("ProfilesPath", "profiles_path", Text),
        optional("ConsoleConfigPath", "console_path", Text),
        computed("ConsoleConfig", Nothing),
        computed("Profiles", Nothing),
        field("LogLevel", "log_level", Level),
        optional("UseForwardedForHeaders", "use_forwarded_for_headers", Bool),
        optional("TrustedProxies", "trusted_proxies", Pointer(&Texts)),
        optional("TrustedIPs", "trusted_ips", Texts),
        field("PapiLogLevel", "papi_log_level", Level),
        optional("DisableRemoteLapiRegistration", "disable_remote_lapi_registration", Bool),
        optional("CapiWhitelistsPath", "capi_whitelists_path", Text),
        computed("CapiWhitelists", Nothing),
        optional("AutoRegister", "auto_registration", Pointer(&AUTO_REGISTER)),
        field("DisableUsageMetricsExport", "disable_usage_metrics_export", Bool),
    ],
});

static TLS: Kind = Struct(&StructType {
    name: "TLSCfg",
    fields: &[
        field("CertFilePath", "cert_file", Text),
        field("KeyFilePath", "key_file", Text),
        optional("ClientVerification", "client_verification", Text),
        field("ServerName", "server_name", Text),
        field("CACertPath", "ca_cert_path", Text),
        field("AllowedAgentsOU", "agents_allowed_ou", Texts),
        field("AllowedBouncersOU", "bouncers_allowed_ou", Texts),
        field("CRLPath", "crl_path", Text),
        optional("CacheExpiration", "cache_expiration", Pointer(&Duration)),
    ],
});

static ONLINE_CLIENT: Kind = Struct(&StructType {
    name: "OnlineApiClientCfg",
    fields: &[
        optional("CredentialsFilePath", "credentials_path", Text),
        computed("Credentials", Nothing),
        optional("PullConfig", "pull", Struct(&PULL)),
        optional("Sharing", "sharing", Pointer(&Bool)),
    ],
});

static PULL: StructType = StructType {
    name: "CapiPullConfig",
    fields: &[
        optional("Community", "community", Pointer(&Bool)),
        optional("Blocklists", "blocklists", Pointer(&Bool)),
    ],
};

static AUTO_REGISTER: Kind = Struct(&StructType {
    name: "LocalAPIAutoRegisterCfg",
    fields: &[
        field("Enable", "enabled", Pointer(&Bool)),
        secret(field("Token", "token", Text)),
        optional("AllowedRanges", "allowed_ranges", Texts),
        computed("AllowedRangesParsed", Nothing),
    ],
});

static CTI: Kind = Struct(&StructType {
    name: "CTICfg",
    fields: &[
        secret(optional("Key", "key", Pointer(&Text))),
        optional("CacheTimeout", "cache_timeout", Pointer(&Duration)),
        optional("CacheSize", "cache_size", Pointer(&Int)),
        optional("Enabled", "enabled", Pointer(&Bool)),
        optional("LogLevel", "log_level", Level),
    ],
});

static PATHS: Kind = Struct(&StructType {
    name: "ConfigurationPaths",
    fields: &[
        field("ConfigDir", "config_dir", Text),
        optional("DataDir", "data_dir", Text),
        optional("SimulationFilePath", "simulation_path", Text),
        optional("HubIndexFile", "index_path", Text),
        optional("HubDir", "hub_dir", Text),
        optional("PluginDir", "plugin_dir", Text),
        optional("NotificationDir", "notification_dir", Text),
        optional("PatternDir", "pattern_dir", Text),
    ],
});

static PLUGINS: Kind = Struct(&StructType {
    name: "PluginCfg",
    fields: &[field("User", "user", Text), field("Group", "group", Text)],
});

static HUB: Kind = Struct(&StructType {
    name: "LocalHubCfg",
    fields: &[
        computed("HubIndexFile", Text),
        computed("HubDir", Text),
        computed("InstallDir", Text),
        computed("InstallDataDir", Text),
    ],
});
