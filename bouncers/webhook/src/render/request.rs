//! Writes a request without what may be secret in it. Pure.

use std::fmt::Write as _;

use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::{Position, Url};

use crate::config::HttpConfig;
use crate::http::requests::WEBHOOK_SIGNATURE;

const HIDDEN: &str = "<hidden>";
/// Segments of a path that are at least so long, and have digits or capitals, may be tokens, as in the URLs of chat
/// services.
const TOKEN_CHARS: usize = 16;

/// Method, URL and headers, an empty line, the body.
pub(super) fn write(out: &mut String, http: &HttpConfig, headers: &HeaderMap, body: &[u8]) {
    let _ = writeln!(out, "{} {}", http.method, shown_url(&http.url));
    for (name, value) in headers {
        let _ = writeln!(out, "{name}: {}", shown_header(http, name, value));
    }
    let _ = writeln!(out, "content-length: {}\n", body.len());
    out.push_str(&String::from_utf8_lossy(body));
    if !body.ends_with(b"\n") {
        out.push('\n');
    }
}

fn shown_header(http: &HttpConfig, name: &HeaderName, value: &HeaderValue) -> String {
    let is_hmac = http.auth.hmac.as_ref().is_some_and(|hmac| hmac.header == *name);
    if is_hmac || *name == WEBHOOK_SIGNATURE {
        return "<signature>".to_owned();
    }
    // Everything that is configured is marked as sensitive.
    if value.is_sensitive() && ![ACCEPT, CONTENT_TYPE, USER_AGENT].contains(name) {
        return HIDDEN.to_owned();
    }
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Without user information, values of the query, and parts of the path that may be tokens.
pub(super) fn shown_url(url: &Url) -> String {
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let mut shown = format!("{}://{host}", url.scheme());
    for segment in url.path_segments().into_iter().flatten() {
        let _ = write!(shown, "/{}", if may_be_token(segment) { HIDDEN } else { segment });
    }
    for (index, pair) in url.query().into_iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((key, _)) => {
                let _ = write!(shown, "{key}={HIDDEN}");
            }
            None => shown.push_str(HIDDEN),
        }
    }
    shown
}

fn may_be_token(segment: &str) -> bool {
    segment.len() >= TOKEN_CHARS
        && segment.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        for (url, expected) in [
            ("https://soar.example.org/hooks/crowdsec", "https://soar.example.org/hooks/crowdsec"),
            ("http://u:p@[::1]:8080/_bulk", "http://[::1]:8080/_bulk"),
            (
                "https://hooks.slack.com/services/T0/B0/XXXXXXXXXXXXXXXXXXXXXXXX",
                "https://hooks.slack.com/services/T0/B0/<hidden>",
            ),
            (
                "https://x.example/a?key=SECRET&SECRET&b=",
                "https://x.example/a?key=<hidden>&<hidden>&b=<hidden>",
            ),
            ("https://x.example", "https://x.example/"),
        ] {
            assert_eq!(shown_url(&url.parse().unwrap()), expected);
        }
    }
}
