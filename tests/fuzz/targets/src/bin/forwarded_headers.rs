//! Forwarded headers: whatever a client sends, the client is an address of the header or the peer, and what a trusted
//! proxy appends decides.
#![no_main]

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use palisade_net::parse_prefix;
use palisade_proxy::client_address::{Cut, MAX_HOPS, client_address};
use palisade_proxy::config::{AddressSource, ClientAddressConfig};

// The first byte chooses the kind of header and the number of hops; each further line is a line of the header.
fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let (name, source) = match choice % 3 {
        0 => (header::FORWARDED, AddressSource::Forwarded),
        1 => list(HeaderName::from_static("x-forwarded-for")),
        _ => {
            let name = HeaderName::from_static("cf-connecting-ip");
            (name.clone(), AddressSource::Single(name))
        }
    };
    let hops = choice / 3 % 4;
    let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|net| parse_prefix(net).expect("valid"));
    let config = ClientAddressConfig {
        trusted_proxies: trusted.into_iter().collect(),
        source,
        trusted_hops: (hops > 0).then_some(hops),
    };
    let mut headers = HeaderMap::new();
    for line in rest.split(|byte| *byte == b'\n').take(64) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(&name, value);
        }
    }
    let peer: IpAddr = "10.0.0.1".parse().expect("valid");
    let found = client_address(&config, Some(peer), &headers);
    assert!(found.chain.len() <= MAX_HOPS);
    assert_eq!(found.client, Some(found.chain.first().copied().unwrap_or(peer)));
    assert!(found.peer_is_trusted || found.chain.is_empty());

    let outside = client_address(&config, Some("203.0.113.9".parse().expect("valid")), &headers);
    assert_eq!((outside.client, outside.peer_is_trusted), ("203.0.113.9".parse().ok(), false));

    appended(&config, &name, headers, peer);
});

fn list(name: HeaderName) -> (HeaderName, AddressSource) {
    (name.clone(), AddressSource::List(name))
}

/// A trusted proxy appends its client to the last line.
fn appended(config: &ClientAddressConfig, name: &HeaderName, headers: HeaderMap, peer: IpAddr) {
    if matches!(config.source, AddressSource::Single(_)) || config.trusted_hops.is_some_and(|hops| hops > 1) {
        return;
    }
    let mut lines: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
    let own = if *name == header::FORWARDED { "for=198.51.100.1" } else { "198.51.100.1" };
    let joined = [lines.pop().map_or(Vec::new(), |last| last.as_bytes().to_vec()), own.into()].join(&b", "[..]);
    lines.push(HeaderValue::from_bytes(&joined).expect("a valid value and a valid entry"));
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, line);
    }
    let found = client_address(config, Some(peer), &headers);
    assert_eq!(found.client, "198.51.100.1".parse().ok(), "{headers:?}");
    assert_ne!(found.cut, Some(Cut::Unparsable));
}
