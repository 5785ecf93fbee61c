//! Compares the walk with a naive one over generated headers.

use palisade_net::{PrefixSet, parse_prefix};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Trusted by the tests: 10.0.0.0/8.
fn trusted() -> PrefixSet {
    [parse_prefix("10.0.0.0/8").unwrap()].into_iter().collect()
}

/// An entry, and the address it has.
fn entry() -> impl Strategy<Value = (String, Option<IpAddr>)> {
    let ip = |text: &str| Some(text.parse().unwrap());
    select(vec![
        ("10.0.0.1", ip("10.0.0.1")),
        ("10.2.3.4:80", ip("10.2.3.4")),
        ("[::ffff:10.0.0.9]:1", ip("10.0.0.9")),
        ("198.51.100.1", ip("198.51.100.1")),
        ("[2001:db8::1]", ip("2001:db8::1")),
        ("2001:db8::2%eth0", ip("2001:db8::2")),
        ("unknown", None),
        ("", None),
        ("10.0.0", None),
    ])
    .prop_map(|(text, address)| (text.to_owned(), address))
}

/// The client by the rules in words: from the right, over all entries at once.
fn naive(entries: &[(String, Option<IpAddr>)], hops: Option<u8>, peer: IpAddr) -> IpAddr {
    let good: Vec<IpAddr> = entries.iter().rev().map_while(|(_, address)| *address).collect();
    if let Some(hops) = hops {
        return good.get(usize::from(hops) - 1).copied().unwrap_or(peer);
    }
    let untrusted = good.iter().find(|address| !trusted().contains(**address));
    *untrusted.or(good.last()).unwrap_or(&peer)
}

/// The entries as `Forwarded` elements.
fn as_forwarded(entry: &str) -> String {
    if entry.is_empty() {
        String::new()
    } else {
        format!("proto=http;For=\"{entry}\";host=\"a,b;\\\"for=c\"")
    }
}

proptest! {
    #[test]
    fn the_client_is_what_a_naive_walk_finds(
        lines in prop::collection::vec(prop::collection::vec(entry(), 1..4), 0..4),
        hops in prop::option::of(1_u8..4),
        forwarded: bool,
    ) {
        let source = match forwarded {
            true => AddressSource::Forwarded,
            false => AddressSource::List(HeaderName::from_static("x-forwarded-for")),
        };
        let mut headers = HeaderMap::new();
        for line in &lines {
            let texts: Vec<String> =
                line.iter().map(|(text, _)| if forwarded { as_forwarded(text) } else { text.clone() }).collect();
            let name = if forwarded { "forwarded" } else { "x-forwarded-for" };
            headers.append(name, texts.join(" ,\t").parse().unwrap());
        }
        let peer: IpAddr = "10.0.0.77".parse().unwrap();
        let config = ClientAddressConfig { trusted_proxies: trusted(), source, trusted_hops: hops };
        let found = client_address(&config, Some(peer), &headers);
        prop_assert_eq!(found.client, Some(naive(&lines.concat(), hops, peer)));
        // Nothing but addresses of the header gets into the chain, and the client begins it.
        prop_assert!(found.chain.is_empty() || found.chain.first() == found.client.as_ref());
    }

    #[test]
    fn what_a_client_sends_before_the_proxys_entry_changes_nothing(
        sent in "[ -~\t]{0,40}",
        forwarded: bool,
    ) {
        let (name, own) = if forwarded { ("forwarded", "for=198.51.100.1") } else { ("x-forwarded-for", "198.51.100.1") };
        let source = match forwarded {
            true => AddressSource::Forwarded,
            false => AddressSource::List(HeaderName::from_static(name)),
        };
        let mut headers = HeaderMap::new();
        headers.append(name, format!("{sent}, {own}").parse().unwrap());
        let config = ClientAddressConfig { trusted_proxies: trusted(), source, trusted_hops: None };
        let found = client_address(&config, Some("10.0.0.77".parse().unwrap()), &headers);
        prop_assert_eq!(found.client, Some("198.51.100.1".parse().unwrap()));
        prop_assert_eq!(found.cut, None);
    }
}
