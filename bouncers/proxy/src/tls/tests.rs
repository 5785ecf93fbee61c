//! Handshakes in memory with certificates from files.

use std::fs;
use std::sync::Arc;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

use super::acme::Acme;
use super::certificate::unix_now;
use super::certificates::Certificates;
use super::server::{check, rustls_config};
use super::testing::{Authority, listener, ocsp_response, replace, shake_hands};
use crate::config::{CertificateFiles, TlsConfig};

fn load(config: &TlsConfig) -> Certificates {
    Certificates::load(config, &Acme::new(None, None).unwrap(), None).unwrap()
}

fn serve(config: &TlsConfig) -> (Certificates, Arc<ServerConfig>) {
    let certificates = load(config);
    let server = Arc::new(rustls_config(config, true, &certificates, None).unwrap());
    (certificates, server)
}

fn leaf(files: &CertificateFiles) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&files.certificate).unwrap()
}

#[test]
fn the_server_name_chooses_the_certificate_and_the_first_is_the_default() {
    let authority = Authority::new();
    let wildcard = authority.issue("wildcard", &["*.example.org"]);
    let exact = authority.issue("exact", &["www.example.org", "example.net"]);
    let (_, server) = serve(&listener(vec![wildcard.clone(), exact.clone()]));
    let client = authority.client();
    for (name, expected) in [
        (Some("www.example.org"), &exact),
        (Some("example.net"), &exact),
        (Some("api.example.org"), &wildcard),
        (Some("unknown.test"), &wildcard),
        (None, &wildcard),
    ] {
        assert_eq!(client.connect(&server, name).unwrap().certificate, leaf(expected), "{name:?}");
    }
}

#[test]
fn a_client_gets_the_kind_of_key_it_can_verify_and_ecdsa_when_it_can_verify_both() {
    let authority = Authority::new();
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let rsa = authority.issue_for("rsa", &rsa, &["example.org"]);
    let ecdsa = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let ecdsa = authority.issue_for("ecdsa", &ecdsa, &["example.org"]);
    let (_, server) = serve(&listener(vec![rsa.clone(), ecdsa.clone()]));
    let mut client = authority.client();
    for name in [Some("example.org"), None] {
        client.schemes = None;
        assert_eq!(client.connect(&server, name).unwrap().certificate, leaf(&ecdsa));
        client.schemes = Some(vec![SignatureScheme::RSA_PSS_SHA256]);
        assert_eq!(client.connect(&server, name).unwrap().certificate, leaf(&rsa));
    }
}

#[test]
fn a_valid_ocsp_response_is_stapled_and_withdrawn_when_it_is_replaced_by_an_expired_one() {
    let authority = Authority::new();
    let mut files = authority.issue("site", &["example.org"]);
    files.ocsp = Some(authority.path("site.ocsp"));
    let without = listener(vec![CertificateFiles { ocsp: None, ..files.clone() }]);
    let subject = super::file_certificate::FileCertificate::load(
        &without.certificates[0],
        &rustls::crypto::aws_lc_rs::default_provider(),
    )
    .unwrap()
    .current
    .subject
    .clone();
    let now = unix_now();
    let good = ocsp_response(&subject, 0, now - 60, Some(now + 3600));
    replace(files.ocsp.as_ref().unwrap(), &good);

    let (certificates, server) = serve(&listener(vec![files.clone()]));
    let client = authority.client();
    let seen = || client.connect(&server, Some("example.org")).unwrap().ocsp;
    assert_eq!(seen(), good);
    assert!(certificates.status()[0].stapled);

    replace(files.ocsp.as_ref().unwrap(), &ocsp_response(&subject, 0, now - 60, Some(now - 1)));
    certificates.refresh();
    assert_eq!(seen(), b"", "expired");

    let newer = ocsp_response(&subject, 0, now - 30, Some(now + 7200));
    replace(files.ocsp.as_ref().unwrap(), &newer);
    certificates.refresh();
    assert_eq!(seen(), newer);

    // A response that ends while it is stapled.
    certificates.refresh_at(now + 7201);
    assert_eq!(seen(), b"");
}

#[test]
fn a_replaced_certificate_is_used_for_the_next_handshake_and_open_connections_go_on() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let files = authority.issue_for("site", &key, &["example.org"]);
    let first = leaf(&files);
    let (certificates, server) = serve(&listener(vec![files.clone()]));

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("example.org").unwrap();
    let mut open = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut served = rustls::ServerConnection::new(server.clone()).unwrap();
    shake_hands(&mut open, &mut served).unwrap();

    authority.issue("site", &["example.org", "example.net"]);
    certificates.refresh();
    let second = authority.client().connect(&server, Some("example.net")).unwrap().certificate;
    assert_eq!(second, leaf(&files));
    assert_ne!(second, first);

    let mut wire = Vec::new();
    std::io::Write::write_all(&mut open.writer(), b"GET /").unwrap();
    open.write_tls(&mut wire).unwrap();
    served.read_tls(&mut wire.as_slice()).unwrap();
    served.process_new_packets().unwrap();
    let mut received = [0; 5];
    std::io::Read::read_exact(&mut served.reader(), &mut received).unwrap();
    assert_eq!(&received, b"GET /");
}

