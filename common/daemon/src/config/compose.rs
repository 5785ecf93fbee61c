//! Parses YAML text into a tree: one document, one mapping, no duplicate keys, aliases resolved.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::tree::{Entry, Kind, Node, Scalar, TextPosition};

/// More nodes than any configuration has; bounds the expansion of aliases.
const MAX_NODES: usize = 100_000;

/// Why a text is not a YAML map.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Line and column, both counted from 1.
    pub line: usize,
    pub column: usize,
    pub what: String,
}

/// Parses `text`, which must contain one mapping; an empty text is an empty mapping.
pub(crate) fn compose(text: &str, source: u8) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::granit_parser::options! { emit_comments: false };
    let mut composer = Composer {
        events: Parser::new_from_str_with_options(text, options),
        source,
        anchors: HashMap::new(),
        nodes: 0,
    };
    composer.stream()
}

/// Parses `text` as a single value in block style.
pub(crate) fn compose_value(text: &str) -> Result<Node, SyntaxError> {
    match compose(&format!("value: {text}"), 0)?.kind {
        Kind::Mapping(mut entries) if entries.len() == 1 => Ok(entries.remove(0).value),
        _ => Err(SyntaxError { line: 1, column: 1, what: "several values where one belongs".to_owned() }),
    }
}

