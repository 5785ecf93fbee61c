//! Requests of services of whole lists, with a service on this machine.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use palisade_client::Secret;

use super::config;
use super::peer::{OK, Peer};
use crate::config::{HttpConfig, LongIpv6, ReplaceService, TemplateSource};
use crate::http::{ClientExchange, MAX_ANSWER_BYTES, Signer};
use crate::replace::exchange::{Call, Exchange as _};
use crate::replace::list::List;
use crate::replace::service::{Service, connect};
use crate::replace::task::Replacer as _;
use crate::replace::testing::{all, snapshot};
use crate::sink::FailureKind;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn call(peer: &Peer, path: &str) -> Call {
    let url = format!("http://{}{path}", peer.address).parse().unwrap();
    Call { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }
}

fn exchange(peer: &Peer, change: impl FnOnce(&mut HttpConfig)) -> ClientExchange {
    let mut config = config(&peer.url());
    change(&mut config);
    ClientExchange::new(Arc::new(config), "palisade-webhook/test").unwrap()
}

fn leaked(head: &str, body: &str) -> &'static str {
    let text = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    Box::leak(text.into_boxed_str())
}

fn header(request: &str, name: &str) -> String {
    let lines = request.lines().filter_map(|line| line.split_once(": "));
    let named: Vec<_> = lines.filter(|(key, _)| *key == name).map(|(_, value)| value).collect();
    assert_eq!(named.len(), 1, "{name}: {request}");
    named[0].to_owned()
}

#[tokio::test]
async fn headers_of_a_call_replace_configured_ones() {
    let peer = Peer::responding(OK).await;
    let mut exchange = exchange(&peer, |config| {
        config.auth.bearer = Some(Secret::new("TOKEN"));
        config.headers = vec![(HeaderName::from_static("x-a"), HeaderValue::from_static("1"))];
    });
    let mut signed = call(&peer, "/other/path?page=2");
    signed.headers.insert(AUTHORIZATION, HeaderValue::from_static("AWS4"));
    exchange.call(signed).await.unwrap();
    let answer = exchange.call(call(&peer, "/")).await.unwrap();
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"ok"[..]));
    let requests = peer.requests.all();
    let (first, second) = (&requests[0].1, &requests[1].1);
    assert!(first.starts_with("GET /other/path?page=2 HTTP/1.1\r\n"), "{first}");
    assert!(second.starts_with("GET / HTTP/1.1\r\n"), "{second}");
    assert_eq!(header(first, "x-a"), "1");
    assert_eq!([header(first, "authorization"), header(second, "authorization")], ["AWS4", "Bearer TOKEN"]);
    assert!(!first.contains("webhook-"), "{first}");
    assert_eq!(peer.requests.connections(), [0, 0]);
}

#[tokio::test]
async fn the_longest_response_of_a_service_is_read_whole() {
    // An IP set of AWS WAF with 10,000 IPv6 addresses.
    let address = r#""2001:0db8:0000:0000:0000:0000:0000:0001/128","#;
    let body = address.repeat(10_000);
    assert!(body.len() * 2 < MAX_ANSWER_BYTES);
    let peer = Peer::responding(leaked("200 OK", &body)).await;
    let answer = exchange(&peer, |_| {}).call(call(&peer, "/")).await.unwrap();
    assert_eq!(answer.body.len(), body.len());
}

#[tokio::test]
async fn an_error_says_no_secrets_and_when_to_come_back() {
    let text = leaked("429 Too Many Requests\r\nRetry-After: 999999999", "TOKENSECRET KEYSECRET");
    let peer = Peer::responding(text).await;
    let mut exchange = exchange(&peer, |config| config.auth.bearer = Some(Secret::new("TOKENSECRET")));
    let answer = exchange.call(call(&peer, "/")).await.unwrap();
    let failure = answer.failure(&String::from_utf8_lossy(&answer.body));
    assert_eq!((failure.kind, failure.retry_after), (FailureKind::Retry, Some(crate::http::MAX_RETRY_AFTER)));
    assert_eq!(failure.reason, "status 429: [redacted] [redacted]");
}

