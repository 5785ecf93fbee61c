//! Where the body of a request ends.

use palisade_e2e::FrontKind::{Caddy, Haproxy, Nginx};

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "length, then chunked",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\nhello\r\n0\r\n\r\n",
    )
    .unlike(
        "400",
        &[Haproxy, Caddy],
        "RFC 9112, 6.3 lets servers refuse it; HAProxy and Caddy drop the length",
    ),
    Case::new(
        "chunked, then length",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n\
          5\r\nhello\r\n0\r\n\r\n",
    )
    .unlike(
        "400",
        &[Haproxy, Caddy],
        "RFC 9112, 6.3 lets servers refuse it; HAProxy and Caddy drop the length",
    ),
    Case::new(
        "chunked hides a request from the length",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n\
          0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    )
    .unlike(
        "400",
        &[Haproxy, Caddy],
        "what a front that goes by the length sends as one request, Caddy reads as two",
    ),
    Case::new(
        "two equal lengths",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    )
    .unlike(
        "400",
        &[Haproxy, Caddy],
        "RFC 9112, 6.3 lets servers accept it; a sender that repeats itself is doubtful",
    ),
    Case::new(
        "two different lengths",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 35\r\n\r\n\
          GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    Case::new("length as a list", 1, b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello")
        .unlike("400", &[Haproxy], "RFC 9112, 6.3 lets servers accept it; HAProxy does"),
    Case::new("length with a plus", 1, b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello"),
    Case::new("length in hexadecimal", 1, b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhello"),
    Case::new("negative length", 1, b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"),
    Case::new("empty length", 1, b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n").unlike(
        "400",
        &[Caddy],
        "Caddy takes it for 0, others for an error",
    ),
    Case::new(
        "length beyond 64 bits",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
    ),
    Case::new(
        "length with a space inside",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5 5\r\n\r\nhello",
    ),
    Case::new(
        "length with an underscore",
        2,
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent_Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\n\
          Host: h\r\n\r\n",
    )
    .unlike(
        "200 200 200 | POST /a @h | GET /smuggled @h | last",
        &[Haproxy, Caddy],
        "the field means nothing, so the bytes are a second request for all; only nginx and ours keep \
         the field from CGI-like upstreams",
    ),
    Case::new(
        "length with a space before the colon",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello",
    ),
    Case::new(
        "identity coding",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n\
          hello",
    )
    .unlike("501", &[Haproxy], "HAProxy has another status"),
    Case::new(
        "identity coding alone",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
    )
    .unlike("501", &[Haproxy], "HAProxy has another status"),
    Case::new(
        "unknown coding",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .unlike("501", &[Haproxy], "HAProxy has another status"),
    Case::new(
        "gzip, chunked",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n\
          0\r\n\r\n",
    )
    .unlike("501", &[Haproxy], "HAProxy has another status"),
    Case::new(
        "chunked twice",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n\
          0\r\n\r\n",
    )
    .unlike("400", &[Nginx, Caddy], "malformed rather than unknown: the others have another status"),
    Case::new(
        "two codings in two lines",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\
          Transfer-Encoding: identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .unlike("400", &[Caddy], "malformed rather than unknown: Caddy has another status"),
    Case::new(
        "chunked with http/1.0",
        1,
        b"POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .unlike(
        "400",
        &[Haproxy, Caddy],
        "RFC 9112, 6.1: framing with HTTP/1.0 is faulty; HAProxy forwards it, Caddy drops the body",
    ),
    Case::new(
        "vertical tab before chunked",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n5\r\nhello\r\n\
          0\r\n\r\n",
    )
    .unlike("400", &[Nginx, Caddy], "a control character: malformed rather than unknown"),
    Case::new(
        "upper-case chunked",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .unlike(
        "200 200 | POST /a @h body=hello | last",
        &[Haproxy],
        "HAProxy forwards the word as it is; ours frames the body anew",
    ),
    Case::new(
        "coding with a space before the colon",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n\
          0\r\n\r\n",
    ),
    Case::new(
        "coding in a folded line",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n5\r\nhello\r\n\
          0\r\n\r\n",
    )
    .unlike(
        "400",
        &[Haproxy, Caddy],
        "RFC 9112, 5.2 lets servers refuse folding; an upstream that does not unfold sees no coding",
    ),
    Case::new(
        "coding with an underscore",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
    )
    .unlike(
        "200 200 | POST /a @h body=hello | last",
        &[Haproxy, Caddy],
        "CGI-like upstreams would read a coding; nginx drops the field too",
    ),
    Case::new(
        "coding with a parameter",
        1,
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;q=1\r\n\r\n5\r\nhello\r\n\
          0\r\n\r\n",
    )
    .unlike("400", &[Nginx, Caddy], "not the grammar: the others have another status"),
];
