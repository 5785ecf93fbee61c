//! Query strings, parsed as leniently as Go parses them.

use axum::{extract::FromRequestParts, http::request::Parts};
use std::convert::Infallible;

/// The parameters of a request, in order. Of a repeated name only the first value is kept, except for `uuid`; parts
/// that cannot be decoded are dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

/// The parameter that may be repeated.
const REPEATABLE: &str = "uuid";

impl Pairs {
    /// Parses the text after the `?`.
    pub(crate) fn parse(query: &str) -> Self {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in query.split('&') {
            // Go rejects parts that contain a semicolon.
            if part.is_empty() || part.contains(';') {
                continue;
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (Some(name), Some(value)) = (unescape(name), unescape(value)) else { continue };
            if name == REPEATABLE || !pairs.iter().any(|(known, _)| *known == name) {
                pairs.push((name, value));
            }
        }
        Self(pairs)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl<S: Sync> FromRequestParts<S> for Pairs {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// Decodes `%41` and `+`. `None` for a `%` that is not followed by two hexadecimal digits. Bytes that are not UTF-8
/// become replacement characters.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(bad) => String::from_utf8_lossy(bad.as_bytes()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (query, expected) in [
            ("", &[][..]),
            ("startup=true&scopes=ip%2Crange", &[("startup", "true"), ("scopes", "ip,range")]),
            ("ip=1.2.3.4&ip=5.6.7.8", &[("ip", "1.2.3.4")]),
            ("uuid=a&uuid=b", &[("uuid", "a"), ("uuid", "b")]),
            ("a=b+c&d", &[("a", "b c"), ("d", "")]),
            ("a=%zz&b=%4&c=1;2&=x&&e==", &[("", "x"), ("e", "=")]),
            ("a=%e2%82%ac&b=%ff", &[("a", "€"), ("b", "\u{fffd}")]),
        ] {
            let pairs = Pairs::parse(query);
            let read: Vec<(&str, &str)> = pairs.0.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(read, expected, "{query}");
        }
    }
}
