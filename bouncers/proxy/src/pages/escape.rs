//! Escapes values for HTML, for the inside of a JSON string, and for text.

use super::kind::PageFormat;

/// How values are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    Html,
    Json,
    Text,
}

impl From<PageFormat> for Escape {
    fn from(format: PageFormat) -> Self {
        match format {
            PageFormat::Html => Self::Html,
            PageFormat::Json => Self::Json,
            PageFormat::Text => Self::Text,
        }
    }
}

impl Escape {
    /// Appends a value.
    pub(super) fn write(self, value: &str, out: &mut String) {
        let mut from = 0;
        for (at, byte) in value.bytes().enumerate() {
            let Some(escaped) = self.escaped(byte) else { continue };
            out.push_str(&value[from..at]);
            out.push_str(escaped);
            from = at + 1;
        }
        out.push_str(&value[from..]);
    }

    /// What an ASCII character becomes; `None` when it stays. Control characters become spaces in each form: no value
    /// has any for a reason.
    fn escaped(self, byte: u8) -> Option<&'static str> {
        match (byte, self) {
            (0..=0x1f | 0x7f, _) => Some(" "),
            (b'<', Self::Html) => Some("&lt;"),
            (b'>', Self::Html) => Some("&gt;"),
            (b'&', Self::Html) => Some("&amp;"),
            (b'"', Self::Html) => Some("&quot;"),
            (b'\'', Self::Html) => Some("&#x27;"),
            (b'"', Self::Json) => Some("\\\""),
            (b'\\', Self::Json) => Some("\\\\"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaped_json_is_one_string_with_the_same_text(value in "[^\\p{Cc}]{0,40}") {
            let mut out = String::from("\"");
            Escape::Json.write(&value, &mut out);
            out.push('"');
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), value);
        }

        #[test]
        fn escaped_html_has_no_markup(value in any::<String>()) {
            let mut out = String::new();
            Escape::Html.write(&value, &mut out);
            let has_markup = out.contains(['<', '>', '"', '\'']) || out.chars().any(|character| character.is_ascii_control());
            prop_assert!(!has_markup);
        }
    }
}
