//! Names, storage and reloads, without a directory.

use std::fs;
use std::path::Path;
use std::pin::Pin;

use rustls_pki_types::CertificateDer;

use super::*;
use crate::config::{AcmeChallenge, TlsConfig};
use crate::tls::server::{check as check_listener, rustls_config};
use crate::tls::testing::{Authority, listener};
use crate::tls::{ACME_TLS_ALPN, Certificates};

fn config(storage: &Path, names: &[&str]) -> AcmeConfig {
    AcmeConfig {
        directory: "https://127.0.0.1:1/directory".to_owned(),
        email: String::new(),
        storage: storage.to_owned(),
        ca: None,
        challenge: AcmeChallenge::TlsAlpn01,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn acme_listener(names: &[&str]) -> TlsConfig {
    TlsConfig { acme_names: names.iter().map(|name| (*name).to_owned()).collect(), ..listener(Vec::new()) }
}

/// A directory that knows renewal information (RFC 9773), which pebble of Debian does not.
struct Suggesting {
    window: (String, String),
}

impl instant_acme::HttpClient for Suggesting {
    fn request(
        &self,
        request: ::http::Request<instant_acme::BodyWrapper<bytes::Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<instant_acme::BytesResponse, instant_acme::Error>> + Send>> {
        let path = request.uri().path().to_owned();
        let url = |path: &str| format!("https://ca.test/{path}");
        let body = match path.as_str() {
            "/directory" => serde_json::json!({
                "newNonce": url("nonce"),
                "newAccount": url("account"),
                "newOrder": url("order"),
                "renewalInfo": url("renewal"),
            }),
            path if path.starts_with("/renewal/") => {
                serde_json::json!({ "suggestedWindow": { "start": self.window.0, "end": self.window.1 } })
            }
            _ => serde_json::json!({}),
        };
        let response = ::http::Response::builder()
            .header("Replay-Nonce", "nonce")
            .header("Location", "https://ca.test/account/1")
            .header("Retry-After", "7200")
            .body(http_body_util::Full::new(bytes::Bytes::from(body.to_string())));
        Box::pin(async move { Ok(response?.into()) })
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_when_the_directory_suggests_it() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let config = config(folder.path(), &["one.test"]);
    let now = unix_now();
    let key = rcgen::KeyPair::generate().unwrap();
    let files = authority.issue_with("one.test", &key, &["one.test"], |params| {
        params.use_authority_key_identifier_extension = true;
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    });
    let text = fs::read_to_string(&files.key).unwrap() + &fs::read_to_string(&files.certificate).unwrap();
    let storage = Storage::open(&config.storage, &config.directory).unwrap();
    storage.write(storage::Kind::Certificate("one.test"), &text).unwrap();
    let acme = Acme::new(Some(&config), None).unwrap();
    let due = |acme: &Acme| acme.shared.names()[0].due();
    assert!(due(&acme) > now + 3600);

    let time = crate::tls::file_certificate::timestamp;
    let http = Suggesting { window: (time(now + 60), time(now + 120)) };
    let (key, der) = instant_acme::Key::generate_pkcs8().unwrap();
    let (account, _) = instant_acme::Account::builder_with_http(Box::new(http))
        .create_from_key((key, der.into()), "https://ca.test/directory".to_owned())
        .await
        .unwrap();
    let setup = acme.shared.setup.borrow().clone().unwrap();
    assert!(renewal::ask_for_suggestion(&acme.shared, &setup, "one.test", Ok(account)).await);
    assert!((now + 60..now + 120).contains(&due(&acme)));
    let next = acme.shared.names()[0].next_suggestion - now;
    assert!((7190..=7210).contains(&next), "{next}");
}

/// Puts a certificate where one obtained by ACME is kept.
fn keep(config: &AcmeConfig, authority: &Authority, name: &str) -> CertificateDer<'static> {
    let files = authority.issue(name, &[name]);
    let text = fs::read_to_string(&files.key).unwrap() + &fs::read_to_string(&files.certificate).unwrap();
    let storage = Storage::open(&config.storage, &config.directory).unwrap();
    storage.write(storage::Kind::Certificate(name), &text).unwrap();
    order::parse(&text).unwrap().key.cert[0].clone()
}

#[test]
fn a_kept_certificate_is_presented_after_a_restart_and_a_placeholder_for_other_names() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let config = config(folder.path(), &["kept.test", "new.test"]);
    let kept = keep(&config, &authority, "kept.test");
    let acme = Acme::new(Some(&config), None).unwrap();
    let listener = acme_listener(&["new.test", "kept.test"]);
    let certificates = Certificates::load(&listener, &acme, None).unwrap();
    let server = Arc::new(rustls_config(&listener, true, &certificates, Some(&config)).unwrap());
    let client = authority.client();
    let seen = |name| client.connect(&server, name).unwrap().certificate;
    assert_eq!(seen(Some("kept.test")), kept);
    let placeholder = seen(Some("new.test"));
    assert_ne!(placeholder, kept);
    assert_eq!((seen(Some("unknown.test")), seen(None)), (placeholder.clone(), placeholder));
    assert!(certificates.covers("kept.test") && !certificates.same_certificate("new.test", "kept.test"));
    let status = acme.status();
    assert!(status[0].expires.is_some() && status[1].expires.is_none());
}

#[test]
fn a_relative_storage_directory_is_below_the_state_directory() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Path::new("acme"), &["one.test"]);
    Acme::new(Some(&config), Some(folder.path())).unwrap();
    assert!(folder.path().join("acme").is_dir());
    let refused = Acme::new(Some(&config), None).unwrap_err().to_string();
    assert!(refused.contains("acme.storage"), "{refused}");
}

