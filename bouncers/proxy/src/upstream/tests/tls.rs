//! TLS to upstreams.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::scripted::{Upstream, config, get, start, text};
use crate::config::{PoolConfig, UpstreamProtocol};
use crate::upstream::{ErrorKind, Pools};

/// An authority with a certificate for `localhost` and one for a client, as files.
struct Certificates {
    directory: tempfile::TempDir,
    server: Arc<ServerConfig>,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn certificates(alpn: &[&str], wants_client: bool) -> Certificates {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority();
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(directory.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(directory.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    };
    issue("client");
    let (certificate, key) = issue("localhost");
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let builder = if wants_client {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.unwrap().with_client_cert_verifier(verifier)
    } else {
        builder.unwrap().with_no_client_auth()
    };
    let mut server = builder.with_single_cert(vec![certificate], key).unwrap();
    server.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Certificates { directory, server: Arc::new(server) }
}

/// Answers with the protocol that was chosen; HTTP/1.1 is served without the `h2` crate.
async fn upstream(certificates: &Certificates) -> Upstream {
    let acceptor = TlsAcceptor::from(Arc::clone(&certificates.server));
    Upstream::start(move |peer, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut tls) = acceptor.accept(peer.stream).await else { return };
            if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                let mut server = h2::server::handshake(tls).await.unwrap();
                while let Some(Ok((request, mut to))) = server.accept().await {
                    assert_eq!(request.uri().scheme_str(), Some("https"));
                    let mut stream = to.send_response(Response::new(()), false).unwrap();
                    stream.send_data(Bytes::from_static(b"h2"), true).unwrap();
                }
                return;
            }
            let mut received = Vec::new();
            loop {
                match tls.read_u8().await {
                    Ok(byte) => received.push(byte),
                    Err(_) => return,
                }
                if received.ends_with(b"\r\n\r\n") {
                    received.clear();
                    tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh1").await.unwrap();
                    tls.flush().await.unwrap();
                }
            }
        }
    })
    .await
}

fn pool(upstream: &Upstream, directory: &Path, protocol: UpstreamProtocol) -> PoolConfig {
    let mut pool = config(&[upstream]);
    pool.servers[0].tls = true;
    pool.tls.ca = Some(directory.join("ca.pem"));
    pool.tls.server_name = Some("localhost".to_owned());
    pool.protocol = protocol;
    pool.retries = 0;
    pool
}

#[tokio::test]
async fn the_protocol_is_what_both_sides_have() {
    use UpstreamProtocol::{Auto, Http1, Http2};
    for (offered, protocol, expected) in [
        (&["h2", "http/1.1"][..], Auto, Ok("h2")),
        (&["http/1.1"], Auto, Ok("h1")),
        (&[], Auto, Ok("h1")),
        (&["h2", "http/1.1"], Http1, Ok("h1")),
        (&["h2"], Http2, Ok("h2")),
        (&[], Http2, Err(ErrorKind::Tls)),
    ] {
        let certificates = certificates(offered, false);
        let upstream = upstream(&certificates).await;
        let pools = start(pool(&upstream, certificates.directory.path(), protocol));
        for _ in 0..2 {
            let outcome = match pools.get(0).forward(get("/")).await {
                Ok(forwarded) => Ok(text(forwarded).await.unwrap()),
                Err(error) => Err(error.kind),
            };
            assert_eq!(outcome.as_deref(), expected.as_ref().copied(), "{offered:?} {protocol:?}");
        }
        if expected.is_ok() {
            assert_eq!(upstream.connections(), 1, "{offered:?} {protocol:?}");
        }
    }
}

#[tokio::test]
async fn certificates_are_verified_unless_the_pool_says_otherwise() {
    let certificates = certificates(&[], false);
    let upstream = upstream(&certificates).await;
    let mut pool = pool(&upstream, certificates.directory.path(), UpstreamProtocol::Http1);
    let outcome = async |pool: &PoolConfig| {
        start(pool.clone()).get(0).forward(get("/")).await.map_err(|error| error.kind).map(|_| ())
    };
    assert_eq!(outcome(&pool).await, Ok(()));
    pool.tls.server_name = Some("other.example".to_owned());
    assert_eq!(outcome(&pool).await, Err(ErrorKind::Tls));
    pool.tls.server_name = None;
    assert_eq!(outcome(&pool).await, Err(ErrorKind::Tls), "the certificate is not for the address");
    pool.tls.server_name = Some("localhost".to_owned());
    std::fs::write(certificates.directory.path().join("ca.pem"), authority().pem()).unwrap();
    assert_eq!(outcome(&pool).await, Err(ErrorKind::Tls));
    pool.tls.insecure_skip_verify = true;
    assert_eq!(outcome(&pool).await, Ok(()));
}

#[tokio::test]
async fn a_client_certificate_is_presented() {
    let certificates = certificates(&[], true);
    let upstream = upstream(&certificates).await;
    let directory = certificates.directory.path();
    let mut pool = pool(&upstream, directory, UpstreamProtocol::Http1);
    assert!(start(pool.clone()).get(0).forward(get("/")).await.is_err());
    pool.tls.client_certificate = Some((directory.join("client.pem"), directory.join("client.key")));
    assert_eq!(text(start(pool).get(0).forward(get("/")).await.unwrap()).await.unwrap(), "h1");
}

#[tokio::test]
async fn a_renewed_certificate_is_loaded_by_a_reload() {
    let certificates = certificates(&[], false);
    let upstream = upstream(&certificates).await;
    let pool = Arc::new(pool(&upstream, certificates.directory.path(), UpstreamProtocol::Http1));
    let stop = tokio_util::sync::CancellationToken::new();
    let first = Pools::start(&[Arc::clone(&pool)], None, &stop).unwrap();
    let same = Pools::start(&[Arc::clone(&pool)], Some(&first), &stop).unwrap();
    assert!(Arc::ptr_eq(first.get(0), same.get(0)));
    std::fs::write(certificates.directory.path().join("ca.pem"), authority().pem()).unwrap();
    let renewed = Pools::start(&[pool], Some(&same), &stop).unwrap();
    assert!(!Arc::ptr_eq(same.get(0), renewed.get(0)));
    assert_eq!(renewed.get(0).forward(get("/")).await.unwrap_err().kind, ErrorKind::Tls);
}
