//! Query strings, read as leniently as Go reads them.

use axum::{extract::FromRequestParts, http::request::Parts};
use std::convert::Infallible;

/// The parameters of a request in their order. Of a repeated name only the first value is there, except for `uuid`.
/// What cannot be decoded is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(pub Vec<(String, String)>);

/// The one parameter that may be given several times.
const REPEATABLE: &str = "uuid";

impl Pairs {
    /// Reads the text after the `?`.
    pub fn parse(query: &str) -> Self {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in query.split('&') {
            // Go refuses a part with a semicolon.
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

    /// The value of a parameter, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl<S: Sync> FromRequestParts<S> for Pairs {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// Undoes `%41` and `+`. `None` for a `%` that is not followed by two hexadecimal digits. Bytes that are not UTF-8
/// become the replacement character.
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