struct Composer<I> {
    events: I,
    source: u8,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'t, I: Iterator<Item = Result<(Event<'t>, Span), ScanError>>> Composer<I> {
    fn stream(&mut self) -> Result<Node, SyntaxError> {
        let mut root: Option<Node> = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                event => {
                    let node = self.node(event, span)?;
                    match &root {
                        Some(_) if node.is_null() => {}
                        Some(_) => return Err(self.error(span, "a second document; put everything into one")),
                        None => root = Some(node),
                    }
                }
            }
        }
        match root {
            None => Ok(self.make(Span::default(), Kind::Mapping(Vec::new()))),
            Some(root) if root.is_null() => Ok(Node { kind: Kind::Mapping(Vec::new()), ..root }),
            Some(root) => match root.kind {
                Kind::Mapping(_) => Ok(root),
                Kind::Scalar(_) | Kind::Sequence(_) => Err(SyntaxError {
                    line: root.position.line,
                    column: root.position.column,
                    what: format!("the document is a {}, not a map of `key: value` lines", root.kind_name()),
                }),
            },
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Node, SyntaxError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.error(span, "more values than any configuration has; are aliases nested?"));
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !tag.as_deref().is_some_and(is_text_tag);
                (self.make(span, Kind::Scalar(Scalar::new(text.into_owned(), plain))), anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.within(span)? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span)?),
                    }
                }
                (self.make(span, Kind::Sequence(items)), anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                let entries = self.mapping(span)?;
                (self.make(span, Kind::Mapping(entries)), anchor)
            }
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id).cloned() else {
                    return Err(self.error(span, "an alias inside the value it names"));
                };
                self.nodes += target.size();
                (Node { position: self.position(span), ..target }, 0)
            }
            _ => return Err(self.error(span, "a value was expected here")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(&mut self, start: Span) -> Result<Vec<Entry>, SyntaxError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.within(start)?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key_node = self.node(event, span)?;
            let Kind::Scalar(key) = key_node.kind else {
                return Err(self.error(span, "a key must be a plain word, not a list or a map"));
            };
            let (event, value_span) = self.within(start)?;
            let value = self.node(event, value_span)?;
            if key.plain && key.text == "<<" {
                merged.extend(self.merge_key(value, value_span)?);
                continue;
            }
            if let Some(first) = places.insert(key.text.clone(), entries.len()) {
                let first = entries[first].position;
                let at = format!("[{}:{}]", first.line, first.column);
                return Err(self.error(span, &format!("mapping key {:?} already defined at {at}", key.text)));
            }
            entries.push(Entry { key, position: key_node.position, value });
        }
        // Keys written here win over merged ones, and an earlier merged map over a later one.
        for entry in merged {
            if let Slot::Vacant(slot) = places.entry(entry.key.text.clone()) {
                slot.insert(entries.len());
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn merge_key(&self, value: Node, span: Span) -> Result<Vec<Entry>, SyntaxError> {
        match value.kind {
            Kind::Mapping(entries) => Ok(entries),
            Kind::Sequence(items) => {
                let mut all = Vec::new();
                for item in items {
                    let Kind::Mapping(entries) = item.kind else {
                        return Err(self.error(span, "`<<` takes a map or a list of maps"));
                    };
                    all.extend(entries);
                }
                Ok(all)
            }
            Kind::Scalar(_) => Err(self.error(span, "`<<` takes a map or a list of maps")),
        }
    }

    /// The next event of a collection that began at `start`.
    fn within(&mut self, start: Span) -> Result<(Event<'t>, Span), SyntaxError> {
        match self.next()? {
            Some(next) => Ok(next),
            None => Err(self.error(start, "this list or map does not end")),
        }
    }

    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, SyntaxError> {
        self.events.next().transpose().map_err(|error| SyntaxError {
            line: error.marker().line(),
            column: error.marker().col() + 1,
            what: error.info(),
        })
    }

    fn make(&self, span: Span, kind: Kind) -> Node {
        Node { position: self.position(span), kind }
    }

    fn position(&self, span: Span) -> TextPosition {
        TextPosition { source: self.source, line: span.start.line(), column: span.start.col() + 1 }
    }

    fn error(&self, span: Span, what: &str) -> SyntaxError {
        SyntaxError { line: span.start.line(), column: span.start.col() + 1, what: what.to_owned() }
    }
}

/// `!!str 10` is text although it has no quotes.
fn is_text_tag(tag: &Tag) -> bool {
    tag.is_yaml_core_schema_tag("str") || tag.is_custom()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let error = compose(text, 0).map(|_| ()).unwrap_err();
        format!("[{}:{}] {}", error.line, error.column, error.what)
    }

    #[test]
    fn empty_texts_are_empty_maps() {
        for text in ["", "\n", "# only a comment\n", "---\n", "--- {}\n", "null\n", "\u{feff}# bom\n"] {
            let root = compose(text, 0).unwrap();
            assert!(matches!(root.kind, Kind::Mapping(entries) if entries.is_empty()), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_is_not_one_map() {
        assert_eq!(wrong("x: 1\nx: 2\n"), "[2:1] mapping key \"x\" already defined at [1:1]");
        assert_eq!(wrong("a:\n  b: 1\n  c: 2\n  b: 3\n"), "[4:3] mapping key \"b\" already defined at [2:3]");
        assert_eq!(wrong("- a\n"), "[1:1] the document is a sequence, not a map of `key: value` lines");
        assert_eq!(wrong("word\n"), "[1:1] the document is a scalar, not a map of `key: value` lines");
        assert!(wrong("a: 1\n---\nb: 2\n").contains("second document"));
        assert!(wrong("a: [1, 2\n").starts_with('['));
        assert!(wrong("a: &x [*x]\n").contains("alias inside"));
        assert!(wrong("? [a]\n: b\n").contains("plain word"));
        assert!(wrong("a: 1\n b: 2\n").starts_with("[2:"));
    }

    #[test]
    fn nested_aliases_do_not_multiply_without_end() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let inner = format!("*a{},", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        assert!(wrong(&text).contains("more values"));
    }

    #[test]
    fn odd_characters_read_back_the_same() {
        for text in ["", " x ", "a: b", "\u{7f}\u{1}", "null", "-", "\u{2028}z", "emoji 🚪", "tab\tx\ny"] {
            let yaml = format!("k: {}\n", Scalar::new(text.to_owned(), false).yaml);
            let root = compose(&yaml, 0).unwrap();
            let Kind::Scalar(read) = &root.entry("k").unwrap().value.kind else { panic!("{yaml:?}") };
            assert_eq!(read.text, text);
        }
    }

    #[test]
    fn finds_entries_by_dotted_path_with_their_spots() {
        let root = compose("# first\nnftables:\n  ipv4:\n    enabled: yes\n", 1).unwrap();
        let entry = root.entry("nftables.ipv4.enabled").unwrap();
        assert_eq!(entry.position, TextPosition { source: 1, line: 4, column: 5 });
        assert!(root.entry("nftables.ipv6.enabled").is_none());
        assert!(root.entry("nftables.ipv4.enabled.more").is_none());
    }

    #[test]
    fn merge_keys_give_way_to_written_ones() {
        let root = compose("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n", 0).unwrap();
        let value = |path: &str| match &root.entry(path).unwrap().value.kind {
            Kind::Scalar(scalar) => scalar.text.clone(),
            _ => panic!("{path} is no scalar"),
        };
        assert_eq!((value("use.x"), value("use.y")), ("1".into(), "3".into()));
    }
}
