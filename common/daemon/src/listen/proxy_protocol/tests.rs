use proptest::prelude::*;

use super::*;

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [version2::SIGNATURE, &[command, family], &length, block].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

const FOUR: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0x30, 0x39, 1, 0xbb];

fn six(source: &str) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [&octets(source)[..], &octets("2001:db8::9"), &[0x30, 0x39, 1, 0xbb]].concat()
}

#[test]
fn headers_of_version_1() {
    for (line, client) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.7 12345 443\r\n", Ok(Some("192.0.2.1:12345"))),
        ("PROXY TCP6 2001:db8::1 2001:db8::9 12345 443\r\n", Ok(Some("[2001:db8::1]:12345"))),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:1.2.3.4 0 65535\r\n", Ok(Some("192.0.2.1:0"))),
        ("PROXY UNKNOWN\r\n", Ok(None)),
        ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Ok(None)),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 12345 443\n", Err(ProxyHeaderError::Addresses)),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 12345\r\n", Err(ProxyHeaderError::Addresses)),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 12345 443 1\r\n", Err(ProxyHeaderError::Addresses)),
        ("PROXY TCP4 192.0.2.1  198.51.100.7 12345 443\r\n", Err(ProxyHeaderError::Addresses)),
        ("PROXY TCP4 192.0.2.01 198.51.100.7 12345 443\r\n", Err(ProxyHeaderError::Addresses)),
        ("PROXY TCP4 2001:db8::1 198.51.100.7 12345 443\r\n", Err(ProxyHeaderError::Addresses)),
        ("PROXY TCP6 192.0.2.1 2001:db8::9 12345 443\r\n", Err(ProxyHeaderError::Addresses)),
        ("PROXY TCP6 fe80::1%3 2001:db8::9 12345 443\r\n", Err(ProxyHeaderError::Addresses)),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 +123 443\r\n", Err(ProxyHeaderError::Addresses)),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 0123 443\r\n", Err(ProxyHeaderError::Addresses)),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 123 65536\r\n", Err(ProxyHeaderError::Addresses)),
        ("PROXY UDP4 192.0.2.1 198.51.100.7 123 443\r\n", Err(ProxyHeaderError::Family)),
        ("PROXY tcp4 192.0.2.1 198.51.100.7 123 443\r\n", Err(ProxyHeaderError::Family)),
        ("PROXYTCP4 192.0.2.1 198.51.100.7 123 443\r\n", Err(ProxyHeaderError::Missing)),
        ("GET / HTTP/1.1\r\n", Err(ProxyHeaderError::Missing)),
    ] {
        // What follows is not looked at.
        let bytes = format!("{line}GET / HTTP/1.1\r\n");
        let found = parse(bytes.as_bytes()).map(|header| {
            let header = header.unwrap();
            assert_eq!(header.length, line.len(), "{line}");
            header.addresses.map(|addresses| addresses.source.to_string())
        });
        assert_eq!(found, client.map(|client| client.map(str::to_owned)), "{line}");
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!((long.len(), parse(long.as_bytes()).unwrap().unwrap().length), (107, 107));
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(parse(long.as_bytes()), Err(ProxyHeaderError::TooLong));
    assert_eq!(parse(&long.as_bytes()[..107]), Err(ProxyHeaderError::TooLong));
}

