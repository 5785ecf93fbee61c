//! The LAPI over real connections: HTTP/2, the unix socket, client certificates.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use axum::body::Body;
use palisade_wire::UnixMillis;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use palisade_daemon::listen::{
    Limits, Listeners, Serving, SocketAccess, SocketFile, bind, bind_socket, tls::TlsServer,
};

use crate::auth::certificate::load_lists;
use crate::test_server::TestServer;

/// A listening LAPI.
struct Open {
    lapi: TestServer,
    address: SocketAddr,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    _socket: SocketFile,
}

impl Open {
    async fn new(lapi: TestServer) -> Self {
        Self::at("127.0.0.1:0", lapi).await
    }

    async fn at(uri: &str, lapi: TestServer) -> Self {
        let block = lapi.lapi.server.tls.as_ref();
        let server = block.map(|block| TlsServer::load(&block.files).unwrap());
        let tcp = bind(uri).await.unwrap();
        let (unix, socket) =
            bind_socket(&lapi.folder.path().join("lapi.sock"), &SocketAccess::default()).unwrap();
        let (address, stop) = (tcp.local_addr().unwrap(), CancellationToken::new());
        let serving = Serving {
            service: lapi.router.clone(),
            tls: Arc::new(ArcSwapOption::from_pointee(server)),
            limits: Limits::default(),
            metrics: lapi.lapi.metrics.connections.clone(),
        };
        let listeners = Listeners { tcp: Some(tcp), unix: Some(unix) };
        let served = TaskTracker::new().spawn(listeners.serve(serving, stop.clone()));
        Self { lapi, address, stop, served, _socket: socket }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Stops the server and waits for its end.
    async fn close(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(20), self.served).await.expect("it ends").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_counts_as_this_host() {
    let open = Open::new(TestServer::configured("    disable_remote_lapi_registration: true\n").await).await;
    let mut socket = UnixStream::connect(open.lapi.folder.path().join("lapi.sock")).await.unwrap();
    let body = r#"{"machine_id":"m","password":"p"}"#;
    let request = format!("POST /v1/watchers HTTP/1.1\r\ncontent-length: {}", body.len());
    socket.write_all(format!("{request}\r\nhost: unix\r\n\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201");
    open.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv4_client_of_all_interfaces_is_known_by_its_ipv4_address() {
    let registration = "    disable_remote_lapi_registration: true\n";
    let open = Open::at("0.0.0.0:0", TestServer::configured(registration).await).await;
    open.lapi.add_bouncer("door", "key").await;
    let port = open.address.port();
    let mut clients = vec![("127.0.0.1", TcpStream::connect(("127.0.0.1", port)).await.unwrap())];
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        clients.push(("::1", TcpStream::connect(("::1", port)).await.unwrap()));
    }
    for (address, mut stream) in clients {
        // Registration is for this host only: both loopback addresses are.
        let body = format!(r#"{{"machine_id":"m-{address}","password":"p"}}"#);
        let request = format!(
            "GET /v1/decisions HTTP/1.1\r\nhost: x\r\nx-api-key: key\r\n\r\n\
             POST /v1/watchers HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        assert!(answers.contains("HTTP/1.1 200") && answers.contains("HTTP/1.1 201"), "{answers}");
        let now = open.lapi.lapi.clock.now();
        open.lapi.lapi.registry.activity.write_back(now).await.unwrap();
        let bouncers = open.lapi.lapi.store.bouncers().await.unwrap();
        assert!(bouncers.iter().any(|bouncer| bouncer.ip == address), "{bouncers:?}");
    }
    open.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_held_side_by_side_on_one_http2_connection() {
    let open = Open::new(TestServer::configured("").await).await;
    let lapi = open.lapi.lapi.clone();
    open.lapi.add_bouncer("door", "key").await;
    let stream = hyper_util::rt::TokioIo::new(open.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    // The cursor after it, and the body.
    let pull = async |cursor: &str, filter: &str| {
        let request =
            hyper::Request::get(format!("http://lapi/v1/decisions/stream?cursor={cursor}&wait=30{filter}"))
                .header("x-api-key", "key")
                .header("user-agent", "test/v1");
        let mut sender = sender.clone();
        let answer = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        let cursor = answer.headers()["x-palisade-cursor"].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(Body::new(answer.into_body()), 100_000).await.unwrap();
        (cursor, String::from_utf8(body.into()).unwrap())
    };
    let (all, bans) = ("", "&type=ban");
    let (first, second) = (pull("", all).await.0, pull("", bans).await.0);
    let banning = async {
        let deadline = Instant::now() + Duration::from_secs(10);
        while lapi.long_poll.waiters() < 2 {
            assert!(Instant::now() < deadline, "both are held");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        open.lapi.ban("192.0.2.7", "1h").await;
    };
    let told = async { tokio::join!(pull(&first, all), pull(&second, bans), banning) };
    let ((_, one), (_, two), ()) = timeout(Duration::from_secs(20), told).await.expect("both are told");
    assert!(one.contains("192.0.2.7") && two.contains("192.0.2.7"), "{one} {two}");
    drop(sender);
    open.close().await;
}

/// An authority that signs certificates.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
struct Shown {
    certificate: String,
    key: String,
    serial: SerialNumber,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    fn sign(&self, name: &str, unit: &str, serial: u64) -> Shown {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        let serial = SerialNumber::from(serial);
        params.serial_number = Some(serial.clone());
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Shown { certificate: certificate.pem(), key: key.serialize_pem(), serial }
    }

    fn revoke(&self, revoked: &[&Shown]) -> String {
        let day = |year| rcgen::date_time_ymd(year, 1, 1);
        let params = CertificateRevocationListParams {
            this_update: day(2020),
            next_update: day(2090),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|shown| RevokedCertParams {
                    serial_number: shown.serial.clone(),
                    revocation_time: day(2021),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

async fn shake(
    open: &Open,
    root: &Authority,
    shown: Option<&Shown>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.issuer.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, open.connect().await).await
}

/// First line of the response, and its body.
async fn over_tls(
    open: &Open,
    root: &Authority,
    shown: Option<&Shown>,
    request: &str,
) -> Result<String, String> {
    let mut stream = shake(open, root, shown).await.map_err(|cause| cause.to_string())?;
    let request = format!("{request}\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|cause| cause.to_string())?;
    let mut answer = String::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await.unwrap();
    read.map_err(|cause| cause.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("cut: {answer:?}"))?;
    Ok(format!("{} {body}", &head[9..12]))
}

fn put(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_admit_machines_and_bouncers() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = ours.sign("localhost", "server", 1);
    let (bouncer, revoked) = (ours.sign("fw", "bouncer-ou", 2), ours.sign("gone", "bouncer-ou", 3));
    let (machine, foreign) = (ours.sign("lp", "agent-ou", 4), theirs.sign("fw", "bouncer-ou", 5));
    // Same name and serial number, but another authority with the same name: its list does not concern our
    // certificates.
    let liar = Authority::new("ours");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    put(&path, "server.pem", &server.certificate);
    put(&path, "server.key", &server.key);
    put(&path, "ca.pem", &ours.issuer.pem());
    put(&path, "crl.pem", &(ours.revoke(&[&revoked]) + &liar.revoke(&[&bouncer])));
    let text = |name: &str| path.join(name).display().to_string();
    let block = format!(
        "    tls:\n      cert_file: {}\n      key_file: {}\n      ca_cert_path: {}\n      crl_path: {}\n      \
         agents_allowed_ou: [agent-ou]\n      bouncers_allowed_ou: [bouncer-ou]\n",
        text("server.pem"),
        text("server.key"),
        text("ca.pem"),
        text("crl.pem"),
    );
    let open = Open::new(TestServer::configured_in(folder, &block).await).await;
    let stream = "GET /v1/decisions/stream HTTP/1.1";
    let forbidden = r#"403 {"message":"access forbidden"}"#.to_owned();

    let health = over_tls(&open, &ours, None, "GET /health HTTP/1.1").await;
    assert_eq!(health.unwrap(), r#"200 {"status":"up"}"#);

    assert!(over_tls(&open, &ours, Some(&bouncer), stream).await.unwrap().starts_with("200 "));
    let row = open.lapi.lapi.registry.bouncer("fw@127.0.0.1").unwrap();
    assert!(row.auto_created && row.auth == palisade_service::registry::AuthType::Tls);
    assert_eq!(over_tls(&open, &ours, Some(&machine), stream).await.unwrap(), forbidden, "wrong unit");
    assert_eq!(over_tls(&open, &ours, Some(&revoked), stream).await.unwrap(), forbidden, "revoked");
    assert!(over_tls(&open, &ours, Some(&foreign), stream).await.is_err(), "signed by somebody else");
    assert!(open.lapi.lapi.registry.bouncer("gone@127.0.0.1").is_none());

    let login = "POST /v1/watchers/login HTTP/1.1\r\nuser-agent: crowdsec/v1\r\ncontent-length: 0";
    let answer = over_tls(&open, &ours, Some(&machine), login).await.unwrap();
    assert_eq!(
        answer,
        r#"401 {"code":401,"message":"missing scenarios list in login request for TLS auth: EOF while parsing a value at line 1 column 0"}"#
    );
    let answer = over_tls(&open, &ours, Some(&bouncer), login).await.unwrap();
    assert!(
        answer.contains("client certificate OU [bouncer-ou] doesn't match expected OU [agent-ou]"),
        "{answer}"
    );
    let machine_row = open.lapi.lapi.registry.machine("lp@127.0.0.1").unwrap();
    assert!(machine_row.validated, "made at first contact");

    // A token belongs to the certificate of its login.
    let body = r#"{"scenarios":[]}"#;
    let login = format!(
        "POST /v1/watchers/login HTTP/1.1\r\nuser-agent: crowdsec/v1\r\nconnection: close\r\nhost: x\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = over_tls(&open, &ours, Some(&machine), &login).await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(answer.strip_prefix("200 ").unwrap()).unwrap();
    let with_token = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nauthorization: Bearer {}", answer["token"].as_str().unwrap())
    };
    let status = async |path: &str, shown: Option<&Shown>| {
        over_tls(&open, &ours, shown, &with_token(path)).await.unwrap()[..3].to_owned()
    };
    let (heartbeat, refresh) = ("/v1/heartbeat", "/v1/refresh_token");
    let renewed = ours.sign("lp", "agent-ou", 6);
    for path in [heartbeat, refresh] {
        assert_eq!(status(path, Some(&machine)).await, "200", "{path}");
        assert_eq!(status(path, None).await, "401", "{path} without certificate");
        assert_eq!(status(path, Some(&renewed)).await, "401", "{path} with another certificate");
    }

    // Revoked while connected, and admitted again.
    let certificates = open.lapi.lapi.auth.certificates.load_full();
    put(&path, "crl.pem", &ours.revoke(&[&bouncer, &machine]));
    certificates.relist(load_lists(&path.join("crl.pem"), UnixMillis::now()).unwrap());
    assert_eq!(over_tls(&open, &ours, Some(&bouncer), stream).await.unwrap(), forbidden);
    for path in [heartbeat, refresh] {
        assert_eq!(status(path, Some(&machine)).await, "401", "{path} with a revoked certificate");
    }
    certificates.relist(load_lists(&path.join("crl.pem"), UnixMillis::now()).unwrap());
    for text in ["certificate revoked by CRL", "(cache) certificate revoked by CRL"] {
        let answer = over_tls(&open, &ours, Some(&machine), &login).await.unwrap();
        assert_eq!(answer, format!(r#"401 {{"code":401,"message":"{text}"}}"#));
    }
    put(&path, "crl.pem", &ours.revoke(&[]));
    certificates.relist(load_lists(&path.join("crl.pem"), UnixMillis::now()).unwrap());
    assert!(over_tls(&open, &ours, Some(&bouncer), stream).await.unwrap().starts_with("200 "));
    open.close().await;
}

#[test]
fn revocation_lists_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    put(path, "empty.pem", "");
    for (file, text) in
        [("none.pem", "cannot read revocation list "), ("empty.pem", "there is no revocation list in it")]
    {
        let error = load_lists(&path.join(file), UnixMillis(0)).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}
