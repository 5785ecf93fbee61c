//! Test fixture: a LAPI without listeners on its own database, and helpers for requests.

use std::{net::SocketAddr, path::Path};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt as _;
use palisade_daemon::{
    listen::{Peer, tls::TlsServer},
    metrics::Metrics,
};
use palisade_lapi_config::{Config, MetricsLevel};
use palisade_profiles::Profiles;
use palisade_service::{clock::Clock, registry::Registry};
use palisade_store::{DbConfig, NewBouncer, Store};
use palisade_wire::UnixMillis;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::{
    auth::{Authenticator, certificate::Certificates, extract::hash_key},
    metrics::LapiMetrics,
    router::router,
    state::{Lapi, Setup},
};

/// A LAPI without listeners.
pub(crate) struct Fixture {
    pub(crate) lapi: Lapi,
    pub(crate) router: Router,
    pub(crate) metrics: Metrics,
    pub(crate) folder: tempfile::TempDir,
    stop: CancellationToken,
}

/// Status, headers and body of a response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// Status, and the message or the raw body.
    pub(crate) fn short(&self) -> (u16, String) {
        let message = serde_json::from_str::<serde_json::Value>(&self.body)
            .ok()
            .and_then(|body| Some(body.get("message")?.as_str()?.to_owned()));
        (self.status.as_u16(), message.unwrap_or_else(|| self.body.clone()))
    }

    /// The token of a login's response.
    pub(crate) fn token(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        body["token"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

impl Fixture {
    /// With these lines below `api.server`, indented by four.
    pub(crate) async fn new(server: &str) -> Self {
        Self::over(tempfile::tempdir().unwrap(), server).await
    }

    /// The same in a folder that may hold a database and certificates already.
    pub(crate) async fn over(folder: tempfile::TempDir, server: &str) -> Self {
        let file = folder.path().join("lapi.db");
        let text = format!(
            "api:\n  server:\n    listen_uri: 127.0.0.1:0\n    profiles_path: /nowhere/profiles.yaml\n{server}\n\
             db_config:\n  type: sqlite\n  db_path: {}\n",
            file.display()
        );
        let config = Config::from_text(Path::new("config.yaml"), &text).unwrap();
        let server = config.server.clone().unwrap();
        let store = Store::open(&DbConfig::sqlite(&file)).await.unwrap();
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        let certificates = match &server.tls {
            Some(block) => {
                let server = TlsServer::load(&block.files).unwrap();
                Certificates::load(block, &server, UnixMillis::now()).unwrap()
            }
            None => Certificates::default(),
        };
        let lapi = Lapi::load(Setup {
            registry: Registry::load(store.clone()).await.unwrap(),
            profiles: Profiles::parse(
                "name: p\nfilters: [\"false\"]\ndecisions: []\non_success: break\n",
                "p.yaml",
            )
            .unwrap(),
            metrics: LapiMetrics::new(MetricsLevel::Full, &metrics),
            auth: Authenticator::new(&[7; 64], certificates).unwrap(),
            clock: Clock::System,
            signer: palisade_replica::CursorSigner::new(b"a key for cursors"),
            closing: stop.clone(),
            store,
            server,
            config,
        })
        .await
        .unwrap();
        TaskTracker::new().spawn(lapi.replication.clone().run(stop.clone()));
        let router = router(lapi.clone());
        Self { lapi, router, metrics, folder, stop }
    }

    /// Adds a bouncer to the database as `palisade bouncers add` does, without notice to the server.
    pub(crate) async fn add_bouncer(&self, name: &str, key: &str) {
        let new = NewBouncer {
            name: name.into(),
            key_hash: hash_key(key.as_bytes()),
            auth_type: "api-key".into(),
            ip: String::new(),
            auto_created: false,
        };
        self.lapi.store.create_bouncer(UnixMillis::now(), new).await.unwrap();
    }

    /// Sends a request without a connection. `from` is an address; headers are `name: value`.
    pub(crate) async fn request(
        &self,
        from: &str,
        what: &str,
        headers: &[&str],
        body: impl Into<Body>,
    ) -> Answer {
        request(self.router.clone(), from, what, headers, body).await
    }

    /// A validated machine, and its token.
    pub(crate) async fn machine(&self, name: &str) -> String {
        let body = format!(r#"{{"machine_id":"{name}","password":"secret"}}"#);
        let answer = self.request("127.0.0.1", "POST /v1/watchers", &[], body.clone()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.lapi.store.validate_machine(UnixMillis::now(), name, true).await.unwrap();
        let login =
            self.request("127.0.0.1", "POST /v1/watchers/login", &["user-agent: crowdsec/v1"], body).await;
        login.token()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Sends a request to a router.
pub(crate) async fn request(
    router: Router,
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
    let request = request.extension(peer).body(body.into()).unwrap();
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() }
}
