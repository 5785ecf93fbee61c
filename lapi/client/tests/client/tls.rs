//! The client behind TLS: private authorities, client certificates, and what is wrong with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::peer::{Peer, chunked};
use palisade_client::{
    Auth, BuildError, Client, ClientConfig, PullError, Secret, StreamItem, StreamQuery, UserAgent,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

const EMPTY: &str = r#"{"new": [], "deleted": []}"#;

/// An authority, a server certificate for this machine and a client certificate, in a folder.
struct Pki {
    folder: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        let pki = Self { folder, ca };
        let (cert, key) = pki.issue("bouncer");
        std::fs::write(pki.path("client.pem"), cert.pem()).unwrap();
        std::fs::write(pki.path("client.key"), key.serialize_pem()).unwrap();
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.ca).unwrap(), key)
    }

    /// A server that, if so configured, requires a client certificate of this authority.
    async fn serve(&self, mutual: bool) -> Peer {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(self.ca.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let (cert, key) = self.issue("127.0.0.1");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = builder.with_single_cert(vec![cert.der().clone()], key).unwrap();
        Peer::on_tls(vec![chunked(&[EMPTY])], TlsAcceptor::from(Arc::new(tls))).await
    }
}

fn key() -> Auth {
    Auth::Key(Secret::new("k"))
}

fn build(peer: &Peer, auth: Auth, change: impl FnOnce(&mut ClientConfig)) -> Result<Client, BuildError> {
    let mut config = ClientConfig::new(format!("https://{}", peer.at()), auth);
    change(&mut config);
    Client::new(&config, &UserAgent::new("palisade-test", "v0.1.0").unwrap())
}

