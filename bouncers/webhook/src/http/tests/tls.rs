//! TLS towards receivers: authorities, client certificates, and what is wrong with them.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::config;
use super::peer::{OK, Peer};
use crate::config::ClientTlsConfig;
use crate::http::{Client, ClientRequest, ClientResponse, DEFAULT_RESPONSE_LIMIT};
use crate::sink::{Failure, FailureKind};

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
        let (cert, key) = pki.issue("sender");
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

    /// A receiver that, if `mutual`, requires a client certificate of this authority.
    async fn serve(&self, mutual: bool) -> Peer {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(self.ca.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let (cert, key) = self.issue("127.0.0.1");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = builder.with_single_cert(vec![cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        Peer::new(move |number, stream, requests| {
            let accepted = acceptor.accept(stream);
            async move {
                if let Ok(tls) = accepted.await {
                    requests.respond(number, tls, OK).await;
                }
            }
        })
        .await
    }

    fn trusted(&self) -> ClientTlsConfig {
        ClientTlsConfig { ca: Some(self.path("ca.pem")), ..ClientTlsConfig::default() }
    }
}

async fn post(peer: &Peer, tls: ClientTlsConfig) -> Result<ClientResponse, Failure> {
    let mut config = config(&format!("https://{}/", peer.address));
    config.tls = tls;
    let mut client = Client::new(Arc::new(config), "palisade-webhook/test").unwrap();
    let request = ClientRequest {
        method: Method::POST,
        target: None,
        headers: client.headers().clone(),
        body: Bytes::from_static(b"{}"),
        response_limit: DEFAULT_RESPONSE_LIMIT,
    };
    let response = client.send(request).await;
    client.close().await;
    response
}

#[tokio::test]
async fn a_certificate_must_be_trusted() {
    let (pki, other) = (Pki::new(), Pki::new());
    let peer = pki.serve(false).await;
    for untrusted in [ClientTlsConfig::default(), other.trusted()] {
        let failure = post(&peer, untrusted).await.unwrap_err();
        assert_eq!((failure.kind, failure.perhaps_received), (FailureKind::Refusing, false), "{failure:?}");
        assert!(failure.reason.contains("certificate"), "{failure:?}");
    }
    assert!(peer.requests.all().is_empty());
    post(&peer, pki.trusted()).await.unwrap();
    let any = ClientTlsConfig { insecure_skip_verify: true, ..ClientTlsConfig::default() };
    post(&peer, any).await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_presented() {
    let (pki, other) = (Pki::new(), Pki::new());
    let peer = pki.serve(true).await;
    let certificate = |pki: &Pki| Some((pki.path("client.pem"), pki.path("client.key")));
    let with = |certificate| ClientTlsConfig { certificate, ..pki.trusted() };
    for missing in [None, certificate(&other)] {
        let failure = post(&peer, with(missing)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Refusing, "{failure:?}");
    }
    assert!(peer.requests.all().is_empty());
    post(&peer, with(certificate(&pki))).await.unwrap();
}

#[tokio::test]
async fn a_receiver_without_tls_is_a_failure_before_anything_was_sent() {
    let text = "HTTP/1.1 400 Bad Request\r\n\r\n";
    let peer = Peer::new(move |_, mut stream, _| async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await;
    })
    .await;
    let failure = post(&peer, Pki::new().trusted()).await.unwrap_err();
    assert_eq!((failure.kind, failure.perhaps_received), (FailureKind::Retry, false), "{failure:?}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (pki, other) = (Pki::new(), Pki::new());
    let mut config = config("https://example.com/");
    config.tls.certificate = Some((pki.path("client.pem"), other.path("client.key")));
    let error = Client::new(Arc::new(config), "test").unwrap_err();
    assert!(error.to_string().contains("belong together"), "{error}");
}
