//! Responses of the listener itself, before any handler: heads that cannot be parsed or are too large, requests without a
//! host, and plain HTTP where TLS is expected.

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode, Version,
    body::Bytes,
    header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::limits::{MAX_HEAD, MAX_HEADER_LINES};
use super::{options::StrictHttp, strict::Violation};

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
/// The stock server's text.
const PLAIN_ON_TLS: &str = "Client sent an HTTP request to an HTTPS server.";
/// The first byte of a TLS connection: the record type of a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// How much of a refused client's request is read, so that closing the connection does not destroy the response.
const DISCARDED_BYTES: usize = 64 * 1024;

/// Why a request reaches no handler; `None` if it may. Pure.
pub(super) fn refuse<B>(request: &Request<B>) -> Option<Response<Full<Bytes>>> {
    let headers = request.headers();
    // As RFC 9113 counts the size of a list of headers. In HTTP/1.1 the parser has the limit.
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let status = if headers.len() > MAX_HEADER_LINES || size + target > MAX_HEAD {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    } else if request.version() == Version::HTTP_11 && headers.get_all(HOST).iter().count() != 1 {
        let body = br#"{"message":"missing required Host header"}"#;
        return Some(json(StatusCode::BAD_REQUEST, Bytes::from_static(body)));
    } else {
        return None;
    };
    Some(json(status, Bytes::from(text(status))))
}

/// The response to a further request of an HTTP/2 connection at the connection limit.
pub(super) fn busy() -> Response<Full<Bytes>> {
    let body = Bytes::from_static(br#"{"message":"too many requests at once"}"#);
    let mut response = json(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

fn json(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

fn text(status: StatusCode) -> String {
    let message = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => format!(
            "the head of the request is too large: {} KiB and {MAX_HEADER_LINES} lines are possible",
            MAX_HEAD / 1024
        ),
        StatusCode::URI_TOO_LONG => {
            format!("the request's URI is too long: {} KiB are possible", MAX_HEAD / 1024)
        }
        _ => "malformed HTTP request".to_owned(),
    };
    format!(r#"{{"message":"{message}"}}"#)
}

/// The status of an empty response with which the HTTP/1.1 parser refuses a head; `None` if these bytes are something
/// else. Pure.
pub(super) fn parser_status(bytes: &[u8]) -> Option<StatusCode> {
    let status = bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    StatusCode::from_bytes(status).ok().filter(StatusCode::is_client_error)
}

/// The response in place of such an empty one.
pub(super) fn in_json(status: StatusCode) -> Vec<u8> {
    let status = match status {
        // Which of the two errors the parser returns depends on how the bytes arrive.
        StatusCode::URI_TOO_LONG => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        other => other,
    };
    whole(status, JSON, &text(status))
}

/// The same on a strict listener.
pub(super) fn in_text(status: StatusCode, reason: &str) -> Vec<u8> {
    whole(status, TEXT, &format!("{}: {reason}\n", status.canonical_reason().unwrap_or_default()))
}

/// A response of a strict listener to a request that hyper has parsed.
pub(super) fn strictly(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    let body = format!("{}: {reason}\n", status.canonical_reason().unwrap_or_default());
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}

/// Why a strict listener refuses a request that hyper has parsed; `None` if it may go on. In HTTP/1.1 the scanner has
/// looked at it already. Pure.
pub(super) fn violates<B>(request: &Request<B>, limits: &StrictHttp) -> Option<Violation> {
    if request.version() < Version::HTTP_2 {
        return None;
    }
    let headers = request.headers();
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.target_bytes {
        Some(Violation::TargetTooLong)
    } else if headers.len() > MAX_HEADER_LINES {
        Some(Violation::TooManyFields)
    } else if size + target > limits.head_bytes {
        Some(Violation::HeadTooLarge)
    } else {
        None
    }
}

fn whole(status: StatusCode, kind: &str, body: &str) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let (code, length) = (status.as_u16(), body.len());
    let head = format!(
        "HTTP/1.1 {code} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n"
    );
    format!("{head}\r\n{body}").into_bytes()
}

/// Whether a client of the TLS port begins with something other than a handshake, and then gets an error. `None` if it closes.
pub(super) async fn refuse_plain_http(stream: &mut TcpStream) -> Option<bool> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] == TLS_HANDSHAKE {
        return Some(false);
    }
    // Only to those that speak HTTP: every method begins with a capital letter.
    if first[0].is_ascii_uppercase() {
        let answer = whole(StatusCode::BAD_REQUEST, TEXT, PLAIN_ON_TLS);
        stream.write_all(&answer).await.ok()?;
        stream.shutdown().await.ok()?;
        let mut left = DISCARDED_BYTES;
        let mut scratch = [0; 1024];
        while left > 0
            && let Ok(read @ 1..) = stream.read(&mut scratch).await
        {
            left = left.saturating_sub(read);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_of_the_parser_are_replaced() {
        let text =
            |bytes: &[u8]| parser_status(bytes).map(|status| String::from_utf8(in_json(status)).unwrap());
        let large =
            text(b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n").unwrap();
        assert!(large.starts_with("HTTP/1.1 431 ") && large.contains("\"the head of the request"), "{large}");
        let bad = text(b"HTTP/1.0 400 Bad Request\r\n\r\n").unwrap();
        assert!(bad.ends_with("{\"message\":\"malformed HTTP request\"}"), "{bad}");
        for other in
            ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1", "{\"new\":null}", ""]
        {
            assert_eq!(text(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn hosts_and_sizes() {
        let status = |build: &dyn Fn(hyper::http::request::Builder) -> hyper::http::request::Builder| {
            let request = build(Request::builder().uri("/health")).body(()).unwrap();
            refuse(&request).map(|response| response.status().as_u16())
        };
        assert_eq!(status(&|request| request), Some(400));
        assert_eq!(status(&|request| request.header("host", "x")), None);
        assert_eq!(status(&|request| request.header("host", "x").header("host", "y")), Some(400));
        assert_eq!(status(&|request| request.version(Version::HTTP_10)), None);
        assert_eq!(status(&|request| request.version(Version::HTTP_2)), None);
        let lines = |count: usize| {
            status(&|request| {
                (1..count)
                    .fold(request.header("host", "x"), |request, n| request.header(format!("x-{n}"), "y"))
            })
        };
        assert_eq!((lines(MAX_HEADER_LINES), lines(MAX_HEADER_LINES + 1)), (None, Some(431)));
        let large =
            |size: usize| status(&|request| request.header("host", "x").header("x", "y".repeat(size)));
        assert_eq!((large(MAX_HEAD - 200), large(MAX_HEAD)), (None, Some(431)));
    }
}
