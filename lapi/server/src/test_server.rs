//! The LAPI of the tests: on its own database, with one machine, a settable clock, and simplified responses.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use palisade_daemon::listen::{Peer, tls::TlsServer};
use palisade_daemon::metrics::Metrics;
use palisade_lapi_config::{Config, MetricsLevel};
use palisade_profiles::Profiles;
use palisade_service::{clock::Clock, registry::Registry};
use palisade_store::{DbConfig, NewBouncer, NewMachine, Store, hash_key};
use palisade_wire::UnixMillis;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::auth::certificate::Certificates;
use crate::auth::{Authenticator, fingerprint};
use crate::metrics::LapiMetrics;
use crate::state::{Lapi, Setup};

/// The initial time of the tests.
pub(crate) const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
/// The key of the bouncer `door`.
pub(crate) const KEY: &str = "key-of-door";
/// A signing key for tokens.
const SECRET: &[u8] = b"a secret of thirty-two bytes or more";

/// The shipped profiles.
pub(crate) const PROFILES: &str = "name: default_ip_remediation
filters:
 - Alert.Remediation == true && Alert.GetScope() == \"Ip\"
decisions:
 - type: ban
   duration: 4h
on_success: break
---
name: default_range_remediation
filters:
 - Alert.Remediation == true && Alert.GetScope() == \"Range\"
decisions:
 - type: ban
   duration: 4h
on_success: break
";

/// A LAPI without listeners.
pub(crate) struct TestServer {
    pub(crate) lapi: Lapi,
    pub(crate) router: Router,
    pub(crate) metrics: Metrics,
    pub(crate) folder: tempfile::TempDir,
    time: Arc<AtomicI64>,
    stop: CancellationToken,
}

