use proptest::prelude::*;

use super::*;

const LIMITS: StrictHttp = StrictHttp { head_bytes: 4096, target_bytes: 1024 };

/// The number of heads, or the violation.
fn scan(bytes: &[u8]) -> Result<u32, Violation> {
    let mut scanner = RequestScanner::new(LIMITS);
    scanner.scan(bytes).map(|()| scanner.heads()).map_err(|stop| stop.violation)
}

fn with(fields: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n").into_bytes()
}

#[test]
fn ordinary_requests_pass() {
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET http://x/y?z HTTP/1.1\r\nhost:x\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHOST: x\r\nX-Host: y\r\nHostile: z\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n\n\n\n\n\n",
        "POST / HTTP/1.1\r\nHost: x\r\ncontent-length:\t0 \r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\n\n\n\n\n\n\r\nA;a=\"b\"\r\n0123456789\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nChecksum: abc\r\n\r\n",
    ] {
        assert_eq!(scan(request.repeat(3).as_bytes()), Ok(3), "{request}");
    }
}

#[test]
fn requests_with_two_readings_are_refused() {
    for (request, violation) in [
        (&b"GET / HTTP/1.1\nHost: x\r\n\r\n"[..], Violation::BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: x\n\r\n", Violation::BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\n", Violation::BareLineFeed),
        (b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", Violation::BareLineFeed),
        (b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", Violation::EmptyLine),
        (b"GET /\r\n", Violation::RequestLine),
        (b"GET / HTTP/1.2\r\n", Violation::RequestLine),
        (b"GET / HTTP/2.0\r\n", Violation::RequestLine),
        (b"GET / http/1.1\r\n", Violation::RequestLine),
        (b"GET  / HTTP/1.1\r\n", Violation::RequestLine),
        (b"GET /  HTTP/1.1\r\n", Violation::RequestLine),
        (b"GET / HTTP/1.1 \r\n", Violation::RequestLine),
        (b"GET HTTP/1.1\r\n", Violation::RequestLine),
        (b"GET /a b HTTP/1.1\r\n", Violation::RequestLine),
        (b"GET /#a HTTP/1.1\r\n", Violation::Fragment),
        (b"GET / HTTP/1.1\r\n\r\n", Violation::NoHost),
        (b"GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n", Violation::SeveralHosts),
        (b"GET / HTTP/1.0\r\nHost: x\r\nhost: x\r\n", Violation::SeveralHosts),
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", Violation::TransferCoding),
    ] {
        assert_eq!(scan(request), Err(violation), "{}", String::from_utf8_lossy(request));
        // As the second request on a connection, too.
        let second = [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], request].concat();
        assert_eq!(scan(&second), Err(violation), "{}", String::from_utf8_lossy(request));
    }
}

#[test]
fn the_end_of_a_body_has_one_reading() {
    for (fields, violation) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Violation::LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Violation::LengthAndCoding),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Violation::SeveralLengths),
        ("Content-Length: 5, 5\r\n", Violation::InvalidLength),
        ("Content-Length: +5\r\n", Violation::InvalidLength),
        ("Content-Length: -5\r\n", Violation::InvalidLength),
        ("Content-Length: 0x5\r\n", Violation::InvalidLength),
        ("Content-Length:\r\n", Violation::InvalidLength),
        ("Content-Length: 5 5\r\n", Violation::InvalidLength),
        ("Content-Length: 18446744073709551615\r\n", Violation::InvalidLength),
        ("Content-Length: 99999999999999999999\r\n", Violation::InvalidLength),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Violation::TransferCoding),
        ("Transfer-Encoding: chunked, chunked\r\n", Violation::TransferCoding),
        ("Transfer-Encoding: chunked, gzip\r\n", Violation::TransferCoding),
        ("Transfer-Encoding: chunked,\r\n", Violation::TransferCoding),
        ("Transfer-Encoding: \x0bchunked\r\n", Violation::TransferCoding),
        ("Transfer-Encoding:\r\n", Violation::TransferCoding),
        ("Transfer-Encoding: \"chunked\"\r\n", Violation::TransferCoding),
        ("Transfer-Encoding: gzip, chunked\r\n", Violation::UnknownCoding),
        ("Transfer-Encoding: xchunked\r\n", Violation::UnknownCoding),
        ("Transfer-Encoding: identity\r\n", Violation::UnknownCoding),
    ] {
        assert_eq!(scan(&with(fields)), Err(violation), "{fields}");
    }
}

