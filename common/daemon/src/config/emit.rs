//! Writes a merged tree as YAML and records where each line came from.

use super::tree::{Entry, Kind, Node, TextPosition};

/// A text, and the position each of its lines was written at.
pub(crate) struct Emitted {
    pub text: String,
    /// First line first.
    pub lines: Vec<TextPosition>,
}

/// Writes `root` in block style, two spaces a level, keys in their order.
pub(crate) fn document(root: &Node) -> Emitted {
    let mut writer = Writer { out: Emitted { text: String::new(), lines: Vec::new() } };
    match &root.kind {
        Kind::Mapping(entries) if entries.is_empty() => writer.line(root.position, "{}"),
        Kind::Mapping(entries) => writer.mapping(entries, 0, ""),
        Kind::Sequence(items) => writer.sequence(items, 0, ""),
        Kind::Scalar(scalar) => writer.line(root.position, &scalar.yaml),
    }
    writer.out
}

struct Writer {
    out: Emitted,
}

impl Writer {
    fn line(&mut self, position: TextPosition, text: &str) {
        self.out.text.push_str(text);
        self.out.text.push('\n');
        self.out.lines.push(position);
    }

    /// `lead` replaces the indentation of the first line: the dash of a list.
    fn mapping(&mut self, entries: &[Entry], depth: usize, lead: &str) {
        for (index, entry) in entries.iter().enumerate() {
            // A missing key reads as `~` and must not become the word `null`.
            let missing = entry.key.plain && matches!(entry.key.text.as_str(), "" | "~");
            let key = if missing { "~" } else { &entry.key.yaml };
            let head = format!("{}{key}:", front(index, depth, lead));
            self.value(&entry.value, entry.position, &head, depth);
        }
    }

    fn sequence(&mut self, items: &[Node], depth: usize, lead: &str) {
        for (index, item) in items.iter().enumerate() {
            let head = format!("{}-", front(index, depth, lead));
            match &item.kind {
                Kind::Mapping(entries) if !entries.is_empty() => {
                    self.mapping(entries, depth + 1, &format!("{head} "));
                }
                Kind::Sequence(items) if !items.is_empty() => {
                    self.sequence(items, depth + 1, &format!("{head} "));
                }
                _ => self.value(item, item.position, &head, depth),
            }
        }
    }

    fn value(&mut self, value: &Node, position: TextPosition, head: &str, depth: usize) {
        match &value.kind {
            Kind::Scalar(scalar) => self.line(position, &format!("{head} {}", scalar.yaml)),
            Kind::Sequence(items) if items.is_empty() => self.line(position, &format!("{head} []")),
            Kind::Mapping(entries) if entries.is_empty() => self.line(position, &format!("{head} {{}}")),
            Kind::Sequence(items) => {
                self.line(position, head);
                self.sequence(items, depth + 1, "");
            }
            Kind::Mapping(entries) => {
                self.line(position, head);
                self.mapping(entries, depth + 1, "");
            }
        }
    }
}

fn front(index: usize, depth: usize, lead: &str) -> String {
    if index == 0 && !lead.is_empty() { lead.to_owned() } else { "  ".repeat(depth) }
}

/// A scalar as one line of YAML that parses to the same value.
pub(crate) fn scalar(text: &str, plain: bool) -> String {
    let one_line = !text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
    match (plain, one_line) {
        (true, true) if matches!(text, "" | "~") => "null".to_owned(),
        (true, true) => text.to_owned(),
        (false, true) if text.chars().all(is_harmless) => format!("'{}'", text.replace('\'', "''")),
        _ => double_quoted(text),
    }
}

fn is_harmless(c: char) -> bool {
    c == '\t' || (c >= ' ' && c != '\u{7f}' && !('\u{80}'..'\u{a0}').contains(&c) && c != '\u{feff}')
}

fn double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if is_harmless(c) => out.push(c),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::tree::compose;
    use super::*;

    fn again(text: &str) -> String {
        document(&compose(text, 0).unwrap()).text
    }

    #[test]
    fn keeps_values_order_and_quoting() {
        let text = "mode: nftables\nlist:\n  - a\n  - 'yes'\nmap:\n  empty: {}\n  none: []\n  null_: null\n  on: yes\n";
        assert_eq!(again(text), text);
        assert_eq!(
            again("a: [1, {b: 2, c: [3, 4]}, [5, 6]]\n"),
            "a:\n  - 1\n  - b: 2\n    c:\n      - 3\n      - 4\n  - - 5\n    - 6\n"
        );
        assert_eq!(
            again("a: |\n  two\n  lines\nb: \"q'uote\\ttab\"\n"),
            "a: \"two\\nlines\\n\"\nb: 'q''uote\ttab'\n"
        );
        assert_eq!(again("key: ${API_KEY}\nk2: foo$bar # note\n"), "key: ${API_KEY}\nk2: foo$bar\n");
        assert_eq!(again(""), "{}\n");
    }

    #[test]
    fn every_line_knows_its_origin() {
        let emitted = document(&compose("# one\nb:\n\n  c: 1\nd: [x,\n y]\n", 1).unwrap());
        assert_eq!(emitted.text, "b:\n  c: 1\nd:\n  - x\n  - y\n");
        let lines: Vec<_> = emitted.lines.iter().map(|position| (position.source, position.line)).collect();
        assert_eq!(lines, [(1, 2), (1, 4), (1, 5), (1, 5), (1, 6)]);
    }

    #[test]
    fn odd_characters_read_back_the_same() {
        for text in ["", " x ", "a: b", "\u{7f}\u{1}", "null", "-", "\u{2028}z", "emoji 🚪", "tab\tx\ny"] {
            let yaml = format!("k: {}\n", scalar(text, false));
            let root = compose(&yaml, 0).unwrap();
            let Kind::Scalar(read) = &root.entry("k").unwrap().value.kind else { panic!("{yaml:?}") };
            assert_eq!(read.text, text);
        }
    }
}
