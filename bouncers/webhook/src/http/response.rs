//! Decides what follows from a response that is not a success. Pure.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use url::Url;

use super::client::ClientResponse;
use super::reason::Excerpts;
use crate::sink::{Failure, FailureKind};

/// The longest `Retry-After` of any receiver; a longer one is shortened to it. An endpoint's own bound is lower as a rule.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// Texts of bodies with status 400 that are about the connection and not about the message: nginx about client
/// certificates and about plain requests to a TLS port, Go about the latter. A message must not be given up for them.
const ABOUT_THE_CONNECTION: [&str; 4] = [
    "SSL certificate error",
    "No required SSL certificate was sent",
    "plain HTTP request was sent to HTTPS port",
    "Client sent an HTTP request to an HTTPS server",
];

/// Of any response but 2xx.
pub(super) fn failure(response: &ClientResponse, excerpts: &Excerpts) -> Failure {
    Failure {
        kind: kind(response.status, &response.body),
        perhaps_received: true,
        reason: reason(response, excerpts),
        retry_after: retry_after(&response.headers, SystemTime::now()),
    }
}

/// What follows from a status that is no success.
pub(crate) fn kind(status: StatusCode, body: &[u8]) -> FailureKind {
    use FailureKind::{Gone, Refusing, Rejected, Retry};
    match status.as_u16() {
        410 => Gone,
        400 if is_about_the_connection(body) => Refusing,
        // Nothing in a message makes a difference to these: they are about the URL, the credentials, the method, the
        // content type or the headers, which all messages share.
        300..=399 | 401..=407 | 411 | 414 | 415 | 417 | 421 | 426 | 428 | 431 | 451 => {
            // 406: what the receiver could send back is not acceptable, though nothing was asked for.
            Refusing
        }
        408 | 423 | 424 | 425 | 429 => Retry,
        400..=499 => Rejected,
        _ => Retry,
    }
}

fn is_about_the_connection(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    ABOUT_THE_CONNECTION.iter().any(|about| text.contains(about))
}

fn reason(response: &ClientResponse, excerpts: &Excerpts) -> String {
    let status = response.status;
    let mut reason = format!("the receiver responded with {}", status.as_u16());
    if let Some(words) = status.canonical_reason() {
        reason.push(' ');
        reason.push_str(words);
    }
    if status.is_redirection() {
        // Path and query may repeat those of the endpoint's URL.
        let location =
            response.headers.get(LOCATION).and_then(|location| Url::parse(location.to_str().ok()?).ok());
        if let Some(origin) = location.as_ref().map(|location| location.origin().ascii_serialization())
            && let Some(origin) = excerpts.of(origin.as_bytes())
        {
            reason.push_str(&format!(" to {origin}"));
        }
        reason.push_str("; redirects are not followed, so `url` must be where messages are taken");
    } else if let Some(excerpt) = excerpt(response, excerpts) {
        reason.push_str(&format!(": {excerpt}"));
    }
    reason
}

/// Pages for browsers say no more than the status.
fn excerpt(response: &ClientResponse, excerpts: &Excerpts) -> Option<String> {
    let is_page = response
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|content| content.as_bytes().starts_with(b"text/html"));
    if is_page { None } else { excerpts.of(&response.body) }
}

/// A number of seconds or a date. A date is compared with the receiver's own clock where that is known.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let after = if is_number {
        text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        let sent = headers.get(DATE).and_then(|text| date(text.to_str().ok()?));
        date(text)?.duration_since(sent.unwrap_or(now)).unwrap_or_default()
    };
    Some(after.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;

    use super::*;

    #[test]
    fn each_status_has_one_consequence() {
        use FailureKind::{Gone, Refusing, Rejected, Retry};
        for (expected, statuses) in [
            (Retry, &[408, 423, 424, 425, 429, 500, 501, 502, 503, 504, 507, 599, 101][..]),
            (Rejected, &[400, 409, 412, 413, 416, 418, 422, 499]),
            (Refusing, &[300, 301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 405, 406, 407]),
            (Refusing, &[411, 414, 415, 421, 426, 431, 451]),
            (Gone, &[410]),
        ] {
            for status in statuses {
                assert_eq!(kind(StatusCode::from_u16(*status).unwrap(), b"{}"), expected, "{status}");
            }
        }
    }

    #[test]
    fn a_400_about_the_connection_gives_no_message_up() {
        for body in [
            "<title>400 The SSL certificate error</title>",
            "<center>No required SSL certificate was sent</center>",
            "<center>The plain HTTP request was sent to HTTPS port</center>",
            "Client sent an HTTP request to an HTTPS server.\n",
        ] {
            assert_eq!(kind(StatusCode::BAD_REQUEST, body.as_bytes()), FailureKind::Refusing, "{body}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = httpdate::parse_http_date("Fri, 27 Nov 2026 10:00:00 GMT").unwrap();
        let after = |text: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            retry_after(&headers, now).map(|after| after.as_secs())
        };
        let max = MAX_RETRY_AFTER.as_secs();
        for (text, expected) in [
            ("120", Some(120)),
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("99999999", Some(max)),
            ("99999999999999999999999999", Some(max)),
            ("Fri, 27 Nov 2026 10:02:00 GMT", Some(120)),
            ("Fri, 27 Nov 2026 09:00:00 GMT", Some(0)),
            ("Sun, 27 Nov 2033 10:00:00 GMT", Some(max)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(after(text, None), expected, "{text}");
        }
        // A receiver whose clock is an hour ahead.
        let ahead = Some("Fri, 27 Nov 2026 11:00:00 GMT");
        assert_eq!(after("Fri, 27 Nov 2026 11:02:00 GMT", ahead), Some(120));
    }

    #[test]
    fn reasons_are_short_and_escaped_and_have_no_secrets() {
        let mut config = super::super::tests::config(
            "https://example.com/services/T0123/SECRETPATH/a%20SECRET?key=SECRETKEY",
        );
        config.auth.bearer = Some(palisade_client::Secret::new("SECRETTOKEN"));
        config.auth.basic = Some(("u".to_owned(), palisade_client::Secret::new("two  SECRET\twords")));
        let excerpts = Excerpts::new(&config);
        let reason = |body: &'static str, location: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(location) = location {
                headers.insert(LOCATION, HeaderValue::from_static(location));
            }
            let status = if location.is_some() { StatusCode::FOUND } else { StatusCode::FORBIDDEN };
            let body = Bytes::from_static(body.as_bytes());
            super::reason(&ClientResponse { status, headers, body, truncated: false }, &excerpts)
        };
        assert_eq!(reason("", None), "the receiver responded with 403 Forbidden");
        let control = reason("no\r\n way \u{1b}[31m\u{202e}\"é\"", None);
        assert_eq!(control, "the receiver responded with 403 Forbidden: \"no way \\u{1b}[31m\\u{202e}'é'\"");
        let echo = reason("POST /services/T0123/SECRETPATH?key=SECRETKEY SECRETKEY Bearer SECRETTOKEN", None);
        assert!(!echo.contains("SECRET"), "{echo}");
        let echo = reason("password: two  SECRET\twords, path: /services/T0123/SECRETPATH/a SECRET", None);
        assert!(!echo.contains("SECRET"), "{echo}");
        let moved = reason("", Some("https://other.example/services/T0123/SECRETPATH?key=SECRETKEY"));
        assert!(
            moved.contains("302 Found to \"https://other.example\"") && !moved.contains("SECRET"),
            "{moved}"
        );
        let long: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
        assert!(reason(long, None).len() < 300);
    }
}