#[tokio::test]
async fn a_list_is_uploaded_signed_to_an_http_endpoint() {
    let peer = Peer::responding(OK).await;
    let mut http = config(&peer.url());
    http.method = Method::PUT;
    http.auth.signing_secrets = vec![Secret::new(SECRET)];
    http.body.template = TemplateSource::Custom {
        origin: "t".to_owned(),
        text: "{% for event in events %}{{ event.value }}\n{% endfor %}".to_owned(),
    };
    http.body.content_type = Some("text/plain".to_owned());
    let mut service = connect(&ReplaceService::Http(Arc::new(http)), "palisade-webhook/test").unwrap();
    let list = List::build(
        &snapshot(&[("192.0.2.1/32", 60), ("Country:FR", 60)]),
        &all(),
        &service.shape(10, false),
    );
    for _ in 0..2 {
        service.replace(&list).await.unwrap();
        // The next millisecond.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let requests = peer.requests.all();
    let request = &requests[0].1;
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(request.starts_with("PUT /hook?key=KEYSECRET HTTP/1.1\r\n"), "{request}");
    assert_eq!((body, header(request, "content-type").as_str()), ("192.0.2.1\nFR\n", "text/plain"));
    let (id, timestamp) = (header(request, "webhook-id"), header(request, "webhook-timestamp"));
    let signer = Signer::new(&[Secret::new(SECRET)]).unwrap();
    let expected = signer.sign(&id, timestamp.parse().unwrap(), body.as_bytes()).unwrap();
    assert_eq!(header(request, "webhook-signature"), expected.to_str().unwrap());
    assert_ne!(id, header(&requests[1].1, "webhook-id"), "a receiver must not drop the list as repeated");
}

#[tokio::test]
async fn a_configured_content_type_replaces_that_of_a_lists_template() {
    let peer = Peer::responding(OK).await;
    let mut http = config(&peer.url());
    http.headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/vnd.x+json"))];
    let mut service = connect(&ReplaceService::Http(Arc::new(http)), "test").unwrap();
    service.replace(&List::default()).await.unwrap();
    assert_eq!(header(&peer.requests.all()[0].1, "content-type"), "application/vnd.x+json");
}

#[tokio::test]
async fn a_service_is_called_with_its_token_over_one_connection() {
    let peer = Peer::new(|number, mut stream, requests| async move {
        use tokio::io::AsyncWriteExt as _;
        while let Some(request) = requests.read(number, &mut stream).await {
            let result = match request.starts_with("PUT ") {
                true => r#"{"success":true,"result":{"operation_id":"op1"}}"#,
                false => r#"{"success":true,"result":{"status":"completed"}}"#,
            };
            let _ = stream.write_all(leaked("200 OK", result).as_bytes()).await;
        }
    })
    .await;
    let mut http = config(&format!("http://{}/client/v4", peer.address));
    http.auth.bearer = Some(Secret::new("TOKEN"));
    let (account, list) = ("acc".to_owned(), "lst".to_owned());
    let config =
        ReplaceService::Cloudflare { account, list, long_ipv6: LongIpv6::Skip, http: Arc::new(http) };
    let mut service = connect(&config, "test").unwrap();
    assert!(matches!(service, Service::Cloudflare(_)));
    let list = List::build(&snapshot(&[("192.0.2.1/32", 60)]), &all(), &service.shape(10, false));
    service.replace(&list).await.unwrap();
    let requests = peer.requests.all();
    let lines: Vec<_> = requests.iter().map(|(_, text)| text.lines().next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "PUT /client/v4/accounts/acc/rules/lists/lst/items HTTP/1.1",
            "GET /client/v4/accounts/acc/rules/lists/bulk_operations/op1 HTTP/1.1"
        ]
    );
    assert!(requests.iter().all(|(_, text)| header(text, "authorization") == "Bearer TOKEN"));
    assert_eq!(peer.requests.connections(), [0, 0]);
}
