//! Finds secrets in what a receiver sends back, also where it encodes them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Texts that are sent and shorter than this are not taken for secrets: they could be any word.
pub(super) const MIN_SECRET: usize = 6;
/// How often escapes may be escaped: a percent-encoded text in a JSON text that is itself in one.
const MAX_LAYERS: usize = 3;
/// The longest escape: a text may end within one.
const LONGEST_ESCAPE: usize = 8;
const REDACTED: &str = "[redacted]";

/// What to search for: each secret as it is, in hex and in base64, without regard to case.
#[derive(Default)]
pub(super) struct Secrets {
    needles: Vec<Vec<u8>>,
}

impl Secrets {
    pub(super) fn add(&mut self, secret: &str) {
        if secret.len() < MIN_SECRET {
            return;
        }
        let bytes = secret.as_bytes();
        self.push(bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.push(hex.as_bytes());
        // The secret may begin at each of the three bytes that four characters of base64 stand for; characters that also
        // depend on its neighbours are left out.
        for (before, skipped) in [(0, 0), (1, 2), (2, 3)] {
            let mut padded = vec![0; before];
            padded.extend(bytes);
            for encoded in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
                self.push(&encoded.as_bytes()[skipped..padded.len() * 8 / 6]);
            }
        }
    }

    fn push(&mut self, needle: &[u8]) {
        let needle: Vec<u8> = needle.iter().copied().map(folded).collect();
        if !self.needles.contains(&needle) {
            self.needles.push(needle);
        }
    }

    /// A text without secrets, also without the beginning of one at its end.
    pub(super) fn redacted(&self, text: &str) -> String {
        let mut layer =
            Layer { bytes: text.bytes().collect(), spans: (0..text.len()).map(|at| (at, at + 1)).collect() };
        let mut found = Vec::new();
        for _ in 0..=MAX_LAYERS {
            self.find(&layer, &mut found);
            match layer.unescaped() {
                Some(next) => layer = next,
                None => break,
            }
        }
        found.sort_unstable();
        let mut out = String::with_capacity(text.len());
        let mut shown = 0;
        for (start, end) in found {
            if start >= shown {
                out.push_str(&text[shown..text.floor_char_boundary(start)]);
                out.push_str(REDACTED);
            }
            shown = shown.max(text.ceil_char_boundary(end));
        }
        out.push_str(&text[shown..]);
        out
    }

    fn find(&self, layer: &Layer, found: &mut Vec<(usize, usize)>) {
        let text: Vec<u8> = layer.bytes.iter().copied().map(folded).collect();
        let mut add = |from: usize, to: usize| found.push((layer.spans[from].0, layer.spans[to - 1].1));
        for needle in &self.needles {
            for (at, _) in text.windows(needle.len()).enumerate().filter(|(_, window)| window == needle) {
                add(at, at + needle.len());
            }
            let is_cut = |end: usize| {
                let longest = needle.len().min(end);
                let begun = (MIN_SECRET..=longest).rev().find(|most| text[..end].ends_with(&needle[..*most]));
                begun.map(|most| end - most)
            };
            let ends = text.len().saturating_sub(LONGEST_ESCAPE)..=text.len();
            if let Some(start) = ends.rev().find_map(|end| {
                // Before the end only if an escape begins there that is not complete.
                let is_end = end == text.len() || b"%\\&".contains(&text[end]);
                if is_end { is_cut(end) } else { None }
            }) {
                add(start, text.len());
            }
        }
    }
}

/// A text, each byte with its place in the original.
struct Layer {
    bytes: Vec<u8>,
    spans: Vec<(usize, usize)>,
}

impl Layer {
    /// The text with its escapes resolved; `None` if it has none.
    fn unescaped(&self) -> Option<Self> {
        let mut next = Self { bytes: Vec::with_capacity(self.bytes.len()), spans: Vec::new() };
        let mut at = 0;
        let mut any = false;
        while at < self.bytes.len() {
            let (bytes, used) = match unescape(&self.bytes[at..]) {
                Some(resolved) => {
                    any = true;
                    resolved
                }
                None => (vec![self.bytes[at]], 1),
            };
            let span = (self.spans[at].0, self.spans[at + used - 1].1);
            next.spans.extend(bytes.iter().map(|_| span));
            next.bytes.extend(bytes);
            at += used;
        }
        any.then_some(next)
    }
}