#[test]
fn headers_of_version_2() {
    let with = |block: &[u8], more: &[u8]| [block, more].concat();
    for (bytes, client) in [
        (v2(0x21, 0x11, &FOUR), Ok(Some("192.0.2.1:12345"))),
        (v2(0x21, 0x21, &six("2001:db8::1")), Ok(Some("[2001:db8::1]:12345"))),
        (v2(0x21, 0x21, &six("::ffff:192.0.2.1")), Ok(Some("192.0.2.1:12345"))),
        (v2(0x21, 0x00, b""), Ok(None)),
        (v2(0x21, 0x00, b"anything"), Ok(None)),
        (v2(0x20, 0x00, b""), Ok(None)),
        (v2(0x20, 0x11, &FOUR), Ok(None)),
        (v2(0x20, 0xff, b"anything"), Ok(None)),
        (v2(0x21, 0x12, &FOUR), Ok(None)),
        (v2(0x21, 0x31, &[0; 216]), Ok(None)),
        (v2(0x21, 0x31, &[0; 215]), Err(ProxyHeaderError::Addresses)),
        (v2(0x21, 0x11, &FOUR[..11]), Err(ProxyHeaderError::Addresses)),
        (v2(0x21, 0x21, &FOUR), Err(ProxyHeaderError::Addresses)),
        (v2(0x21, 0x41, &FOUR), Err(ProxyHeaderError::Family)),
        (v2(0x22, 0x11, &FOUR), Err(ProxyHeaderError::Version)),
        (v2(0x11, 0x11, &FOUR), Err(ProxyHeaderError::Version)),
        (v2(0x21, 0x11, &with(&FOUR, &tlv(4, b"xxxx"))), Ok(Some("192.0.2.1:12345"))),
        (v2(0x21, 0x11, &with(&FOUR, &tlv(2, b"example.org"))), Ok(Some("192.0.2.1:12345"))),
        (v2(0x21, 0x11, &with(&FOUR, b"\x02\0\x09short")), Err(ProxyHeaderError::Extensions)),
        (v2(0x21, 0x11, &with(&FOUR, b"\x02\0")), Err(ProxyHeaderError::Extensions)),
        (v2(0x21, 0x11, &with(&FOUR, &tlv(5, &[b'x'; 128]))), Ok(Some("192.0.2.1:12345"))),
        (v2(0x21, 0x11, &with(&FOUR, &tlv(5, &[b'x'; 129]))), Err(ProxyHeaderError::Extensions)),
        (v2(0x21, 0x11, &with(&FOUR, &tlv(3, b"abcd"))), Err(ProxyHeaderError::Checksum)),
        (v2(0x21, 0x11, &with(&FOUR, &tlv(3, b"abc"))), Err(ProxyHeaderError::Extensions)),
        (v2(0x21, 0x11, &with(&FOUR, &tlv(4, &[0; 4100]))), Err(ProxyHeaderError::TooLong)),
    ] {
        let found = parse(&bytes).map(|header| {
            let header = header.unwrap();
            assert_eq!(header.length, bytes.len(), "{bytes:?}");
            header.addresses.map(|addresses| addresses.source.to_string())
        });
        assert_eq!(found, client.map(|client| client.map(str::to_owned)), "{bytes:?}");
    }
}

#[test]
fn a_right_checksum_is_accepted_wherever_it_stands() {
    for (before, behind) in [(tlv(4, b"xx"), tlv(2, b"example.org")), (Vec::new(), Vec::new())] {
        let zeros = [&FOUR[..], &before, &tlv(3, &[0; 4]), &behind].concat();
        let mut bytes = v2(0x21, 0x11, &zeros);
        let sum = crc32c::crc32c(&[&bytes]).to_be_bytes();
        let place = bytes.len() - behind.len() - 4;
        bytes[place..place + 4].copy_from_slice(&sum);
        assert!(parse(&bytes).unwrap().unwrap().addresses.is_some());
        bytes[20] ^= 1;
        assert_eq!(parse(&bytes), Err(ProxyHeaderError::Checksum));
    }
}

proptest! {
    /// A header that arrives in pieces is read as the whole one, and never before it is complete.
    #[test]
    fn pieces_make_the_same_header(
        kind in 0..3,
        block in prop::collection::vec(any::<u8>(), 0..300),
        command in prop::sample::select(vec![0x20_u8, 0x21]),
        family in prop::sample::select(vec![0_u8, 0x11, 0x21, 0x12, 0x31, 0x55]),
        text in "PROXY (TCP4 1.2.3.4 5.6.7.8 1 2|TCP6 ::1 ::2 1 2|UNKNOWN [ -~]{0,80})\r\n",
    ) {
        let bytes = match kind {
            0 => v2(command, family, &block),
            1 => text.into_bytes(),
            _ => block,
        };
        let whole = parse(&bytes);
        for end in 0..bytes.len() {
            match parse(&bytes[..end]) {
                Ok(None) => {}
                earlier => prop_assert_eq!(earlier, whole, "at {}", end),
            }
            if let Ok(Some(header)) = whole {
                prop_assert_eq!(parse(&bytes[..end]).unwrap().is_some(), end >= header.length);
            }
        }
    }
}
