//! The client against receivers that behave badly.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use palisade_client::Secret;
use palisade_net::PrefixSet;
use tokio::io::AsyncWriteExt;

use super::config;
use super::peer::{OK, Peer};
use crate::config::HttpConfig;
use crate::http::dial::Resolver;
use crate::http::{
    Client, ClientRequest, ClientResponse, DEFAULT_RESPONSE_LIMIT, MAX_RESPONSE_HEAD, MAX_RESPONSE_HEADS,
};
use crate::sink::{Failure, FailureKind};

fn client(config: HttpConfig) -> Client {
    Client::new(Arc::new(config), "palisade-webhook/test").unwrap()
}

fn to(peer: &Peer) -> Client {
    client(config(&peer.url()))
}

async fn post(client: &mut Client) -> Result<ClientResponse, Failure> {
    let request = ClientRequest {
        method: Method::POST,
        target: None,
        headers: client.headers().clone(),
        body: Bytes::from_static(b"{}"),
        response_limit: DEFAULT_RESPONSE_LIMIT,
    };
    client.send(request).await
}

#[track_caller]
fn assert_failed(result: Result<ClientResponse, Failure>, kind: FailureKind, perhaps: bool, reason: &str) {
    let failure = result.unwrap_err();
    assert_eq!((failure.kind, failure.perhaps_received), (kind, perhaps), "{failure:?}");
    assert!(failure.reason.contains(reason), "{failure:?}");
    assert!(!failure.reason.contains("SECRET"), "{failure:?}");
}

#[tokio::test]
async fn a_connection_is_kept_open() {
    let peer = Peer::responding(OK).await;
    let mut client = to(&peer);
    for _ in 0..3 {
        let response = post(&mut client).await.unwrap();
        assert_eq!((response.status.as_u16(), &*response.body, response.truncated), (200, &b"ok"[..], false));
    }
    assert_eq!(peer.requests.connections(), [0, 0, 0]);
    let request = &peer.requests.all()[0].1;
    assert!(request.starts_with("POST /hook?key=KEYSECRET HTTP/1.1\r\n"), "{request}");
    let host = format!("host: {}\r\n", peer.address);
    assert!(
        request.contains(&host) && request.contains("user-agent: palisade-webhook/test\r\n"),
        "{request}"
    );
    assert!(request.ends_with("content-length: 2\r\n\r\n{}"), "{request}");
}

