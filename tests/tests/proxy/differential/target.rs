//! Paths.

use palisade_e2e::FrontKind::{Caddy, Haproxy, Nginx};

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case::new("encoded nul", 1, b"GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Haproxy, Caddy],
        "upstreams in C end the path there; nginx refuses it too",
    ),
    Case::new("encoded line end", 1, b"GET /a%0d%0aX:1 HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "upstreams that decode and copy the path into a response let clients write header fields",
    ),
    Case::new("dot segments", 1, b"GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "200 200 | GET /b @h | last",
        &[Nginx, Haproxy, Caddy],
        "the others forward what they did not match routes against; ours forwards the path that was \
         matched",
    ),
    Case::new("encoded dot segments", 1, b"GET /a/%2e%2E/b HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "200 200 | GET /b @h | last",
        &[Nginx, Haproxy, Caddy],
        "the others forward what they did not match routes against; ours forwards the path that was \
         matched",
    ),
    Case::new("above the root", 1, b"GET /a/../../b HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Haproxy, Caddy],
        "means nothing; nginx refuses it too",
    ),
    Case::new("duplicate slashes", 1, b"GET //a//b HTTP/1.1\r\nHost: h\r\n\r\n"),
    Case::new("backslash", 1, b"GET /a\\..\\b HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "some upstreams take it for a slash; Caddy encodes it",
    ),
    Case::new("fragment", 1, b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Caddy],
        "not part of a target; upstreams that cut it off see another path",
    ),
    Case::new("raw utf-8", 1, b"GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "200 200 | GET /ä @h | last",
        &[Haproxy, Caddy],
        "HAProxy refuses it and Caddy encodes it; ours forwards it as nginx does",
    ),
    Case::new("raw byte that is no utf-8", 1, b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Caddy],
        "means nothing that two upstreams agree on; HAProxy refuses it too",
    ),
    Case::new("incomplete encoding", 1, b"GET /a%zz HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Haproxy],
        "decoders differ on it; HAProxy forwards it",
    ),
    Case::new("encoded slash", 1, b"GET /a%2Fb HTTP/1.1\r\nHost: h\r\n\r\n"),
    Case::new("dot segment behind an encoded slash", 1, b"GET /a/..%2fb HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "an upstream that decodes slashes sees `/b`, which may be another route's",
    ),
    Case::new("parameter", 1, b"GET /a;x=1/b HTTP/1.1\r\nHost: h\r\n\r\n"),
    Case::new("dot segment with a parameter", 1, b"GET /a/..;/b HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "an upstream that removes parameters sees `/a`, which may be another route's",
    ),
    Case::new("odd query", 1, b"GET /a?\\|%zz..// HTTP/1.1\r\nHost: h\r\n\r\n"),
    Case::new("quote in the query", 1, b"GET /a?\"q\" HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "not the grammar; browsers encode it",
    ),
    Case::new("encoded letters", 1, b"GET /%61%7Eb HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "200 200 | GET /a~b @h | last",
        &[Nginx, Haproxy, Caddy],
        "the others forward what they did not match routes against; ours forwards the path that was \
         matched",
    ),
    Case::new("target without slash", 1, b"GET a/b HTTP/1.1\r\nHost: h\r\n\r\n"),
];
