//! The sink with a receiver on this machine.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use palisade_client::Secret;

use super::config;
use super::peer::{OK, Peer};
use crate::config::{
    BatchConfig, EndpointConfig, HmacAlgorithm, HmacConfig, HmacEncoding, HttpConfig, Initial, Receiver,
    RetryConfig, TemplateSource,
};
use crate::event::{EventKind, Grouping, Value};
use crate::http::{HeaderSigner, HttpConnector, HttpSink, Signer};
use crate::sink::{Connector as _, Failure, FailureKind, Message, MessageKind, Outcome, Sink as _};
use crate::templates::sample;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn endpoint(http: &Arc<HttpConfig>) -> EndpointConfig {
    let second = Duration::from_secs(1);
    EndpointConfig {
        name: "test".to_owned(),
        grouping: Grouping::Value,
        filter: Default::default(),
        initial: Initial::Snapshot,
        snapshot_interval: None,
        batch: BatchConfig { events: 1000, bytes: 1 << 20, wait: Duration::ZERO },
        parallel: 1,
        hold_repeats: Duration::ZERO,
        replay_at_start: false,
        history: None,
        retry: RetryConfig {
            first: second,
            max: second,
            breaker_failures: 5,
            max_retry_after: second,
            refused: second,
        },
        max_dead_letters: 10,
        receiver: Receiver::Http(Arc::clone(http)),
    }
}

fn sink_with(peer: &Peer, change: impl FnOnce(&mut HttpConfig, &mut BatchConfig)) -> HttpSink {
    let mut http = config(&peer.url());
    let mut batch = BatchConfig { events: 1000, bytes: 1 << 20, wait: Duration::ZERO };
    change(&mut http, &mut batch);
    let http = Arc::new(http);
    let endpoint = EndpointConfig { batch, ..endpoint(&http) };
    HttpConnector::new(&endpoint, http, "palisade-webhook/test").unwrap().sink()
}

fn sink(peer: &Peer) -> HttpSink {
    sink_with(peer, |_, _| {})
}

/// A message with this many added bans.
fn message(events: u32) -> Message {
    let event = |number: u32| {
        let address = std::net::Ipv4Addr::from(0xc000_0200 + number);
        let value = Value::Net(ipnet::Ipv4Net::from(address).into());
        sample::event(EventKind::Added, value, sample::entry("ban", "cscli", "manual", 4))
    };
    sample::message(MessageKind::Changes, (0..events).map(event).collect())
}

/// The value of a header of the only request.
fn header(peer: &Peer, name: &str) -> Option<String> {
    let all = peer.requests.all();
    let (head, _) = all[0].1.split_once("\r\n\r\n").unwrap();
    let named: Vec<_> =
        head.lines().filter_map(|line| line.split_once(": ")).filter(|(key, _)| *key == name).collect();
    assert!(named.len() <= 1, "{head}");
    named.first().map(|(_, value)| (*value).to_owned())
}

