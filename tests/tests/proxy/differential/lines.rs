//! Lines and fields of a head.

use palisade_e2e::FrontKind::{Caddy, Haproxy, Nginx};

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case::new("bare line feeds", 1, b"GET /a HTTP/1.1\nHost: h\n\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "upstreams differ on where a line ends, so no other end than CRLF is accepted",
    ),
    Case::new("one bare line feed", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\nX-B: 2\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "upstreams differ on where a line ends, so no other end than CRLF is accepted",
    ),
    Case::new(
        "bare line feed hides a field",
        1,
        b"GET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\nContent-Length: 35\r\n\r\n\
          GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    )
    .unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "a front that does not end lines there sees no length, and the body as a second request",
    ),
    Case::new("bare carriage return in a value", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\rX-B: 2\r\n\r\n"),
    Case::new("nul in a value", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\x002\r\n\r\n").unlike(
        "400",
        &[Haproxy],
        "HAProxy forwards it; upstreams in C end the value there",
    ),
    Case::new("control character in a value", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\x012\r\n\r\n")
        .unlike("400", &[Nginx, Haproxy], "not the grammar; terminals and logs interpret it"),
    Case::new("high bytes in a value", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX-A: \xe4\r\n\r\n"),
    Case::new("field without colon", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX-A\r\n\r\n").unlike(
        "400",
        &[Nginx],
        "nginx takes the line for a name",
    ),
    Case::new("field without name", 1, b"GET /a HTTP/1.1\r\nHost: h\r\n: 1\r\n\r\n").unlike(
        "400",
        &[Caddy],
        "Caddy drops the line",
    ),
    Case::new("space before the first field", 1, b"GET /a HTTP/1.1\r\n Host: h\r\n\r\n"),
    Case::new("folded value", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n 2\r\n\r\n").unlike(
        "400",
        &[Haproxy, Caddy],
        "RFC 9112, 5.2 lets servers refuse folding; the others unfold, each with other spaces",
    ),
    Case::new("space before a colon", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX-A : 1\r\n\r\n"),
    Case::new("parenthesis in a name", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX(A): 1\r\n\r\n").unlike(
        "400",
        &[Nginx],
        "not the grammar; nginx drops the field",
    ),
    Case::new("underscore in a name", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX_Real_IP: 192.0.2.66\r\n\r\n")
        .unlike(
            "200 200 | GET /a @h | last",
            &[Haproxy, Caddy],
            "CGI-like upstreams would read X-Real-IP; nginx drops the field too",
        ),
    Case::new("dot in a name", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX.Real.IP: 192.0.2.66\r\n\r\n").unlike(
        "200 200 | GET /a @h | last",
        &[Haproxy, Caddy],
        "some upstreams fold all punctuation; nginx drops the field too",
    ),
];
