use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use palisade_net::{PrefixSet, parse_prefix};

use super::*;
use crate::client_address::client_address;
use crate::config::{AddressSource, ClientAddressConfig};
use crate::request_rules::Upgrade;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

/// The lines, sorted.
fn lines(map: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> =
        map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

/// How a request is forwarded; 10.0.0.0/8 is trusted.
#[derive(Clone, Copy)]
struct Way {
    peer: Option<&'static str>,
    tls: bool,
    write_forwarded: bool,
    upgrade: Option<Upgrade<'static>>,
    upstream: Version,
    host: Option<&'static str>,
}

const DIRECT: Way = Way {
    peer: Some("203.0.113.9"),
    tls: false,
    write_forwarded: false,
    upgrade: None,
    upstream: Version::HTTP_11,
    host: None,
};
const PROXIED: Way = Way { peer: Some("10.0.0.1"), ..DIRECT };

fn rewrite(way: Way, received: &[(&str, &str)]) -> (Vec<String>, Dropped) {
    let source = AddressSource::List(HeaderName::from_static("x-forwarded-for"));
    let trusted_proxies: PrefixSet = [parse_prefix("10.0.0.0/8").unwrap()].into_iter().collect();
    let config = ClientAddressConfig { trusted_proxies, source, trusted_hops: None };
    let mut headers = map(received);
    let peer: Option<IpAddr> = way.peer.map(|peer| peer.parse().unwrap());
    let client = client_address(&config, peer, &headers);
    let host = way.host.map(HeaderValue::from_static);
    let peer_value = peer.map(PeerAddressValue::new);
    let forwarding = Forwarding {
        client: &client,
        peer: peer_value.as_ref(),
        source: &config.source,
        tls: way.tls,
        authority: "example.org",
        host: host.as_ref(),
        write_forwarded: way.write_forwarded,
        upgrade: way.upgrade,
        upstream: way.upstream,
    };
    let dropped = rewrite_request(&mut headers, &forwarding);
    (lines(&headers), dropped)
}

/// The lines of a request besides those every request gets.
fn others(way: Way, received: &[(&str, &str)]) -> Vec<String> {
    let own = ["host:", "x-real-ip:", "x-forwarded-for:", "x-forwarded-proto:", "x-forwarded-host:"];
    rewrite(way, received)
        .0
        .into_iter()
        .filter(|line| !own.iter().any(|name| line.starts_with(name)))
        .collect()
}

#[test]
fn forwarded_fields_of_untrusted_peers_are_replaced() {
    let forged = [
        ("host", "example.org"),
        ("x-forwarded-for", "192.0.2.66"),
        ("x-forwarded-for", "192.0.2.67"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-user", "admin"),
        ("x-real-ip", "192.0.2.66"),
        ("forwarded", "for=192.0.2.66"),
        ("cf-connecting-ip", "192.0.2.66"),
        ("true-client-ip", "192.0.2.66"),
    ];
    let (lines, dropped) = rewrite(DIRECT, &forged);
    assert_eq!(
        lines,
        [
            "host: example.org",
            "x-forwarded-for: 203.0.113.9",
            "x-forwarded-host: example.org",
            "x-forwarded-proto: http",
            "x-real-ip: 203.0.113.9",
        ]
    );
    assert_eq!(dropped.forwarded, 9);
}

#[test]
fn the_accepted_chain_and_the_peer_are_forwarded_in_one_line() {
    let received = [
        ("x-forwarded-for", "192.0.2.66, 2001:db8::7"),
        ("x-forwarded-for", "10.0.0.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "public.example:8443"),
        ("x-forwarded-port", "8443"),
        ("x-real-ip", "192.0.2.66"),
        ("forwarded", "for=192.0.2.66"),
    ];
    let (lines, _) = rewrite(PROXIED, &received);
    assert_eq!(
        lines,
        [
            "host: example.org",
            "x-forwarded-for: 2001:db8::7, 10.0.0.4, 10.0.0.1",
            "x-forwarded-host: public.example:8443",
            "x-forwarded-port: 8443",
            "x-forwarded-proto: https",
            "x-real-ip: 2001:db8::7",
        ]
    );
}

#[test]
fn unsound_fields_of_trusted_peers_are_replaced() {
    let (lines, _) = rewrite(
        Way { tls: true, ..PROXIED },
        &[("x-forwarded-proto", "http"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "a\"b")],
    );
    assert!(lines.contains(&"x-forwarded-proto: https".to_owned()), "{lines:?}");
    assert!(lines.contains(&"x-forwarded-host: example.org".to_owned()), "{lines:?}");
}

#[test]
fn a_unix_peer_without_a_header_has_no_address() {
    let (lines, _) =
        rewrite(Way { peer: None, write_forwarded: true, ..DIRECT }, &[("x-real-ip", "192.0.2.66")]);
    assert_eq!(
        lines,
        [
            "forwarded: for=unknown;host=\"example.org\";proto=http",
            "host: example.org",
            "x-forwarded-host: example.org",
            "x-forwarded-proto: http"
        ]
    );
}

#[test]
fn forwarded_is_written_with_quoted_ipv6_addresses() {
    let way = Way { write_forwarded: true, ..PROXIED };
    let (lines, _) = rewrite(way, &[("x-forwarded-for", "2001:db8::7, 10.0.0.4")]);
    let expected =
        "forwarded: for=\"[2001:db8::7]\", for=10.0.0.4, for=10.0.0.1;host=\"example.org\";proto=http";
    assert_eq!(lines[0], expected);
}

#[test]
fn fields_of_the_connection_are_removed() {
    let received = [
        ("connection", "close, X-Mine"),
        ("connection", "x-other"),
        ("x-mine", "1"),
        ("x-other", "1"),
        ("keep-alive", "5"),
        ("proxy-connection", "close"),
        ("proxy-authorization", "Basic eA=="),
        ("te", "trailers"),
        ("trailer", "x-end"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "AA"),
        ("expect", "100-continue"),
        ("x-kept", "1"),
    ];
    assert_eq!(others(DIRECT, &received), ["x-kept: 1"]);
}

#[test]
fn odd_names_and_the_proxys_own_fields_are_dropped() {
    let received = [
        ("x_forwarded_for", "1"),
        ("content_length", "1"),
        ("x.real.ip", "1"),
        ("proxy", "http://evil.example"),
        ("x-crowdsec-appsec-ip", "1"),
        ("x-palisade-remediation", "none"),
        ("user-agent", "a"),
        ("content-length", "3"),
    ];
    let (_, dropped) = rewrite(DIRECT, &received);
    assert_eq!(others(DIRECT, &received), ["content-length: 3", "user-agent: a"]);
    assert_eq!((dropped.odd_names, dropped.own), (3, 3));
}

#[test]
fn cookie_crumbs_are_joined() {
    assert_eq!(others(DIRECT, &[("cookie", "a=1"), ("cookie", "b=2; c=3")]), ["cookie: a=1; b=2; c=3"]);
    assert_eq!(others(DIRECT, &[("cookie", "a=1")]), ["cookie: a=1"]);
}

#[test]
fn te_trailers_is_kept_for_http2_only() {
    let received = [("te", "gzip;q=1, trailers"), ("connection", "te")];
    assert_eq!(others(DIRECT, &received), Vec::<String>::new());
    assert_eq!(others(Way { upstream: Version::HTTP_2, ..DIRECT }, &received), ["te: trailers"]);
    assert_eq!(others(Way { upstream: Version::HTTP_2, ..DIRECT }, &[("te", "gzip")]), Vec::<String>::new());
}

#[test]
fn host_is_there_once_with_http1_and_not_with_http2() {
    let hosts = |way, received: &[(&str, &str)]| -> Vec<String> {
        rewrite(way, received).0.into_iter().filter(|line| line.starts_with("host:")).collect()
    };
    assert_eq!(hosts(DIRECT, &[]), ["host: example.org"]);
    assert_eq!(hosts(DIRECT, &[("host", "example.org")]), ["host: example.org"]);
    assert_eq!(hosts(Way { host: Some("up"), ..DIRECT }, &[("host", "example.org")]), ["host: up"]);
    assert!(hosts(Way { upstream: Version::HTTP_2, ..DIRECT }, &[("host", "example.org")]).is_empty());
}

#[test]
fn accepted_upgrades_are_written_anew() {
    let upgrade = Some(Upgrade::Http1("websocket"));
    let received =
        [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")];
    assert_eq!(
        others(Way { upgrade, ..DIRECT }, &received),
        ["connection: upgrade", "sec-websocket-key: k", "upgrade: websocket"]
    );
    assert_eq!(others(DIRECT, &received), ["sec-websocket-key: k"]);
}

/// Rewrites a response to a GET of an HTTP/1.1 client.
fn respond(status: u16, received: &[(&str, &str)]) -> Result<(BodyRule, Vec<String>), BadUpstreamResponse> {
    respond_to(&Method::GET, None, status, received)
}

fn respond_to(
    method: &Method,
    upgrade: Option<Upgrade<'_>>,
    status: u16,
    received: &[(&str, &str)],
) -> Result<(BodyRule, Vec<String>), BadUpstreamResponse> {
    let mut parts = Response::builder().status(status).body(()).unwrap().into_parts().0;
    parts.headers = map(received);
    let context = ResponseContext { method, client: Version::HTTP_11, upgrade, accepts_trailers: false };
    let rule = rewrite_response(&mut parts, &context)?;
    Ok((rule, lines(&parts.headers)))
}

const STREAM: BodyRule = BodyRule::Stream { trailers: false };

#[test]
fn a_response_has_one_framing() {
    let both = [("content-length", "5"), ("transfer-encoding", "chunked")];
    assert_eq!(respond(200, &both), Ok((STREAM, vec![])));
    let twice = [("content-length", "5"), ("content-length", "5")];
    assert_eq!(respond(200, &twice), Ok((STREAM, vec!["content-length: 5".into()])));
    let differing = [("content-length", "5"), ("content-length", "6")];
    assert_eq!(respond(200, &differing), Err(BadUpstreamResponse::InvalidLength));
    for length in ["", "+5", "5, 5", "99999999999999999999"] {
        let refused = respond(200, &[("content-length", length)]);
        assert_eq!(refused, Err(BadUpstreamResponse::InvalidLength), "{length}");
    }
    for coding in ["gzip", "gzip, chunked", "identity", "chunked, chunked"] {
        let refused = respond(200, &[("transfer-encoding", coding)]);
        assert_eq!(refused, Err(BadUpstreamResponse::TransferCoding), "{coding}");
    }
    let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
    assert_eq!(respond(200, &twice), Err(BadUpstreamResponse::TransferCoding));
}

#[test]
fn statuses_without_a_body_have_no_length_and_head_keeps_it() {
    let length = [("content-length", "5")];
    assert_eq!(respond(204, &length), Ok((BodyRule::None, vec![])));
    assert_eq!(respond(304, &length), Ok((BodyRule::None, vec![])));
    let kept = vec!["content-length: 5".to_owned()];
    assert_eq!(respond_to(&Method::HEAD, None, 200, &length), Ok((BodyRule::None, kept)));
}

#[test]
fn a_switch_that_was_not_asked_for_is_a_bad_response() {
    let switch = [("connection", "upgrade"), ("upgrade", "websocket")];
    assert_eq!(respond(101, &switch), Err(BadUpstreamResponse::UnrequestedSwitch));
    let asked = |protocol| respond_to(&Method::GET, Some(Upgrade::Http1(protocol)), 101, &switch);
    assert_eq!(asked("other"), Err(BadUpstreamResponse::UnrequestedSwitch));
    let expected = vec!["connection: upgrade".to_owned(), "upgrade: WebSocket".to_owned()];
    assert_eq!(asked("WebSocket"), Ok((BodyRule::Tunnel, expected)));
    let declined = respond_to(&Method::GET, Some(Upgrade::Http1("websocket")), 400, &switch);
    assert_eq!(declined, Ok((STREAM, vec![])));
    assert_eq!(respond(103, &[]), Err(BadUpstreamResponse::InterimStatus));
}

#[test]
fn a_switch_is_200_for_http2_clients() {
    let mut parts = Response::builder().status(101).body(()).unwrap().into_parts().0;
    parts.headers =
        map(&[("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", "k")]);
    let upgrade = Some(Upgrade::ExtendedConnect("websocket"));
    let context =
        ResponseContext { method: &Method::GET, client: Version::HTTP_2, upgrade, accepts_trailers: true };
    assert_eq!(rewrite_response(&mut parts, &context), Ok(BodyRule::Tunnel));
    assert_eq!((parts.status, parts.headers.len()), (StatusCode::OK, 0));
}

#[test]
fn fields_of_the_upstreams_connection_are_removed() {
    let received = [
        ("connection", "close, x-mine, set-cookie"),
        ("x-mine", "1"),
        ("set-cookie", "a=b"),
        ("keep-alive", "5"),
        ("proxy-authenticate", "Basic"),
        ("trailer", "x"),
        ("upgrade", "h2c"),
        ("x-palisade-remediation", "none"),
        ("server", "up"),
    ];
    assert_eq!(respond(200, &received), Ok((STREAM, vec!["server: up".into(), "set-cookie: a=b".into()])));
}

#[test]
fn large_responses_are_bad_responses() {
    let many: Vec<_> = (0..=MAX_RESPONSE_FIELDS).map(|_| ("x", "1")).collect();
    assert_eq!(respond(200, &many), Err(BadUpstreamResponse::TooManyFields));
    let large = "a".repeat(MAX_RESPONSE_HEADER_BYTES);
    assert_eq!(respond(200, &[("x", &large)]), Err(BadUpstreamResponse::TooLarge));
}

#[test]
fn trailers_bring_no_framing_routing_or_credentials() {
    let mut trailers = map(&[
        ("grpc-status", "0"),
        ("x-checksum", "1"),
        ("content-length", "9"),
        ("content-type", "text/html"),
        ("transfer-encoding", "chunked"),
        ("host", "evil.example"),
        ("authorization", "x"),
        ("set-cookie", "a=b"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "1"),
        ("x_forwarded_for", "1"),
        ("if-match", "x"),
    ]);
    filter_trailers(&mut trailers);
    assert_eq!(lines(&trailers), ["grpc-status: 0", "x-checksum: 1"]);
}

#[test]
fn trailers_are_announced_to_http1_clients_that_take_them() {
    let announced = |accepts_trailers, client| {
        let mut parts = Response::builder().status(200).body(()).unwrap().into_parts().0;
        parts.headers = map(&[
            ("transfer-encoding", "chunked"),
            ("trailer", "X-Sum, Content-Length,, a b"),
            ("trailer", "x-end"),
        ]);
        let context = ResponseContext { method: &Method::GET, client, upgrade: None, accepts_trailers };
        rewrite_response(&mut parts, &context).unwrap();
        lines(&parts.headers)
    };
    assert_eq!(announced(true, Version::HTTP_11), ["trailer: x-sum, x-end"]);
    assert!(announced(false, Version::HTTP_11).is_empty() && announced(true, Version::HTTP_2).is_empty());
}