async fn pull(client: &Client) -> Result<(), PullError> {
    client.decision_stream(&StreamQuery::default(), &mut |_: StreamItem<'_>| {}).await.map(drop)
}

#[tokio::test]
async fn a_private_authority_must_be_named() {
    let pki = Pki::new();
    let peer = pki.serve(false).await;
    let error = pull(&build(&peer, key(), |_| {}).unwrap()).await.unwrap_err();
    assert!(!error.may_have_reached_lapi(), "{error:?}");
    assert!(error.stock_text().contains("certificate signed by unknown authority"), "{}", error.stock_text());

    assert!(error.to_string().contains("name it in `ca_cert_path`"), "{error}");

    pull(&build(&peer, key(), |config| config.ca = Some(pki.path("ca.pem"))).unwrap()).await.unwrap();
    assert!(peer.requests()[0].contains("x-api-key: k"));
}

#[tokio::test]
async fn verification_can_be_switched_off() {
    let pki = Pki::new();
    let peer = pki.serve(false).await;
    pull(&build(&peer, key(), |config| config.insecure_skip_verify = true).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_opens_the_door_and_no_key_is_sent() {
    let pki = Pki::new();
    let peer = pki.serve(true).await;
    let trust = |config: &mut ClientConfig| config.ca = Some(pki.path("ca.pem"));
    let auth = Auth::Certificate { cert: pki.path("client.pem"), key: pki.path("client.key") };
    let error = pull(&build(&peer, key(), trust).unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("wants a client certificate") && error.contains("`cert_path`"), "{error}");
    pull(&build(&peer, auth, trust).unwrap()).await.unwrap();
    assert!(!peer.requests()[0].contains("x-api-key"));
}

#[tokio::test]
async fn a_client_certificate_of_an_unknown_authority_is_named() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let peer = pki.serve(true).await;
    let auth = Auth::Certificate { cert: stranger.path("client.pem"), key: stranger.path("client.key") };
    let client = build(&peer, auth, |config| config.ca = Some(pki.path("ca.pem"))).unwrap();
    let error = pull(&client).await.unwrap_err();
    let text = palisade_go_compat::with_causes(&error);
    assert!(text.contains("did not accept the client certificate in `cert_path`"), "{text}");
    assert!(!text.contains("is it running"), "{text}");
    assert_eq!(text.matches("client certificate").count(), 1, "{text}");
}

#[tokio::test]
async fn a_wrong_scheme_is_called_so() {
    let pki = Pki::new();
    let peer = pki.serve(false).await;
    // What Go's server does with anything that is no HTTP.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_at = plain.local_addr().unwrap();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request")
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
    });
    for (url, part) in [
        (format!("http://{}", peer.at()), "should `api_url` begin with https://"),
        (format!("https://{plain_at}"), "should `api_url` begin with http://"),
    ] {
        let config = ClientConfig::new(url, key());
        let client = Client::new(&config, &UserAgent::new("a", "b").unwrap()).unwrap();
        let text = palisade_go_compat::with_causes(&pull(&client).await.unwrap_err());
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn files_that_hold_no_certificate_are_named() {
    let pki = Pki::new();
    let peer = pki.serve(false).await;
    std::fs::write(pki.path("junk.pem"), "junk").unwrap();
    let text = |auth: Auth, ca: Option<&Path>| {
        build(&peer, auth, |config| config.ca = ca.map(Path::to_owned)).unwrap_err().to_string()
    };
    for name in ["missing.pem", "junk.pem"] {
        let error = text(key(), Some(&pki.path(name)));
        assert!(error.starts_with("unable to load CA certificate '") && error.contains(name), "{error}");
        assert!(error.contains("correct `ca_cert_path`"), "{error}");
        let cert = Auth::Certificate { cert: pki.path(name), key: pki.path("client.key") };
        let error = text(cert, None);
        assert!(error.starts_with("unable to load certificate '") && error.contains(name), "{error}");
    }
    let cert = Auth::Certificate { cert: pki.path("client.pem"), key: pki.path("client.pem") };
    assert!(text(cert, None).contains("private key"));
}

#[tokio::test]
async fn keys_that_cannot_be_used_come_with_the_way_out() {
    let pki = Pki::new();
    let peer = pki.serve(false).await;
    let error = |key: &str| {
        let auth = Auth::Certificate { cert: pki.path("client.pem"), key: pki.path(key) };
        build(&peer, auth, |_| {}).unwrap_err().to_string()
    };
    let body = "MIIB\n";
    for (name, pem) in [
        (
            "pkcs8.key",
            format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}-----END ENCRYPTED PRIVATE KEY-----\n"),
        ),
        (
            "old.key",
            format!(
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n{body}-----END \
                 RSA PRIVATE KEY-----\n"
            ),
        ),
    ] {
        std::fs::write(pki.path(name), pem).unwrap();
        let text = error(name);
        assert!(text.contains("the private key is encrypted"), "{text}");
        assert!(
            text.contains("openssl pkey -in ") && text.contains("name that file in `key_path`"),
            "{text}"
        );
    }
    std::fs::write(pki.path("other.key"), pki.issue("other").1.serialize_pem()).unwrap();
    let text = error("other.key");
    assert!(
        text.contains("the private key does not belong to the certificate; correct `cert_path`"),
        "{text}"
    );
}

#[test]
fn a_certificate_without_tls_is_refused() {
    let auth = || Auth::Certificate { cert: "c".into(), key: "k".into() };
    for url in ["http://192.0.2.1", "/run/lapi.sock"] {
        let error =
            Client::new(&ClientConfig::new(url, auth()), &UserAgent::new("a", "b").unwrap()).unwrap_err();
        assert!(matches!(error, BuildError::CertificateWithoutTls { .. }), "{error}");
    }
}

#[test]
fn a_key_that_cannot_be_sent_is_refused_without_showing_it() {
    let config = ClientConfig::new("http://192.0.2.1", Auth::Key(Secret::new("hush\nhush")));
    let error = Client::new(&config, &UserAgent::new("a", "b").unwrap()).unwrap_err();
    assert!(matches!(error, BuildError::Key) && !error.to_string().contains("hush"));
}
