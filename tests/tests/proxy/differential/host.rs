//! Which host a request is for.

use palisade_e2e::FrontKind::{Caddy, Haproxy, Nginx};

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case::new("no host", 1, b"GET /a HTTP/1.1\r\n\r\n").unlike(
        "400",
        &[Haproxy],
        "HAProxy forwards it without one, and the upstream's default application answers",
    ),
    Case::new("two equal hosts", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Haproxy],
        "RFC 9112, 3.2 demands 400; HAProxy merges them",
    ),
    Case::new("two different hosts", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nHost: evil\r\n\r\n"),
    Case::new("invalid host", 1, b"GET /a HTTP/1.1\r\nHost: x/y@z\r\n\r\n").unlike(
        "400",
        &[Haproxy],
        "HAProxy does not look at the form of a host",
    ),
    Case::new("empty host", 1, b"GET /a HTTP/1.1\r\nHost:\r\n\r\n").unlike(
        "400",
        &[Haproxy, Caddy],
        "names no application; Caddy replaces it by the upstream's address",
    ),
    Case::new("userinfo in host", 1, b"GET /a HTTP/1.1\r\nHost: evil@h\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy],
        "an upstream may take the name before the @ for the host",
    ),
    Case::new("space in host", 1, b"GET /a HTTP/1.1\r\nHost: h evil\r\n\r\n").unlike(
        "400",
        &[Haproxy],
        "HAProxy does not look at the form of a host",
    ),
    Case::new("host with case, dot and port", 1, b"GET /a HTTP/1.1\r\nHost: EXAMPLE.org.:80\r\n\r\n"),
    Case::new("absolute target", 1, b"GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "200 200 | GET /a @h | last",
        &[Haproxy],
        "HAProxy forwards the absolute form; the host is the same",
    ),
    Case::new("absolute target with another host", 1, b"GET http://evil/a HTTP/1.1\r\nHost: h\r\n\r\n")
        .unlike(
            "400",
            &[Nginx, Caddy],
            "nginx forwards one of the two hosts and Caddy the other: neither is right",
        ),
    Case::new("absolute target with ftp", 1, b"GET ftp://h/a HTTP/1.1\r\nHost: h\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "the others forward other schemes as if they were http, or as they are",
    ),
    Case::new("absolute target with a query only", 1, b"GET http://h?q=1 HTTP/1.1\r\nHost: h\r\n\r\n")
        .unlike(
            "200 200 | GET /?q=1 @h | last",
            &[Haproxy],
            "HAProxy demands a path; it is `/` by RFC 3986, 6.2.3",
        ),
    Case::new("absolute target without host", 1, b"GET http://h/a HTTP/1.1\r\n\r\n").unlike(
        "400",
        &[Haproxy],
        "RFC 9112, 3.2 demands 400 also beside an absolute target",
    ),
];