#[test]
fn a_broken_new_file_keeps_the_certificate_in_use_until_the_files_are_right() {
    let authority = Authority::new();
    let files = authority.issue("site", &["example.org"]);
    let first = leaf(&files);
    let config = listener(vec![files.clone()]);
    let (certificates, server) = serve(&config);
    let client = authority.client();
    let seen = || client.connect(&server, Some("example.org")).unwrap().certificate;

    replace(&files.certificate, b"not a certificate");
    certificates.refresh();
    assert_eq!(seen(), first);
    let failure = certificates.status()[0].failure.clone().unwrap();
    assert!(failure.contains("site.pem") && failure.contains("there is no certificate in it"), "{failure}");

    // As in a renewal that has replaced only one of the two files.
    let other = authority.issue("other", &["example.org"]);
    replace(&files.certificate, &fs::read(&other.certificate).unwrap());
    certificates.refresh();
    assert_eq!(seen(), first);
    let failure = certificates.status()[0].failure.clone().unwrap();
    assert!(failure.contains("the key does not belong to the certificate"), "{failure}");

    // On SIGHUP, the same holds for files that were in use, and not for new ones.
    let reloaded = Certificates::load(&config, &Acme::new(None, None).unwrap(), Some(&certificates)).unwrap();
    let server = Arc::new(rustls_config(&config, true, &reloaded, None).unwrap());
    assert_eq!(client.connect(&server, Some("example.org")).unwrap().certificate, first);
    let missing = CertificateFiles { certificate: authority.path("missing.pem"), ..files.clone() };
    let both = listener(vec![files.clone(), missing]);
    let refused =
        Certificates::load(&both, &Acme::new(None, None).unwrap(), Some(&certificates)).unwrap_err();
    assert!(refused.to_string().contains("missing.pem"), "{refused}");

    replace(&files.key, &fs::read(&other.key).unwrap());
    reloaded.refresh();
    let seen = client.connect(&server, Some("example.org")).unwrap().certificate;
    assert_eq!(seen, leaf(&other));
    assert_eq!(reloaded.status()[0].failure, None);
}

#[test]
fn a_connection_serves_the_names_of_its_certificate_only() {
    let authority = Authority::new();
    let shop = authority.issue("shop", &["shop.example", "*.shop.example"]);
    let bank = authority.issue("bank", &["bank.example"]);
    let certificates = load(&listener(vec![shop, bank]));
    for (server_name, host, same) in [
        ("shop.example", "shop.example", true),
        ("shop.example", "img.Shop.example", true),
        ("img.shop.example", "shop.example", true),
        ("shop.example", "bank.example", false),
        ("bank.example", "shop.example", false),
        ("unknown.test", "unknown.test", true),
        ("unknown.test", "bank.example", false),
    ] {
        assert_eq!(certificates.same_certificate(server_name, host), same, "{server_name} {host}");
    }
    assert!(certificates.covers("www.shop.example") && certificates.covers("bank.example"));
    assert!(!certificates.covers("unknown.test"));
}

#[test]
fn protocols_are_offered_as_configured() {
    let authority = Authority::new();
    let config = listener(vec![authority.issue("site", &["example.org"])]);
    let certificates = load(&config);
    let with = |http2| Arc::new(rustls_config(&config, http2, &certificates, None).unwrap());
    let mut client = authority.client();
    client.alpn = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    assert_eq!(client.connect(&with(true), None).unwrap().alpn.as_deref(), Some(&b"h2"[..]));
    assert_eq!(client.connect(&with(false), None).unwrap().alpn.as_deref(), Some(&b"http/1.1"[..]));
    client.alpn = vec![super::ACME_TLS_ALPN.to_vec()];
    assert!(client.connect(&with(true), Some("example.org")).is_err());
}

#[test]
fn the_check_names_the_file_and_the_next_step() {
    let authority = Authority::new();
    let files = authority.issue("site", &["example.org"]);
    let other = authority.issue("other", &["example.org"]);
    assert!(check(&listener(vec![files.clone()]), None).is_ok());

    fs::write(authority.path("encrypted.key"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
    let refused = |config: &TlsConfig| check(config, None).unwrap_err().to_string();
    let changed = |change: &dyn Fn(&mut CertificateFiles)| {
        let mut files = files.clone();
        change(&mut files);
        refused(&listener(vec![files]))
    };
    for (message, expected) in [
        (
            changed(&|files| files.certificate = "/missing.pem".into()),
            ["/missing.pem", "check that it exists"],
        ),
        (
            changed(&|files| files.key = other.key.clone()),
            ["other.key", "does not belong to the certificate"],
        ),
        (
            changed(&|files| files.key = authority.path("encrypted.key")),
            ["encrypted.key", "openssl pkey -in"],
        ),
        (changed(&|files| files.certificate = files.key.clone()), ["site.key", "no certificate in it"]),
        (
            refused(&TlsConfig { client_ca: Some(files.key.clone()), ..listener(vec![files.clone()]) }),
            ["client authorities", "no certificate in it"],
        ),
        (refused(&listener(Vec::new())), ["no certificate", "`acme`"]),
        (
            refused(&TlsConfig { acme_names: vec!["*.example.org".to_owned()], ..listener(Vec::new()) }),
            ["*.example.org", "list the names one by one"],
        ),
    ] {
        assert!(expected.iter().all(|part| message.contains(part)), "{message}");
    }
}
