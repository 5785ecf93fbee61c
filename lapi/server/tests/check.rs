//! `-t` and the start agree: whatever the start refuses is found by `-t`, which changes nothing.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::UNIX_EPOCH,
};

use palisade_store::{DbConfig, Store};
use rcgen::{CertificateParams, KeyPair};
use sqlx::{Connection as _, SqliteConnection};

const LAPI: &str = env!("CARGO_BIN_EXE_palisade-lapi");

/// A folder with a configuration that works.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Self { folder };
        host.write(
            "profiles.yaml",
            "name: p\nfilters: ['Alert.Remediation']\ndecisions: [{type: ban, duration: 4h}]\n",
        );
        fs::create_dir(host.path("data")).unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes the configuration: `server` goes into `api.server`, `top` follows; `@` stands for the folder.
    fn configure(&self, server: &str, top: &str) {
        let text = format!(
            "api: {{server: {{profiles_path: @/profiles.yaml, console_path: @/console.yaml, {server}}}}}\n{top}\n"
        );
        self.write("config.yaml", &text.replace('@', &self.folder.path().display().to_string()));
    }

    fn command(&self) -> Command {
        let mut command = Command::new(LAPI);
        command.arg("-c").arg(self.path("config.yaml")).env_remove("CS_LAPI_SECRET").stderr(Stdio::piped());
        command
    }

    /// Whether `-t` accepts it, and its output.
    fn test(&self) -> (bool, String) {
        let output = self.command().arg("-t").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Whether the start succeeds, and its output up to there. The process is ended.
    fn start(&self) -> (bool, String) {
        let mut child = self.command().spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (mut output, mut started) = (String::new(), false);
        while !started && lines.read_line(&mut output).unwrap() > 0 {
            // The socket is the last one that is reported.
            started = output.contains("listening on") && !output.contains("level=fatal");
        }
        if started {
            child.kill().unwrap();
        }
        lines.read_to_string(&mut output).unwrap();
        child.wait().unwrap();
        (started, output)
    }

    /// All files with size and time of modification.
    fn snapshot(&self) -> BTreeMap<PathBuf, (u64, u128)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let there = fs::symlink_metadata(entry.path()).unwrap();
                let time = there.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_nanos();
                found.insert(entry.path(), (there.len(), time));
                if there.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        found
    }
}

const TCP: &str = "listen_uri: '127.0.0.1:0'";
const DATABASE: &str = "db_config: {type: sqlite, db_path: @/data/lapi.db}";

/// A case: keys of `api.server`, what follows, whether it is valid, and a part of the error.
type Case<'a> = (&'a str, &'a str, Result<(), &'a str>);

fn agree(host: &Host, (server, top, meant): Case<'_>) {
    host.configure(server, top);
    let before = host.snapshot();
    let (is_valid, tested) = host.test();
    let case = format!("{server} {top}");
    assert_eq!(host.snapshot(), before, "{case}: -t touches nothing");
    let (has_started, started) = host.start();
    assert_eq!(is_valid, has_started, "{case}\n-t: {tested}\nstart: {started}");
    match meant {
        Ok(()) => assert!(is_valid && tested.contains("config is valid"), "{case}\n{tested}"),
        Err(reason) => {
            assert!(!is_valid, "{case}\n{tested}");
            assert!(tested.contains(reason), "{case}: {reason}\n{tested}");
            assert!(started.contains(reason), "{case}: {reason}\n{started}");
        }
    }
}