fn body(peer: &Peer) -> String {
    peer.requests.all()[0].1.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[track_caller]
fn failed(outcome: Outcome) -> Failure {
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert!(!failure.reason.contains("SECRET"), "{failure:?}");
    failure
}

#[tokio::test]
async fn a_message_is_sent_with_its_id_and_the_time_of_the_attempt() {
    let peer = Peer::responding(OK).await;
    let message = message(1);
    let before = palisade_stream::now().as_millis() / 1000;
    let mut sink = sink(&peer);
    assert_eq!(sink.deliver(&message).await, Outcome::Delivered);
    sink.close().await;
    assert!(peer.requests.all()[0].1.starts_with("POST /hook?key=KEYSECRET HTTP/1.1\r\n"));
    assert_eq!(header(&peer, "webhook-id"), Some(message.id.to_string()));
    let sent: i64 = header(&peer, "webhook-timestamp").unwrap().parse().unwrap();
    assert!((before..=palisade_stream::now().as_millis() / 1000).contains(&sent), "{sent}");
    assert_eq!(header(&peer, "webhook-signature"), None);
    assert_eq!(header(&peer, "content-type").as_deref(), Some("application/json"));
    let json: serde_json::Value = serde_json::from_str(&body(&peer)).unwrap();
    assert_eq!(json["type"], "decision.added", "{json}");
}

#[tokio::test]
async fn signatures_are_over_what_is_sent() {
    let peer = Peer::responding(OK).await;
    let hmac = HmacConfig {
        header: HeaderName::from_static("x-hub-signature-256"),
        algorithm: HmacAlgorithm::Sha256,
        prefix: "sha256=".to_owned(),
        encoding: HmacEncoding::Hex,
        secret: Secret::new("HMACSECRET"),
    };
    let mut sink = sink_with(&peer, |http, _| {
        http.auth.signing_secrets = vec![Secret::new(SECRET)];
        http.auth.hmac = Some(hmac.clone());
        http.auth.bearer = Some(Secret::new("TOKEN"));
    });
    assert_eq!(sink.deliver(&message(3)).await, Outcome::Delivered);
    let (id, body) = (header(&peer, "webhook-id").unwrap(), body(&peer));
    let timestamp = header(&peer, "webhook-timestamp").unwrap().parse().unwrap();
    let expected = Signer::new(&[Secret::new(SECRET)]).unwrap().sign(&id, timestamp, body.as_bytes());
    assert_eq!(header(&peer, "webhook-signature").as_deref(), expected.as_ref().unwrap().to_str().ok());
    let expected = HeaderSigner::new(&hmac).sign(body.as_bytes()).unwrap();
    assert_eq!(header(&peer, "x-hub-signature-256").as_deref(), expected.to_str().ok());
    assert_eq!(header(&peer, AUTHORIZATION.as_str()).as_deref(), Some("Bearer TOKEN"));
}

#[tokio::test]
async fn a_configured_content_type_replaces_that_of_the_template() {
    let peer = Peer::responding(OK).await;
    let mut sink = sink_with(&peer, |http, _| {
        http.headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/vnd.x+json"))];
    });
    assert_eq!(sink.deliver(&message(1)).await, Outcome::Delivered);
    assert_eq!(header(&peer, "content-type").as_deref(), Some("application/vnd.x+json"));
}

#[tokio::test]
async fn a_bulk_response_says_which_events_were_not_accepted() {
    let items = r#"{"took":1,"errors":true,"items":[{"index":{"status":201}},{"index":{"status":400,"error":{"type":"x","reason":"KEYSECRET"}}}]}"#;
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{items}", items.len());
    let peer = Peer::responding(Box::leak(text.into_boxed_str())).await;
    let mut sink = sink_with(&peer, |http, _| {
        http.body.template = TemplateSource::Ready("elasticsearch".to_owned());
    });
    let Outcome::Partly(failures) = sink.deliver(&message(2)).await else { panic!() };
    let [(1, failure)] = failures.as_slice() else { panic!("{failures:?}") };
    assert_eq!((failure.kind, failure.perhaps_received), (FailureKind::Rejected, true));
    assert_eq!(failure.reason, "Elasticsearch answers 400: x: [redacted]");
    // That of another message is not understood.
    assert_eq!(failed(sink.deliver(&message(60)).await).kind, FailureKind::Retry);
}

#[tokio::test]
async fn an_error_status_has_the_consequence_of_its_kind() {
    for (head, kind, retry_after) in [
        ("410 Gone", FailureKind::Gone, None),
        ("429 Too Many Requests\r\nRetry-After: 7", FailureKind::Retry, Some(7)),
        ("500 Internal Server Error", FailureKind::Retry, None),
        ("400 Bad Request", FailureKind::Rejected, None),
        ("401 Unauthorized", FailureKind::Refusing, None),
    ] {
        let text = format!("HTTP/1.1 {head}\r\nContent-Length: 9\r\n\r\nKEYSECRET");
        let peer = Peer::responding(Box::leak(text.into_boxed_str())).await;
        let failure = failed(sink(&peer).deliver(&message(2)).await);
        assert_eq!((failure.kind, failure.perhaps_received), (kind, true), "{failure:?}");
        assert_eq!(failure.retry_after, retry_after.map(Duration::from_secs));
    }
}

#[tokio::test]
async fn too_long_a_body_is_sent_only_for_a_single_event() {
    let peer = Peer::responding(OK).await;
    let mut sink = sink_with(&peer, |_, batch| batch.bytes = 100);
    let failure = failed(sink.deliver(&message(2)).await);
    assert_eq!((failure.kind, failure.perhaps_received), (FailureKind::Rejected, false));
    assert!(failure.reason.contains("`batch.size` is 100"), "{failure:?}");
    assert!(peer.requests.all().is_empty());
    assert_eq!(sink.deliver(&message(1)).await, Outcome::Delivered);
}

#[tokio::test]
async fn a_template_that_fails_on_a_message_sends_nothing() {
    let peer = Peer::responding(OK).await;
    let mut sink = sink_with(&peer, |http, _| {
        let text = "{% for event in events %}{% if event.value == '192.0.2.1' %}{{ 'x'.y.z }}{% endif %}{% endfor %}";
        http.body.template = TemplateSource::Custom { origin: "t.j2".to_owned(), text: text.to_owned() };
        http.body.content_type = Some("text/plain".to_owned());
    });
    for events in [2, 60] {
        let failure = failed(sink.deliver(&message(events)).await);
        assert_eq!((failure.kind, failure.perhaps_received), (FailureKind::Rejected, false));
        assert!(failure.reason.starts_with("template t.j2, line 1: "), "{failure:?}");
    }
    // An empty body is nothing to send.
    assert_eq!(sink.deliver(&message(1)).await, Outcome::Delivered);
    assert!(peer.requests.all().is_empty());
}

#[tokio::test]
async fn nothing_was_received_when_there_is_no_connection() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let http = Arc::new(config(&format!("http://{unused}/KEYSECRET")));
    let connector = HttpConnector::new(&endpoint(&http), http, "test").unwrap();
    let failure = failed(connector.sink().deliver(&message(1)).await);
    assert_eq!((failure.kind, failure.perhaps_received), (FailureKind::Retry, false));
}

