//! Request heads: hyper reads the bytes, the rules judge what it read, and what passes is written again for an upstream.
//! There it has one host, one framing and no forged field, and belongs to the same route.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, Method, Version, header};
use http_body_util::Empty;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use libfuzzer_sys::fuzz_target;
use palisade_proxy::client_address::client_address;
use palisade_proxy::config::{AddressSource, ClientAddressConfig};
use palisade_proxy::headers::{Forwarding, PeerAddressValue, rewrite_request};
use palisade_proxy::request_rules::{MAX_FIELDS, RequestLimits, check};
use palisade_proxy::routing::{RoutePattern, Router};

const PREFIXES: [&str; 3] = ["/", "/a", "/a/b"];

fuzz_target!(|data: &[u8]| {
    for parts in received(data) {
        judge(parts);
    }
});

/// The requests hyper reads from the bytes.
fn received(data: &[u8]) -> Vec<Parts> {
    let requests = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        requests.borrow_mut().push(request.into_parts().0);
        std::future::ready(Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new())))
    });
    let io = Memory { unread: data.to_vec() };
    let mut connection = Box::pin(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
    // Memory is always ready, so a connection that waits waits for nothing.
    for _ in 0..64 {
        if connection.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            break;
        }
    }
    drop(connection);
    requests.take()
}

fn judge(mut parts: Parts) {
    let limits = RequestLimits {
        target_bytes: 2048,
        fields: MAX_FIELDS,
        address_header: HeaderName::from_static("x-forwarded-for"),
    };
    let patterns = PREFIXES.map(|path_prefix| RoutePattern { name: "", hosts: &[], path_prefix, methods: &[] });
    let router = Router::from_patterns(&patterns).expect("prefixes differ");
    let Ok(checked) = check(&parts, &limits) else { return };
    let Ok(route) = router.route_request(&checked) else { return };
    let target = checked.target(PREFIXES[route]).expect("a checked target");
    let (host, authority) = (checked.host.clone().into_owned(), checked.authority.to_owned());
    let upgrades = checked.upgrade.is_some();
    let upgrade_line = checked.upgrade.map(|upgrade| upgrade.protocol().to_owned());
    let method = checked.method.clone();
    assert!(!host.is_empty() && !host.contains(|c: char| c.is_ascii_uppercase() || c.is_whitespace()));

    let source = AddressSource::List(HeaderName::from_static("x-forwarded-for"));
    let config = ClientAddressConfig { trusted_proxies: Default::default(), source, trusted_hops: None };
    let peer = PeerAddressValue::new("203.0.113.9".parse().expect("valid"));
    let client = client_address(&config, Some(peer.address), &parts.headers);
    let forwarding = Forwarding {
        client: &client,
        peer: Some(&peer),
        source: &config.source,
        tls: false,
        authority: &authority,
        host: None,
        write_forwarded: true,
        upgrade: upgrade_line.as_deref().map(palisade_proxy::request_rules::Upgrade::Http1),
        upstream: Version::HTTP_11,
    };
    rewrite_request(&mut parts.headers, &forwarding);

    // What the upstream's parser sees.
    let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in &parts.headers {
        head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\n");
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS + 10];
    let mut seen = httparse::Request::new(&mut fields);
    assert_eq!(seen.parse(&head), Ok(httparse::Status::Complete(head.len())), "{}", head.escape_ascii());
    let values = |name: &str| -> Vec<&[u8]> {
        let same = seen.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        same.map(|field| field.value).collect()
    };
    assert_eq!(values("host"), [authority.as_bytes()]);
    assert_eq!(values("x-forwarded-for"), [&b"203.0.113.9"[..]]);
    assert!(values("content-length").len() <= 1 && values("transfer-encoding").is_empty());
    assert_eq!(values("connection").len(), usize::from(upgrades));
    assert_eq!(values(header::EXPECT.as_str()).len(), 0);
    assert!(!seen.headers.iter().any(|field| field.name.contains('_')));

    // And what it makes of the target.
    let path = seen.path.expect("complete");
    if method != Method::OPTIONS {
        let again: http::Uri = path.parse().expect("a path");
        assert_eq!(router.route(&host, again.path(), &method), Ok(route), "{path}");
    }
}

/// Bytes to read; what is written is dropped.
struct Memory {
    unread: Vec<u8>,
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let some = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..some]);
        self.unread.drain(..some);
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
