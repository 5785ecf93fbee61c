//! What the scanner of strict listeners lets pass has one reading: hyper's.

#![expect(clippy::unwrap_used, reason = "a test; its helpers are not marked as one")]

mod oracle;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn hyper_reads_what_the_scanner_passes_in_the_same_way(
        parts in prop::collection::vec(prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "POST /x HTTP/1.1\r\n", "GET / HTTP/1.0\r\n", "Host: x\r\n", "host: x\r\n", "\r\n", "\r\n",
            "Content-Length: 3\r\n", "content-length:3\r\n", "Content-Length: 03\r\n", "Content-Length: \x0c3\r\n", "abc", "abc",
            "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding:\x0bchunked\r\n", "3\r\nabc\r\n", "3;a=b\r\nabc\r\n", "0003\r\nabc\r\n", "0\r\n\r\n",
            "0\r\na: b\r\n\r\n", "\n", "\r", " folded: x\r\n", "a: b\r\n", "a:\r\n", "x", "\0", "#", "Connection: close\r\n",
            "Expect: 100-continue\r\n", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        ]), 0..14),
        size in 1_usize..64,
    ) {
        oracle::check(size, parts.concat().as_bytes());
    }

    /// An ordinary request in which some bytes are others.
    #[test]
    fn hyper_reads_mutated_requests_in_the_same_way(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"\r\n\t :;0123#\0axX\x7f\x80,".to_vec())), 0..4),
        size in 1_usize..200,
    ) {
        let mut bytes = b"POST /path?query HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\nx-y: z\r\n\r\n\
            5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\ntrailer: t\r\n\r\n\
            PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
            GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        oracle::check(size, &bytes);
    }
}