#[test]
fn a_certificate_that_has_expired_is_presented_until_there_is_another_and_an_order_is_due() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let config = config(folder.path(), &["one.test"]);
    let key = rcgen::KeyPair::generate().unwrap();
    let files = authority.issue_with("one.test", &key, &["one.test"], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let text = fs::read_to_string(&files.key).unwrap() + &fs::read_to_string(&files.certificate).unwrap();
    let storage = Storage::open(&config.storage, &config.directory).unwrap();
    storage.write(storage::Kind::Certificate("one.test"), &text).unwrap();
    let acme = Acme::new(Some(&config), None).unwrap();
    let expired = order::parse(&text).unwrap().key.cert[0].clone();
    assert_eq!(acme.certificate("one.test").unwrap().key.cert[0], expired);
    let names = acme.shared.names();
    assert!(!names[0].is_valid(unix_now()) && names[0].due() < unix_now());
}

#[test]
fn names_change_at_reload_and_a_damaged_certificate_is_obtained_again() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let both = config(folder.path(), &["one.test", "two.test"]);
    keep(&both, &authority, "two.test");
    let acme = Acme::new(Some(&config(folder.path(), &["one.test"])), None).unwrap();
    let placeholder = acme.certificate("one.test").unwrap();
    assert!(acme.certificate("two.test").is_none());

    acme.reconfigure(Some(&both)).unwrap();
    assert!(Arc::ptr_eq(&acme.certificate("one.test").unwrap(), &placeholder));
    assert!(acme.status()[1].expires.is_some());
    acme.reconfigure(None).unwrap();
    assert!(acme.certificate("one.test").is_none() && acme.status().is_empty());

    let storage = Storage::open(&both.storage, &both.directory).unwrap();
    fs::write(storage.path(storage::Kind::Certificate("two.test")), "damaged").unwrap();
    acme.reconfigure(Some(&both)).unwrap();
    let status = &acme.status()[1];
    assert_eq!((&status.expires, &status.next_attempt), (&None, &None));
    assert!(acme.certificate("two.test").is_some());
}

