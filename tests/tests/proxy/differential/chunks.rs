//! Bodies in chunks.

use palisade_e2e::FrontKind::{Caddy, Haproxy, Nginx};

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "chunk extension",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n\
          0\r\n\r\n",
    ),
    Case::new(
        "space after a chunk size",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    )
    .unlike("400", &[Nginx, Haproxy, Caddy], "not the grammar, though all others accept it"),
    Case::new(
        "chunk size line with bare line feed",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    )
    .unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "upstreams differ on where a line ends, so no other end than CRLF is accepted",
    ),
    Case::new(
        "chunk without end",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n",
    )
    .unlike("400", &[Caddy], "Caddy blames the upstream for the client's error"),
    Case::new(
        "chunk size with 0x",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    )
    .unlike("400", &[Caddy], "Caddy blames the upstream for the client's error"),
    Case::new(
        "chunk size beyond 64 bits",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\n\
          hello\r\n0\r\n\r\n",
    )
    .unlike("400", &[Caddy], "Caddy blames the upstream for the client's error"),
    Case::new(
        "negative chunk size",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    )
    .unlike("400", &[Caddy], "Caddy blames the upstream for the client's error"),
    Case::new(
        "chunk extension with line feed",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n\
          0\r\n\r\n",
    )
    .unlike("400", &[Caddy], "Caddy blames the upstream for the client's error"),
    Case::new(
        "leading zeros in a chunk size",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0005\r\nhello\r\n\
          000\r\n\r\n",
    ),
    Case::new(
        "trailer with a length",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\
          Trailer: Content-Length\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 9\r\nX-End: 1\r\n\r\n",
    )
    .unlike(
        "200 200 | POST /a @h body=hello | last",
        &[Nginx, Haproxy, Caddy],
        "ours drops trailers and their announcement towards HTTP/1.1; Caddy refuses this one",
    ),
    Case::new(
        "chunk end with bare line feed",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    )
    .unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "upstreams differ on where a line ends; Caddy blames the upstream",
    ),
];
