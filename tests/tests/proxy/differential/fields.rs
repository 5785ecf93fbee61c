//! Fields of the connection, forwarded fields, expectations and upgrades.

use palisade_e2e::FrontKind::{Caddy, Haproxy, Nginx};

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "connection names x-real-ip",
        1,
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close, X-Real-IP\r\nX-Real-IP: 192.0.2.66\r\n\r\n",
    )
    .unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "a client must not choose which forwarded fields reach the upstream; HAProxy leaves that to \
         the upstream",
    ),
    Case::new(
        "connection names a field",
        1,
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: X-Mine\r\nX-Mine: 1\r\n\r\n",
    )
    .unlike(
        "200 200 | GET /a @h | last",
        &[Nginx, Haproxy],
        "nginx and HAProxy do not remove what the client declares to be for this connection",
    ),
    Case::new("connection names host", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Host\r\n\r\n").unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "the others ignore it, and HAProxy passes it on",
    ),
    Case::new(
        "connection names the length",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nConnection: Content-Length\r\nContent-Length: 35\r\n\r\n\
          GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    )
    .unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "HAProxy passes it on: an upstream that removes the field reads the body as a request",
    ),
    Case::new(
        "connection names cookie",
        1,
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Cookie\r\nCookie: a=b\r\n\r\n",
    )
    .unlike(
        "400",
        &[Nginx, Haproxy, Caddy],
        "Caddy lets the client remove the field, HAProxy leaves it to the upstream",
    ),
    Case::new(
        "fields for the next hop",
        1,
        b"GET /a HTTP/1.1\r\nHost: h\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\n\
          TE: trailers\r\nTrailer: X-End\r\nProxy-Authorization: Basic eA==\r\n\r\n",
    )
    .unlike(
        "200 200 | GET /a @h | last",
        &[Nginx, Haproxy, Caddy],
        "RFC 9110, 7.6.1: they end here; the others pass some on",
    ),
    Case::new("proxy field", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nProxy: http://evil\r\n\r\n").unlike(
        "200 200 | GET /a @h | last",
        &[Nginx, Haproxy, Caddy],
        "CGI programs take it for the address of a proxy",
    ),
    Case::new(
        "forged x-forwarded-for",
        1,
        b"GET /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n",
    )
    .unlike(
        "200 200 | GET /a @h | last",
        &[Nginx, Haproxy],
        "nginx appends to the client's list and HAProxy adds a line; from a peer that is not trusted \
         ours and Caddy's is new",
    ),
    Case::new("forged forwarded", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nForwarded: for=192.0.2.66\r\n\r\n")
        .unlike(
            "200 200 | GET /a @h | last",
            &[Nginx, Haproxy, Caddy],
            "a peer that is not trusted says nothing about itself",
        ),
    Case::new("forged x-forwarded-host", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-Host: evil\r\n\r\n")
        .unlike(
            "200 200 | GET /a @h | last",
            &[Nginx, Haproxy],
            "a peer that is not trusted says nothing about itself",
        ),
    Case::new(
        "forged cf-connecting-ip",
        1,
        b"GET /a HTTP/1.1\r\nHost: h\r\nCF-Connecting-IP: 192.0.2.66\r\n\r\n",
    )
    .unlike(
        "200 200 | GET /a @h | last",
        &[Nginx, Haproxy, Caddy],
        "a peer that is not trusted says nothing about itself",
    ),
    Case::new("forged x-original-url", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nX-Original-URL: /evil\r\n\r\n")
        .unlike(
            "200 200 | GET /a @h | last",
            &[Nginx, Haproxy, Caddy],
            "some frameworks route by it, past the rules of the proxy",
        ),
    Case::new("two cookie lines", 1, b"GET /a HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n")
        .unlike(
            "200 200 | GET /a @h cookie=a=1; b=2 | last",
            &[Nginx, Haproxy, Caddy],
            "RFC 9113, 8.2.3 joins them; only some upstreams look at the second one",
        ),
    Case::new(
        "expect 100-continue",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    )
    .unlike(
        "100 200 200 | POST /a @h body=hello | last",
        &[Haproxy, Caddy],
        "ours answers 100 and expects nothing of the upstream, as nginx; HAProxy leaves it to the \
         upstream, Caddy does both",
    ),
    Case::new(
        "other expectation",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nExpect: foo\r\nContent-Length: 5\r\n\r\nhello",
    )
    .unlike(
        "417",
        &[Nginx, Haproxy],
        "RFC 9110, 10.1.1 has 417; nginx drops it and HAProxy passes it on",
    ),
    Case::new(
        "upgrade that is declined",
        1,
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Key: eA==\r\n\r\n",
    )
    .unlike(
        "200 200 | GET /a @h connection=upgrade sec-websocket-key=eA== upgrade=websocket | last",
        &[Nginx, Haproxy, Caddy],
        "HAProxy demands all of WebSocket's fields; nginx needs a rule for upgrades; Caddy writes the \
         word as the client",
    ),
    Case::new(
        "upgrade that is declined, then a request",
        2,
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
          GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    )
    .unlike(
        "200 200 200 | GET /a @h connection=upgrade upgrade=websocket | GET /smuggled @h | last",
        &[Nginx, Haproxy, Caddy],
        "HAProxy demands all of WebSocket's fields; nginx needs a rule for upgrades; Caddy writes the \
         word as the client",
    ),
    Case::new(
        "upgrade with a body",
        1,
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Content-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    )
    .unlike(
        "200 200 | GET /a @h body=GET /smuggled HT | last",
        &[Haproxy, Caddy],
        "with a body ours asks for no upgrade: after the head it would not be clear what follows; \
         HAProxy and Caddy pass all or half of it on",
    ),
    Case::new(
        "upgrade with http/1.0",
        1,
        b"GET /a HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    )
    .unlike(
        "200 | GET /a @h",
        &[Haproxy, Caddy],
        "there is no upgrade with HTTP/1.0; Caddy asks for one all the same",
    ),
    Case::new(
        "upgrade to h2c",
        1,
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
          HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    )
    .unlike(
        "200 200 | GET /a @h | last",
        &[Nginx, Haproxy, Caddy],
        "requests after a switch to HTTP/2 would pass by all rules; HAProxy and Caddy ask for it",
    ),
];