#[test]
fn a_challenge_in_the_handshake_is_answered_only_for_its_name_and_protocol() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let config = config(folder.path(), &["one.test"]);
    let acme = Acme::new(Some(&config), None).unwrap();
    let listener = acme_listener(&["one.test"]);
    let certificates = Certificates::load(&listener, &acme, None).unwrap();
    let server = Arc::new(rustls_config(&listener, true, &certificates, Some(&config)).unwrap());
    let mut client = authority.client();
    client.alpn = vec![ACME_TLS_ALPN.to_vec()];
    assert!(client.connect(&server, Some("one.test")).is_err(), "no order is under way");

    let answer = placeholder::challenge("one.test", &[7; 32]).unwrap();
    let published = acme.challenges().publish_certificate("one.test", answer.clone());
    let seen = client.connect(&server, Some("one.test")).unwrap();
    assert_eq!((seen.certificate, seen.alpn.as_deref()), (answer.cert[0].clone(), Some(ACME_TLS_ALPN)));
    assert!(client.connect(&server, Some("two.test")).is_err());
    client.alpn = vec![ACME_TLS_ALPN.to_vec(), b"http/1.1".to_vec()];
    let seen = client.connect(&server, Some("one.test")).unwrap();
    assert_eq!(seen.alpn.as_deref(), Some(&b"http/1.1"[..]), "a visitor");
    assert_ne!(seen.certificate, answer.cert[0]);
    drop(published);
    client.alpn = vec![ACME_TLS_ALPN.to_vec()];
    assert!(client.connect(&server, Some("one.test")).is_err());
}

#[tokio::test]
async fn an_unreachable_directory_is_reported_and_not_tried_in_a_loop() {
    let folder = tempfile::tempdir().unwrap();
    let acme = Acme::new(Some(&config(folder.path(), &["one.test", "two.test"])), None).unwrap();
    let stop = CancellationToken::new();
    let observe = async {
        loop {
            let status = acme.status();
            if let Some(error) = &status[0].last_error {
                assert!(error.contains("the directory cannot be reached"), "{error}");
                assert!(status[0].next_attempt.is_some());
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // A loop would make hundreds of attempts meanwhile.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let status = acme.status();
        assert_eq!((status[0].failures, status[1].failures), (1, 0), "one attempt for all names");
        assert_eq!(
            (&status[0].next_attempt, &status[0].last_error),
            (&status[1].next_attempt, &status[1].last_error)
        );
        stop.cancel();
    };
    tokio::join!(acme.run(stop.clone()), observe);
    // The key was kept before it was used.
    let storage = Storage::open(folder.path(), "https://127.0.0.1:1/directory").unwrap();
    assert!(storage.read(storage::Kind::AccountKey).unwrap().unwrap().contains("PRIVATE KEY"));
}

#[test]
fn what_acme_cannot_do_is_found_by_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let good = config(&folder.path().join("new"), &["one.test"]);
    let listener = acme_listener(&["one.test"]);
    check_listener(&listener, Some(&good)).unwrap();
    assert!(!folder.path().join("new").exists(), "the check changes nothing");
    let refused = |listener: &TlsConfig, config: &AcmeConfig| {
        check_listener(listener, Some(config)).unwrap_err().to_string()
    };
    let plain = AcmeConfig { directory: "http://ca.test/directory".to_owned(), ..good.clone() };
    assert!(refused(&listener, &plain).contains("https://"));
    fs::write(folder.path().join("file"), "").unwrap();
    let no_folder = AcmeConfig { storage: folder.path().join("file/acme"), ..good.clone() };
    assert!(refused(&listener, &no_folder).contains("mode 0700"));
    let no_ca = AcmeConfig { ca: Some("/missing.pem".into()), ..good.clone() };
    assert!(refused(&listener, &no_ca).contains("/missing.pem"));
    let client_ca = TlsConfig { client_ca: Some("/ca.pem".into()), ..listener.clone() };
    assert!(refused(&client_ca, &good).contains("http-01"));
    for name in ["192.0.2.1", "Upper.test", "a..test", "-a.test", "a/b.test", "", "..", "a_b.test"] {
        let named = acme_listener(&[name]);
        assert!(refused(&named, &good).contains(name), "{name}");
    }
}
