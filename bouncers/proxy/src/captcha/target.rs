//! Validates where a client is sent after a captcha: a path and query of the same origin.

/// Longer ones are not kept; the client is sent to `/`.
const MAX_TARGET: usize = 8192;

/// The target as given when it is safe, `/` otherwise.
///
/// Only visible ASCII: browsers drop tabs and line breaks inside URLs, and read `\` as `/`. Two slashes at the start
/// would name another host, and `#` is no part of a request's target.
pub fn safe_target(target: &str) -> &str {
    let bytes = target.as_bytes();
    let is_safe = bytes.first() == Some(&b'/')
        && !matches!(bytes.get(1), Some(b'/' | b'\\'))
        && bytes.len() <= MAX_TARGET
        && bytes.iter().all(|byte| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'\\' | b'#'))
        && !super::is_reserved(path_of(target));
    if is_safe { target } else { "/" }
}

fn path_of(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_the_same_origin_are_kept_with_their_query() {
        for target in ["/", "/a/b?c=d&e=%20f", "/a//b", "/?next=//evil.example", "/@evil.example"] {
            assert_eq!(safe_target(target), target);
        }
    }

    #[test]
    fn everything_else_becomes_the_root() {
        for target in [
            "",
            "a",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/a\\b",
            "/\t/evil.example",
            "/a\r\nSet-Cookie: x=y",
            "/a b",
            "/a#b",
            "https://evil.example/",
            "javascript:alert(1)",
            "/é",
            super::super::SOLUTION_PATH,
            "/.well-known/palisade/captcha?x",
            &format!("/{}", "a".repeat(MAX_TARGET)),
        ] {
            assert_eq!(safe_target(target), "/", "{target:?}");
        }
    }

    proptest! {
        #[test]
        fn a_target_stays_on_its_origin(target in "[/\\\\]{0,3}[ -~\\t\\n\\r]{0,20}") {
            let safe = safe_target(&target);
            let base = reqwest::Url::parse("https://example.org/x").unwrap();
            let joined = base.join(safe).unwrap();
            prop_assert_eq!(joined.host_str(), Some("example.org"));
            prop_assert_eq!(joined.scheme(), "https");
        }
    }
}
