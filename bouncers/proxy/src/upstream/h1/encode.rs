//! Writes request heads.

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};

/// How the body of a request is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    /// No body, and no field that says so.
    None,
    /// The bytes that are left of `Content-Length`.
    Length(u64),
    Chunked,
}

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestHead<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a PathAndQuery,
    /// In place of `Host` of the headers.
    pub(crate) host: &'a HeaderValue,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) framing: BodyFraming,
    pub(crate) upgrade: Option<&'a HeaderValue>,
}

/// Writes a head. Framing and connection fields come from here alone, never from the request's headers.
pub(crate) fn head(write: &mut BytesMut, request: RequestHead<'_>) {
    write.reserve(512);
    let mut put = |bytes: &[u8]| write.extend_from_slice(bytes);
    put(request.method.as_str().as_bytes());
    put(b" ");
    put(request.target.as_str().as_bytes());
    put(b" HTTP/1.1\r\n");
    // Host first: RFC 9110 asks for it, and an upstream routes by it.
    put(b"host: ");
    put(request.host.as_bytes());
    put(b"\r\n");
    for (name, value) in request.headers {
        if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, TE].contains(name) {
            continue;
        }
        put(name.as_str().as_bytes());
        put(b": ");
        put(value.as_bytes());
        put(b"\r\n");
    }
    match request.framing {
        BodyFraming::None => {}
        BodyFraming::Chunked => put(b"transfer-encoding: chunked\r\n"),
        BodyFraming::Length(length) => {
            put(b"content-length: ");
            put(HeaderValue::from(length).as_bytes());
            put(b"\r\n");
        }
    }
    if let Some(protocol) = request.upgrade {
        put(b"connection: upgrade\r\nupgrade: ");
        put(protocol.as_bytes());
        put(b"\r\n");
    }
    put(b"\r\n");
}

/// The framing of a body of which this much is known.
pub(crate) fn framing_of(method: &Method, length: Option<u64>) -> BodyFraming {
    match length {
        // Some servers refuse a POST without a length.
        Some(0) if [Method::POST, Method::PUT, Method::PATCH].contains(method) => BodyFraming::Length(0),
        Some(0) => BodyFraming::None,
        Some(length) => BodyFraming::Length(length),
        None => BodyFraming::Chunked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_and_connection_fields_come_from_the_body_alone() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (http::header::ACCEPT, "a"),
            (HOST, "client.example"),
            (CONTENT_LENGTH, "7"),
            (CONTENT_LENGTH, "7"),
            (TRANSFER_ENCODING, "gzip"),
            (CONNECTION, "close"),
            (UPGRADE, "h2c"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let other = HeaderValue::from_static("other");
        let mut request = RequestHead {
            method: &Method::POST,
            target: &PathAndQuery::from_static("/a?b"),
            host: &other,
            headers: &headers,
            framing: BodyFraming::Length(0),
            upgrade: None,
        };
        let text = |request| {
            let mut write = BytesMut::new();
            head(&mut write, request);
            String::from_utf8(write.to_vec()).unwrap()
        };
        assert_eq!(
            text(request),
            "POST /a?b HTTP/1.1\r\nhost: other\r\naccept: a\r\ncontent-length: 0\r\n\r\n"
        );
        let (host, protocol) = (HeaderValue::from_static("own"), HeaderValue::from_static("websocket"));
        (request.host, request.upgrade, request.framing) = (&host, Some(&protocol), BodyFraming::None);
        assert_eq!(
            text(request),
            "POST /a?b HTTP/1.1\r\nhost: own\r\naccept: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        );
    }

    #[test]
    fn a_body_of_unknown_length_is_chunked() {
        assert_eq!(framing_of(&Method::GET, Some(0)), BodyFraming::None);
        assert_eq!(framing_of(&Method::PUT, Some(0)), BodyFraming::Length(0));
        assert_eq!(framing_of(&Method::GET, Some(3)), BodyFraming::Length(3));
        assert_eq!(framing_of(&Method::POST, None), BodyFraming::Chunked);
    }
}
