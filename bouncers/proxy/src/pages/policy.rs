//! Builds the `Content-Security-Policy` of each page.

use base64::Engine as _;
use http::{HeaderValue, Uri};

use super::error::PagesError;
use crate::config::{CaptchaConfig, CaptchaProvider};

/// Of pages without scripts, whose style is known by its hash.
pub(super) fn plain(style: &str) -> Option<HeaderValue> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let hash = base64::engine::general_purpose::STANDARD.encode(digest);
    HeaderValue::from_str(&format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ))
    .ok()
}

/// Of pages from operators' templates, which have styles and images of their own, but no scripts.
pub(super) const OPERATOR: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' https: data:; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Of responses that are no HTML.
pub(super) const NOTHING: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The part of a captcha page's policy that does not depend on the request.
///
/// `form-action` is absent: browsers apply it to the redirects that follow a submitted form as well, and the page that a
/// visitor returns to may redirect to another site, such as a login.
pub(super) fn captcha(config: &CaptchaConfig, style: &str) -> Result<String, PagesError> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let hash = base64::engine::general_purpose::STANDARD.encode(digest);
    let sources = match &config.provider {
        CaptchaProvider::ProofOfWork { .. } => {
            format!("style-src 'sha256-{hash}'; worker-src 'self'; script-src")
        }
        CaptchaProvider::Service { script_url, .. } => {
            let sources = service_sources(script_url)?;
            // Widgets set styles on their elements; a hash would switch 'unsafe-inline' off.
            format!(
                "style-src 'unsafe-inline' {sources}; img-src data: {sources}; frame-src {sources}; connect-src {sources}; worker-src blob: {sources}; script-src {sources}"
            )
        }
    };
    Ok(format!("default-src 'none'; base-uri 'none'; frame-ancestors 'self'; {sources}"))
}

/// The whole policy of one captcha page.
pub(super) fn with_nonce(captcha: &str, nonce: &str) -> HeaderValue {
    HeaderValue::try_from(format!("{captcha} 'nonce-{nonce}'")).unwrap_or(NOTHING)
}

/// Origins that a provider loads from. The well-known ones use more than that of their script.
fn service_sources(script_url: &str) -> Result<String, PagesError> {
    let wrong = || PagesError::Policy { what: "the captcha's script URL", value: script_url.to_owned() };
    let uri: Uri = script_url.parse().map_err(|_| wrong())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(wrong()) };
    let authority = authority.as_str();
    let harmless =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_');
    if !matches!(scheme, "http" | "https") || !authority.bytes().all(harmless) {
        return Err(wrong());
    }
    let host = uri.host().unwrap_or_default();
    Ok(match host {
        "hcaptcha.com" | "js.hcaptcha.com" => "https://hcaptcha.com https://*.hcaptcha.com".to_owned(),
        "www.google.com" | "www.recaptcha.net" => format!(
            "https://{host}/recaptcha/ https://recaptcha.google.com/recaptcha/ https://www.gstatic.com/recaptcha/ https://www.gstatic.cn/recaptcha/"
        ),
        _ => format!("{scheme}://{authority}"),
    })
}
