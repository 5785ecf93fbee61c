//! What is accepted and what is refused, as tables.

use std::{path::Path, time::Duration};

use palisade_daemon::{
    listen::tls::ClientVerification,
    logs::{LogLevel, LogTarget},
};

use palisade_store::Engine;

use crate::{Config, Credentials, CredentialsError, MetricsLevel, Output};

mod inactive;

const SERVER: &str = "listen_uri: 127.0.0.1:8080, profiles_path: /etc/crowdsec/profiles.yaml";
const DB: &str = "db_config: {type: sqlite, db_path: /var/lib/crowdsec/data/crowdsec.db}\n";

fn load(text: &str) -> Result<Config, String> {
    Config::from_text(Path::new("c.yaml"), text).map_err(|error| error.to_string())
}

/// With these keys in `api.server`.
fn server(keys: &str) -> Result<Config, String> {
    load(&format!("api: {{server: {{{SERVER}, {keys}}}}}\n{DB}"))
}

/// What Debian's package and CrowdSec's own ship.
const SHIPPED: &str = "\
common:
  daemonize: true
  pid_dir: /var/run/
  log_media: file
  log_level: info
  log_dir: /var/log/
  log_max_size: 20
  compress_logs: true
  log_max_files: 10
  working_dir: .
config_paths:
  config_dir: /etc/crowdsec/
  data_dir: /var/lib/crowdsec/data/
  simulation_path: /etc/crowdsec/simulation.yaml
  hub_dir: /etc/crowdsec/hub/
  index_path: /etc/crowdsec/hub/.index.json
  notification_dir: /etc/crowdsec/notifications/
  plugin_dir: /usr/local/lib/crowdsec/plugins/
crowdsec_service:
  #console_context_path: /etc/crowdsec/console/context.yaml
  acquisition_path: /etc/crowdsec/acquis.yaml
  acquisition_dir: /etc/crowdsec/acquis.d
  parser_routines: 1
cscli:
  output: human
  color: auto
db_config:
  log_level: info
  type: sqlite
  db_path: /var/lib/crowdsec/data/crowdsec.db
  use_wal: true
  flush:
    max_items: 5000
    max_age: 7d
plugin_config:
  user: nobody
  group: nogroup
api:
  client:
    insecure_skip_verify: false
    credentials_path: /etc/crowdsec/local_api_credentials.yaml
  server:
    log_level: info
    listen_uri: 127.0.0.1:8080
    profiles_path: /etc/crowdsec/profiles.yaml
    console_path: /etc/crowdsec/console.yaml
    online_client:
      credentials_path: /etc/crowdsec/online_api_credentials.yaml
    trusted_ips:
      - 127.0.0.1
      - ::1
  cti:
    key: x
    cache_timeout: 60m
    cache_size: 50
    enabled: false
    log_level: info
prometheus:
  enabled: true
  level: full
  listen_addr: 127.0.0.1
  listen_port: 6060
";

#[test]
fn the_shipped_file_is_read() {
    let config = load(SHIPPED).unwrap();
    assert_eq!(config.logs.level, LogLevel::Info);
    match &config.logs.target {
        LogTarget::File { path, rotation } => {
            assert_eq!(path, Path::new("/var/log/palisade-lapi.log"));
            assert_eq!((rotation.max_bytes, rotation.max_files, rotation.compress), (20 << 20, 10, true));
        }
        LogTarget::Stderr => panic!("not to a file"),
    }
    let database = config.database.as_ref().unwrap();
    assert_eq!(
        database.store.engine,
        Engine::Sqlite { path: "/var/lib/crowdsec/data/crowdsec.palisade.db".into(), wal: Some(true) }
    );
    let flush = database.flush.as_ref().unwrap();
    assert_eq!((flush.max_items, flush.max_age), (Some(5000), Some(Duration::from_secs(7 * 86400))));
    assert_eq!(flush.metrics_max_age, Some(Duration::from_secs(7 * 86400)));
    let server = config.server.as_ref().unwrap();
    assert!(server.enable && server.trusted_ips.contains("::1".parse().unwrap()));
    assert!(server.trusted_proxies.is_empty() && server.tls.is_none());
    assert_eq!(
        config.credentials_path.as_deref(),
        Some(Path::new("/etc/crowdsec/local_api_credentials.yaml"))
    );
    let prometheus = config.prometheus.as_ref().unwrap();
    assert_eq!((prometheus.level, prometheus.listen.port), (MetricsLevel::Full, 6060));
    assert_eq!(config.output, Output::Human);
    let blocks: Vec<&str> =
        config.warnings.iter().map(|warning| warning.split_once(" has no effect yet: ").unwrap().0).collect();
    assert_eq!(blocks, ["api.server.online_client", "api.server.console_path", "api.cti", "plugin_config"]);
}

