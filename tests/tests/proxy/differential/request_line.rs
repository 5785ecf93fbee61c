//! Methods, versions and the request line.

use palisade_e2e::FrontKind::{Caddy, Haproxy, Nginx};

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case::new("get", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX-Kept: 1\r\n\r\n"),
    Case::new("post with a length", 1, b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"),
    Case::new(
        "post in chunks",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    Case::new("two pipelined", 2, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n"),
    Case::new("get with a body", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"),
    Case::new("head", 1, b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n"),
    Case::new("lower-case method", 1, b"get /a HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Haproxy, Caddy],
        "methods are case-sensitive; an upstream that folds them would see GET where others see an \
         unknown method",
    ),
    Case::new("unknown method", 1, b"PROPFIND /a HTTP/1.1\r\nHost: h\r\n\r\n"),
    Case::new("trace", 1, b"TRACE /a HTTP/1.1\r\nHost: h\r\nCookie: secret\r\n\r\n").unlike(
        "405",
        &[Haproxy, Caddy],
        "it shows cookies and credentials to scripts; nginx refuses it too",
    ),
    Case::new("connect", 1, b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n").unlike(
        "405",
        &[Nginx, Haproxy, Caddy],
        "this is no forward proxy; nginx says so with another status, the others pass it on",
    ),
    Case::new("options asterisk", 1, b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "200 200 | OPTIONS * @h | last",
        &[Nginx, Caddy],
        "nginx refuses it and Caddy answers it; the upstream is asked, as RFC 9110, 9.3.7 has it",
    ),
    Case::new("get asterisk", 1, b"GET * HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Haproxy, Caddy],
        "only OPTIONS has this target",
    ),
    Case::new("http/1.0 without host", 1, b"GET /a HTTP/1.0\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "no host, no route: the others leave it out or make one up",
    ),
    Case::new("http/1.0 keep-alive", 1, b"GET /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
        .unlike(
            "200 200 | GET /a @h | last",
            &[Haproxy],
            "HAProxy keeps the version; towards upstreams the others always speak HTTP/1.1",
        ),
    Case::new("http/1.2", 1, b"GET /a HTTP/1.2\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "there is no such version; the others take it for 1.1",
    ),
    Case::new("http/0.9", 1, b"GET /a\r\n").unlike(
        "400",
        &[Nginx],
        "nginx still answers requests without a version",
    ),
    Case::new("http/2.0 in the request line", 1, b"GET /a HTTP/2.0\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "refused with the status for malformed requests; HAProxy takes it for 1.1",
    ),
    Case::new("lower-case version", 1, b"GET /a http/1.1\r\nHost: h\r\n\r\n"),
    Case::new("empty line before the request", 1, b"\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy],
        "RFC 9112, 2.2 lets servers skip it; after a body it shows that the sender counted wrongly",
    ),
    Case::new("two spaces in the request line", 1, b"GET  /a HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy],
        "not the grammar: upstreams split such a line in different ways",
    ),
    Case::new("tab in the request line", 1, b"GET\x09/a HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Haproxy],
        "not the grammar: upstreams split such a line in different ways",
    ),
    Case::new("space after the version", 1, b"GET /a HTTP/1.1 \r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx],
        "not the grammar; nginx cuts it off",
    ),
];
