//! Sends generated fields through check and rewriting.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Version, header};
use palisade_net::{PrefixSet, parse_prefix};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::client_address::client_address;
use crate::config::{AddressSource, ClientAddressConfig};
use crate::request_rules::{MAX_FIELDS, RequestLimits, check};

/// What no client may set.
const PROTECTED: &[&str] = &[
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-user",
    "x-real-ip",
    "forwarded",
    "cf-connecting-ip",
    "true-client-ip",
    "proxy",
    "x-crowdsec-appsec-ip",
    "x-palisade-remediation",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "proxy-authorization",
    "http2-settings",
    "expect",
];

const PLAIN: &[&str] = &["accept", "user-agent", "cookie", "x-mine", "authorization", "x-forwarded"];

/// In one of the spellings that upstreams may fold to the name.
fn spelling() -> impl Strategy<Value = String> {
    let all: Vec<&str> = PROTECTED.iter().chain(PLAIN).copied().collect();
    (select(all), select(vec!['-', '_', '.']))
        .prop_map(|(name, hyphen)| name.replace('-', &hyphen.to_string()))
}

fn connection() -> impl Strategy<Value = String> {
    prop::collection::vec(spelling(), 1..4).prop_map(|names| names.join(", "))
}

fn field() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        4 => spelling().prop_map(|name| (name, "forged".to_owned())),
        1 => connection().prop_map(|names| ("connection".to_owned(), names)),
    ]
}

struct Sent {
    before: HeaderMap,
    after: HeaderMap,
}

/// The fields before and after, of a request that passes.
fn send(fields: &[(String, String)], peer: &str) -> Option<Sent> {
    let mut request = Request::get("/").version(Version::HTTP_11).header(header::HOST, "h");
    for (name, value) in fields {
        request = request.header(name, value);
    }
    let mut parts = request.body(()).unwrap().into_parts().0;
    let source = AddressSource::Single(HeaderName::from_static("cf-connecting-ip"));
    let trusted_proxies: PrefixSet = [parse_prefix("10.0.0.0/8").unwrap()].into_iter().collect();
    let config = ClientAddressConfig { trusted_proxies, source, trusted_hops: None };
    let limits = RequestLimits {
        target_bytes: 99,
        fields: MAX_FIELDS,
        address_header: HeaderName::from_static("cf-connecting-ip"),
    };
    check(&parts, &limits).ok()?;
    let peer = PeerAddressValue::new(peer.parse().unwrap());
    let client = client_address(&config, Some(peer.address), &parts.headers);
    let forwarding = Forwarding {
        client: &client,
        peer: Some(&peer),
        source: &config.source,
        tls: true,
        authority: "h",
        host: None,
        write_forwarded: false,
        upgrade: None,
        upstream: Version::HTTP_11,
    };
    let before = parts.headers.clone();
    rewrite_request(&mut parts.headers, &forwarding);
    Some(Sent { before, after: parts.headers })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_spelling_of_a_protected_field_passes_from_an_untrusted_peer(
        fields in prop::collection::vec(field(), 0..8),
    ) {
        let Some(Sent { after, .. }) = send(&fields, "203.0.113.9") else { return Ok(()) };
        for (name, value) in &after {
            let folded = name.as_str().replace(['_', '.'], "-");
            let protected = PROTECTED.contains(&folded.as_str());
            prop_assert!(!(protected && value == "forged"), "{name}: {value:?}");
            prop_assert_eq!(name.as_str(), folded, "odd names are dropped");
        }
        for (name, value) in [("x-forwarded-for", "203.0.113.9"), ("x-real-ip", "203.0.113.9"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "h"), ("host", "h")] {
            let all: Vec<&HeaderValue> = after.get_all(name).iter().collect();
            prop_assert_eq!(all, [value], "{}", name);
        }
    }

    #[test]
    fn all_other_fields_are_kept_unless_the_connection_names_them(
        fields in prop::collection::vec(field(), 0..8),
    ) {
        let Some(Sent { before, after }) = send(&fields, "203.0.113.9") else { return Ok(()) };
        let named: String = before.get_all("connection").iter().map(|value| value.to_str().unwrap().to_owned() + ",").collect();
        for name in PLAIN.iter().filter(|name| !named.split(',').any(|token| token.trim() == **name)) {
            let join = |map: &HeaderMap| map.get_all(*name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>();
            let expected = join(&before);
            match *name {
                "cookie" => prop_assert_eq!(expected.join("; "), join(&after).concat()),
                _ => prop_assert_eq!(expected, join(&after), "{}", name),
            }
        }
    }

    #[test]
    fn of_a_trusted_peer_only_a_sound_address_gets_into_address_fields(
        fields in prop::collection::vec(field(), 0..8),
    ) {
        let Some(Sent { after, .. }) = send(&fields, "10.0.0.1") else { return Ok(()) };
        for name in ["x-forwarded-for", "x-real-ip", "forwarded", "x-forwarded-proto"] {
            prop_assert!(!after.get_all(name).iter().any(|value| value == "forged"), "{}", name);
        }
    }
}