#[test]
fn chunks_have_one_reading() {
    let chunked = |body: &str| {
        let mut scanner = RequestScanner::new(LIMITS);
        scanner.scan(&with("Transfer-Encoding: chunked\r\n")).unwrap();
        scanner.scan(body.as_bytes()).map_err(|stop| {
            assert!(stop.in_body && stop.request == 1, "{stop:?}");
            stop.violation
        })
    };
    for (body, violation) in [
        ("5\nabcde\r\n", Violation::BareLineFeed),
        ("5\r\nabcde\n", Violation::BareLineFeed),
        ("5\r\nabcdef\r\n", Violation::Chunk),
        ("5\r\nabcd\r\n0\r\n", Violation::BareLineFeed),
        ("0x5\r\n", Violation::Chunk),
        ("\r\n", Violation::Chunk),
        ("g\r\n", Violation::Chunk),
        ("-1\r\n", Violation::Chunk),
        ("5 \r\n", Violation::Chunk),
        ("5 ;a\r\n", Violation::Chunk),
        ("5;a\x01\r\n", Violation::Chunk),
        ("5;a\n\r\n", Violation::BareLineFeed),
        ("5;a\rb\r\n", Violation::Chunk),
        ("1000000000000000\r\n", Violation::Chunk),
        (&format!("5;{}\r\n", "a".repeat(256)), Violation::Chunk),
        (&format!("5;{}", "a".repeat(256)), Violation::Chunk),
        ("5\r\nabcdexx", Violation::Chunk),
        ("0\r\nno trailer\r\n", Violation::Trailers),
        ("0\r\n: x\r\n", Violation::Trailers),
        ("0\r\na: x\ry\r\n", Violation::Trailers),
        ("0\r\na: \0\r\n", Violation::Trailers),
        ("0\r\na : x\r\n", Violation::Trailers),
        ("0\r\n folded: x\r\n", Violation::Trailers),
        ("0\r\na: x\n\r\n", Violation::BareLineFeed),
        (&format!("0\r\na: {}", "x".repeat(9000)), Violation::Trailers),
        (&format!("0\r\n{}", "a: x\r\n".repeat(65)), Violation::Trailers),
    ] {
        assert_eq!(chunked(body), Err(violation), "{body:?}");
    }
    assert_eq!(chunked("fFfFfFfFfFfFfFf\r\nx"), Ok(()));
}

#[test]
fn sizes_are_limited_before_a_line_ends() {
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(length - 1));
    assert_eq!(scan(target(1024).as_bytes()), Ok(1));
    assert_eq!(scan(target(1025).as_bytes()), Err(Violation::TargetTooLong));
    assert_eq!(scan(&target(2000).as_bytes()[..1500]), Err(Violation::TargetTooLong));
    let head = |length: usize| with(&format!("x: {}\r\n", "x".repeat(length)));
    let around = head(0).len() - 2;
    assert_eq!(scan(&head(4096 - around)), Ok(1));
    assert_eq!(scan(&head(4097 - around)), Err(Violation::HeadTooLarge));
    assert_eq!(scan(&head(6000)[..5000]), Err(Violation::HeadTooLarge));
    assert_eq!(scan(&with(&"a: b\r\n".repeat(99))), Ok(1));
    assert_eq!(scan(&with(&"a: b\r\n".repeat(100))), Err(Violation::TooManyFields));
}

#[test]
fn the_line_feed_of_a_wrong_line_is_not_parsed() {
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n";
    let stop = RequestScanner::new(LIMITS).scan(request).unwrap_err();
    assert_eq!((stop.at, stop.request, stop.in_body), (request.len() - 3, 1, false));
}

proptest! {
    /// However the bytes are divided into reads, the same is found.
    #[test]
    fn pieces_are_scanned_as_the_whole(
        parts in prop::collection::vec(prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "Host: x\r\n", "\r\n", "Content-Length: 3\r\n", "abc",
            "Transfer-Encoding: chunked\r\n", "3\r\n", "0\r\n", "\n", "a: b\r\n", "x", "GET /# HTTP/1.1\r\n",
        ]), 0..12),
        cuts in prop::collection::vec(0..200_usize, 0..6),
    ) {
        let bytes = parts.concat().into_bytes();
        let whole = RequestScanner::new(LIMITS).scan(&bytes);
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < bytes.len()).chain([bytes.len()]).collect();
        cuts.sort_unstable();
        let (mut scanner, mut from, mut pieces) = (RequestScanner::new(LIMITS), 0, Ok(()));
        for cut in cuts {
            pieces = scanner.scan(&bytes[from..cut]).map_err(|stop| Stop { at: stop.at + from, ..stop });
            if pieces.is_err() {
                break;
            }
            from = cut;
        }
        // A line that cannot be completed may be refused before its end.
        match (whole, pieces) {
            (Err(whole), Err(pieces)) => {
                prop_assert!(pieces.at <= whole.at);
                prop_assert_eq!((whole.violation, whole.request), (pieces.violation, pieces.request));
            }
            (whole, pieces) => prop_assert_eq!(whole, pieces),
        }
    }
}
