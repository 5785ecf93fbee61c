//! Identifies requests in logs, on pages, and for upstreams.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The field that upstreams receive.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of an id that a trusted proxy has chosen.
const MAX_BYTES: usize = 128;

/// The id of a request: a trusted proxy's, or a number that is unlikely to occur twice.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// A new one: 32 hexadecimal digits.
    pub(crate) fn new() -> Self {
        let mut text = String::with_capacity(32);
        // Writing to a string cannot fail.
        let _ = write!(text, "{:032x}", fastrand::u128(..));
        // Hexadecimal digits are a valid value.
        Self(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("-")))
    }

    /// The one of a trusted proxy, if there is one and it is sound.
    pub(crate) fn received(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(X_REQUEST_ID).iter();
        let first = lines.next().filter(|id| !id.is_empty() && id.len() <= MAX_BYTES)?;
        let is_plain =
            first.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte));
        (lines.next().is_none() && is_plain).then(|| Self(first.clone()))
    }

    pub(crate) fn value(&self) -> &HeaderValue {
        &self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_ids_are_kept() {
        for (lines, kept) in [
            (&["abc-1"][..], true),
            (&[][..], false),
            (&[""][..], false),
            (&["a b"][..], false),
            (&["a\u{e9}"][..], false),
            (&["a", "b"][..], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_REQUEST_ID, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            assert_eq!(RequestId::received(&headers).is_some(), kept, "{lines:?}");
        }
        assert_eq!(RequestId::new().as_str().len(), 32);
    }
}