#[test]
fn listeners() {
    let host = Host::new();
    host.write("file", "notes");
    let long = format!("listen_socket: @/{}.sock", "x".repeat(120));
    // A socket that outlived its process.
    drop(UnixListener::bind(host.path("stale.sock")).unwrap());
    for (server, meant) in [
        ("listen_uri: '127.0.0.1:0'", Ok(())),
        ("listen_uri: '0.0.0.0:0'", Ok(())),
        ("listen_uri: '18764'", Err("missing port in address")),
        ("listen_uri: '127.0.0.1:70000'", Err("invalid port")),
        ("listen_uri: '127.0.0.1:http'", Err("invalid port")),
        ("listen_uri: 'no such host:80'", Err("lookup no such host")),
        ("listen_uri: '192.0.2.1:0'", Err("192.0.2.1:0")),
        ("listen_uri: ''", Err("no listen_uri or listen_socket specified")),
        ("listen_socket: @/lapi.sock", Ok(())),
        ("listen_socket: @/stale.sock", Ok(())),
        ("listen_socket: @/lapi.sock, listen_socket_mode: 0600, listen_socket_group: '0'", Ok(())),
        ("listen_socket: @/missing/lapi.sock", Err("cannot make it in the folder")),
        ("listen_socket: @/file/lapi.sock", Err("ot a directory")),
        ("listen_socket: @/file", Err("there is a file that is no socket")),
        ("listen_socket: @/data", Err("there is a file that is no socket")),
        (&long, Err("choose a shorter one")),
        ("listen_socket: @/lapi.sock, listen_socket_mode: '0999'", Err("listen_socket_mode")),
        ("listen_socket: @/lapi.sock, listen_socket_group: no-such-group", Err("no group no-such-group")),
        ("enable: false", Err("must run at least the API Server")),
    ] {
        // Only root may give a file to the group 0.
        if !server.contains("'0'") || rustix::process::geteuid().is_root() {
            agree(&host, (server, DATABASE, meant));
        }
    }
    for (top, meant) in [
        ("prometheus: {enabled: true, listen_addr: 127.0.0.1, listen_port: 18765}", Ok(())),
        ("prometheus: {enabled: true, listen_port: lots}", Err("expected a port number")),
        ("prometheus: {enabled: true, listen_addr: 'a b'}", Err("prometheus.listen_addr")),
    ] {
        agree(&host, (TCP, &format!("{DATABASE}\n{top}"), meant));
    }
    let both = format!("{DATABASE}\nprometheus: {{enabled: true, listen_port: 18764}}");
    agree(&host, ("listen_uri: '127.0.0.1:18764'", &both, Err("the same address as api.server.listen_uri")));
}

#[test]
fn what_is_in_use_is_found_by_the_start_only() {
    let host = Host::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let served = UnixListener::bind(host.path("lapi.sock")).unwrap();
    for (server, reason) in [
        (format!("listen_uri: '{}'", taken.local_addr().unwrap()), "free the port"),
        ("listen_socket: @/lapi.sock".to_owned(), "another process is serving there"),
    ] {
        host.configure(&server, DATABASE);
        assert!(host.test().0, "{server}");
        let (has_started, output) = host.start();
        assert!(!has_started && output.contains(reason), "{server}: {output}");
    }
    drop(served);
}

#[tokio::test]
async fn databases() {
    let host = Host::new();
    host.write("notes.db", "these are notes and no database");
    host.write("short.db", "SQLite");
    host.write("empty.db", "");
    // A header and nothing behind it.
    fs::write(host.path("cut.db"), [&b"SQLite format 3\0"[..], &[0; 84]].concat()).unwrap();
    let store = Store::open(&DbConfig::sqlite(host.path("ours.db"))).await.unwrap();
    store.close().await;
    let newer = host.path("newer.db");
    fs::copy(host.path("ours.db"), &newer).unwrap();
    let sql = "INSERT INTO palisade_migrations SELECT 9999, 'x', installed_on, 1, checksum, 0 FROM palisade_migrations LIMIT 1";
    execute(&newer, sql).await;
    execute(&host.path("foreign.db"), "CREATE TABLE recipes (name)").await;
    let mut garbled = fs::read(host.path("ours.db")).unwrap();
    let middle = garbled.len() / 2;
    garbled[middle..].fill(0x5a);
    fs::write(host.path("garbled.db"), garbled).unwrap();
    std::os::unix::fs::symlink(host.path("nowhere/x.db"), host.path("link.db")).unwrap();
    for (file, meant) in [
        ("data/new.db", Ok(())),
        ("empty.db", Ok(())),
        ("ours.db", Ok(())),
        ("missing/lapi.db", Err("does not exist; make it, or change db_config.db_path")),
        ("notes.db/lapi.db", Err("ot a directory")),
        ("data", Err("it is not a file")),
        ("notes.db", Err("is damaged")),
        ("short.db", Err("is damaged")),
        ("cut.db", Err("")),
        ("garbled.db", Err("is damaged")),
        ("newer.db", Err("was written by a newer version")),
        ("foreign.db", Err("belongs to another program")),
        // Nothing to take over; ours is made beside.
        ("link.db", Ok(())),
    ] {
        agree(&host, (TCP, &format!("db_config: {{type: sqlite, db_path: @/{file}}}"), meant));
    }
    for (keys, reason) in [
        ("type: postgresql, user: u", "db_config.db_name is empty"),
        ("type: postgresql, db_name: d, ssl_ca_cert: @/missing.pem", "cannot read"),
        ("type: postgresql, db_name: d, port: x", "db_config.port"),
        ("type: oracle", "unknown database type"),
    ] {
        agree(&host, (TCP, &format!("db_config: {{{keys}}}"), Err(reason)));
    }
    agree(&host, (TCP, "", Err("no database configuration provided")));
}