/// What differs between servers.
struct Options<'a> {
    profiles: &'a str,
    /// Lines below `api.server`, indented by four.
    server: &'a str,
    /// Lines below `db_config`, indented by two.
    database: &'a str,
    /// The time at the start.
    now: UnixMillis,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { profiles: PROFILES, server: "    trusted_ips: [192.0.2.0/24]\n", database: "", now: NOW }
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The token of a login's response.
    pub(crate) fn token(&self) -> String {
        self.json()["token"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    /// Status and body; an error body as its message.
    pub(crate) fn short(&self) -> (u16, String) {
        let message = serde_json::from_str::<Value>(&self.text)
            .ok()
            .and_then(|body| body.get("message")?.as_str().map(str::to_owned));
        (self.status.as_u16(), message.unwrap_or_else(|| self.text.clone()))
    }
}

impl TestServer {
    /// With the shipped profiles and the bouncer `door`.
    pub(crate) async fn new() -> Self {
        Self::with(PROFILES, "").await
    }

    /// With these profiles, and these lines below `db_config`.
    pub(crate) async fn with(profiles: &str, database: &str) -> Self {
        let options = Options { profiles, database, ..Options::default() };
        let server = Self::start(tempfile::tempdir().unwrap(), options).await;
        server.add_bouncer("door", KEY).await;
        server
    }

    /// Without a bouncer, and with these lines below `api.server`, indented by four.
    pub(crate) async fn configured(server: &str) -> Self {
        Self::configured_in(tempfile::tempdir().unwrap(), server).await
    }

    /// The same in a folder that may hold certificates.
    pub(crate) async fn configured_in(folder: tempfile::TempDir, server: &str) -> Self {
        Self::start(folder, Options { server, ..Options::default() }).await
    }

    /// The same with these profiles.
    pub(crate) async fn configured_with(profiles: &str, server: &str) -> Self {
        Self::start(tempfile::tempdir().unwrap(), Options { profiles, server, ..Options::default() }).await
    }

    /// In a folder that may hold a database.
    async fn start(folder: tempfile::TempDir, options: Options<'_>) -> Self {
        let file = folder.path().join("lapi.db");
        let fresh = !file.exists();
        let text = format!(
            "api:\n  server:\n    listen_uri: 127.0.0.1:0\n    profiles_path: /nowhere/profiles.yaml\n{}\
             db_config:\n  type: sqlite\n  db_path: {}\n{}",
            options.server,
            file.display(),
            options.database
        );
        let config = Config::from_text(Path::new("config.yaml"), &text).unwrap();
        let server = config.server.clone().unwrap();
        let store = Store::open(&DbConfig::sqlite(&file)).await.unwrap();
        let machine = NewMachine {
            name: "lp".into(),
            password: "unused".into(),
            auth_type: "password".into(),
            validated: true,
            ip: String::new(),
        };
        if fresh {
            store.create_machine(NOW, machine).await.unwrap();
        }
        let certificates = match &server.tls {
            Some(block) => {
                let tls = TlsServer::load(&block.files).unwrap();
                Certificates::load(block, &tls, NOW).unwrap()
            }
            None => Certificates::default(),
        };
        let time = Arc::new(AtomicI64::new(options.now.0));
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        let lapi = Lapi::load(Setup {
            config,
            server,
            clock: Clock::Manual(Arc::clone(&time)),
            profiles: Profiles::parse(options.profiles, "profiles.yaml").unwrap(),
            registry: Registry::load(store.clone()).await.unwrap(),
            store,
            metrics: LapiMetrics::new(MetricsLevel::Full, &metrics),
            access: palisade_daemon::logs::AccessLog::start().unwrap(),
            auth: Authenticator::new(SECRET, certificates).unwrap(),
            signer: palisade_replica::CursorSigner::new(b"a key for cursors"),
            closing: stop.clone(),
        })
        .await
        .unwrap();
        TaskTracker::new().spawn(lapi.replication.clone().run(stop.clone()));
        TaskTracker::new().spawn(lapi.long_poll.clone().run(stop.clone()));
        let router = crate::router::router(lapi.clone());
        Self { lapi, router, metrics, folder, time, stop }
    }

    /// A copy of the current database.
    pub(crate) async fn backup(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            let file = file.unwrap();
            // All but the socket.
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
        }
        copy
    }

    /// Starts a LAPI on a copy after this one has ended.
    pub(crate) async fn restored(self, copy: tempfile::TempDir) -> Self {
        self.stop.cancel();
        self.lapi.store.close().await;
        Self::start(copy, Options { now: self.now(), ..Options::default() }).await
    }

    /// Stops as the daemon does and starts again.
    pub(crate) async fn restarted(self) -> Self {
        self.lapi.registry.activity.write_back(self.now()).await.unwrap();
        let copy = self.backup().await;
        self.restored(copy).await
    }

    /// Adds a bouncer with a key.
    pub(crate) async fn add_bouncer(&self, name: &str, key: &str) {
        let new = NewBouncer {
            name: name.into(),
            key_hash: hash_key(key.as_bytes()),
            auth_type: "api-key".into(),
            ip: String::new(),
            auto_created: false,
        };
        self.lapi.store.create_bouncer(NOW, new).await.unwrap();
    }

    /// The current time of the server's clock.
    pub(crate) fn now(&self) -> UnixMillis {
        UnixMillis(self.time.load(Ordering::Relaxed))
    }

    /// Advances the clock.
    pub(crate) fn pass(&self, time: Duration) {
        self.time.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Sets the clock.
    pub(crate) fn set(&self, time: UnixMillis) {
        self.time.store(time.0, Ordering::Relaxed);
    }

    /// A request without authentication.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// A request from an address; `what` is method and path, headers are `name: value`.
    pub(crate) async fn request(
        &self,
        from: &str,
        what: &str,
        headers: &[&str],
        body: impl Into<Body>,
    ) -> Answer {
        let (method, path) = what.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for header in headers {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let peer = Peer::plain(Some(SocketAddr::new(from.parse().unwrap(), 40_000)));
        self.send(request.extension(peer).body(body.into()).unwrap()).await
    }

    /// Registers a machine, validates it, and returns its token.
    pub(crate) async fn register(&self, name: &str) -> String {
        self.register_with(name, "secret").await
    }

    /// The same with this password.
    pub(crate) async fn register_with(&self, name: &str, password: &str) -> String {
        let body = format!(r#"{{"machine_id":"{name}","password":"{password}"}}"#);
        let answer = self.request("127.0.0.1", "POST /v1/watchers", &[], body.clone()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.lapi.store.validate_machine(self.now(), name, true).await.unwrap();
        let login =
            self.request("127.0.0.1", "POST /v1/watchers/login", &["user-agent: crowdsec/v1"], body).await;
        login.token()
    }

    /// A request of the machine, from this host.
    pub(crate) async fn machine(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        self.send(self.as_machine(method, path, body, [127, 0, 0, 1])).await
    }

    /// A request of the machine from an address, not sent yet.
    pub(crate) fn as_machine(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Body>,
        from: [u8; 4],
    ) -> Request<Body> {
        let machine = self.lapi.registry.machine("lp").unwrap();
        let credentials = fingerprint(&machine, None).unwrap();
        let (token, _) = self.lapi.auth.tokens.issue("lp", credentials, self.now(), self.now()).unwrap();
        Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("user-agent", "crowdsec/v1.7.8-linux")
            .extension(Peer::plain(Some(SocketAddr::from((from, 40_000)))))
            .body(body.into())
            .unwrap()
    }

    /// A request with a key from an address, not sent yet.
    pub(crate) fn with_key(&self, method: Method, path: &str, key: &str, from: [u8; 4]) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(path)
            .header("x-api-key", key)
            .header("user-agent", "test-bouncer/v1.0")
            .extension(Peer::plain(Some(SocketAddr::from((from, 40_000)))))
            .body(Body::empty())
            .unwrap()
    }

    /// A request of the bouncer `door`.
    pub(crate) async fn bouncer(&self, method: Method, path: &str) -> Answer {
        self.send(self.with_key(method, path, KEY, [192, 0, 2, 10])).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.machine(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.machine(Method::POST, path, body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.machine(Method::DELETE, path, "").await
    }

    /// Posts alerts that must be accepted; returns their ids.
    pub(crate) async fn post_alerts(&self, alerts: &[Value]) -> Vec<String> {
        let answer = self.post("/v1/alerts", &json!(alerts)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        serde_json::from_value(answer.json()).unwrap()
    }

    /// A manual ban.
    pub(crate) async fn ban(&self, value: &str, duration: &str) -> String {
        self.post_alerts(&[self.by_hand(&[self.decision(value, duration)])]).await.remove(0)
    }

    /// The values of `new` and `deleted` that the bouncer gets.
    pub(crate) async fn pull(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let answer = self.bouncer(Method::GET, &format!("/v1/decisions/stream{query}")).await;
        told(&answer)
    }

    /// An alert as a log processor posts it.
    pub(crate) fn alert(&self, value: &str) -> Value {
        let scope = if value.contains('/') { "Range" } else { "Ip" };
        json!({
            "scenario": "crowdsecurity/ssh-bf", "scenario_hash": "", "scenario_version": "0.1",
            "message": format!("{value} performed ssh-bf"), "events_count": 6, "capacity": 5, "leakspeed": "10s",
            "start_at": self.now().rfc3339(), "stop_at": self.now().rfc3339(), "simulated": false,
            "remediation": true, "events": [], "source": {"scope": scope, "value": value, "ip": value},
        })
    }

    /// An alert with decisions of its own.
    pub(crate) fn by_hand(&self, decisions: &[Value]) -> Value {
        json!({
            "scenario": "manual", "scenario_hash": "", "scenario_version": "", "message": "manual",
            "events_count": 1, "capacity": 0, "leakspeed": "0", "start_at": self.now().rfc3339(),
            "stop_at": self.now().rfc3339(), "simulated": false, "events": [], "kind": "cscli",
            "source": {"scope": "", "value": ""}, "decisions": decisions,
        })
    }

    /// A decision for such an alert.
    pub(crate) fn decision(&self, value: &str, duration: &str) -> Value {
        let scope = if value.contains('/') { "Range" } else { "Ip" };
        json!({
            "duration": duration, "origin": "cscli", "scenario": "manual", "scope": scope, "type": "ban",
            "value": value,
        })
    }

    /// One round of the retention jobs.
    pub(crate) async fn flush(&self) {
        crate::background::retention(&self.lapi).run_once().await.unwrap();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The values of `new` and `deleted` of a stream answer.
pub(crate) fn told(answer: &Answer) -> (Vec<String>, Vec<String>) {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let body = answer.json();
    let values = |list: &str| {
        let list = body[list].as_array().unwrap_or_else(|| panic!("{list} is no array: {body}"));
        list.iter().map(|one| one["value"].as_str().unwrap().to_owned()).collect()
    };
    (values("new"), values("deleted"))
}

/// Waits until a condition holds, at most ten seconds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
