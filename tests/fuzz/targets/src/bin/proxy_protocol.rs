//! PROXY protocol headers: a header is found at its last byte and not before, and what it names can be written again in
//! either version.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use palisade_daemon::listen::proxy_protocol::{MAX_HEADER, parse};

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    if let Ok(Some(header)) = whole {
        assert!(header.length <= data.len() && header.length <= MAX_HEADER);
        assert_eq!(parse(&data[..header.length]), whole, "what follows does not matter");
        assert_eq!(parse(&data[..header.length - 1]), Ok(None), "not before its last byte");
        if let Some(addresses) = header.addresses {
            let (source, destination) = (addresses.source, addresses.destination);
            for address in [source, destination] {
                assert!(!matches!(address.ip(), IpAddr::V6(six) if six.to_ipv4_mapped().is_some()));
            }
            // Of one family: version 1 has no other form, and IPv4-mapped addresses may stand beside others.
            if source.is_ipv4() == destination.is_ipv4() {
                let family = if source.is_ipv4() { 4 } else { 6 };
                let (from, to) = (source.ip(), destination.ip());
                let line = format!("PROXY TCP{family} {from} {to} {} {}\r\n", source.port(), destination.port());
                let again = parse(line.as_bytes()).ok().flatten().and_then(|header| header.addresses);
                assert_eq!(again, Some(addresses), "{line}");
            }
        }
    }
    if whole == Ok(None) {
        assert!(data.len() < MAX_HEADER);
    }
});
