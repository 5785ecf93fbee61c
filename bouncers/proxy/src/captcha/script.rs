//! Serves the script of captcha pages. It is static, so that browsers may keep it.

use std::sync::OnceLock;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response};
use http_body_util::Full;

use super::SCRIPT_PATH;

const SCRIPT: &str = include_str!("captcha.js");

/// The script's URL, which changes with its contents.
pub(crate) fn script_url() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let hash = digest::digest(&digest::SHA256, SCRIPT.as_bytes());
        format!("{SCRIPT_PATH}?v={}", BASE64.encode(&hash.as_ref()[..9]))
    })
}

/// The response with the script.
pub(super) fn respond(method: &Method) -> Response<Full<Bytes>> {
    let body = if *method == Method::HEAD { Bytes::new() } else { Bytes::from_static(SCRIPT.as_bytes()) };
    let mut response = Response::new(Full::new(body));
    let head = response.headers_mut();
    head.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    head.insert(CONTENT_LENGTH, HeaderValue::from(SCRIPT.len()));
    // The URL changes with the contents; a day, so that a downgrade is not stuck with a newer script.
    head.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    head.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    head.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Of the worker, which needs nothing.
    head.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    response
}