#[test]
fn the_access_log_has_a_file_and_a_level_of_its_own() {
    let config = load(SHIPPED).unwrap();
    let LogTarget::File { path, rotation } = &config.access_log.target else { panic!("not to a file") };
    assert_eq!((path.to_str().unwrap(), rotation.max_files), ("/var/log/crowdsec_api.log", 10));
    for (api, common, level) in [
        ("log_level: warning", "info", LogLevel::Warn),
        ("log_level: info", "error", LogLevel::Info),
        ("enable: true", "error", LogLevel::Error),
    ] {
        let text = format!("common: {{log_level: {common}}}\napi: {{server: {{{SERVER}, {api}}}}}\n{DB}");
        let mut config = load(&text).unwrap();
        assert_eq!((config.access_log.level, &config.access_log.target), (level, &LogTarget::Stderr));
        config.set_log_level(LogLevel::Debug);
        assert_eq!(config.access_log.level, LogLevel::Debug, "the command line counts for both");
    }
}

#[test]
fn all_problems_are_reported_with_their_lines() {
    let text = SHIPPED
        .replace("listen_uri: 127.0.0.1:8080", "listen_url: 127.0.0.1:8080")
        .replace("max_items: 5000", "max_items: 0")
        .replace("level: full", "level: loud")
        .replace("insecure_skip_verify: false", "insecure_skip_verify: perhaps");
    let error = load(&text).unwrap_err();
    for part in [
        "unknown key `api.server.listen_url`; did you mean `api.server.listen_uri`? (c.yaml:44)",
        "no listen_uri or listen_socket specified (api.server at c.yaml:",
        "max_items can't be zero or negative (db_config.flush.max_items at c.yaml:33, now \"0\")",
        "expected full, aggregated or none (prometheus.level at c.yaml:",
        "expected true or false (api.client.insecure_skip_verify at c.yaml:",
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
}

#[test]
fn what_stops_the_stock_server_stops_ours() {
    let token = "0123456789abcdef0123456789abcdef";
    for (keys, text) in [
        ("auto_registration: {enabled: true}".to_owned(), "missing token value for api.server.auto_register"),
        (
            "auto_registration: {enabled: true, token: short, allowed_ranges: [10.0.0.0/8]}".to_owned(),
            "too short (min 32 characters)",
        ),
        (
            "auto_registration: {enabled: true, token: 'at least 32 characters, for instance from: openssl rand -hex \
             24', allowed_ranges: [10.0.0.0/8]}"
                .to_owned(),
            "this is the placeholder of a guide",
        ),
        (format!("auto_registration: {{enabled: true, token: {token}}}"), "missing allowed_ranges"),
        (
            format!("auto_registration: {{enabled: true, token: {token}, allowed_ranges: [10.0.0.0/33]}}"),
            "expected a range such as 10.0.0.0/8 (api.server.auto_registration.allowed_ranges[0] at c.yaml:1",
        ),
        ("tls: {cert_file: /c}".to_owned(), "missing TLS key file"),
        ("tls: {key_file: /k}".to_owned(), "missing TLS cert file"),
        (
            "tls: {cert_file: /c, key_file: /k, client_verification: Maybe}".to_owned(),
            "unknown TLS client_verification value: Maybe",
        ),
        (
            "tls: {cert_file: /c, key_file: /k, agents_allowed_ou: [a, '']}".to_owned(),
            "allowed_ou configuration contains invalid empty string",
        ),
        ("trusted_ips: [10.0.0.1, x]".to_owned(), "api.server.trusted_ips[1]"),
        ("log_level: loud".to_owned(), "not a valid logrus Level"),
        (
            "online_client: {pull: {comunity: true}}".to_owned(),
            "unknown key `api.server.online_client.pull.comunity`",
        ),
    ] {
        let error = server(&keys).unwrap_err();
        assert!(error.contains(text), "{keys}\n{error}");
        assert!(!error.contains(token), "no secrets: {error}");
    }
    for (text, part) in [
        (format!("api: {{server: {{profiles_path: /p}}}}\n{DB}"), "no listen_uri or listen_socket specified"),
        (format!("api: {{server: {{listen_uri: ':1'}}}}\n{DB}"), "empty profiles path"),
        ("db_config: {type: mysql}".to_owned(), "MySQL is not supported"),
        ("db_config: {type: oracle}".to_owned(), "unknown database type 'oracle'"),
        ("db_config: {type: sqlite}".to_owned(), "db_config.db_path"),
        ("db_config: {type: sqlite, db_path: /x, flush: {max_age: 7x}}".to_owned(), "unknown unit"),
        ("db_config: {type: postgres, host: $DB_HOST}".to_owned(), "environment variable DB_HOST is not set"),
        ("db_config: {type: postgres, sslmode: never}".to_owned(), "expected disable, allow"),
        ("cscli: {output: xml}".to_owned(), "must be human, json or raw"),
        ("api: {cti: {key: ''}}".to_owned(), "empty cti key (api.cti.key at c.yaml:1"),
        ("api: {cti: {key: x, cache_timeout: 5x}}".to_owned(), "api.cti.cache_timeout"),
        ("api: {cti: {key: x, cache_size: many}}".to_owned(), "api.cti.cache_size"),
        ("prometheus: {listen_addr: '127.0.0.1:6060'}".to_owned(), "prometheus.listen_addr"),
        ("prometheus: {listen_addr: 'no such host'}".to_owned(), "prometheus.listen_addr"),
        (
            format!("api: {{server: {{{SERVER}}}}}\nprometheus: {{enabled: true, listen_port: 8080}}\n{DB}"),
            "the same address as api.server.listen_uri",
        ),
        ("common: {log_media: paper}".to_owned(), "unknown log mode 'paper'"),
    ] {
        let error = load(&text).unwrap_err();
        assert!(error.contains(part), "{text}\n{error}");
    }
}

#[test]
fn the_sockets_mode_is_octal_however_it_is_written() {
    for (written, mode) in
        [("0660", 0o660), ("'0666'", 0o666), ("600", 0o600), ("0o640", 0o640), ("''", 0o660)]
    {
        let config =
            server(&format!("listen_socket_mode: {written}, listen_socket_group: crowdsec")).unwrap();
        let access = config.server.unwrap().socket_access;
        assert_eq!((access.mode, access.group.as_deref()), (mode, Some("crowdsec")), "{written}");
    }
    assert_eq!(server("listen_socket_group: ''").unwrap().server.unwrap().socket_access, Default::default());
    for wrong in ["0888", "u=rw", "01777", "-1"] {
        let error = server(&format!("listen_socket_mode: {wrong}")).unwrap_err();
        assert!(error.contains("api.server.listen_socket_mode"), "{error}");
    }
}

#[test]
fn defaults_are_the_stock_servers() {
    let config = server("use_forwarded_for_headers: true").unwrap();
    assert!(config.warnings[0].contains("trusted_proxies"), "{:?}", config.warnings);
    let proxies = &config.server.unwrap().trusted_proxies;
    let trusted = |address: &str| proxies.contains(address.parse().unwrap());
    assert!(trusted("127.0.0.1") && trusted("::1") && !trusted("203.0.113.1"), "only loopback is trusted");
    let named = server("trusted_proxies: [192.0.2.1]").unwrap().server.unwrap().trusted_proxies;
    assert!(named.contains("192.0.2.1".parse().unwrap()) && !named.contains("192.0.2.2".parse().unwrap()));
    let tls = server("tls: {cert_file: /c, key_file: /k, agents_allowed_ou: [a, a]}").unwrap();
    let tls = tls.server.unwrap().tls.unwrap();
    assert_eq!(tls.files.client_verification, ClientVerification::VerifyIfGiven);
    assert_eq!((tls.cache_expiration, tls.agents_allowed_ou.len()), (Duration::from_secs(3600), 1));
    assert!(
        server("auto_registration: {enabled: false, token: x}")
            .unwrap()
            .server
            .unwrap()
            .auto_registration
            .is_none()
    );
    // Off, nothing of it is needed.
    assert!(load("api: {server: {enable: false}}").is_ok());
    assert!(load("common:\n").is_ok());
    for apart in ["listen_addr: '::1', listen_port: 8080", "listen_port: 8081"] {
        let text = format!("api: {{server: {{{SERVER}}}}}\nprometheus: {{enabled: true, {apart}}}\n{DB}");
        assert!(load(&text).is_ok(), "{apart}");
    }
    let metrics = load("prometheus: {enabled: true}").unwrap().prometheus.unwrap();
    assert_eq!((metrics.listen.addr.as_str(), metrics.listen.port), ("127.0.0.1", 6060));
    let database = |keys: &str| load(&format!("db_config: {{{keys}}}")).unwrap().database.unwrap();
    match database("type: pgx, host: db, user: u, password: p, db_name: d, decision_bulk_size: 9000")
        .store
        .engine
    {
        Engine::Postgres(server) => assert_eq!((server.host.as_str(), server.port), ("db", 5432)),
        other => panic!("{other:?}"),
    }
    assert_eq!(database("type: pgx, decision_bulk_size: 9000").store.bulk, 2000);
    match database("type: postgresql, db_path: /run/postgresql").store.engine {
        Engine::Postgres(server) => assert_eq!(server.socket.as_deref(), Some(Path::new("/run/postgresql"))),
        other => panic!("{other:?}"),
    }
    let odd = load(
        "db_config: {type: sqlite, db_path: /x, flush: {agents_autodelete: {api_key: 1h, login_password: 2h}}}",
    );
    let odd = odd.unwrap();
    assert_eq!(
        odd.warnings,
        ["db_config.flush.agents_autodelete.api_key has no effect: agents do not authenticate that way"]
    );
    let agents = odd.database.unwrap().flush.unwrap().machines;
    assert_eq!((agents.cert, agents.secret), (None, Some(Duration::from_secs(7200))));
}

#[test]
fn local_files_and_environment_are_laid_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, SHIPPED).unwrap();
    let local = folder.path().join("config.yaml.local");
    std::fs::write(&local, "api: {server: {listen_uri: $PALISADE_NOT_SET, trusted_ips: [10.0.0.0/8]}}\n")
        .unwrap();
    let config = Config::load(&path).unwrap();
    let server = config.server.unwrap();
    assert_eq!(server.listen_uri.as_deref(), Some("$PALISADE_NOT_SET"), "names that are not set stay");
    assert!(!server.trusted_ips.contains("::1".parse().unwrap()), "lists are replaced");
    assert_eq!(config.local, Some(local.clone()));
    std::fs::write(&local, "api: {server: [x]}\n").unwrap();
    assert!(Config::load(&path).is_err());
    let missing = Config::load(&folder.path().join("none.yaml")).unwrap_err().to_string();
    assert!(
        missing.contains("while reading yaml file: open ") && missing.ends_with("no such file or directory")
    );
}

