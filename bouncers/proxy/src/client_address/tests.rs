use super::*;
use palisade_net::{PrefixSet, parse_prefix};

fn nets(list: &[&str]) -> PrefixSet {
    list.iter().map(|net| parse_prefix(net).unwrap()).collect()
}

fn config(proxies: &[&str], source: AddressSource) -> ClientAddressConfig {
    ClientAddressConfig { trusted_proxies: nets(proxies), source, trusted_hops: None }
}

fn xff() -> AddressSource {
    AddressSource::List(HeaderName::from_static("x-forwarded-for"))
}

fn single() -> AddressSource {
    AddressSource::Single(HeaderName::from_static("cf-connecting-ip"))
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const XFF: &str = "x-forwarded-for";

/// The client and the cut, with 10.0.0.0/8 and 2001:db8:1::/48 trusted, and the peer 10.0.0.1.
fn find(source: AddressSource, lines: &[(&'static str, &str)]) -> (String, Option<Cut>) {
    find_from("10.0.0.1", source, lines)
}

fn find_from(peer: &str, source: AddressSource, lines: &[(&'static str, &str)]) -> (String, Option<Cut>) {
    let config = config(&["10.0.0.0/8", "2001:db8:1::/48"], source);
    let found = client_address(&config, Some(ip(peer)), &headers(lines));
    (found.client.unwrap().to_string(), found.cut)
}

fn client(value: &str) -> String {
    find(xff(), &[(XFF, value)]).0
}

#[test]
fn the_header_of_an_untrusted_peer_is_not_read() {
    let lines = [(XFF, "198.51.100.1")];
    assert_eq!(find_from("203.0.113.9", xff(), &lines), ("203.0.113.9".into(), None));
    let found = client_address(&config(&["10.0.0.0/8"], xff()), Some(ip("203.0.113.9")), &headers(&lines));
    assert!(!found.peer_is_trusted && found.chain.is_empty());
}

#[test]
fn nobody_is_trusted_by_default() {
    let found =
        client_address(&config(&[], xff()), Some(ip("127.0.0.1")), &headers(&[(XFF, "198.51.100.1")]));
    assert_eq!((found.client, found.peer_is_trusted), (Some(ip("127.0.0.1")), false));
}

#[test]
fn two_lines_are_one_list() {
    let lines = [(XFF, "198.51.100.1"), (XFF, "198.51.100.2, 10.0.0.7")];
    assert_eq!(find(xff(), &lines).0, "198.51.100.2");
    let lines = [(XFF, "198.51.100.1"), (XFF, "10.0.0.7")];
    assert_eq!(find(xff(), &lines).0, "198.51.100.1");
}

#[test]
fn the_rightmost_untrusted_entry_is_the_client() {
    assert_eq!(client("192.0.2.66, 198.51.100.1, 10.0.0.3"), "198.51.100.1");
    let map = headers(&[(XFF, "192.0.2.66, 198.51.100.1,\t10.0.0.3 ")]);
    let found = client_address(&config(&["10.0.0.0/8"], xff()), Some(ip("10.0.0.1")), &map);
    assert_eq!(found.chain.as_slice(), [ip("198.51.100.1"), ip("10.0.0.3")]);
    assert!(!found.chain.spilled());
}

#[test]
fn ports_and_brackets_are_dropped() {
    assert_eq!(client("198.51.100.1:4711"), "198.51.100.1");
    assert_eq!(client("[2001:db8::5]:4711"), "2001:db8::5");
    assert_eq!(client("[2001:db8::5]"), "2001:db8::5");
    assert_eq!(client("2001:db8::5"), "2001:db8::5");
}

#[test]
fn zones_are_dropped() {
    assert_eq!(client("fe80::1%eth0"), "fe80::1");
    assert_eq!(client("[fe80::1%25eth0]:80"), "fe80::1");
}

#[test]
fn mapped_addresses_are_ipv4_in_peer_header_and_list() {
    assert_eq!(client("::ffff:198.51.100.1"), "198.51.100.1");
    assert_eq!(client("198.51.100.1, [::ffff:10.9.9.9]:80"), "198.51.100.1");
    assert_eq!(find_from("::ffff:10.0.0.1", xff(), &[(XFF, "198.51.100.1")]).0, "198.51.100.1");
    assert_eq!(find_from("::ffff:203.0.113.9", xff(), &[]).0, "203.0.113.9");
}

#[test]
fn an_entry_that_is_no_address_ends_the_walk_at_the_last_good_hop() {
    for garbage in [
        "unknown",
        "_hidden",
        "",
        "1.2.3",
        "1.2.3.4.5",
        "a b",
        "010.1.1.1",
        "1.2.3.4:",
        "1.2.3.4:99999",
        "[::1",
        "[::1]x",
        "::1]:80",
        "fe80::1%",
        "1.2.3.4:80:80",
        "\u{e4}",
        "localhost",
    ] {
        let (found, cut) = find(xff(), &[(XFF, &format!("198.51.100.1, {garbage}, 10.0.0.7"))]);
        assert_eq!((found.as_str(), cut), ("10.0.0.7", Some(Cut::Unparsable)), "{garbage:?}");
        let (found, cut) = find(xff(), &[(XFF, &format!("198.51.100.1,{garbage}"))]);
        assert_eq!((found.as_str(), cut), ("10.0.0.1", Some(Cut::Unparsable)), "{garbage:?}");
    }
}

#[test]
fn a_trusted_peer_without_entries_is_the_client() {
    assert_eq!(find(xff(), &[]), ("10.0.0.1".into(), None));
    assert_eq!(find(xff(), &[(XFF, "")]), ("10.0.0.1".into(), Some(Cut::Unparsable)));
}

#[test]
fn of_a_chain_of_trusted_proxies_the_leftmost_is_the_client() {
    assert_eq!(client("10.0.0.9, 10.0.0.8"), "10.0.0.9");
    assert_eq!(client("2001:db8:1::9, 10.0.0.8"), "2001:db8:1::9");
}

#[test]
fn ten_thousand_entries_cost_no_more_than_the_limit() {
    let all = "10.0.0.2,".repeat(10_000);
    assert_eq!(find(xff(), &[(XFF, &format!("{all}10.0.0.3"))]), ("10.0.0.2".into(), Some(Cut::TooManyHops)));
    let all = "198.51.100.1,".repeat(10_000);
    assert_eq!(find(xff(), &[(XFF, &format!("{all}198.51.100.9"))]), ("198.51.100.9".into(), None));
    let lines: Vec<_> = (0..10_000).map(|_| (XFF, "10.0.0.2")).collect();
    assert_eq!(find(xff(), &lines).1, Some(Cut::TooManyHops));
}

#[test]
fn bytes_beyond_the_limit_are_not_read() {
    let padded = format!("10.0.0.2,{}10.0.0.3", " ".repeat(MAX_BYTES));
    assert_eq!(find(xff(), &[(XFF, &padded)]), ("10.0.0.1".into(), Some(Cut::TooLong)));
    let spread = [(XFF, "198.51.100.1"), (XFF, &format!("10.0.0.2{}", " ".repeat(MAX_BYTES - 8)))];
    assert_eq!(find(xff(), &spread), ("10.0.0.2".into(), Some(Cut::TooLong)));
    // A cut address must not be taken for a shorter one.
    let cut = format!("198.51.100.17,{}10.0.0.3", " ".repeat(MAX_BYTES - 8 - 1 - 12));
    assert_eq!(find(xff(), &[(XFF, &cut)]), ("10.0.0.3".into(), Some(Cut::TooLong)));
}

#[test]
fn underscore_spellings_and_other_kinds_are_not_read() {
    let lines = [
        ("x_forwarded_for", "198.51.100.1"),
        ("x-real-ip", "198.51.100.2"),
        ("forwarded", "for=198.51.100.3"),
    ];
    assert_eq!(find(xff(), &lines), ("10.0.0.1".into(), None));
    assert_eq!(find(AddressSource::Forwarded, &[(XFF, "198.51.100.1")]), ("10.0.0.1".into(), None));
    // Nor does an unusable header make another one count.
    let lines = [(XFF, "unknown"), ("x-real-ip", "198.51.100.2"), ("cf-connecting-ip", "198.51.100.4")];
    assert_eq!(find(xff(), &lines).0, "10.0.0.1");
}

#[test]
fn each_request_is_judged_by_its_own_header() {
    let config = config(&["10.0.0.0/8"], xff());
    for address in ["198.51.100.1", "198.51.100.2", "198.51.100.1"] {
        let found = client_address(&config, Some(ip("10.0.0.1")), &headers(&[(XFF, address)]));
        assert_eq!(found.client, Some(ip(address)));
    }
    assert_eq!(client_address(&config, Some(ip("10.0.0.1")), &HeaderMap::new()).client, Some(ip("10.0.0.1")));
}

#[test]
fn hops_are_counted_from_the_right() {
    let config = ClientAddressConfig { trusted_proxies: nets(&[]), source: xff(), trusted_hops: Some(2) };
    let find = |value| client_address(&config, Some(ip("203.0.113.9")), &headers(&[(XFF, value)]));
    let found = find("192.0.2.66, 198.51.100.1, 203.0.113.8");
    assert_eq!((found.client, found.peer_is_trusted), (Some(ip("198.51.100.1")), true));
    for (value, cut) in [("198.51.100.1", Cut::TooFewHops), ("198.51.100.1, unknown", Cut::Unparsable)] {
        let found = find(value);
        assert_eq!((found.client, found.cut), (Some(ip("203.0.113.9")), Some(cut)), "{value}");
        assert!(!found.peer_is_trusted && found.chain.is_empty());
    }
}

#[test]
fn hops_count_only_from_listed_peers_when_there_is_a_list() {
    let config =
        ClientAddressConfig { trusted_proxies: nets(&["10.0.0.0/8"]), source: xff(), trusted_hops: Some(1) };
    let map = headers(&[(XFF, "198.51.100.1")]);
    assert_eq!(client_address(&config, Some(ip("203.0.113.9")), &map).client, Some(ip("203.0.113.9")));
    assert_eq!(client_address(&config, Some(ip("10.0.0.1")), &map).client, Some(ip("198.51.100.1")));
}

#[test]
fn a_header_with_one_address_counts_once_and_from_trusted_peers_only() {
    const CF: &str = "cf-connecting-ip";
    assert_eq!(find(single(), &[(CF, "198.51.100.1")]), ("198.51.100.1".into(), None));
    assert_eq!(
        find(single(), &[(CF, "198.51.100.1"), (CF, "198.51.100.1")]),
        ("10.0.0.1".into(), Some(Cut::Repeated))
    );
    assert_eq!(
        find(single(), &[(CF, "198.51.100.1, 198.51.100.2")]),
        ("10.0.0.1".into(), Some(Cut::Unparsable))
    );
    assert_eq!(find_from("203.0.113.9", single(), &[(CF, "198.51.100.1")]).0, "203.0.113.9");
    assert_eq!(find(single(), &[(XFF, "198.51.100.1")]), ("10.0.0.1".into(), None));
}

#[test]
fn forwarded_is_read_with_quotes_ports_and_any_case() {
    for (value, expected) in [
        ("for=198.51.100.1", "198.51.100.1"),
        ("For=\"[2001:db8::5]:4711\";proto=https;host=\"a, for=192.0.2.66\"", "2001:db8::5"),
        ("for=192.0.2.66;x=\"a\\\",b;for=1\", FOR=\"198.51.100.1:_p\" ; by=10.0.0.1", "198.51.100.1"),
        ("for=198.51.100.1;by=\"a,b;c\", for=10.0.0.3", "198.51.100.1"),
        ("for=\"::ffff:198.51.100.1\"", "198.51.100.1"),
    ] {
        assert_eq!(
            find(AddressSource::Forwarded, &[("forwarded", value)]),
            (expected.into(), None),
            "{value}"
        );
    }
}

#[test]
fn a_client_cannot_hide_the_proxys_element_behind_an_open_quote() {
    for poison in ["for=\"", "for=\"x\\", "\"", "for=\"a, for=\\\"", ";;;\"=", "for=192.0.2.66;x=\""] {
        for element in ["for=198.51.100.1", "for=\"198.51.100.1\"", "for=\"198.51.100.1:80\";host=\"h\""] {
            let value = format!("{poison}, {element}");
            assert_eq!(find(AddressSource::Forwarded, &[("forwarded", &value)]).0, "198.51.100.1", "{value}");
        }
    }
}

#[test]
fn forwarded_without_a_usable_address_ends_the_walk() {
    for element in [
        "for=unknown",
        "for=_hidden",
        "for=\"_x\"",
        "proto=https",
        "for=198.51.100.1;for=198.51.100.2",
        "for = 198.51.100.1",
        "for=\"198.51.100.1",
        "for=\"198.51.100.\\1\"",
        "",
        "for",
    ] {
        let value = format!("for=192.0.2.66, {element}, for=10.0.0.7");
        let found = find(AddressSource::Forwarded, &[("forwarded", &value)]);
        assert_eq!(found, ("10.0.0.7".into(), Some(Cut::Unparsable)), "{value}");
    }
}

#[test]
fn the_peer_of_a_unix_socket_is_trusted_and_nobody_without_a_header() {
    let config = config(&[], xff());
    let found = client_address(&config, None, &headers(&[(XFF, "198.51.100.1")]));
    assert_eq!((found.client, found.peer_is_trusted), (Some(ip("198.51.100.1")), true));
    assert_eq!(client_address(&config, None, &HeaderMap::new()).client, None);
}