/// The escape that a text begins with, of URLs, JSON or HTML: its bytes and its length.
fn unescape(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let number = |digits: &[u8], radix| {
        // `from_str_radix` takes a sign.
        let digits = digits.iter().all(u8::is_ascii_alphanumeric).then_some(digits)?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
    };
    let utf8 = |code: u32| char::from_u32(code).map(|c| c.to_string().into_bytes());
    match text {
        [b'%', high, low, ..] => Some((vec![u8::try_from(number(&[*high, *low], 16)?).ok()?], 3)),
        [b'\\', b'u', rest @ ..] => Some((utf8(number(rest.get(..4)?, 16)?)?, 6)),
        [b'\\', c @ (b'"' | b'\\' | b'/' | b'\''), ..] => Some((vec![*c], 2)),
        [b'\\', b'n', ..] => Some((vec![b'\n'], 2)),
        [b'\\', b't', ..] => Some((vec![b'\t'], 2)),
        [b'&', rest @ ..] => {
            let length = rest.iter().take(LONGEST_ESCAPE).position(|byte| *byte == b';')?;
            let resolved = match &rest[..length] {
                b"amp" => vec![b'&'],
                b"quot" => vec![b'"'],
                b"apos" => vec![b'\''],
                b"lt" => vec![b'<'],
                b"gt" => vec![b'>'],
                [b'#', b'x' | b'X', digits @ ..] => utf8(number(digits, 16)?)?,
                [b'#', digits @ ..] => utf8(number(digits, 10)?)?,
                _ => return None,
            };
            Some((resolved, length + 2))
        }
        _ => None,
    }
}

/// Without regard to case, and a space in a query is `+`.
fn folded(byte: u8) -> u8 {
    match byte {
        b'+' => b' ',
        byte => byte.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With every character that an encoding may treat in its own way.
    const SECRET: &str = "Hush\"x\\y/z ü&1<'+=";

    fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add(SECRET);
        secrets.add("short");
        secrets
    }

    #[test]
    fn an_encoded_secret_is_found() {
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        let all: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let url: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        let json = serde_json::to_string(SECRET).unwrap();
        let json = json[1..json.len() - 1].to_owned();
        let html =
            SECRET.replace('&', "&amp;").replace('"', "&quot;").replace('\'', "&#39;").replace('<', "&lt;");
        for (what, text) in [
            ("as it is", SECRET.to_owned()),
            ("upper case", SECRET.to_ascii_uppercase()),
            ("in a query", url.clone()),
            ("in a query, lower case", url.to_lowercase()),
            ("percent", all.clone()),
            ("percent of percent", all.replace('%', "%25")),
            ("JSON", json.clone()),
            ("JSON with slashes", json.replace('/', "\\/")),
            ("JSON in ASCII", json.replace('ü', "\\u00fc")),
            ("JSON in JSON", serde_json::to_string(&json).unwrap().trim_matches('"').to_owned()),
            ("HTML", html.clone()),
            ("HTML with slashes", html.replace('/', "&#x2F;")),
            ("hex", hex.clone()),
            ("HEX", hex.to_uppercase()),
        ] {
            assert_eq!(secrets().redacted(&format!("ä {text} ü%")), "ä [redacted] ü%", "{what}");
        }
        for before in ["", "u", "u:", "user:"] {
            let text = format!("{before}{SECRET} and more");
            for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                let shown = secrets().redacted(&encoded);
                // Besides the secret, only what the characters at its ends share with it.
                assert!(shown.contains(REDACTED) && shown.len() < 44, "{before}: {shown}");
            }
        }
    }

    #[test]
    fn the_beginning_of_a_secret_at_the_end_is_not_shown() {
        let encoded: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for text in
            [&SECRET[..8], &SECRET[..SECRET.len() - 1], &encoded[..30], &encoded[..31], &encoded[..32]]
        {
            assert_eq!(secrets().redacted(&format!("a {text}")), "a [redacted]", "{text}");
        }
        for text in ["a Hush", "Hush and more", "100%", "\\", "&amp", "%%%", "\\u12", "&;", "&#;", "short"] {
            assert_eq!(secrets().redacted(text), text);
        }
    }
}