#[tokio::test]
async fn a_connection_that_was_closed_between_requests_is_replaced() {
    let peer = Peer::closing_after(OK).await;
    let mut client = to(&peer);
    for _ in 0..3 {
        post(&mut client).await.unwrap();
        // So that the end of the connection arrives before the next request. Where it does not, the request fails.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(peer.requests.connections(), [0, 1, 2]);
}

#[tokio::test]
async fn a_connection_that_ends_sooner_than_is_usual_is_not_used_again() {
    let peer =
        Peer::responding("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n").await;
    let mut client = to(&peer);
    post(&mut client).await.unwrap();
    post(&mut client).await.unwrap();
    assert_eq!(peer.requests.connections(), [0, 1]);
}

#[tokio::test]
async fn a_request_without_a_response_was_perhaps_received() {
    let peer = Peer::closing_after("").await;
    let reason = "closed the connection before it responded";
    assert_failed(post(&mut to(&peer)).await, FailureKind::Retry, true, reason);
    assert_eq!(peer.requests.connections(), [0]);
}

#[tokio::test]
async fn a_response_cut_in_half_is_no_response() {
    for (text, reason) in [
        ("HTTP/1.1 200 OK\r\nContent-Len", "closed the connection before it responded"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "the response ended early"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf", "the response ended early"),
        ("SSH-2.0-OpenSSH_9.9\r\n", "the exchange failed"),
    ] {
        let peer = Peer::closing_after(text).await;
        assert_failed(post(&mut to(&peer)).await, FailureKind::Retry, true, reason);
    }
}

#[tokio::test]
async fn an_error_status_counts_without_its_body() {
    let peer = Peer::closing_after("HTTP/1.1 410 Gone\r\nContent-Length: 10\r\n\r\nKEYSECRET").await;
    let mut client = to(&peer);
    let response = post(&mut client).await.unwrap();
    assert!(response.truncated);
    let failure = client.failure(&response);
    assert_eq!((failure.kind, failure.perhaps_received), (FailureKind::Gone, true));
    assert_eq!(failure.reason, "the receiver responded with 410 Gone: \"[redacted]\"");
}

#[tokio::test]
async fn an_endless_response_is_read_to_a_limit() {
    let endless = |start: &'static str, chunk: &'static str| {
        Peer::new(move |number, mut stream, requests| async move {
            requests.read(number, &mut stream).await;
            let _ = stream.write_all(start.as_bytes()).await;
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        })
    };
    let body = endless("HTTP/1.1 200 OK\r\n\r\n", "xxxxxxxxxxxxxxxx").await;
    let response = post(&mut to(&body)).await.unwrap();
    assert_eq!((response.body.len(), response.truncated), (DEFAULT_RESPONSE_LIMIT, true));
    let head = endless("HTTP/1.1 200 OK\r\n", "X: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n").await;
    assert_failed(post(&mut to(&head)).await, FailureKind::Retry, true, "too many headers");
    let line = endless("HTTP/1.1 200 OK\r\nX: ", "xxxxxxxxxxxxxxxx").await;
    assert_failed(post(&mut to(&line)).await, FailureKind::Retry, true, &MAX_RESPONSE_HEAD.to_string());
}

#[tokio::test]
async fn interim_responses_are_read_to_a_limit_and_cost_no_others() {
    for (interim, status) in [("HTTP/1.1 100 Continue\r\n\r\n", 100), ("HTTP/1.1 103 Hints\r\n\r\n", 103)] {
        let some = Peer::new(move |number, mut stream, requests| async move {
            while requests.read(number, &mut stream).await.is_some() {
                let text = interim.repeat(100) + OK;
                let _ = stream.write_all(text.as_bytes()).await;
            }
        })
        .await;
        let mut client = to(&some);
        for _ in 0..50 {
            assert_eq!(post(&mut client).await.unwrap().status.as_u16(), 200, "{status}");
        }
        assert_eq!(some.requests.connections(), [0; 50], "each exchange has the whole limit");
        let flood = Peer::new(move |number, mut stream, requests| async move {
            requests.read(number, &mut stream).await;
            let chunk = interim.repeat(1000);
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        })
        .await;
        // On the one thread of this test the flood would keep the timeout from firing.
        assert_failed(post(&mut to(&flood)).await, FailureKind::Retry, true, "interim responses");
    }
}

#[tokio::test]
async fn a_long_response_that_is_there_at_once_is_read_whole() {
    let body = "x".repeat(3 * MAX_RESPONSE_HEADS);
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let peer = Peer::new(move |number, mut stream, requests| {
        let text = text.clone();
        async move {
            while requests.read(number, &mut stream).await.is_some() {
                let _ = stream.write_all(text.as_bytes()).await;
            }
        }
    })
    .await;
    let mut client = to(&peer);
    for _ in 0..3 {
        let request = ClientRequest {
            method: Method::POST,
            target: None,
            headers: client.headers().clone(),
            body: Bytes::from_static(b"{}"),
            response_limit: body.len(),
        };
        assert_eq!(client.send(request).await.unwrap().body.len(), body.len());
    }
    assert_eq!(peer.requests.connections(), [0, 0, 0]);
}

#[tokio::test]
async fn a_slow_response_ends_at_the_timeout() {
    let peer = Peer::new(|number, mut stream, requests| async move {
        while requests.read(number, &mut stream).await.is_some() {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let _ = stream.write_all(OK.as_bytes()).await;
        }
    })
    .await;
    let mut config = config(&peer.url());
    config.timeout = Duration::from_millis(200);
    let mut client = client(config);
    for _ in 0..2 {
        let reason = "no complete response within 200ms";
        assert_failed(post(&mut client).await, FailureKind::Retry, true, reason);
    }
    // A late response to the first request must not be taken for one to the second.
    assert_eq!(peer.requests.connections(), [0, 1]);
}

#[tokio::test]
async fn an_abandoned_exchange_leaves_no_connection() {
    let peer = Peer::new(|number, mut stream, requests| async move {
        requests.read(number, &mut stream).await;
        if number > 0 {
            let _ = stream.write_all(OK.as_bytes()).await;
        }
        requests.read(number, &mut stream).await;
    })
    .await;
    let mut client = to(&peer);
    let arrived = async {
        while peer.requests.connections().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        result = post(&mut client) => panic!("{result:?}"),
        () = arrived => {}
    }
    post(&mut client).await.unwrap();
    assert_eq!(peer.requests.connections(), [0, 1]);
}

#[tokio::test]
async fn nothing_was_received_when_there_is_no_connection() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut refused = client(config(&format!("http://{unused}/KEYSECRET")));
    assert_failed(post(&mut refused).await, FailureKind::Retry, false, "connection refused");
    let mut unresolved = client(config("http://no-such-name.invalid/KEYSECRET"));
    assert_failed(post(&mut unresolved).await, FailureKind::Retry, false, "no-such-name.invalid");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Peer::responding(OK).await;
    let location = elsewhere.url();
    let moved = format!("HTTP/1.1 307 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let peer = Peer::responding(Box::leak(moved.into_boxed_str())).await;
    let mut config = config(&peer.url());
    config.auth.bearer = Some(Secret::new("TOKENSECRET"));
    let mut client = client(config);
    let response = post(&mut client).await.unwrap();
    let failure = client.failure(&response);
    assert_eq!(failure.kind, FailureKind::Refusing);
    assert!(failure.reason.contains(&elsewhere.address.to_string()), "{failure:?}");
    assert!(!failure.reason.contains("SECRET"), "{failure:?}");
    assert!(elsewhere.requests.all().is_empty());
}

#[tokio::test]
async fn private_addresses_are_not_connected_to_unless_allowed() {
    let peer = Peer::responding(OK).await;
    let port = peer.address.port();
    let hosts = [
        ("localhost", " (localhost)"),
        ("127.0.0.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("[::1]", "::1"),
    ];
    for (host, named) in hosts {
        let mut config = config(&format!("http://{host}:{port}/KEYSECRET"));
        config.allowed_addresses = PrefixSet::default();
        let mut client = client(config);
        assert_failed(post(&mut client).await, FailureKind::Refusing, false, named);
        assert_failed(post(&mut client).await, FailureKind::Refusing, false, "`allow_addresses`");
    }
    assert!(peer.requests.all().is_empty());
    post(&mut client(config(&format!("http://localhost:{port}/")))).await.unwrap();
}

#[tokio::test]
async fn addresses_are_checked_at_each_connection() {
    let peer = Peer::closing_after(OK).await;
    let address = |text: &str| text.parse().unwrap();
    let resolved = vec![vec![address("10.0.0.1"), address("127.0.0.1")], vec![address("10.0.0.1")]];
    let config = Arc::new(config(&format!("http://receiver.example:{}/", peer.address.port())));
    let resolver = Resolver::Listed(resolved.into());
    let mut client = Client::with_resolver(config, "palisade-webhook/test", resolver).unwrap();
    // Of the first result only the permitted address is tried.
    post(&mut client).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let refused = post(&mut client).await;
    let reason = "10.0.0.1 (receiver.example): it is a private address";
    assert_failed(refused, FailureKind::Refusing, false, reason);
    assert_eq!(peer.requests.connections(), [0]);
}

#[tokio::test]
async fn configured_headers_and_credentials_are_sent() {
    let peer = Peer::responding(OK).await;
    let mut config = config(&peer.url());
    let header = |name: &'static str, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    config.headers = vec![header("x-a", "1"), header("x-a", "2"), header("user-agent", "other")];
    config.auth.basic = Some(("user".to_owned(), Secret::new("pass")));
    post(&mut client(config)).await.unwrap();
    let request = &peer.requests.all()[0].1;
    for line in ["x-a: 1", "x-a: 2", "user-agent: other", "authorization: Basic dXNlcjpwYXNz"] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
    }
    assert_eq!(request.matches("user-agent").count(), 1);
}

#[test]
fn unusable_configurations_are_refused_without_showing_secrets() {
    let error = |change: &dyn Fn(&mut HttpConfig)| {
        let mut config = config("https://example.com/PATHSECRET");
        change(&mut config);
        let error = Client::new(Arc::new(config), "test").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("SECRET"));
        error.to_string()
    };
    let header =
        |name: &'static str| (HeaderName::from_static(name), HeaderValue::from_static("VALUESECRET"));
    let reserved = error(&|config| config.headers = vec![header("transfer-encoding")]);
    assert!(reserved.contains("transfer-encoding cannot be sent"), "{reserved}");
    let twice = error(&|config| {
        config.headers = vec![header("authorization")];
        config.auth.bearer = Some(Secret::new("TOKENSECRET"));
    });
    assert!(twice.contains("set twice"), "{twice}");
    let both = error(&|config| {
        config.auth.bearer = Some(Secret::new("TOKENSECRET"));
        config.auth.basic = Some(("u".to_owned(), Secret::new("PASSSECRET")));
    });
    assert!(both.contains("both a bearer token and a password"), "{both}");
    let line = error(&|config| config.auth.bearer = Some(Secret::new("TOKENSECRET\n")));
    assert!(line.contains("no header can have"), "{line}");
    let missing = error(&|config| config.tls.ca = Some("/no/such/file".into()));
    assert!(missing.contains("/no/such/file"), "{missing}");
    let scheme = error(&|config| config.url = "ftp://example.com/PATHSECRET".parse().unwrap());
    assert!(scheme.contains("neither http nor https"), "{scheme}");
}

#[test]
fn secrets_are_not_in_debug_output() {
    let mut config = config("https://example.com/PATHSECRET?key=KEYSECRET");
    let value = HeaderValue::from_static("VALUESECRET");
    config.headers = vec![(HeaderName::from_static("x-key"), value)];
    config.auth.bearer = Some(Secret::new("TOKENSECRET"));
    let client = client(config);
    assert!(!format!("{client:?} {:?}", client.headers()).contains("SECRET"));
}