#[tokio::test]
async fn each_sink_has_a_connection_of_its_own() {
    let peer = Peer::responding(OK).await;
    let http = Arc::new(config(&peer.url()));
    let connector = HttpConnector::new(&endpoint(&http), http, "test").unwrap();
    let mut sinks = [connector.sink(), connector.sink()];
    for _ in 0..2 {
        for sink in &mut sinks {
            assert_eq!(sink.deliver(&message(1)).await, Outcome::Delivered);
        }
    }
    assert_eq!(peer.requests.connections(), [0, 1, 0, 1]);
}

#[test]
fn unusable_configurations_are_refused_without_showing_secrets() {
    let error = |change: &dyn Fn(&mut HttpConfig)| {
        let mut http = config("https://example.com/PATHSECRET");
        change(&mut http);
        let http = Arc::new(http);
        let error = HttpConnector::new(&endpoint(&http), http, "test").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("SECRET"));
        error.to_string()
    };
    let hmac = |header: &'static str, prefix: &str| HmacConfig {
        header: HeaderName::from_static(header),
        algorithm: HmacAlgorithm::Sha256,
        prefix: prefix.to_owned(),
        encoding: HmacEncoding::Hex,
        secret: Secret::new("SECRET"),
    };
    let header = error(&|http| http.auth.hmac = Some(hmac("content-length", "")));
    assert!(header.contains("header content-length cannot be sent"), "{header}");
    let prefix = error(&|http| http.auth.hmac = Some(hmac("x-signature", "a\nb")));
    assert!(prefix.contains("`hmac.prefix`"), "{prefix}");
    let secret = error(&|http| http.auth.signing_secrets = vec![Secret::new("SECRET")]);
    assert!(secret.contains("whsec_"), "{secret}");
    let template = error(&|http| http.body.template = TemplateSource::Ready("slak".to_owned()));
    assert!(template.contains("there is no ready template"), "{template}");
    let scheme = error(&|http| http.url = "ftp://example.com/PATHSECRET".parse().unwrap());
    assert!(scheme.contains("neither http nor https"), "{scheme}");
}