#[tokio::test]
async fn a_database_of_crowdsec_is_judged_alike() {
    let tables = "CREATE TABLE alerts (id); CREATE TABLE machines (id); CREATE TABLE bouncers (id); \
                  CREATE TABLE decisions (id); CREATE TABLE events (id); CREATE TABLE meta (id)";
    let host = Host::new();
    execute(&host.path("data/crowdsec.db"), tables).await;
    host.configure(TCP, "db_config: {type: sqlite, db_path: @/data/crowdsec.db}");
    let before = host.snapshot();
    let (is_valid, tested) = host.test();
    assert_eq!(host.snapshot(), before, "-t touches nothing");
    let (has_started, started) = host.start();
    assert_eq!(is_valid, has_started, "-t: {tested}\nstart: {started}");
}

async fn execute(path: &Path, sql: &'static str) {
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A self-signed certificate and its key, as PEM.
fn certificate() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn files() {
    let host = Host::new();
    let ((certificate, key), (other, _)) = (certificate(), certificate());
    host.write("cert.pem", &certificate);
    host.write("key.pem", &key);
    host.write("other.pem", &other);
    host.write("notes.pem", "notes");
    let tls = |cert: &str, key: &str, more: &str| {
        format!("{TCP}, tls: {{cert_file: @/{cert}, key_file: @/{key}{more}}}")
    };
    for (server, meant) in [
        (tls("cert.pem", "key.pem", ""), Ok(())),
        (tls("cert.pem", "key.pem", ", ca_cert_path: @/other.pem"), Ok(())),
        (tls("none.pem", "key.pem", ""), Err("cannot read certificate")),
        (tls("cert.pem", "none.pem", ""), Err("cannot read key")),
        (tls("notes.pem", "key.pem", ""), Err("notes.pem")),
        (tls("cert.pem", "notes.pem", ""), Err("no private key")),
        (tls("other.pem", "key.pem", ""), Err("other.pem")),
        (tls("cert.pem", "key.pem", ", ca_cert_path: @/none.pem"), Err("cannot read CA certificate")),
        (tls("cert.pem", "key.pem", ", crl_path: @/none.pem"), Err("cannot read revocation list")),
        (tls("cert.pem", "key.pem", ", crl_path: @/notes.pem"), Err("no revocation list")),
        (tls("cert.pem", "data", ""), Err("cannot read key")),
        (format!("{TCP}, tls: {{cert_file: @/cert.pem}}"), Err("missing TLS key file")),
        (
            format!("{TCP}, online_client: {{credentials_path: @/none.yaml}}"),
            Err("loading online client credentials"),
        ),
        (format!("{TCP}, capi_whitelists_path: @/none.yaml"), Err("capi whitelist file")),
        (format!("{TCP}, listen_url: x"), Err("unknown key")),
    ] {
        agree(&host, (&server, DATABASE, meant));
    }
    host.write("console.yaml", "share_custom: perhaps");
    agree(&host, (TCP, DATABASE, Err("while loading console options")));
    fs::remove_file(host.path("console.yaml")).unwrap();
    // A log file that cannot be opened: the access log beside the other, and both.
    fs::create_dir_all(host.path("logs/crowdsec_api.log")).unwrap();
    host.write("logs/palisade-lapi.log", "");
    logs_elsewhere(
        &host,
        "cert.pem",
        &["cert.pem", "logging to standard error instead", "logging requests to standard error"],
    );
    fs::remove_file(host.path("logs/palisade-lapi.log")).unwrap();
    fs::create_dir_all(host.path("logs/palisade-lapi.log")).unwrap();
    logs_elsewhere(
        &host,
        "logs",
        &["crowdsec_api.log", "palisade-lapi.log", "logging requests to standard error"],
    );
    for (profiles, reason) in [
        ("name: [", "while loading profiles for LAPI"),
        ("", "zero profiles loaded"),
        ("filters: ['nope']", "unknown name nope"),
        ("filters: ['CrowdsecCTI(\"x\").Score > 1']", "CrowdsecCTI cannot be used"),
        ("filters: ['true']\nnotifications: [http]", "the plugin_config section is missing"),
    ] {
        host.write("profiles.yaml", profiles);
        agree(&host, (TCP, DATABASE, Err(reason)));
    }
    host.write("profiles.yaml", "filters: ['CrowdsecCTI(\"x\").Score > 1']\non_error: continue\n");
    agree(&host, (TCP, DATABASE, Ok(())));
    fs::remove_file(host.path("profiles.yaml")).unwrap();
    agree(&host, (TCP, DATABASE, Err("cannot read the profiles")));
}

/// Expects a start without the log files of a folder, with these texts in its log, and a warning of `-t`.
fn logs_elsewhere(host: &Host, folder: &str, logged: &[&str]) {
    let top = format!("{DATABASE}\ncommon: {{log_media: file, log_dir: @/{folder}}}");
    agree(host, (TCP, &top, Ok(())));
    let (_, tested) = host.test();
    assert!(tested.contains("the start logs to standard error instead of a file"), "{folder}: {tested}");
    let (has_started, started) = host.start();
    assert!(has_started, "{started}");
    for text in logged {
        assert!(started.contains(text), "{folder}: {text}\n{started}");
    }
}

#[test]
fn a_folder_for_logs_is_made() {
    let host = Host::new();
    host.configure(TCP, &format!("{DATABASE}\ncommon: {{log_media: file, log_dir: @/logs/lapi}}"));
    assert!(host.test().0 && !host.path("logs").exists());
    let mut child = host.command().spawn().unwrap();
    let log = host.path("logs/lapi/palisade-lapi.log");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on")) {
        assert!(std::time::Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it starts");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn each_block_without_effect_is_warned_of_once() {
    let host = Host::new();
    host.write("online.yaml", "");
    host.write("whitelists.yaml", "{}");
    fs::create_dir(host.path("notifications")).unwrap();
    host.write("notifications/http.yaml", "type: http\nname: http_default\n");
    host.write("profiles.yaml", "filters: ['true']\nnotifications: [http_default]\n");
    host.configure(
        &format!(
            "{TCP}, online_client: {{credentials_path: @/online.yaml}}, capi_whitelists_path: @/whitelists.yaml"
        ),
        &format!(
            "{DATABASE}\nplugin_config: {{user: nobody, group: nogroup}}\n\
             config_paths: {{notification_dir: @/notifications, plugin_dir: @/plugins}}"
        ),
    );
    let (_, tested) = host.test();
    let (has_started, started) = host.start();
    assert!(has_started, "{started}");
    for block in [
        "online_client",
        "capi_whitelists_path",
        "console_path",
        "plugin_config",
        "notifications in profiles",
    ] {
        for output in [&tested, &started] {
            let warned = output.lines().filter(|line| {
                line.contains("level=warning") && line.contains(block) && line.contains("no effect yet")
            });
            assert_eq!(warned.count(), 1, "{block}: {output}");
        }
    }
}

/// What the packages of CrowdSec 1.4.6 (Debian) and 1.7.8 ship, without comments.
#[test]
fn packaged_files_of_crowdsec_start() {
    const COMMON: &str = "\
common:
  daemonize: true
  log_media: file
  log_level: info
  log_dir: /var/log/
  log_max_size: 20
  compress_logs: true
  log_max_files: 10
config_paths:
  config_dir: /etc/crowdsec/
  data_dir: /var/lib/crowdsec/data/
  simulation_path: /etc/crowdsec/simulation.yaml
  hub_dir: /etc/crowdsec/hub/
  index_path: /etc/crowdsec/hub/.index.json
  notification_dir: /etc/crowdsec/notifications/
  plugin_dir: /usr/local/lib/crowdsec/plugins/
crowdsec_service:
  acquisition_path: /etc/crowdsec/acquis.yaml
  acquisition_dir: /etc/crowdsec/acquis.d
  parser_routines: 1
plugin_config:
  user: nobody
  group: nogroup
api:
  client:
    insecure_skip_verify: false
    credentials_path: /etc/crowdsec/local_api_credentials.yaml
  server:
    log_level: info
    listen_uri: 127.0.0.1:0
    profiles_path: /etc/crowdsec/profiles.yaml
    console_path: /etc/crowdsec/console.yaml
    online_client:
      credentials_path: /etc/crowdsec/online_api_credentials.yaml
    trusted_ips:
      - 127.0.0.1
      - ::1
prometheus:
  enabled: true
  level: full
  listen_addr: 127.0.0.1
  listen_port: 6060
db_config:
  log_level: info
  type: sqlite
  db_path: /var/lib/crowdsec/data/crowdsec.db
  flush:
    max_items: 5000
    max_age: 7d
";
    const OLD: &str = "cscli:\n  output: human\n  color: auto\n";
    const NEW: &str = "cscli:\n  output: human\n  color: auto\n  prometheus_uri:\n";
    for (more, credentials) in [(OLD, ""), (NEW, "url: https://api.example/\nlogin: l\npassword: p\n")] {
        let host = Host::new();
        // What the packages' scripts make.
        for folder in ["etc/notifications", "lib/data"] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        host.write(
            "etc/profiles.yaml",
            "name: p\nfilters: ['Alert.Remediation']\ndecisions: [{type: ban}]\n",
        );
        host.write("etc/online_api_credentials.yaml", credentials);
        host.write(
            "etc/console.yaml",
            "share_manual_decisions: false\nshare_custom: true\nshare_tainted: true\n",
        );
        let text = COMMON.to_owned() + more;
        let root = host.folder.path().display();
        let text = text
            .replace("/etc/crowdsec", &format!("{root}/etc"))
            .replace("/var/lib/crowdsec", &format!("{root}/lib"));
        // Its log would not be on standard error.
        let text =
            text.replace("log_media: file", "log_media: stdout").replace("/var/log", &format!("{root}/log"));
        host.write("config.yaml", &text);
        let (is_valid, tested) = host.test();
        let (has_started, started) = host.start();
        assert!(is_valid && has_started, "{tested}\n{started}");
    }
}

fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn secrets_that_every_user_can_read_are_warned_of() {
    let host = Host::new();
    let (certificate, key) = certificate();
    host.write("cert.pem", &certificate);
    host.write("key.pem", &key);
    chmod(&host.path("key.pem"), 0o600);
    let tls = format!("{TCP}, tls: {{cert_file: @/cert.pem, key_file: @/key.pem}}");
    let local = "api: {server: {auto_registration: {enabled: true, token: 0123456789abcdef0123456789abcdef, \
                 allowed_ranges: [10.0.0.0/8]}}}";
    host.configure(&tls, DATABASE);
    host.write("config.yaml.local", local);
    chmod(&host.path("config.yaml.local"), 0o640);
    let (is_valid, output) = host.test();
    assert!(is_valid && !output.contains("holds a secret"), "config.yaml holds none: {output}");
    for (name, mode, words) in [
        ("key.pem", 0o644, "can be read by every user (mode 0644); run: chmod 0640"),
        ("config.yaml.local", 0o666, "can be read and changed by every user (mode 0666); run: chmod 0640"),
    ] {
        chmod(&host.path(name), mode);
        let (is_valid, output) = host.test();
        let path = host.path(name).display().to_string();
        assert!(is_valid, "{output}");
        assert!(output.contains(&format!("{path} holds a secret and {words} {path}")), "{name}: {output}");
    }
}

/// Needs root, as the check itself does.
#[test]
fn files_are_looked_at_with_the_eyes_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let host = Host::new();
    let (certificate, key) = certificate();
    host.write("cert.pem", &certificate);
    host.write("key.pem", &key);
    host.configure(&format!("{TCP}, tls: {{cert_file: @/cert.pem, key_file: @/key.pem}}"), DATABASE);
    let test = || {
        let output = host.command().args(["-t", "-user", "nobody"]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    chmod(host.folder.path(), 0o700);
    let folder = host.folder.path().display().to_string();
    let (is_valid, output) = test();
    assert!(
        !is_valid && output.contains(&format!("it has no access to {folder}; run: chgrp nobody")),
        "{output}"
    );
    chmod(host.folder.path(), 0o755);
    chmod(&host.path("key.pem"), 0o600);
    let (is_valid, output) = test();
    for part in [
        format!(
            "user nobody, which runs the program, cannot read {folder}/key.pem (api.server.tls.key_file)"
        ),
        format!("cannot write to {folder}/data (db_config.db_path); run: chown nobody: {folder}/data"),
    ] {
        assert!(!is_valid && output.contains(&part), "{part}: {output}");
    }
    chmod(&host.path("key.pem"), 0o644);
    chmod(&host.path("data"), 0o777);
    let (is_valid, output) = test();
    assert!(is_valid, "{output}");
}
