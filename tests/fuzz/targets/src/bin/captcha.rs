//! Cookies and forms of a client with a captcha: no bytes open the application but a proof, the application never sees
//! one, and the way back stays on the same origin.
#![no_main]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use palisade_client::Secret;
use palisade_proxy::captcha::{Captcha, CaptchaRequest, Outcome, SOLUTION_PATH, safe_target, strip_cookie};
use palisade_proxy::config::{CaptchaConfig, CaptchaProvider, PagesConfig};
use palisade_proxy::pages::{PageContext, Pages};
use tokio::runtime::{Builder, Runtime};

/// Larger than any page of ours with a form of the longest input in it.
const MAX_PAGE: u64 = 64 * 1024;

static PARTS: LazyLock<(Captcha, Pages, Runtime)> = LazyLock::new(|| {
    let config = CaptchaConfig {
        // No input of this length solves it.
        provider: CaptchaProvider::ProofOfWork { difficulty: 28 },
        proof_ttl: Duration::from_secs(3600),
        signing_keys: vec![Secret::new("k".repeat(32))],
        timeout: Duration::from_secs(1),
        bound_prefix: (32, 64),
        status: StatusCode::OK,
    };
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let captcha = Captcha::new(&config, None).expect("a captcha");
    (captcha, Pages::load(&PagesConfig::default(), Some(&config)).expect("pages"), runtime)
});

static CALLS: AtomicI64 = AtomicI64::new(1);

// The cookie is the first line, the form the rest.
fuzz_target!(|data: &[u8]| {
    let (cookie, form) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[][..]),
    };
    if let Ok(cookie) = HeaderValue::from_bytes(cookie) {
        stripped(&cookie);
        assert!(matches!(handle(Method::GET, "/a?b=c", Some(&cookie), &[]), Outcome::Respond(_)));
    }
    let Outcome::Respond(response) = handle(Method::POST, SOLUTION_PATH, None, form) else {
        panic!("a solution reached the application")
    };
    assert!(response.headers().get(SET_COOKIE).is_none() && response.headers().get(LOCATION).is_none());
    let length = http_body::Body::size_hint(response.body()).upper();
    assert!(length.is_some_and(|length| length < MAX_PAGE));
    if let Ok(text) = std::str::from_utf8(form) {
        let target = safe_target(text);
        assert!(target == "/" || (target == text && !target.starts_with("//") && target.starts_with('/')));
    }
});

fn handle(method: Method, path: &str, cookie: Option<&HeaderValue>, body: &[u8]) -> Outcome {
    let (captcha, pages, runtime) = &*PARTS;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("accept", "text/html")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    let page = PageContext {
        status: StatusCode::FORBIDDEN,
        client: [192, 0, 2, 1].into(),
        request_id: "r",
        // Another minute each time, so that solutions are read and not refused for their number.
        time: Timestamp::from_second(60 * CALLS.fetch_add(1, Ordering::Relaxed)).expect("below the year 9999"),
        scenario: None,
        origin: None,
        until: None,
        host: "example.org",
        path,
        retry_after: None,
    };
    let mut body = Full::new(Bytes::copy_from_slice(body));
    runtime.block_on(captcha.handle(CaptchaRequest {
        parts: &parts,
        body: &mut body,
        is_https: false,
        decision: 1,
        open_on_failure: false,
        pages,
        page,
    }))
}

/// The pairs of other cookies stay, in their order.
fn stripped(cookie: &HeaderValue) {
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, cookie.clone());
    strip_cookie(&mut headers);
    let pairs = |value: &[u8]| -> Vec<Vec<u8>> {
        value.split(|byte| *byte == b';').map(|pair| pair.trim_ascii().to_vec()).collect()
    };
    let is_ours =
        |pair: &Vec<u8>| pair.starts_with(b"palisade_captcha=") || pair.starts_with(b"__Host-palisade_captcha=");
    let others = |value: &[u8]| -> Vec<Vec<u8>> {
        pairs(value).into_iter().filter(|pair| !is_ours(pair) && !pair.is_empty()).collect()
    };
    let left = headers.get(COOKIE).map(|value| value.as_bytes().to_vec()).unwrap_or_default();
    assert_eq!(others(cookie.as_bytes()), others(&left));
    assert!(!pairs(&left).iter().any(is_ours));
}
