//! Reads, sets and strips the cookie that holds a proof.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

/// The cookie's name on plain HTTP.
pub const COOKIE_NAME: &str = "palisade_captcha";
/// Its name on HTTPS: browsers accept it from the host itself only, not from a sibling domain.
pub const SECURE_COOKIE_NAME: &str = "__Host-palisade_captcha";

/// Values of the cookie that are tried; a browser sends more than one only when another host or path set some.
const MAX_PROOFS: usize = 4;

/// The values of the cookie in a request.
pub(super) fn proofs(headers: &HeaderMap, is_https: bool) -> impl Iterator<Item = &[u8]> {
    let name = if is_https { SECURE_COOKIE_NAME } else { COOKIE_NAME };
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|header| header.as_bytes().split(|byte| *byte == b';'))
        .filter_map(move |pair| value_of(pair, name))
        .take(MAX_PROOFS)
}

/// Removes the cookie, under both names, from what the application receives. All other bytes stay.
pub fn strip_cookie(headers: &mut HeaderMap) {
    let has_cookie = headers
        .get_all(COOKIE)
        .iter()
        .any(|header| memmem::find(header.as_bytes(), COOKIE_NAME.as_bytes()).is_some());
    if !has_cookie {
        return;
    }
    let kept: Vec<HeaderValue> = headers.get_all(COOKIE).iter().filter_map(without_proof).collect();
    headers.remove(COOKIE);
    for value in kept {
        headers.append(COOKIE, value);
    }
}

/// A `Set-Cookie` value.
pub(super) fn set(proof: &str, seconds: u64, is_https: bool) -> Option<HeaderValue> {
    let (name, secure) = if is_https { (SECURE_COOKIE_NAME, "; Secure") } else { (COOKIE_NAME, "") };
    HeaderValue::try_from(format!(
        "{name}={proof}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    ))
    .ok()
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

fn is_proof(pair: &[u8]) -> bool {
    [COOKIE_NAME, SECURE_COOKIE_NAME].iter().any(|name| value_of(pair, name).is_some())
}

/// The header without our pairs; `None` when nothing else is left.
fn without_proof(header: &HeaderValue) -> Option<HeaderValue> {
    let mut pairs = header.as_bytes().split(|byte| *byte == b';').filter(|pair| !is_proof(pair)).peekable();
    pairs.peek()?;
    let joined = pairs.collect::<Vec<_>>().join(&b';');
    // The blank of a pair that is now the first.
    HeaderValue::from_bytes(joined.trim_ascii_start()).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, cookie.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_the_name_of_the_scheme_is_read_and_few_values_are() {
        let both = headers(&[
            "a=b; palisade_captcha=plain;__Host-palisade_captcha=secure",
            "palisade_captcha=second",
        ]);
        assert_eq!(proofs(&both, false).collect::<Vec<_>>(), [b"plain".as_slice(), b"second"]);
        assert_eq!(proofs(&both, true).collect::<Vec<_>>(), [b"secure".as_slice()]);
        let many = headers(&[&"palisade_captcha=x;".repeat(100)]);
        assert_eq!(proofs(&many, false).count(), MAX_PROOFS);
        assert_eq!(
            proofs(&headers(&["xpalisade_captcha=1; palisade_captcha2=2; palisade_captcha"]), false).count(),
            0
        );
    }

    #[test]
    fn the_application_sees_all_other_cookies_unchanged() {
        for (sent, seen) in [
            (&["a=b"] as &[&str], &["a=b"] as &[&str]),
            (&["palisade_captcha=x"], &[]),
            (&["a=b; palisade_captcha=x; c=\"d e\""], &["a=b; c=\"d e\""]),
            (&["palisade_captcha=x; a=b"], &["a=b"]),
            (&["a=b;__Host-palisade_captcha=x", "c=d"], &["a=b", "c=d"]),
            (
                &["my_palisade_captcha=x; a=palisade_captcha=y"],
                &["my_palisade_captcha=x; a=palisade_captcha=y"],
            ),
            (&["palisade_captcha=x; palisade_captcha=y"], &[]),
        ] {
            let mut headers = headers(sent);
            strip_cookie(&mut headers);
            let found: Vec<&str> =
                headers.get_all(COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(found, seen, "{sent:?}");
        }
    }

    #[test]
    fn the_cookie_is_restricted_to_its_host() {
        let secure = set("p", 60, true).unwrap();
        assert_eq!(secure, "__Host-palisade_captcha=p; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(
            set("p", 60, false).unwrap(),
            "palisade_captcha=p; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
    }
}