#[test]
fn credentials_are_written_for_their_owner_and_read_back() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("local_api_credentials.yaml");
    for password in
        ["plain", "with \"quotes\" and \\ and #: {[", "123", "yes", "ünïcode\u{7}", "a: b", "${HOME", "- x"]
    {
        let credentials = Credentials {
            url: Some("http://127.0.0.1:8080/".into()),
            login: Some("host@192.0.2.1".into()),
            password: Some(password.into()),
            ..Credentials::default()
        };
        credentials.save(&path).unwrap();
        assert_eq!(Credentials::load(&path).unwrap(), credentials, "{password}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{credentials:?}").contains(password));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    let unwritable = Credentials::default().save(&folder.path().join("no/such/folder.yaml"));
    assert!(matches!(unwritable, Err(CredentialsError::Unwritable { .. })));
}

#[test]
fn credentials_that_cannot_be_used_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    for (text, part) in [
        ("", "no credentials or URL found in api client configuration '"),
        ("# nothing\n", "no credentials or URL found"),
        ("url: ''\n", "no credentials or URL found"),
        ("url: x\nlogn: y\n", "unknown key `logn`; did you mean `login`?"),
        ("url: x\nlogin: y\ncert_path: /c\n", "mutually exclusive"),
        ("url: /run/x.sock\ncert_path: /c\nkey_path: /k\n", "cannot use TLS with a unix socket"),
        ("url: unix:///run/x.sock\ncert_path: /c\nkey_path: /k\n", "cannot use TLS with a unix socket"),
        ("url: /run/x.sock\nlogin: y\npassword: z\nca_cert_path: /c\n", "cannot use TLS with a unix socket"),
        ("url: /run/x.sock\nlogin: y\npassword: z\nkey_path: /k\n", "cannot use TLS with a unix socket"),
        ("[x]\n", "failed to parse api client credential configuration file"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Credentials::load(&path).unwrap_err().to_string();
        assert!(error.starts_with("loading api client: ") && error.contains(part), "{text:?}: {error}");
    }
    let missing = Credentials::load(&folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.starts_with("loading api client: while reading yaml file: open "), "{missing}");
    for (url, base) in [
        ("http://h:8080", "http://h:8080/"),
        ("https://h/", "https://h/"),
        ("h:8080", "http://h:8080/"),
        ("/run/lapi.sock", "/run/lapi.sock"),
        ("unix:///run/lapi.sock", "/run/lapi.sock"),
    ] {
        let credentials = Credentials { url: Some(url.into()), ..Credentials::default() };
        assert_eq!(credentials.base_url().as_deref(), Some(base));
        assert_eq!(credentials.socket().is_some(), url.ends_with(".sock"));
    }
}

#[test]
fn credentials_go_into_a_pipe_and_do_not_replace_it() {
    use std::os::unix::fs::FileTypeExt as _;

    let folder = tempfile::tempdir().unwrap();
    let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    for path in [&pipe, &link] {
        let read = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read_to_string(pipe).unwrap()
        });
        let credentials = Credentials { login: Some("m".into()), ..Credentials::default() };
        credentials.save(path).unwrap();
        assert_eq!(read.join().unwrap(), credentials.to_yaml());
        assert!(std::fs::metadata(path).unwrap().file_type().is_fifo());
    }
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside them");
}
