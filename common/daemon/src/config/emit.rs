//! Writes a merged tree as YAML.

use super::tree::{Entry, Kind, Node};

/// Writes `root` in block style, two spaces a level, keys in their order.
pub(crate) fn document(root: &Node) -> String {
    let mut writer = Writer { out: String::new() };
    match &root.kind {
        Kind::Mapping(entries) if entries.is_empty() => writer.line("{}"),
        Kind::Mapping(entries) => writer.mapping(entries, 0, ""),
        Kind::Sequence(items) => writer.sequence(items, 0, ""),
        Kind::Scalar(scalar) => writer.line(&scalar.yaml),
    }
    writer.out
}

struct Writer {
    out: String,
}

impl Writer {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// `lead` replaces the indentation of the first line: the dash of a list.
    fn mapping(&mut self, entries: &[Entry], depth: usize, lead: &str) {
        for (index, entry) in entries.iter().enumerate() {
            // A missing key reads as `~` and must not become the word `null`.
            let missing = entry.key.plain && matches!(entry.key.text.as_str(), "" | "~");
            let key = if missing { "~" } else { &entry.key.yaml };
            let head = format!("{}{key}:", front(index, depth, lead));
            self.value(&entry.value, &head, depth);
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
                _ => self.value(item, &head, depth),
            }
        }
    }

    fn value(&mut self, value: &Node, head: &str, depth: usize) {
        match &value.kind {
            Kind::Scalar(scalar) => self.line(&format!("{head} {}", scalar.yaml)),
            Kind::Sequence(items) if items.is_empty() => self.line(&format!("{head} []")),
            Kind::Mapping(entries) if entries.is_empty() => self.line(&format!("{head} {{}}")),
            Kind::Sequence(items) => {
                self.line(head);
                self.sequence(items, depth + 1, "");
            }
            Kind::Mapping(entries) => {
                self.line(head);
                self.mapping(entries, depth + 1, "");
            }
        }
    }
}

fn front(index: usize, depth: usize, lead: &str) -> String {
    if index == 0 && !lead.is_empty() { lead.to_owned() } else { "  ".repeat(depth) }
}

#[cfg(test)]
mod tests {
    use super::super::compose::compose;
    use super::*;

    fn again(text: &str) -> String {
        document(&compose(text, 0).unwrap())
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
}
