//! Chooses the form and language of a response from `Accept`, `Accept-Language` and the fetch metadata headers.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, HeaderName};

use super::kind::PageFormat;
use super::texts::Language;

/// Items of one header that are looked at; the rest is ignored.
const MAX_ITEMS: usize = 32;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// How well a format is accepted: quality in thousandths, then how specific the range was.
type Rank = (u16, u8);

/// The form of a response to a request with these headers.
///
/// The highest quality wins, among equals the one named most specifically, among these HTML, then JSON. When only
/// wildcards match, scripts receive JSON, and everything else (curl, images) text.
pub fn format_for(headers: &HeaderMap) -> PageFormat {
    let mut ranks: [Rank; 3] = [(0, 0); 3];
    let mut named = false;
    for (range, quality) in items(headers, &ACCEPT) {
        let Some((format, specificity)) = format_of(range) else {
            if range.starts_with("*/") {
                for rank in &mut ranks {
                    // A wildcard applies to what no other range names.
                    if rank.1 == 0 {
                        *rank = (quality, 0);
                    }
                }
            }
            continue;
        };
        named = true;
        let rank = &mut ranks[format.index()];
        if specificity > rank.1 || (specificity == rank.1 && quality > rank.0) {
            *rank = (quality, specificity);
        }
    }
    if !named || ranks.iter().all(|rank| rank.0 == 0) {
        return if is_scripted(headers) { PageFormat::Json } else { PageFormat::Text };
    }
    let mut best = PageFormat::Html;
    for format in PageFormat::ALL {
        if ranks[format.index()] > ranks[best.index()] {
            best = format;
        }
    }
    best
}

/// Whether the request is for a page that a person looks at, so that a captcha can be shown.
pub fn is_page_request(headers: &HeaderMap) -> bool {
    if is_scripted(headers) || format_for(headers) != PageFormat::Html {
        return false;
    }
    // Browsers name what they fetch something for: images, scripts and styles cannot show a page.
    match headers.get(SEC_FETCH_DEST).map(|value| value.as_bytes()) {
        None => true,
        Some(dest) => matches!(dest, b"document" | b"iframe" | b"frame" | b"fencedframe"),
    }
}

/// Whether a script sent the request.
fn is_scripted(headers: &HeaderMap) -> bool {
    headers
        .get(X_REQUESTED_WITH)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"XMLHttpRequest"))
        || headers.get(SEC_FETCH_MODE).is_some_and(|mode| {
            let dest = headers.get(SEC_FETCH_DEST).map(|value| value.as_bytes());
            matches!(mode.as_bytes(), b"cors" | b"same-origin" | b"websocket" | b"no-cors")
                && dest.is_none_or(|dest| dest == b"empty")
        })
}

/// The language of a response to a request with these headers.
pub(super) fn language_for(headers: &HeaderMap, default: Language) -> Language {
    let mut best = (0, default);
    for (tag, quality) in items(headers, &ACCEPT_LANGUAGE) {
        let language = if tag == "*" { Some(default) } else { Language::from_tag(tag) };
        if let Some(language) = language
            && quality > best.0
        {
            best = (quality, language);
        }
    }
    best.1
}

fn format_of(range: &str) -> Option<(PageFormat, u8)> {
    let is = |name: &str| range.eq_ignore_ascii_case(name);
    if is("text/html") || is("application/xhtml+xml") {
        Some((PageFormat::Html, 2))
    } else if is("application/json") || is("application/problem+json") || ends_with_json(range) {
        Some((PageFormat::Json, 2))
    } else if is("text/plain") {
        Some((PageFormat::Text, 2))
    } else if is("text/*") {
        Some((PageFormat::Html, 1))
    } else if is("application/*") {
        Some((PageFormat::Json, 1))
    } else {
        None
    }
}

/// `application/vnd.example+json` and the like.
fn ends_with_json(range: &str) -> bool {
    range.len() > 5 && range.as_bytes()[range.len() - 5..].eq_ignore_ascii_case(b"+json")
}

/// The values of a list with qualities in thousandths. Values that are no text are left out.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a str, u16)> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .take(MAX_ITEMS)
        .map(item)
}

fn item(item: &str) -> (&str, u16) {
    let mut parts = item.split(';').map(str::trim);
    let value = parts.next().unwrap_or_default();
    let quality = parts
        .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
        // What is no quality counts as none: the value is not chosen.
        .map_or(1000, |quality| thousandths(quality).unwrap_or(0));
    (value, quality)
}

/// `0.8` as 800.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction =
        fraction.bytes().zip([100, 10, 1]).map(|(digit, worth)| u16::from(digit - b'0') * worth).sum();
    match (whole, fraction) {
        ("0", fraction) => Some(fraction),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_best_accepted_form_is_chosen() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, expected) in [
            (chromium, PageFormat::Html),
            ("*/*", PageFormat::Text),
            ("text/*", PageFormat::Html),
            ("application/json", PageFormat::Json),
            ("application/json, text/plain, */*", PageFormat::Json),
            ("application/json, text/javascript, */*; q=0.01", PageFormat::Json),
            ("application/vnd.api+json", PageFormat::Json),
            ("text/html;q=0.4, application/json;q=0.5", PageFormat::Json),
            ("text/html;q=0, */*", PageFormat::Json),
            ("text/html;q=0, application/json;q=0, */*", PageFormat::Text),
            ("text/html;q=0", PageFormat::Text),
            ("text/html;q=nonsense, text/plain;q=0.1", PageFormat::Text),
            ("image/avif,image/webp,*/*;q=0.8", PageFormat::Text),
            ("", PageFormat::Text),
        ] {
            assert_eq!(format_for(&headers(&[("accept", accept)])), expected, "{accept}");
        }
        assert_eq!(format_for(&HeaderMap::new()), PageFormat::Text);
        assert_eq!(
            format_for(&headers(&[
                ("accept", "*/*"),
                ("sec-fetch-mode", "cors"),
                ("sec-fetch-dest", "empty")
            ])),
            PageFormat::Json
        );
    }

    #[test]
    fn only_what_a_person_looks_at_is_a_page_request() {
        let html = ("accept", "text/html");
        assert!(is_page_request(&headers(&[html])));
        assert!(is_page_request(&headers(&[
            html,
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document")
        ])));
        assert!(!is_page_request(&headers(&[html, ("x-requested-with", "XMLHttpRequest")])));
        assert!(!is_page_request(&headers(&[html, ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")])));
        assert!(!is_page_request(&headers(&[
            html,
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "image")
        ])));
        assert!(!is_page_request(&headers(&[("accept", "application/json")])));
        assert!(!is_page_request(&HeaderMap::new()));
    }

    #[test]
    fn the_language_follows_the_qualities_and_falls_back() {
        for (accepted, expected) in [
            ("de-CH, en;q=0.8", Language::German),
            ("en;q=0.5, fr;q=0.9", Language::French),
            ("nl, ja;q=0.2", Language::Japanese),
            ("es-419", Language::Spanish),
            ("nl, *;q=0.5", Language::Spanish),
            ("en;q=0", Language::Spanish),
            ("", Language::Spanish),
        ] {
            let found = language_for(&headers(&[("accept-language", accepted)]), Language::Spanish);
            assert_eq!(found, expected, "{accepted}");
        }
    }

    #[test]
    fn items_beyond_the_limit_are_ignored() {
        let long = format!("{}text/html", "a/b,".repeat(MAX_ITEMS));
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, long.parse().unwrap());
        assert_eq!(format_for(&headers), PageFormat::Text);
    }
}
